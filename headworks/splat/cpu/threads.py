"""Run GIL-free kernels on a few threads; tell the user once when Numba compiles.

Plain Python threads instead of Numba's parallel regions: no second OpenMP pool that spins against
torch's, nothing that a forked worker process would inherit broken, and no thread at all when the
thread count is one. A hand-over costs some 40 microseconds, in which `share` does not wait.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core import event
from numba.np.ufunc import parallel
from numpy.typing import NDArray

from headworks.splat.cpu.gate import abandon

_tasks: dict[int, list[queue.SimpleQueue[Any]]] = {}
_lock = threading.Lock()


def n_threads() -> int:
    """Threads to use: `numba.set_num_threads`, else NUMBA_NUM_THREADS, else all cores."""
    # What `get_num_threads` calls below a lock that all processes share. It is there once Numba has
    # set up its threads; a process that was forked while another held the lock would hang.
    known = getattr(parallel, "_get_num_threads", None)
    return int(known()) if known is not None else numba.get_num_threads()


def _serve(tasks: queue.SimpleQueue[Any]) -> None:
    while True:
        kernel, args, report = tasks.get()
        outcome = None
        try:
            kernel(*args)
        except BaseException as error:
            outcome = error
        del kernel, args  # a waiting thread would keep the arrays of its last task
        report(outcome)
        del outcome, report


def _renew_lock() -> None:
    """In a forked process, which may have come to be while a thread of the other held the lock."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _workers(count: int) -> list[queue.SimpleQueue[Any]]:
    """Queues of at least so many threads of this process, which are started when need be."""
    workers = _tasks.get(os.getpid())
    if workers is None or len(workers) < count:
        with _lock:
            workers = _tasks.setdefault(os.getpid(), [])
            while len(workers) < count:
                tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
                threading.Thread(target=_serve, args=(tasks,), daemon=True, name="splat").start()
                workers.append(tasks)
    return workers


def run(kernel: Callable[..., Any], threads: int, *args: Any) -> None:
    """Call `kernel(thread, threads, *args)` once per thread and wait for all of them.

    Raises:
        BaseException: what a kernel raised, once all of them have ended.
    """
    if threads == 1:
        kernel(0, 1, *args)
        return
    workers = _workers(threads - 1)
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for thread in range(1, threads):
        workers[thread - 1].put((kernel, (thread, threads, *args), done.put))
    try:
        kernel(0, threads, *args)
    finally:
        errors = [done.get() for _ in range(1, threads)]
    for error in errors:
        if error is not None:
            raise error


# a kernel, its gate and its further arguments
Call = tuple[Callable[..., Any], NDArray[np.int64], tuple[Any, ...]]


def _one_after_the_other(thread: int, threads: int, calls: tuple[Call, ...]) -> None:
    for kernel, gate, args in calls:
        kernel(thread, threads, gate, *args)


def share(threads: int, *calls: Call) -> None:
    """Call `kernel(thread, threads, gate, *args)` here as thread 0, and let others help.

    For kernels that hand out their work by a gate: a call on this thread ends when all the work is
    done, whether others have come or not. One that comes too late finds nothing to do and touches
    nothing; its arguments live until then. Several calls are made one after the other, with
    helpers that are woken once.

    Raises:
        BaseException: what a kernel raised, here or in a helper; nobody waits for the others'
            parts then.
    """
    if threads == 1:
        _one_after_the_other(0, 1, calls)
        return
    failures: list[BaseException] = []

    def give_up() -> None:
        for _, gate, _ in calls:
            abandon(gate)

    def report(outcome: BaseException | None) -> None:
        if outcome is not None:
            failures.append(outcome)
            give_up()

    for thread, tasks in zip(range(1, threads), _workers(threads - 1)):
        tasks.put((_one_after_the_other, (thread, threads, calls), report))
    try:
        _one_after_the_other(0, threads, calls)
    except BaseException:
        first = failures[:1]  # before others fail because of this one
        give_up()
        if first:
            raise first[0] from None
        raise


class _CompileNotice(event.Listener):
    """Prints one line when a kernel of this package is compiled for the first time."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: event.Event) -> None:
        dispatcher = (event.data or {}).get("dispatcher")
        module = getattr(getattr(dispatcher, "py_func", None), "__module__", "")
        if not self.said and module.startswith(__package__):
            self.said = True
            print(
                "headworks: compiling the CPU rasteriser (once; kept on disk)",
                file=sys.stderr,
                flush=True,
            )

    def on_end(self, event: event.Event) -> None:
        pass


event.register("numba:compile", _CompileNotice())
