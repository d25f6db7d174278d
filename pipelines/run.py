"""The supervisor: runs what is stale, keeps going where one subject fails, and sums up."""

from __future__ import annotations

import errno
import os
import signal
import time
import uuid
from datetime import UTC, datetime

from headworks.errors import HeadworksError
from pipelines.attempts import Attempts, ThreadSubmitter, stop_on_signals
from pipelines.files import sweep
from pipelines.lineage import Lineage
from pipelines.locks import Lock
from pipelines.loop import Loop
from pipelines.options import Options, Outcome, Reporter, Silent, Summary
from pipelines.plan import Decision, Planner, Unit, make_plan
from pipelines.subjects import record_raw
from pipelines.watch import Tracker, expected_seconds
from pipelines.workspace import Workspace

__all__ = ["Options", "Outcome", "Summary", "run"]


def run(
    workspace: Workspace, options: Options | None = None, reporter: Reporter | None = None
) -> Summary:
    """Bring a workspace up to date.

    Args:
        workspace: which. options: see `Options`. reporter: shows it.

    Returns:
        What was done; `exit_code` says how it ended.

    Raises:
        HeadworksError: before anything runs, when params or names are wrong; no right to write.
    """
    layout = workspace.layout
    layout.require()
    try:
        # Whoever forgets or collects garbage waits for runs, and runs for them.
        with Lock(layout.locks / "runs", shared=True):
            return _run(workspace, options or Options(), reporter or Silent())
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise HeadworksError(
                f"{error.filename or layout.root}: {error.strerror}; a run writes below data/, "
                ".dvc/ and .headworks/: give it the right to, or work in a copy"
            ) from None
        raise


def _run(workspace: Workspace, options: Options, reporter: Reporter) -> Summary:
    clock = time.perf_counter()
    graph = workspace.graph()
    selected = workspace.select(graph, options.stages, options.subjects)
    forced = selected if options.force else []
    planner = workspace.planner(options.overrides, forced, options.retry, graph)
    decisions = make_plan(planner, selected)
    workspace.remember()
    runnable = set(selected) if options.only else set(decisions)
    now = datetime.now(UTC)
    summary = Summary(f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}")
    work = [
        u for u, d in decisions.items() if d.state in ("run", "restore", "maybe") and u in runnable
    ]
    summary.left, summary.subjects = len(graph.deps) - len(runnable), len(graph.subjects)
    stages = {unit.stage for unit in work}
    jobs = options.jobs or os.cpu_count() or 1
    expected = expected_seconds(planner.ledger, stages) if work else {}
    reporter = Tracker(reporter, workspace.layout, summary.run_id, expected, jobs)
    reporter.begin({unit: d for unit, d in decisions.items() if unit in runnable})
    try:
        if options.only:
            _freeze(decisions, runnable)
        for unit, decision in decisions.items():
            if decision.state == "ok":
                summary.outcomes[unit] = Outcome("ok")
        lineage = None
        if options.lineage:
            lineage = Lineage(options.lineage, workspace.layout.root.name, summary.run_id, graph)
        loop = Loop(planner, decisions, reporter, summary, runnable, lineage)
        for unit, decision in decisions.items():
            if decision.state in ("failed", "blocked"):
                loop._give_up(unit, decision)
        if work:
            _work(workspace, planner, options, summary, reporter, loop)
    finally:
        reporter.end()
    if lineage is not None and lineage.lost:
        summary.notes.append(f"{lineage.lost} lineage events did not reach {lineage.shown}")
    if options.only:
        summary.outcomes = {u: o for u, o in summary.outcomes.items() if u in runnable}
    record_raw(workspace.layout, workspace.ledger, graph.subjects.values())
    _claim_hits(workspace, decisions, summary)
    _finalise(workspace, planner, options, summary, decisions)
    summary.seconds = time.perf_counter() - clock
    workspace.ledger.close()
    if work:
        workspace.ledger.compact()
    return summary


def _freeze(decisions: dict[Unit, Decision], runnable: set[Unit]) -> None:
    """Under `dvc repro` the stages before this one are DVC's business: take them as they are."""
    for unit, decision in decisions.items():
        if unit in runnable:
            continue
        if decision.state == "restore":
            decisions[unit] = Decision(
                unit, "ok", decision.reasons, decision.key, decision.made_of, decision.oid
            )
        elif decision.state in ("run", "maybe"):
            reason = f"{unit} is stale; run: dvc repro {unit.stage}"
            decisions[unit] = Decision(unit, "blocked", (reason,), cause=(str(unit), reason))


def _work(
    workspace: Workspace,
    planner: Planner,
    options: Options,
    summary: Summary,
    reporter: Reporter,
    loop: Loop,
) -> None:
    layout = workspace.layout
    layout.make()
    for folder in (layout.staging, layout.tmp, layout.trash):
        sweep(folder)
    (layout.runs / summary.run_id / "log").mkdir(parents=True)
    for stage, modules in planner.modules.items():
        workspace.remember_modules(planner.code[stage], modules)
    attempts = Attempts(workspace, planner, options, summary.run_id, reporter)
    workspace.ledger.append(
        "run", run_id=summary.run_id, started=datetime.now(UTC).isoformat(timespec="seconds")
    )
    finished = False
    plain = ThreadSubmitter(attempts, loop.done)
    handlers = stop_on_signals(attempts)
    try:
        if options.orchestrator == "prefect":
            from pipelines.prefect_flow import run_as_flow

            note = run_as_flow(workspace, attempts, loop, plain, summary.run_id)
            if note:
                summary.notes.append(note)
                reporter.note(note)
        else:
            loop.run(plain)
        finished = True
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        attempts.stopping.set()
        attempts.pool.close(kill=not finished)
        plain.close()


def _claim_hits(workspace: Workspace, decisions: dict[Unit, Decision], summary: Summary) -> None:
    """A unit that relies on a result computed for another says so in the ledger."""
    ledger = workspace.ledger.refresh()
    for unit, decision in decisions.items():
        outcome = summary.outcomes.get(unit)
        if outcome is None or decision.key is None or decision.state != "ok":
            continue
        if ledger.oid(decision.key) and ledger.claim(unit.stage, unit.subject) != decision.key:
            ledger.append(
                "claim",
                key=decision.key,
                stage=unit.stage,
                subject=unit.subject,
                run_id=summary.run_id,
            )


def _finalise(
    workspace: Workspace,
    planner: Planner,
    options: Options,
    summary: Summary,
    decisions: dict[Unit, Decision],
) -> None:
    """Indexes of the published members, what no subject has any more, reports/, dvc.lock."""
    from pipelines.finish import finish

    finish(workspace, planner, options, summary, decisions)
