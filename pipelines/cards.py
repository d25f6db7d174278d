"""Model cards: what a prior or an avatar was made of, for what, how good it is and for whom."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headworks.errors import HeadworksError
from headworks.formats.subject import read_terms
from pipelines import card_words
from pipelines.audit import audit_tree
from pipelines.canon import digest
from pipelines.files import write_atomic
from pipelines.workspace import Workspace

KINDS = ("prior", "avatar")
ATTRIBUTES = ("sex", "age", "skin_type", "hair", "beard", "glasses")
METRICS = ("psnr", "psnr_face", "ssim", "flip", "lpips_vgg", "lpips", "flicker_fg")
UNKNOWN = "unknown"
_FORM = 1
_STATE = "cards.json"
_TRAINED = "train_view"


def card(workspace: Workspace, target: str) -> dict[str, Any]:
    """The card of a prior or an avatar.

    Args:
        workspace: where. target: see `pipelines.audit_find.find`; of a subject: its fit.

    Returns:
        `headworks.card/1`: what, data (members, counts, terms), people (attribute -> value ->
        number), params, metrics, groups (attribute -> value -> metric -> mean), limits, use, code.

    Raises:
        HeadworksError: nothing of that name, or neither a prior nor an avatar.
    """
    if target in workspace.subjects() and ("fit", target) in workspace.ledger.refresh().claims():
        target = f"fit/{target}"
    tree = audit_tree(workspace, target)
    node = next((n for n in tree["roots"] if n.get("stage")), None)
    meta = _artifact(workspace, node["stage"], node["subject"]) if node else {}
    if node is None or meta.get("kind") not in KINDS:
        raise HeadworksError(
            f"{target}: neither a prior nor an avatar; name a subject (its fit), STAGE/SUBJECT or "
            "a file of one"
        )
    members, own = _members(node), set()
    if meta["kind"] == "avatar":
        own = {node["subject"]} & {m["subject"] for m in members}
    people = {m["subject"]: _attributes(workspace, m["subject"]) for m in members}
    scores = dict(_scores(workspace, node, str(meta.get("method"))))
    known = ("method", "setting", "gaussians", "head", "head_digest", "perceptual")
    return {
        "schema": "headworks.card/1",
        "kind": meta["kind"],
        "stage": node["stage"],
        "subject": node["subject"],
        "digest": node["out_oid"],
        "key": node["key"],
        "withdrawn": bool(node["withdrawn"]),
        "what": {name: meta[name] for name in known if meta.get(name) is not None},
        "data": {
            "members": [{**m, "own": m["subject"] in own} for m in members],
            "kinds": dict(sorted(Counter(m["kind"] for m in members).items())),
            "files": sum(m["files"] for m in members),
            "bytes": sum(m["bytes"] for m in members),
        },
        "people": _distributions(people),
        "params": node["params"],
        "weights": node["assets"],
        "training": {k: v for k, v in meta.items() if k in ("psnr", "train_psnr", "train_views")},
        "metrics": scores,
        "groups": _groups(scores, {s: _attributes(workspace, s) for s, _ in _keys(scores)}),
        "limits": card_words.limits(meta["kind"], str(meta.get("method"))),
        "use": {"intended": card_words.INTENDED, "not_intended": card_words.NOT_INTENDED},
        "code": {
            k: node[k]
            for k in ("code", "version", "git_commit", "git_dirty", "seed", "device", "python",
                      "packages_sha256", "finished", "seconds")
        },
    }  # fmt: skip


def _artifact(workspace: Workspace, stage: str, subject: str) -> dict[str, Any]:
    path = workspace.layout.artifact(stage, subject) / "artifact.json"
    try:
        meta = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("inputs", ()):
        yield from _walk(child)


def _members(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Captures behind a result, by name."""
    found = {}
    for raw in _walk(node):
        if "files" not in raw:
            continue
        found[raw["subject"]] = {
            "subject": raw["subject"],
            "kind": raw["kind"],
            "consent": raw.get("consent") or UNKNOWN,
            "licence": raw.get("licence") or UNKNOWN,
            "oid": raw["oid"],
            "files": len(raw["files"]),
            "bytes": sum(f["bytes"] for f in raw["files"]),
        }
    return [found[name] for name in sorted(found)]


def _attributes(workspace: Workspace, subject: str) -> dict[str, str]:
    """Attributes of a synthetic person as they were drawn; "unknown" for everybody else."""
    path = workspace.layout.artifact("synthesis", subject) / "truth" / "truth.json"
    try:
        told = json.loads(path.read_bytes())["attributes"]
    except (OSError, ValueError, KeyError):
        told = {}
    values = {name: str(told.get(name, UNKNOWN)) for name in ATTRIBUTES}
    if isinstance(told.get("age"), (int, float)):
        decade = int(told["age"] // 10 * 10)
        values["age"] = f"{decade}-{decade + 9}"
    return values


def _distributions(people: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, int]]:
    return {
        name: dict(sorted(Counter(p[name] for p in people.values()).items())) for name in ATTRIBUTES
    }


