"""After the units: indexes, leftovers of removed subjects, reports/ and dvc.lock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from headworks.errors import HeadworksError
from pipelines.files import private_folder, remove, write_atomic
from pipelines.publish import published_oid, swap, unpublish
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.plan import Decision, Planner, Unit
    from pipelines.run import Options, Summary


def write_indexes(workspace: Workspace, planner: Planner) -> dict[str, dict[str, str]]:
    """Bring every `_index.json` in line with what is published.

    Returns:
        stage -> member -> oid.
    """
    layout = workspace.layout
    found: dict[str, dict[str, str]] = {stage.name: {} for stage in workspace.registry}
    for unit in planner.graph.deps:
        oid = published_oid(layout, unit.stage, unit.subject)
        if oid is not None:
            found[unit.stage][unit.subject] = oid
    for stage, members in found.items():
        data = workspace.index_bytes(stage, members)
        path = layout.index(stage)
        if not path.is_file() or path.read_bytes() != data:
            write_atomic(path, data, layout.tmp)
    return found


def remove_leftovers(workspace: Workspace, planner: Planner) -> None:
    """Unpublish units of subjects that are no longer there (their results stay stored)."""
    from pipelines.plan import Unit

    layout = workspace.layout
    for stage in workspace.registry:
        folder = layout.published / stage.name
        if not folder.is_dir():
            continue
        for record in folder.glob("*.json"):
            if Unit(stage.name, record.stem) not in planner.graph.deps:
                unpublish(layout, stage.name, record.stem)


def publish_report(workspace: Workspace, members: dict[str, dict[str, str]]) -> None:
    """Copy the report stage's output to reports/, where people look for it."""
    import shutil

    layout = workspace.layout
    oid = members.get("report", {}).get("all")
    if oid is None:
        return
    mark = layout.hidden / "reports.json"
    try:
        if json.loads(mark.read_text())["oid"] == oid and (layout.reports / "index.html").exists():
            return
    except (OSError, ValueError, KeyError):
        pass
    source = layout.artifact("report", "all")
    fresh = private_folder(layout.tmp, "reports")
    try:
        for entry in sorted(source.iterdir()):
            target = fresh / entry.name
            if entry.is_dir():
                shutil.copytree(entry, target)
            else:
                shutil.copyfile(entry, target)
        layout.reports.mkdir(exist_ok=True)
        for entry in sorted(fresh.iterdir()):
            swap(layout, Path(entry), layout.reports / entry.name)
    finally:
        remove(fresh)
    write_atomic(mark, json.dumps({"oid": oid}).encode(), layout.tmp)


def finish(
    workspace: Workspace,
    planner: Planner,
    options: Options,
    summary: Summary,
    decisions: dict[Unit, Decision],
) -> None:
    """All of the above, then dvc.lock."""
    workspace.layout.make()
    remove_leftovers(workspace, planner)
    members = write_indexes(workspace, planner)
    publish_report(workspace, members)
    if options.only:
        return
    if options.overrides:
        summary.notes.append("dvc.lock is left alone: --set is not in params.yaml")
        return
    bad = {
        unit.stage
        for unit, outcome in summary.outcomes.items()
        if outcome.status in ("failed", "blocked")
    }
    unfinished = {
        unit.stage
        for unit in planner.graph.deps
        if unit not in summary.outcomes and unit not in decisions
    }
    from pipelines.dvcsync import sync

    try:
        summary.stages = sync(workspace, members, bad | unfinished)
    except HeadworksError as error:
        summary.notes.append(str(error))
