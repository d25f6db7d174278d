"""The supervisor: runs what is stale, keeps going where one subject fails, and sums up."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from pipelines.files import sweep
from pipelines.keys import unit_seed
from pipelines.plan import Decision, Planner, Unit, make_plan
from pipelines.pool import Pool, WorkerLostError
from pipelines.provenance import provenance
from pipelines.unit import Spec
from pipelines.workspace import Workspace

RETRIES = 2
_BACKOFF_S = 0.5
_BUSY_S = 0.2

EXIT_OK, EXIT_INTERNAL, EXIT_USAGE, EXIT_FAILED, EXIT_DISK = 0, 1, 2, 3, 7


@dataclass(frozen=True)
class Options:
    """What `headworks run` was asked for.

    Attributes:
        stages, subjects: only these (and what they need); all if empty.
        jobs: worker processes; 0 = number of CPUs.
        force: compute the selected units even if their results are known.
        retry: try again what failed permanently.
        overrides: `stage.key=value`.
        orchestrator: who supervises: a Prefect flow, or a plain thread pool.
        only: run the selected stages alone, not what they need (for `dvc repro`).
    """

    stages: Sequence[str] = ()
    subjects: Sequence[str] = ()
    jobs: int = 0
    force: bool = False
    retry: bool = False
    overrides: Sequence[str] = ()
    orchestrator: Literal["prefect", "none"] = "prefect"
    only: bool = False


@dataclass
class Outcome:
    """How a unit ended.

    Attributes:
        status: ok (already), ran, restored, hit (another run made it), cut_off, failed, blocked.
    """

    status: str
    seconds: float = 0.0
    message: str = ""
    kind: str = ""
    log: str = ""


@dataclass
class Summary:
    """What a run did."""

    run_id: str
    outcomes: dict[Unit, Outcome] = field(default_factory=dict)
    seconds: float = 0.0
    stages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, *states: str) -> int:
        """How many units ended so."""
        return sum(outcome.status in states for outcome in self.outcomes.values())

    @property
    def exit_code(self) -> int:
        """0 done, 3 some units failed, 7 the disk is full."""
        if any(outcome.kind == "disk_full" for outcome in self.outcomes.values()):
            return EXIT_DISK
        return EXIT_FAILED if self.count("failed", "blocked") else EXIT_OK


class Reporter(Protocol):
    """Shows a run."""

    def begin(self, decisions: dict[Unit, Decision]) -> None:
        """The plan, before anything runs."""

    def progress(self, unit: Unit, done: float, message: str) -> None:
        """A stage says how far it is."""

    def finished(self, unit: Unit, outcome: Outcome) -> None:
        """A unit ended."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def end(self) -> None:
        """Nothing more runs."""


