"""Single attempts at units, with back-off between them. Called from supervising threads."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from pipelines.afar import ShelfPool
from pipelines.cluster import DaskPool
from pipelines.keys import unit_seed
from pipelines.options import Options, Reporter, read_needs
from pipelines.plan import Decision, Planner, Unit
from pipelines.pool import Pool, UnitTimeoutError, WorkerLostError
from pipelines.provenance import provenance
from pipelines.unit import Spec
from pipelines.workspace import Workspace

RETRIES = 2
_BACKOFF_S = 0.5
_BUSY_S = 0.2


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
        self._resources = read_needs(options.needs, workspace.registry)
        self.pool: Pool | DaskPool | ShelfPool
        if options.cluster:
            dask = DaskPool(workspace.layout.root, options.cluster)
            self.pool = dask
            if options.storage:
                self.pool = ShelfPool(workspace.layout, dask, options.storage)
            for stage, wanted in self._resources.items():
                self.pool.require(stage, wanted)
            self.jobs, self.threads = options.jobs or self.pool.slots, 1
        else:
            self.jobs = options.jobs or cpus
            self.threads = max(1, cpus // self.jobs)
            self.pool = Pool(workspace.layout.root, self.jobs, self.threads)
        self.run_id = run_id
        self.stopping = threading.Event()
        self._workspace = workspace
        self._planner = planner
        self._forced = planner.forced
        self._reporter = reporter
        self._timeout_s = options.timeout_s
        self._provenance = provenance(workspace.layout)

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
            "code_now": self._planner.code_now.get(unit.stage, decision.made_of["code"]),
            "key": decision.key,
            "seed": unit_seed(decision.made_of),
            "inputs": [
                [role, member, oid, owners[role, member]]
                for role, member, oid in decision.made_of["inputs"]
                if role != "failed"
            ],
            "collected": sorted({wanted.role for wanted in stage.inputs if wanted.gathers}),
            "missing": decision.missing,
            "threads": self.threads,
            "resources": self._resources[unit.stage],
            "timeout_s": self._timeout_s or stage.timeout_s,
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
            except UnitTimeoutError as error:
                result = {"status": "failed", "class": "timeout", "message": str(error)}
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
    if result["status"] != "failed":
        return False
    limit = {"transient": RETRIES, "lost": RETRIES, "oom": RETRIES, "timeout": 1}
    return attempt <= limit.get(result["class"], 0)


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
