"""Advisory locks that the kernel releases when their holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType


class Lock:
    """A `flock` on a file; the file itself is never removed.

    Args:
        path: lock file, made if absent.
        wait: wait for it, or give up at once (`held` is then False).
        shared: others may hold it shared, too; else nobody else has it.
    """

    def __init__(self, path: Path, wait: bool = True, shared: bool = False) -> None:
        self.path = path
        self.wait = wait
        self.shared = shared
        self.held = False
        self._handle = -1

    def __enter__(self) -> Lock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            mode = fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX
            fcntl.flock(self._handle, mode | (0 if self.wait else fcntl.LOCK_NB))
            self.held = True
        except OSError as error:
            os.close(self._handle)
            self._handle = -1
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        self.held = False
