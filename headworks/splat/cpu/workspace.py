"""Memory that is used again: freshly mapped pages cost more than the arithmetic on them."""

from __future__ import annotations

import ctypes
import math
import os
import threading

import numpy as np
from numpy.typing import NDArray

KEEP = 4  # buffers per process; more are in use only when several threads render at once
LINE = 16  # floats of a cache line

KEEP_BYTES = 512 << 20  # of freed memory that the process does not give back at once
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MOST = -1, -3, 32 << 20  # of glibc's mallopt

_free: list[NDArray[np.float32]] = []
_lock = threading.Lock()


def _start_afresh() -> None:
    """In a forked process: another thread may have held the lock, and been changing the list."""
    global _free, _lock
    _free, _lock = [], threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)


class Borrowed:
    """A float32 array on cache lines for the length of a `with` block.

    After an error it is not lent again: another thread may still be writing to it.

    Args:
        shape: of the array. Values are finite, but otherwise whatever was there before.
    """

    def __init__(self, *shape: int) -> None:
        self._shape = shape

    def __enter__(self) -> NDArray[np.float32]:
        size, found = math.prod(self._shape), None
        with _lock:
            for k, buffer in enumerate(_free):  # the smallest that fits
                if len(buffer) >= size:
                    found = _free.pop(k)
                    break
        if found is None:
            raw = np.zeros(size + size // 4 + LINE, np.float32)
            found = raw[(-raw.ctypes.data % (4 * LINE)) // 4 :]
        self._buffer = found
        return found[:size].reshape(self._shape)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            return
        with _lock:
            _free.append(self._buffer)
            _free.sort(key=len)
            del _free[:-KEEP]


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step instead of returning it to the system.

    A training step frees and asks again for the same tens of megabytes, in torch's own operators
    too, and every fresh page is a fault. HEADWORKS_KEEP_MEMORY=0 leaves malloc as it is; without
    glibc nothing happens.
    """
    if os.environ.get("HEADWORKS_KEEP_MEMORY", "1") == "0":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEEP_BYTES)
        mallopt(_MMAP_THRESHOLD, _MMAP_MOST)


keep_freed_memory()
