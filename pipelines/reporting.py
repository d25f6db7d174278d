"""reports/: the report where people look for it, with what ran, what failed and what changed.

The report stage's own output holds nothing of this: equal results give equal bytes there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.artifacts import read_meta
from headworks.errors import ArtifactError
from headworks.formats.subject import read_terms
from pipelines.canon import digest
from pipelines.files import private_folder, remove, walk_files, write_atomic
from pipelines.publish import swap
from pipelines.reasons import asset_changes, module_changes, param_changes
from pipelines.stamp import stamp_file
from pipelines.workspace import Workspace
from stages.report.costs import PLACE, Cost, with_costs
from stages.report.places import CHANGES, PROVENANCE, fill

if TYPE_CHECKING:
    from pipelines.layout import Layout
    from pipelines.ledger_rows import Row
    from pipelines.options import Summary
    from pipelines.plan import Planner, Unit
    from stages.report.lineage import Node

ALL = "all"
Members = Mapping[str, Mapping[str, str]]
"""stage -> member -> digest of what is published."""
_APART = ("report", "reenact")
"""Stages about everybody that no person's result rests on."""
_FORM = 2
_SHOWN = 12
"""Figures of a digest that people are shown."""


def publish_report(
    workspace: Workspace, planner: Planner, members: Members, summary: Summary
) -> None:
    """Copy the report to reports/ and fill in lineage, cost, failures, terms and changes.

    Does nothing where reports/ shows that very state.
    """
    layout = workspace.layout
    oid = members.get("report", {}).get(ALL)
    if oid is None:
        return
    costs = _costs(planner, members, summary)
    failed = sorted(
        f"{unit}: {outcome.message}"
        for unit, outcome in summary.outcomes.items()
        if outcome.status == "failed"
    )
    terms = terms_html(workspace, planner)
    parts = [oid, terms, [[c.stage, c.subject, c.seconds] for c in costs], failed]
    state = digest("reports", [_FORM, *parts, {s: dict(m) for s, m in members.items()}])
    mark = layout.hidden / "reports.json"
    known = _known(mark)
    if known.get("state") == state and all(
        (layout.reports / p.name).exists() for p in _entries(layout)
    ):
        return
    snapshot = _snapshot(planner, members, layout.artifact("report", ALL))
    changes = _changes(workspace, known, snapshot)
    fresh = private_folder(layout.tmp, "reports")
    try:
        for entry in _entries(layout):
            target = fresh / entry.name
            if entry.is_dir():
                shutil.copytree(entry, target)
            else:
                shutil.copyfile(entry, target)
        key = planner.ledger.claim("report", ALL) or ""
        for _, file in walk_files(fresh):
            stamp_file(Path(file.path), {"digest": oid, "key": key, "stage": "report"})
        _fill_pages(fresh, planner, members, summary, costs, failed, terms, changes)
        layout.reports.mkdir(exist_ok=True)
        for entry in sorted(fresh.iterdir()):
            swap(layout, entry, layout.reports / entry.name)
        entries = [p.name for p in _entries(layout)]
        _sweep(layout, known, entries)
    finally:
        remove(fresh)
    told = {"state": state, "snapshot": snapshot, "changes": changes, "entries": entries}
    write_atomic(mark, json.dumps(told, sort_keys=True).encode(), layout.tmp)


def _known(mark: Path) -> dict[str, Any]:
    """What was published last; empty where nothing is known."""
    try:
        body = json.loads(mark.read_text())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _sweep(layout: Layout, known: Mapping[str, Any], now: list[str]) -> None:
    """Remove pages of people who are not in the report any more; nothing else in reports/."""
    for name in known.get("entries", ()):
        if name not in now and Path(name).name == name:
            remove(layout.reports / name)


def _fill_pages(
    fresh: Path,
    planner: Planner,
    members: Members,
    summary: Summary,
    costs: list[Cost],
    failed: list[str],
    terms: str,
    changes: Mapping[str, Any] | None,
) -> None:
    from stages.report.changes import changes_html
    from stages.report.lineage import lineage_html

    try:
        pages: dict[str, str] = dict(read_meta(fresh, "report").get("pages", {}))
    except ArtifactError:
        pages = {}
    first = fresh / "index.html"
    if first.is_file():
        html = first.read_text()
        if failed:
            lines = "".join(f"<li>{escape(line)}</li>" for line in failed)
            section = f'<section id="failed"><h2>Failed</h2><ul>{lines}</ul></section>'
            html = fill(html, PLACE, section + PLACE)
        html = fill(html, CHANGES, changes_html(changes, pages))
        first.write_text(with_costs(fill(html, PLACE, terms + PLACE), costs))
    for subject, name in pages.items():
        page = fresh / Path(name).name
        if page.is_file():
            nodes = lineage(planner, members, summary, subject)
            page.write_text(fill(page.read_text(), PROVENANCE, lineage_html(subject, nodes)))


