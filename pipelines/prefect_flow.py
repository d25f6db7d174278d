"""A run as one Prefect flow whose tasks supervise units. Imported only when there is work.

Prefect shows and retries; it never decides. Whatever goes wrong with it, the run goes on in plain
threads, and no unit fails because of it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.attempts import (
    RETRIES,
    Attempts,
    ThreadSubmitter,
    backoff_s,
    may_retry,
    stop_on_signals,
)
from pipelines.layout import Layout
from pipelines.loop import Loop
from pipelines.plan import Decision
from pipelines.prefect_pictures import UNITS, artifact_key, contact_sheets, wanted
from pipelines.prefect_server import SETTINGS, PrivateServer, answers
from pipelines.workspace import Workspace


class UnitError(Exception):
    """A unit failed; raised so that its task shows as failed."""


def configured_url() -> str | None:
    """The user's own Prefect server, from the environment or the active profile."""
    url = os.environ.get("PREFECT_API_URL")
    if url:
        return url
    home = Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect"))
    try:
        profiles = tomllib.loads((home / "profiles.toml").read_text())
        active = os.environ.get("PREFECT_PROFILE") or profiles["active"]
        found = profiles["profiles"][active].get("PREFECT_API_URL")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return str(found) if found else None


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_as_flow(
    workspace: Workspace, attempts: Attempts, loop: Loop, plain: ThreadSubmitter, run_id: str
) -> str | None:
    """Run the loop inside a flow.

    Args:
        workspace: where. attempts: runs single attempts. loop: what is to be done.
        plain: supervises without Prefect, should it fail. run_id: name of the flow run.

    Returns:
        A warning if the run had to do without Prefect, else None.
    """
    folder = workspace.layout.runs / run_id
    url = configured_url()
    own = None if url else PrivateServer(workspace.layout, folder / "prefect-server.txt")
    settings = {name: os.environ.get(name, value) for name, value in SETTINGS.items()}
    problem = None
    try:
        if own is not None:
            own.begin()
            settings["PREFECT_HOME"] = str(workspace.layout.hidden / "prefect")
            settings["PREFECT_API_URL"] = own.url
        elif url and not answers(url, 10.0):
            raise OSError(f"no Prefect server answers at {url}")
        with _environment(settings):
            _flow(workspace.layout, attempts, loop, plain, run_id, own, folder / "prefect.txt")
    except Exception as error:
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        if own is not None:
            own.stop()
    if not loop.finished:
        # What Prefect had already begun reports by itself; the rest is supervised here.
        loop.run(plain, again=True)
    if problem:
        return f"Prefect could not be used to the end ({problem}); the run went on without it"
    return None