class Silent:
    """Shows nothing."""

    def begin(self, decisions: dict[Unit, Decision]) -> None:
        """Nothing."""

    def progress(self, unit: Unit, done: float, message: str) -> None:
        """Nothing."""

    def finished(self, unit: Unit, outcome: Outcome) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class Attempts:
    """Runs single attempts at units on the worker pool. Called from supervising threads.

    Args:
        workspace: where. planner: with params and code. options: of the run.
        run_id: of the run. reporter: is told the progress.
    """

    def __init__(
        self,
        workspace: Workspace,
        planner: Planner,
        options: Options,
        run_id: str,
        reporter: Reporter,
    ) -> None:
        cpus = os.cpu_count() or 1
        self.jobs = options.jobs or cpus
        self.threads = max(1, cpus // self.jobs)
        self.run_id = run_id
        self.stopping = threading.Event()
        self._workspace = workspace
        self._planner = planner
        self._forced = planner.forced
        self._reporter = reporter
        self._provenance = provenance(workspace.layout)
        self.pool = Pool(workspace.layout.root, self.jobs, self.threads)

    def spec(self, decision: Decision, attempt: int) -> Spec:
        """What a worker needs to know."""
        unit = decision.unit
        stage = self._planner.graph.stages[unit.stage]
        assert decision.made_of is not None
        owners = {
            (dep.role, dep.member): dep.unit.subject if dep.unit else unit.subject
            for dep in self._planner.graph.deps[unit]
        }
        log = f".headworks/runs/{self.run_id}/log/{unit.stage}.{unit.subject}.{attempt}.txt"
        return {
            "job": "restore" if decision.state == "restore" else "compute",
            "stage": unit.stage,
            "subject": unit.subject,
            "module": stage.module,
            "params_class": stage.params,
            "params": decision.made_of["params"],
            "made_of": decision.made_of,
            "key": decision.key,
            "seed": unit_seed(decision.made_of),
            "inputs": [
                [role, member, oid, owners[role, member]]
                for role, member, oid in decision.made_of["inputs"]
                if role != "failed"
            ],
            "collected": sorted({wanted.role for wanted in stage.inputs if wanted.collect}),
            "missing": decision.missing,
            "threads": self.threads,
            "force": unit in self._forced,
            "packages": self._workspace.packages,
            "provenance": self._provenance,
            "run_id": self.run_id,
            "attempt": attempt,
            "log": log,
        }

    def once(self, decision: Decision, attempt: int) -> dict[str, Any]:
        """One attempt; waits while another run computes the same recipe."""
        unit = decision.unit
        spec = self.spec(decision, attempt)

        def progress(done: float, message: str) -> None:
            self._reporter.progress(unit, done, message)

        while True:
            if self.stopping.is_set():
                return {"status": "failed", "class": "cancelled", "message": "the run was stopped"}
            try:
                result = self.pool.run(spec, progress)
            except WorkerLostError as error:
                if self.stopping.is_set():
                    continue
                result = {"status": "failed", "class": "lost", "message": str(error)}
            if result["status"] != "busy":
                result["log"] = spec["log"]
                return result
            time.sleep(_BUSY_S)

    def until_final(self, decision: Decision) -> dict[str, Any]:
        """Attempts with back-off until the unit succeeded or cannot."""
        attempt = 1
        while True:
            result = self.once(decision, attempt)
            if not may_retry(result, attempt):
                return result
            time.sleep(backoff_s(attempt))
            attempt += 1


def may_retry(result: dict[str, Any], attempt: int) -> bool:
    """Whether a failure may pass when tried again."""
    return (
        result["status"] == "failed"
        and result["class"] in ("transient", "lost", "oom")
        and attempt <= RETRIES
    )


def backoff_s(attempt: int) -> float:
    """Seconds to wait before the next attempt."""
    return _BACKOFF_S * 4.0 ** (attempt - 1)


class Submitter(Protocol):
    """Starts supervising a unit; reports (unit, result) to the given queue, exactly once."""

    def submit(self, decision: Decision) -> None:
        """Start."""


class ThreadSubmitter:
    """Supervises in plain threads.

    Args:
        attempts: how a unit is run. done: where results go.
    """

    def __init__(self, attempts: Attempts, done: queue.Queue[tuple[Unit, dict[str, Any]]]) -> None:
        self._attempts = attempts
        self._done = done
        self._threads = ThreadPoolExecutor(attempts.jobs, thread_name_prefix="headworks-unit")

    def submit(self, decision: Decision) -> None:
        """Start."""
        self._threads.submit(self._supervise, decision)

    def _supervise(self, decision: Decision) -> None:
        try:
            result = self._attempts.until_final(decision)
        except Exception as error:
            result = {
                "status": "failed",
                "class": "permanent",
                "message": f"internal: {type(error).__name__}: {error}",
                "log": "",
            }
        self._done.put((decision.unit, result))

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=True, cancel_futures=True)