def terms_html(workspace: Workspace, planner: Planner) -> str:
    """A section with consent and licence of every capture; empty where nothing is recorded."""
    rows = []
    for name in planner.graph.subjects:
        terms = read_terms(workspace.layout.raw / name)
        if any(terms.values()):
            cells = "".join(f"<td>{escape(terms[k] or '–')}</td>" for k in ("consent", "licence"))
            rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    if not rows:
        return ""
    return (
        '<section id="terms"><h2>Consent and licence</h2><div class="scroll" role="region" '
        'tabindex="0" aria-label="Consent and licence"><table><thead><tr>'
        '<th scope="col">subject</th><th scope="col">consent</th><th scope="col">licence</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _entries(layout: Layout) -> list[Path]:
    return sorted(layout.artifact("report", ALL).iterdir())


def _costs(planner: Planner, members: Members, summary: Summary) -> list[Cost]:
    """What every published result took, from the ledger."""
    from pipelines.plan import Unit

    ledger = planner.ledger.refresh()
    costs = []
    for stage, subjects in members.items():
        for subject in subjects:
            key = ledger.claim(stage, subject)
            row = ledger.row(key) if key else None
            if row is not None and stage != "report":
                costs.append(_cost(Unit(stage, subject), row, summary))
    return costs


def _cost(unit: Unit, row: Row, summary: Summary) -> Cost:
    outcome = summary.outcomes.get(unit)
    ran = outcome is not None and outcome.status == "ran"
    cpu = row.get("cpu_seconds")
    joules = json.loads(row.get("body_json") or "{}").get("energy_j")
    return Cost(unit.stage, unit.subject, float(row["seconds"]), not ran, cpu, joules)


# Lineage


def lineage(planner: Planner, members: Members, summary: Summary, subject: str) -> list[Node]:
    """Everything that a person's results rest on, inputs first.

    What a result reads of many others (the people behind a prior) is one node per stage.
    """
    from stages.report.lineage import Node

    graph, ledger = planner.graph, planner.ledger
    own = [u for u in graph.deps if u.subject == subject and u.stage not in _APART]
    wanted = graph.ancestors(u for u in own if subject in members.get(u.stage, {}))
    nodes: dict[str, Node] = {}
    many: dict[str, dict[Unit, None]] = {}
    for unit in graph.deps:
        if unit in wanted and unit.subject not in (subject, ALL):
            many.setdefault(unit.stage, {})[unit] = None
    for unit in graph.deps:
        if unit not in wanted or unit.subject not in members.get(unit.stage, {}):
            continue
        if unit in many.get(unit.stage, ()):
            name = f"{unit.stage}/+"
            if name not in nodes:
                nodes[name] = _together(planner, members, summary, many[unit.stage])
            continue
        key = ledger.claim(*unit)
        row = ledger.row(key) if key else None
        if row is None:
            continue
        reads = []
        for dep in graph.deps[unit]:
            if dep.unit is None:
                raw = graph.subjects[unit.subject].oid
                node = Node(f"raw/{unit.subject}", "capture", raw[:_SHOWN])
                nodes.setdefault(node.name, node)
                reads.append(node.name)
            else:
                group = dep.unit in many.get(dep.unit.stage, ())
                reads.append(f"{dep.unit.stage}/+" if group else str(dep.unit))
        cost = _cost(unit, row, summary)
        nodes[str(unit)] = Node(
            name=str(unit),
            stage=unit.stage,
            digest=members[unit.stage][unit.subject][:_SHOWN],
            reads=tuple(r for r in dict.fromkeys(reads) if r in nodes),
            seconds=cost.seconds,
            cpu_seconds=cost.cpu_seconds,
            energy_j=cost.energy_j,
            cached=cost.cached,
            note="of everybody" if unit.subject == ALL else "",
        )
    return list(nodes.values())


def _together(
    planner: Planner, members: Members, summary: Summary, units: Collection[Unit]
) -> Node:
    """Results of one stage of many people as one node."""
    from stages.report.lineage import Node

    stage = next(iter(units)).stage
    costs, oids = [], []
    for unit in units:
        key = planner.ledger.claim(*unit)
        row = planner.ledger.row(key) if key else None
        if row is not None and unit.subject in members.get(stage, {}):
            costs.append(_cost(unit, row, summary))
            oids.append(members[stage][unit.subject])
    cpu = [c.cpu_seconds for c in costs if c.cpu_seconds is not None]
    joules = [c.energy_j for c in costs if c.energy_j is not None]
    people = f"{len(units)} {'person' if len(units) == 1 else 'people'}"
    return Node(
        name=f"{stage}/+",
        stage=stage,
        digest=digest("together", sorted(oids))[:_SHOWN],
        seconds=sum(c.seconds for c in costs),
        cpu_seconds=sum(cpu) if cpu else None,
        energy_j=sum(joules) if len(joules) == len(costs) and joules else None,
        cached=all(c.cached for c in costs),
        note=f"of {people}",
    )


# What changed


def _snapshot(planner: Planner, members: Members, report: Path) -> dict[str, Any]:
    """What the next report is compared with: numbers, digests, one recipe of every stage."""
    ledger = planner.ledger
    key = ledger.claim("report", ALL)
    recipes = {}
    for stage, named in members.items():
        keys = [k for name in named if (k := ledger.claim(stage, name))]
        if keys and stage not in _APART:
            recipes[stage] = max(keys, key=lambda k: (ledger.finished(k), k))
    return {
        "when": ledger.finished(key)[:16].replace("T", " ") if key else "",
        "values": _values(report / "metrics.json"),
        "recipes": recipes,
        "digests": {
            stage: {name: oid[:_SHOWN] for name, oid in named.items()}
            for stage, named in members.items()
            if stage not in _APART
        },
    }


def _values(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """subject -> method -> metric -> value."""
    try:
        body = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {
        subject: {m: v for m, v in methods.items() if isinstance(v, dict)}
        for subject, methods in body.items()
    }


def _changes(
    workspace: Workspace, known: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What differs from the last report; as told before where results are the same since."""
    old = known.get("snapshot")
    if not old:
        return None
    if {k: v for k, v in old.items() if k != "when"} == {
        k: v for k, v in now.items() if k != "when"
    }:
        told: dict[str, Any] | None = known.get("changes")
        return told
    from stages.report.changes import changed_numbers

    return {
        "since": f"{old['when']} UTC" if old["when"] else "",
        "added": sorted(set(now["values"]) - set(old["values"])),
        "removed": sorted(set(old["values"]) - set(now["values"])),
        "numbers": changed_numbers(old["values"], now["values"]),
        "causes": [*_done_otherwise(workspace, old, now), *_other_results(old, now)],
    }


def _done_otherwise(
    workspace: Workspace, old: Mapping[str, Any], now: Mapping[str, Any]
) -> list[str]:
    """Params, code and weights that differ, stage by stage."""
    ledger = workspace.ledger.refresh()
    found = []
    for stage, key in now["recipes"].items():
        before = ledger.row(old["recipes"][stage]) if stage in old["recipes"] else None
        after = ledger.row(key)
        if before is None or after is None or before["key"] == after["key"]:
            continue
        words = param_changes(json.loads(before["params_json"]), json.loads(after["params_json"]))
        found += [f"Params: {stage}.{word}." for word in words]
        if before["seed"] != after["seed"]:
            found.append(f"Seed of {stage}: {before['seed']} -> {after['seed']}.")
        codes = [row.get("code_seen") or row["code"] for row in (before, after)]
        if codes[0] != codes[1]:
            text = module_changes(*(workspace.known_modules(code) for code in codes))
            found.append(f"{stage}: {text}.")
        if before["version"] != after["version"]:
            found.append(f"Version of {stage}: {before['version']} -> {after['version']}.")
        assets = [json.loads(row.get("assets_json") or "{}") for row in (before, after)]
        found += [f"{stage}: {text}." for text in asset_changes(*assets)]
    return found


def _other_results(old: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Stages whose results have other bytes than before, for those who were there before."""
    words = []
    for stage, named in now["digests"].items():
        before = old["digests"].get(stage, {})
        other = [name for name, oid in named.items() if before.get(name, oid) != oid]
        if other:
            shown = ", ".join(other[:3]) + (f" and {len(other) - 3} more" if other[3:] else "")
            words.append(f"{stage} ({'of all' if other == [ALL] else shown})")
    return [f"Other results: {', '.join(words)}."] if words else []