def _scores(
    workspace: Workspace, node: Mapping[str, Any], method: str
) -> Iterator[tuple[str, dict[str, float]]]:
    """ "SUBJECT PROTOCOL" -> metric -> value, of evaluations in which exactly this was used."""
    ledger = workspace.ledger.refresh()
    outputs = {
        unit: oid for unit, key in ledger.claims().items() if (oid := ledger.oid(key)) is not None
    }
    for (stage, subject), key in sorted(ledger.claims().items()):
        if stage != "evaluate":
            continue
        row = ledger.row(key)
        used = {(role, oid) for role, _, oid in row["inputs"]} if row else set()
        if not _rests_on(workspace, node, subject, used, outputs):
            continue
        path = workspace.layout.artifact(stage, subject) / "metrics.json"
        try:
            told = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        for protocol, methods in sorted(told.items()):
            values = methods.get(method, {})
            kept = {name: values[name] for name in METRICS if name in values}
            if kept:
                yield f"{subject} {protocol}", kept


def _rests_on(
    workspace: Workspace,
    node: Mapping[str, Any],
    subject: str,
    used: set[tuple[str, str]],
    outputs: Mapping[tuple[str, str], str],
) -> bool:
    """Whether an evaluation saw this result, or an avatar that was fitted with it."""
    wanted = (node["stage"], node["out_oid"])
    if wanted in used:
        return True
    ledger = workspace.ledger
    for stage, oid in used:
        if outputs.get((stage, subject)) != oid:
            continue
        row = ledger.row(ledger.claims()[stage, subject])
        if row is not None and wanted in {(role, given) for role, _, given in row["inputs"]}:
            return True
    return False


def _keys(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name.partition(" ")[0], name) for name in scores]


def _groups(
    scores: Mapping[str, Mapping[str, float]], people: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, dict[str, float]]]:
    """attribute -> value -> metric -> mean over what was held out of that group's people."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for attribute in ATTRIBUTES:
        gathered: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        counted: dict[str, set[str]] = defaultdict(set)
        for subject, name in _keys(scores):
            if name.startswith(f"{subject} {_TRAINED}"):
                continue
            value = people[subject][attribute]
            counted[value].add(subject)
            for metric, number in scores[name].items():
                gathered[value][metric].append(number)
        found[attribute] = {
            value: {
                "people": float(len(counted[value])),
                **{metric: sum(row) / len(row) for metric, row in metrics.items()},
            }
            for value, metrics in sorted(gathered.items())
        }
    return found


def card_text(told: Mapping[str, Any]) -> str:
    """A card as Markdown."""
    from pipelines.card_page import markdown

    return markdown(told)


def write_cards(workspace: Workspace, members: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Write reports/cards/STAGE.SUBJECT.md for every published prior and avatar that changed.

    Args:
        members: stage -> member -> digest of what is published.

    Returns:
        Names of the files that were written.
    """
    layout = workspace.layout
    mark = layout.hidden / _STATE
    try:
        known = json.loads(mark.read_text())
        kinds, states = dict(known["kinds"]), dict(known["states"])
    except (OSError, ValueError, KeyError, TypeError):
        kinds, states = {}, {}
    units = [(s, m, oid) for s, named in members.items() for m, oid in named.items()]
    for stage, member, oid in units:
        if oid not in kinds:
            kinds[oid] = str(_artifact(workspace, stage, member).get("kind", ""))
    kinds = {oid: kinds[oid] for oid in sorted({oid for _, _, oid in units})}
    wanted = [(s, m, oid) for s, m, oid in units if kinds[oid] in KINDS]
    written, now = [], {}
    if wanted:
        ledger = workspace.ledger.refresh()
        claims = ledger.claims()
        # What a card may name: all terms, all evaluations.
        terms = {name: read_terms(layout.raw / name) for name in sorted(workspace.subjects())}
        scores = sorted(members.get("evaluate", {}).items())
        for stage, member, oid in wanted:
            name = f"{stage}.{member}.md"
            key = claims.get((stage, member), "")
            state = [_FORM, oid, key, terms, scores, bool(key and ledger.withdrawn(key))]
            now[name] = digest("card", state)
            path = layout.reports / "cards" / name
            if states.get(name) == now[name] and path.is_file():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            text = card_text(card(workspace, f"{stage}/{member}"))
            write_atomic(path, text.encode(), layout.tmp)
            written.append(name)
    for name in set(states) - set(now):
        (layout.reports / "cards" / Path(name).name).unlink(missing_ok=True)
    fresh = json.dumps({"kinds": kinds, "states": now}, sort_keys=True).encode()
    if not mark.is_file() or mark.read_bytes() != fresh:
        write_atomic(mark, fresh, layout.tmp)
    return written