def _quiet(path: Path) -> None:
    """Send Prefect's log lines to a file; keep those that go to the user's server."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] not in ("prefect", "httpx", "docket", "uvicorn"):
            continue
        logger = logging.getLogger(name)
        logger.handlers = [h for h in logger.handlers if "API" in type(h).__name__]
        if "." not in name:
            logger.addHandler(handler)
            logger.propagate = False


def _flow(
    layout: Layout,
    attempts: Attempts,
    loop: Loop,
    plain: ThreadSubmitter,
    run_id: str,
    own: PrivateServer | None,
    log: Path,
) -> None:
    import prefect
    from prefect.cache_policies import NO_CACHE
    from prefect.states import Failed
    from prefect.task_runners import ThreadPoolTaskRunner

    _quiet(log)
    runner: Any = ThreadPoolTaskRunner(max_workers=attempts.jobs)
    if own is not None:
        own.wait()
    submitter = _TaskSubmitter(attempts, loop, plain)

    def may_pass(task: Any, task_run: Any, state: Any) -> bool:
        return not submitter.reported(task_run.name)

    @prefect.task(
        task_run_name="{unit}",
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=RETRIES,
        retry_delay_seconds=[backoff_s(n + 1) for n in range(RETRIES)],
        retry_condition_fn=may_pass,
        log_prints=False,
    )
    def supervise(unit: str) -> str:
        return submitter.supervise(unit)

    @prefect.flow(
        name="headworks run",
        flow_run_name=run_id,
        task_runner=runner,
        persist_result=False,
        log_prints=False,
        validate_parameters=False,
    )
    def headworks_run() -> Any:
        submitter.task = supervise
        stop_on_signals(attempts)  # Prefect has put its own handler of SIGTERM in place.
        loop.run(submitter)
        _show_outcomes(layout, loop, run_id)
        failed = loop.summary.count("failed", "blocked")
        return Failed(message=f"{failed} units failed or blocked") if failed else None

    headworks_run(return_state=True)
    _drain()


def _show_outcomes(layout: Layout, loop: Loop, run_id: str) -> None:
    """In Prefect's UI: what became of every unit, counts per stage, and pictures of what ran."""
    from prefect.artifacts import (
        create_image_artifact,
        create_markdown_artifact,
        create_table_artifact,
    )

    rows = [
        {
            "stage": unit.stage,
            "subject": unit.subject,
            "status": outcome.status,
            "seconds": round(outcome.seconds, 2),
            "message": outcome.message,
        }
        for unit, outcome in loop.summary.outcomes.items()
        if outcome.status != "ok"
    ]
    counts: dict[str, dict[str, int]] = {}
    for unit, outcome in loop.summary.outcomes.items():
        stage = counts.setdefault(unit.stage, {})
        stage[outcome.status] = stage.get(outcome.status, 0) + 1
    lines = [f"# Run {run_id}", "", "| stage | units |", "|---|---|"]
    lines += [f"| {s} | {', '.join(f'{n} {k}' for k, n in c.items())} |" for s, c in counts.items()]
    try:
        create_table_artifact(table=rows[:1000], key=UNITS, description=run_id)
        create_markdown_artifact("\n".join(lines), key="headworks-stages", description=run_id)
        ran = [unit for unit, told in loop.summary.outcomes.items() if told.status == "ran"]
        for unit, uri, names in contact_sheets(layout, ran) if wanted() else ():
            create_image_artifact(
                image_url=uri, key=artifact_key(unit), description=f"{unit}: {names}"
            )
    except Exception as error:
        logging.getLogger("prefect").error("artifacts were not kept: %s", error)


def _drain() -> None:
    """Let the last states reach the server before it goes."""
    from prefect.events.worker import EventsWorker

    EventsWorker.drain_all(timeout=10)


class _TaskSubmitter:
    """Supervises in Prefect's task threads; falls back on plain ones, unit by unit."""

    def __init__(self, attempts: Attempts, loop: Loop, plain: ThreadSubmitter) -> None:
        self.task: Any = None
        self._attempts = attempts
        self._loop = loop
        self._plain = plain
        self._pending: dict[str, Decision] = {}
        self._tries: dict[str, int] = {}
        self._lock = threading.Lock()

    def submit(self, decision: Decision) -> None:
        """Start."""
        name = str(decision.unit)
        with self._lock:
            self._pending[name] = decision
        try:
            future = self.task.submit(name)
            future.add_done_callback(lambda _: self._ended(name))
        except Exception as error:
            logging.getLogger("prefect").error("not submitted: %s", error)
            self._ended(name)

    def reported(self, name: str) -> bool:
        """Whether a unit has its final result."""
        with self._lock:
            return name not in self._pending

    def supervise(self, name: str) -> str:
        """One attempt; the body of a task."""
        with self._lock:
            decision = self._pending.get(name)
            self._tries[name] = attempt = self._tries.get(name, 0) + 1
        if decision is None:
            return "done elsewhere"
        result = self._attempts.once(decision, attempt)
        if may_retry(result, attempt):
            raise UnitError(result["message"])
        with self._lock:
            first = self._pending.pop(name, None) is not None
        if first:
            self._loop.done.put((decision.unit, result))
        if result["status"] == "failed":
            raise UnitError(result["message"])
        return str(result["status"])

    def _ended(self, name: str) -> None:
        """Prefect is through with a task; if the unit has no result, go on without Prefect."""
        with self._lock:
            decision = self._pending.pop(name, None)
        if decision is not None:
            self._plain.submit(decision)
