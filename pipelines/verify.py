"""Everything read again and hashed: proved whole, or the damage named."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.files import remove
from pipelines.layout import Layout
from pipelines.publish import content_oid, file_md5, publish
from pipelines.store import object_path, read_tree
from pipelines.workspace import Workspace


@dataclass
class Report:
    """What was looked at, and what is damaged.

    Attributes:
        objects, results, published, captures: how many of each were looked at.
        damage: dicts of `what` (object, result, published, capture), `name` and `text`.
    """

    objects: int = 0
    results: int = 0
    published: int = 0
    captures: int = 0
    damage: list[dict[str, str]] = field(default_factory=list)

    def add(self, what: str, name: str, text: str) -> None:
        """Name a damage."""
        self.damage.append({"what": what, "name": name, "text": text})


def bad_objects(objects: Path, oids: Iterable[str]) -> dict[str, str]:
    """Objects that are absent, or whose bytes are not what their name says: oid -> how."""
    found = {}
    for oid in oids:
        try:
            md5 = file_md5(object_path(objects, oid))
        except FileNotFoundError:
            found[oid] = "absent"
            continue
        except OSError as error:
            found[oid] = f"not readable ({error.strerror})"
            continue
        if md5 != oid.removesuffix(".dir"):
            found[oid] = f"has the bytes of {md5}"
    return found


def verify(workspace: Workspace, everything: bool = False, sample: float = 1.0) -> Report:
    """Read and hash stored results, published folders and raw captures.

    Args:
        workspace: where.
        everything: results of all recipes, not only those that units rely on now.
        sample: fraction of the results to look at, in (0, 1].

    Returns:
        What was found; empty `damage` proves that what was looked at is whole.
    """
    layout, report = workspace.layout, Report()
    ledger = workspace.ledger.refresh()
    claims = ledger.claims()
    keys = set(ledger.outputs()) if everything else {k for k in claims.values() if ledger.oid(k)}
    chosen = sorted(keys)
    if sample < 1.0:
        count = max(1, round(len(chosen) * sample)) if chosen else 0
        chosen = random.SystemRandom().sample(chosen, count)
    trees = {oid for key in chosen if (oid := ledger.oid(key)) is not None}
    wanted = set(trees)
    for oid in trees:
        wanted |= set((read_tree(layout.objects, oid) or {}).values())
    bad = bad_objects(layout.objects, sorted(wanted))
    report.objects, report.results = len(wanted), len(chosen)
    for key in chosen:
        oid = ledger.oid(key)
        row = ledger.row(key)
        if oid is None or row is None:
            continue
        parts = {oid, *(read_tree(layout.objects, oid) or {}).values()} & set(bad)
        if parts:
            words = "; ".join(f"{part} {bad[part]}" for part in sorted(parts)[:3])
            report.add("result", f"{row['stage']}/{row['subject']}", words)
    for oid, how in bad.items():
        report.add("object", oid, how)
    _published(workspace, report)
    for subject in workspace.subjects().values():
        report.captures += 1
        known = ledger.raws.get(subject.name, {})
        for name, (md5, _, _) in sorted(subject.files.items()):
            found = file_md5(layout.raw / subject.name / name)
            told = known.get("files", {}).get(name)
            if found != md5 or (told is not None and told[0] != found):
                text = f"{name} is not what it was when it was recorded"
                report.add("capture", subject.name, text)
    return report


def _published(workspace: Workspace, report: Report) -> None:
    layout = workspace.layout
    for stage in workspace.registry:
        folder = layout.published / stage.name
        for record in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            report.published += 1
            name = f"data/{stage.name}/{record.stem}"
            try:
                oid = json.loads(record.read_text())["oid"]
                if content_oid(layout.artifact(stage.name, record.stem)) != oid:
                    report.add("published", name, "is not what was published")
            except (OSError, ValueError, KeyError, TypeError) as error:
                report.add("published", name, f"not readable ({error})")


def mend(workspace: Workspace, report: Report) -> list[str]:
    """Move damaged objects away and publish again what is whole; runs make up for the rest.

    Args:
        workspace: where. report: of `verify`.

    Returns:
        What was done, a line each.
    """
    layout, lines = workspace.layout, []
    quarantine = layout.hidden / "quarantine"
    for entry in report.damage:
        if entry["what"] == "object":
            path = object_path(layout.objects, entry["name"])
            if path.exists():
                quarantine.mkdir(parents=True, exist_ok=True)
                os.replace(path, quarantine / entry["name"])
                lines.append(f"moved {entry['name']} to .headworks/quarantine")
    healthy = _heal_from_published(layout, report)
    lines += [f"took {oid} from a published copy" for oid in healthy]
    for entry in report.damage:
        if entry["what"] == "published":
            stage, subject = entry["name"].split("/")[1:]
            remove(layout.record(stage, subject))
            key = workspace.ledger.claim(stage, subject)
            row = workspace.ledger.row(key) if key else None
            if row is not None and not bad_objects(layout.objects, _parts(layout, row["out_oid"])):
                publish(layout, stage, subject, row)
                lines.append(f"published {stage}/{subject} again")
    return lines


def _parts(layout: Layout, oid: str) -> set[str]:
    return {oid, *(read_tree(layout.objects, oid) or {}).values()}


def _heal_from_published(layout: Layout, report: Report) -> list[str]:
    """Damaged files of which a sound copy lies below data/ go back into the cache."""
    from pipelines.files import walk_files, write_atomic

    wanted = {e["name"] for e in report.damage if e["what"] == "object"}
    wanted -= {oid for oid in wanted if oid.endswith(".dir")}
    found = []
    for folder in layout.data.iterdir() if wanted and layout.data.is_dir() else ():
        if not folder.is_dir():
            continue
        for _, entry in walk_files(folder):
            data = Path(entry.path)
            oid = file_md5(data)
            if oid in wanted:
                path = object_path(layout.objects, oid)
                write_atomic(path, data.read_bytes(), layout.tmp)
                path.chmod(0o444)
                wanted.discard(oid)
                found.append(oid)
    return found


def verify_text(report: Report) -> list[str]:
    """The same in words."""
    lines = [
        f"read {report.objects} objects of {report.results} results, {report.published} published "
        f"folders, {report.captures} captures: "
        + (f"{len(report.damage)} damaged" if report.damage else "all whole")
    ]
    lines += [f"{d['what']:9} {d['name']}: {d['text']}" for d in report.damage]
    lines.append("next: headworks doctor --mend" if report.damage else "next: headworks status")
    return lines


def as_json(report: Report) -> dict[str, Any]:
    """For machines (schema headworks.verify/1)."""
    return {"schema": "headworks.verify/1", **vars(report)}