class Loop:
    """Submits units as their inputs become known, until nothing is left.

    Args:
        planner: decides. decisions: the plan; updated in place.
        reporter: is told. summary: is filled.
        runnable: units that this run may compute.
    """

    def __init__(
        self,
        planner: Planner,
        decisions: dict[Unit, Decision],
        reporter: Reporter,
        summary: Summary,
        runnable: set[Unit],
    ) -> None:
        self._planner = planner
        self._decisions = decisions
        self._reporter = reporter
        self.summary = summary
        self.finished = False
        self._runnable = runnable
        self._full = False
        self._flying: set[Unit] = set()
        self.done: queue.Queue[tuple[Unit, dict[str, Any]]] = queue.Queue()

    def run(self, submitter: Submitter, again: bool = False) -> None:
        """Until all units have an outcome.

        Args:
            submitter: starts them. again: an earlier call broke off; go on where it stopped.
        """
        if again:
            for unit in self._flying:
                submitter.submit(self._decisions[unit])
        flying = self._flying
        waiting = [
            u
            for u, d in self._decisions.items()
            if d.state in ("run", "restore", "maybe") and u not in flying
        ]
        while waiting or flying:
            for unit in list(waiting):
                if self._settled(unit):
                    waiting.remove(unit)
                    if self._start(unit, submitter):
                        flying.add(unit)
            if not flying:
                if waiting and not any(self._settled(unit) for unit in waiting):
                    raise RuntimeError(f"units wait for each other: {waiting}")
                continue
            unit, result = self.done.get()
            if unit in flying:
                flying.discard(unit)
                self._finish(unit, result)
        self.finished = True

    def _settled(self, unit: Unit) -> bool:
        """Whether everything that the unit reads has an outcome."""
        return all(
            dep.unit is None or self._decisions[dep.unit].state in ("ok", "failed", "blocked")
            for dep in self._planner.graph.deps[unit]
        )

    def _start(self, unit: Unit, submitter: Submitter) -> bool:
        planned = self._decisions[unit]
        decision = self._planner.decide(unit, self._decisions)
        self._decisions[unit] = decision
        if decision.state == "ok":
            self._end(unit, Outcome("cut_off" if planned.state != "ok" else "ok"))
            return False
        if decision.state in ("failed", "blocked"):
            self._give_up(unit, decision)
            return False
        if unit not in self._runnable or self._full:
            reason = "no space left on the disk" if self._full else f"{unit.stage} is stale"
            self._decisions[unit] = Decision(unit, "blocked", (reason,), cause=(str(unit), reason))
            self._end(unit, Outcome("blocked", message=reason))
            return False
        submitter.submit(decision)
        return True

    def _give_up(self, unit: Unit, decision: Decision) -> None:
        message = decision.cause[1] if decision.cause else "; ".join(decision.reasons)
        failure = self._planner.ledger.failure(decision.key) if decision.key else None
        log = failure[2] if failure else ""
        self._end(unit, Outcome(decision.state, message=message, log=log))

    def _finish(self, unit: Unit, result: dict[str, Any]) -> None:
        planned = self._decisions[unit]
        if result["status"] == "failed":
            self._full = self._full or result["class"] == "disk_full"
            self._decisions[unit] = Decision(
                unit,
                "failed",
                (result["message"],),
                planned.key,
                planned.made_of,
                cause=(str(unit), result["message"]),
                missing=planned.missing,
            )
            self._end(
                unit,
                Outcome(
                    "failed",
                    message=result["message"],
                    kind=result["class"],
                    log=result.get("log", ""),
                ),
            )
            return
        self._decisions[unit] = Decision(
            unit,
            "ok",
            planned.reasons,
            planned.key,
            planned.made_of,
            oid=result["oid"],
            missing=planned.missing,
        )
        status = {"ok": "ran", "restored": "restored", "hit": "hit"}[result["status"]]
        self._end(unit, Outcome(status, result.get("seconds", 0.0), log=result.get("log", "")))

    def _end(self, unit: Unit, outcome: Outcome) -> None:
        self.summary.outcomes[unit] = outcome
        self._reporter.finished(unit, outcome)


def run(
    workspace: Workspace, options: Options | None = None, reporter: Reporter | None = None
) -> Summary:
    """Bring a workspace up to date.

    Args:
        workspace: which. options: see `Options`. reporter: shows it.

    Returns:
        What was done; `exit_code` says how it ended.

    Raises:
        HeadworksError: before anything runs, when params or names are wrong.
    """
    options = options or Options()
    reporter = reporter or Silent()
    clock = time.perf_counter()
    graph = workspace.graph()
    selected = workspace.select(graph, options.stages, options.subjects)
    forced = selected if options.force else []
    planner = workspace.planner(options.overrides, forced, options.retry, graph)
    decisions = make_plan(planner, selected)
    runnable = set(selected) if options.only else set(decisions)
    now = datetime.now(UTC)
    summary = Summary(f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}")
    work = [
        u for u, d in decisions.items() if d.state in ("run", "restore", "maybe") and u in runnable
    ]
    reporter.begin({unit: d for unit, d in decisions.items() if unit in runnable})
    try:
        if options.only:
            _freeze(decisions, runnable)
        for unit, decision in decisions.items():
            if decision.state == "ok":
                summary.outcomes[unit] = Outcome("ok")
        loop = Loop(planner, decisions, reporter, summary, runnable)
        for unit, decision in decisions.items():
            if decision.state in ("failed", "blocked"):
                loop._give_up(unit, decision)
        if work:
            _work(workspace, planner, options, summary, reporter, loop)
    finally:
        reporter.end()
    if options.only:
        summary.outcomes = {u: o for u, o in summary.outcomes.items() if u in runnable}
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


def stop_on_signals(attempts: Attempts) -> dict[int, Any]:
    """On SIGINT and SIGTERM end the workers first: whoever waits for them must not wait on.

    Returns:
        The handlers before.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}

    def stop(number: int, frame: object) -> None:
        attempts.stopping.set()
        attempts.pool.abort()
        raise KeyboardInterrupt

    return {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}


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
