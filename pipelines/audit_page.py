"""An audit as one HTML file: a graph to look around in, with everything inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def audit_page(tree: dict[str, Any]) -> str:
    """The page.

    Args:
        tree: of `pipelines.audit.audit_tree`.

    Returns:
        HTML that loads nothing from elsewhere.
    """
    graph = graph_of(tree)
    text = json.dumps(graph, ensure_ascii=False, separators=(",", ":"))
    # Inside a script element only "<" could end it.
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    template = (Path(__file__).parent / "audit_page.html").read_text(encoding="utf-8")
    return template.replace("@DATA@", text, 1)


def graph_of(tree: dict[str, Any]) -> dict[str, Any]:
    """Nodes with places, and links between them.

    Args:
        tree: of `pipelines.audit.audit_tree`.

    Returns:
        `nodes` (`id`, `title`, `facts`, `x`, `y`, ...), `edges` ([from, to]), `columns`, `roots`.
    """
    found: dict[str, dict[str, Any]] = {}
    edges: list[list[str]] = []

    def take(node: dict[str, Any]) -> str:
        name = _id(node)
        if name not in found or (found[name].get("see_above") and not node.get("see_above")):
            found[name] = node
        for child in node.get("inputs", ()):
            if child.get("role") != "failed":
                link = [take(child), name]
                if link not in edges:
                    edges.append(link)
        return name

    roots = [take(root) for root in tree["roots"]]
    depth = _depths(found, edges)
    columns: dict[int, list[str]] = {}
    for name in found:
        columns.setdefault(depth[name], []).append(name)
    place: dict[str, tuple[int, float]] = {}
    inputs: dict[str, list[str]] = {}
    for source, target in edges:
        inputs.setdefault(target, []).append(source)
    tallest = max((len(names) for names in columns.values()), default=1)
    for x in sorted(columns):
        # By the middle of what it was made of: fewer links cross.
        def middle(name: str) -> tuple[float, str]:
            rows = [place[source][1] for source in inputs.get(name, ()) if source in place]
            return (sum(rows) / len(rows) if rows else 0.0, _title(found[name]))

        names = sorted(columns[x], key=middle)
        for row, name in enumerate(names):
            place[name] = (x, row + (tallest - len(names)) / 2)
    stages = []
    for x in sorted(columns):
        words = sorted({found[name].get("stage", "raw") for name in columns[x]})
        stages.append(", ".join(words))
    nodes = [
        {
            "id": name,
            "title": _title(node),
            "subtitle": _subtitle(node),
            "facts": _facts(node),
            "words": " ".join(
                [_title(node), name, str(node.get("out_oid")), str(node.get("oid"))]
            ).lower(),
            "marks": _marks(node, name in roots),
            "x": place[name][0],
            "y": place[name][1],
        }
        for name, node in found.items()
    ]
    return {
        "target": tree["target"],
        "roots": roots,
        "nodes": nodes,
        "edges": edges,
        "columns": stages,
    }


def _depths(found: dict[str, Any], edges: list[list[str]]) -> dict[str, int]:
    depth = dict.fromkeys(found, 0)
    for _ in found:
        changed = False
        for source, target in edges:
            if depth[target] <= depth[source]:
                depth[target] = depth[source] + 1
                changed = True
        if not changed:
            break
    return depth


def _id(node: dict[str, Any]) -> str:
    if "key" in node:
        return str(node["key"])
    return f"raw {node.get('subject')} {node.get('oid')}"


def _title(node: dict[str, Any]) -> str:
    if "stage" in node:
        return f"{node['stage']}/{node['subject']}"
    return f"capture {node.get('subject', '?')}"


def _subtitle(node: dict[str, Any]) -> str:
    if "stage" not in node:
        return str(node.get("kind") or node.get("missing") or "")[:30]
    backend = (node.get("chosen") or {}).get("backend")
    return " ".join(
        filter(
            None, [backend, f"{float(node['seconds'] or 0):.1f} s", (node.get("out_oid") or "")[:8]]
        )
    )


def _marks(node: dict[str, Any], root: bool) -> list[str]:
    marks = [] if "stage" in node else ["raw"]
    if root:
        marks.append("root")
    if node.get("withdrawn"):
        marks.append("withdrawn")
    return marks


def _facts(node: dict[str, Any]) -> list[list[str]]:
    facts: list[list[str]] = []

    def say(name: str, value: object) -> None:
        if value not in (None, "", {}, []):
            facts.append([name, str(value)])

    if "stage" not in node:
        for name in ("kind", "oid", "consent", "licence", "seed", "who", "when", "missing"):
            say(name, node.get(name))
        for file in node.get("files", ()):
            say(file["file"], f"{file['bytes']} bytes, SHA-256 {file['sha256']}")
        return facts
    say("digest", node.get("out_oid"))
    say("recipe", node.get("key"))
    if node.get("withdrawn"):
        say("withdrawn", "trained with a capture whose consent was taken back")
    for name, value in (node.get("chosen") or {}).items():
        say(f"chose {name}", value)
    for name, value in sorted((node.get("params") or {}).items()):
        say(f"params {name}", value)
    dirty = " and uncommitted changes" if node.get("git_dirty") else ""
    say("code", f"{node.get('code')}, version {node.get('version')}")
    say("git", f"{node.get('git_commit')}{dirty}")
    for told in node.get("accepted", ()):
        say("accepted", f"{told['code'][:16]} by {told['who']} {told['when']}")
    for name in ("seed", "finished", "seconds", "max_rss_mb", "device", "threads", "python"):
        say(name, node.get(name))
    say("packages", node.get("packages_sha256"))
    say("run", node.get("run_id"))
    say("host", node.get("host"))
    return facts
