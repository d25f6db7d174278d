"""After the units: indexes, leftovers of removed subjects, reports/, model cards, dvc.lock."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from headworks.errors import HeadworksError
from pipelines.files import write_atomic
from pipelines.locks import Lock
from pipelines.publish import published_oid, unpublish
from pipelines.reporting import publish_report
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.options import Options, Summary
    from pipelines.plan import Decision, Planner, Unit


def write_indexes(
    workspace: Workspace, planner: Planner, decisions: Mapping[Unit, Decision] | None = None
) -> dict[str, dict[str, str]]:
    """Bring every `_index.json` in line with what is published.

    Args:
        workspace: where. planner: of the run. decisions: what the run knows to be published.

    Returns:
        stage -> member -> oid.
    """
    layout = workspace.layout
    found: dict[str, dict[str, str]] = {stage.name: {} for stage in workspace.registry}
    for unit in planner.graph.deps:
        known = (decisions or {}).get(unit)
        if known is not None and known.state == "ok":
            oid = known.oid
        else:
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
    """Unpublish units of subjects that are no longer there (their results stay stored).

    A subject that came after this run's plan was made is another run's business.
    """
    from pipelines.plan import ALL, Unit

    layout, graph = workspace.layout, planner.graph
    newcomers: dict[str, bool] = {}

    def newcomer(subject: str) -> bool:
        if subject == ALL or subject in graph.subjects:
            return False
        if subject not in newcomers:
            there = (layout.raw / subject).is_dir()
            newcomers[subject] = there and subject not in workspace.forgotten()
        return newcomers[subject]

    for stage in workspace.registry:
        try:
            records = os.listdir(layout.published / stage.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for record in records:
            subject, ending = os.path.splitext(record)
            gone = ending == ".json" and Unit(stage.name, subject) not in graph.deps
            if gone and not newcomer(subject):
                unpublish(layout, stage.name, subject)


def _cards(workspace: Workspace, members: dict[str, dict[str, str]], summary: Summary) -> None:
    """Model cards of priors and avatars; a run does not fail for want of a card."""
    from pipelines.cards import write_cards

    try:
        write_cards(workspace, members)
    except (HeadworksError, OSError) as error:
        summary.notes.append(f"model cards were not written: {error}")


def finish(
    workspace: Workspace,
    planner: Planner,
    options: Options,
    summary: Summary,
    decisions: dict[Unit, Decision],
) -> None:
    """All of the above, then dvc.lock."""
    workspace.layout.make()
    # Runs that end at once do this one after the other: pages and cards are many files.
    with Lock(workspace.layout.locks / "finish"):
        remove_leftovers(workspace, planner)
        members = write_indexes(workspace, planner, None if options.only else decisions)
        publish_report(workspace, planner, members, summary)
        _cards(workspace, members, summary)
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
    except (HeadworksError, OSError) as error:
        summary.notes.append(f"dvc.lock was not updated: {error}")
