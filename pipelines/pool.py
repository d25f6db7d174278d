"""Worker processes as seen by the driver."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipelines.unit import Spec

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)


class WorkerLostError(Exception):
    """A worker process ended in the middle of a unit."""


class UnitTimeoutError(Exception):
    """A unit took longer than it may; its process was ended."""


class _Worker:
    def __init__(self, root: Path, threads: int) -> None:
        environment = dict(os.environ)
        for name in THREAD_VARIABLES:
            environment[name] = str(threads)
        # The worker runs the code that the driver runs, wherever the project is installed.
        code = str(Path(__file__).resolve().parent.parent)
        paths = [code, *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.worker", str(root), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=root,
            start_new_session=True,
        )

    def run(self, spec: Spec, progress: Callable[[float, str], None]) -> dict[str, Any]:
        limit = spec.get("timeout_s")
        late = threading.Event()

        def end() -> None:
            late.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

        timer = threading.Timer(limit, end) if limit else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            return self._talk(spec, progress)
        except WorkerLostError:
            if late.is_set():
                raise UnitTimeoutError(
                    f"took longer than the {limit:g} s that it may; its process was ended "
                    "(headworks run --timeout SECONDS gives more)"
                ) from None
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _talk(self, spec: Spec, progress: Callable[[float, str], None]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(spec).encode() + b"\n")
            self.process.stdin.flush()
            for line in self.process.stdout:
                message = json.loads(line)
                if message.pop("type") == "result":
                    return dict(message)
                progress(message["done"], message["message"])
        except (BrokenPipeError, ValueError):
            pass
        code = self.process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise WorkerLostError(f"the worker process ended in the middle ({how})")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def finish(self) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            pass
        self.kill()


class Pool:
    """At most `jobs` worker processes, started when first needed.

    Args:
        root: workspace.
        jobs: how many.
        threads: CPU threads of each.
    """

    def __init__(self, root: Path, jobs: int, threads: int) -> None:
        self._root = root
        self._threads = threads
        self._slots = threading.BoundedSemaphore(jobs)
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False
        # A child dies with the thread that started it (worker.die_with_parent), so one thread
        # that lives as long as the pool starts them all.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="headworks-start")

    def run(self, spec: Spec, progress: Callable[[float, str], None]) -> dict[str, Any]:
        """Run one unit on an idle worker; waits for one.

        Raises:
            WorkerLostError: when the worker died; the next unit gets a new one.
            UnitTimeoutError: when it was ended because the unit took too long.
        """
        with self._slots:
            try:
                worker = self._idle.get_nowait()
            except queue.Empty:
                worker = self._starter.submit(self._start).result()
            try:
                result = worker.run(spec, progress)
            except BaseException:
                with self._lock:
                    self._all.discard(worker)
                worker.kill()
                raise
            self._idle.put(worker)
            return result

    def _start(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise WorkerLostError("the run is ending")
            worker = _Worker(self._root, self._threads)
            self._all.add(worker)
            return worker

    def abort(self) -> None:
        """Kill all workers at once; safe in a signal handler (takes no lock)."""
        self._closed = True
        for worker in list(self._all):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.process.pid, signal.SIGKILL)

    def close(self, kill: bool = False) -> None:
        """End all workers: after their unit, or at once."""
        with self._lock:
            self._closed = True
            workers = list(self._all)
            self._all.clear()
        for worker in workers:
            if kill:
                worker.kill()
            else:
                worker.finish()
        self._starter.shutdown(wait=True)
