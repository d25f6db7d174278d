"""After the units: indexes, leftovers of removed subjects, reports/ and dvc.lock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from headworks.errors import HeadworksError
from headworks.formats.subject import read_terms
from pipelines.canon import digest
from pipelines.files import private_folder, remove, walk_files, write_atomic
from pipelines.publish import published_oid, swap, unpublish
from pipelines.stamp import stamp_file
from pipelines.workspace import Workspace
from stages.report.costs import PLACE, Cost, with_costs

ALL = "all"

if TYPE_CHECKING:
    from pipelines.layout import Layout
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


def publish_report(
    workspace: Workspace,
    planner: Planner,
    members: dict[str, dict[str, str]],
    summary: Summary,
) -> None:
    """Copy the report to reports/, where people look for it, and fill in what ran and what failed.

    The report stage's own output holds no times: equal results give equal bytes there.
    """
    import shutil

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
    state = digest(
        "reports", [oid, terms, [[c.stage, c.subject, c.seconds] for c in costs], failed]
    )
    mark = layout.hidden / "reports.json"
    try:
        known = json.loads(mark.read_text())["state"] == state
        if known and all((layout.reports / p.name).exists() for p in _entries(layout)):
            return
    except (OSError, ValueError, KeyError):
        pass
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
        page = fresh / "index.html"
        if page.is_file():
            html = page.read_text()
            if failed:
                lines = "".join(f"<li>{escape(line)}</li>" for line in failed)
                section = f'<section id="failed"><h2>Failed</h2><ul>{lines}</ul></section>'
                html = html.replace(PLACE, section + PLACE, 1)
            page.write_text(with_costs(html.replace(PLACE, terms + PLACE, 1), costs))
        layout.reports.mkdir(exist_ok=True)
        for entry in sorted(fresh.iterdir()):
            swap(layout, entry, layout.reports / entry.name)
    finally:
        remove(fresh)
    write_atomic(mark, json.dumps({"state": state}).encode(), layout.tmp)


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
        '<section id="terms"><h2>Consent and licence</h2><div class="scroll"><table><thead><tr>'
        '<th scope="col">subject</th><th scope="col">consent</th><th scope="col">licence</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _entries(layout: Layout) -> list[Path]:
    return sorted(layout.artifact("report", ALL).iterdir())


def _costs(planner: Planner, members: dict[str, dict[str, str]], summary: Summary) -> list[Cost]:
    """Computing time of every published result, from the ledger."""
    from pipelines.plan import Unit

    ledger = planner.ledger.refresh()
    costs = []
    for stage, subjects in members.items():
        for subject in subjects:
            key = ledger.claim(stage, subject)
            row = ledger.row(key) if key else None
            outcome = summary.outcomes.get(Unit(stage, subject))
            if row is not None and stage != "report":
                ran = outcome is not None and outcome.status == "ran"
                costs.append(Cost(stage, subject, float(row["seconds"]), not ran))
    return costs


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
