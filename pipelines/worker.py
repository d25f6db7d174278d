"""A persistent worker process: JSON lines in, JSON lines out, one unit at a time."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from typing import Any


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel signal this process when the thread that started it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, int(number))


def _redirect(path: str) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def main() -> None:
    """Serve until the pipe closes; argv: workspace folder, pid of the driver."""
    die_with_parent()
    root, parent = sys.argv[1], int(sys.argv[2])
    if os.getppid() != parent:
        return
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    from pipelines.layout import Layout
    from pipelines.unit import UnitRunner

    layout = Layout(root)
    os.environ.setdefault("HEADWORKS_HEADS", str(layout.data / "heads"))  # see headworks.headfiles
    runner = UnitRunner(layout)

    def send(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    for line in sys.stdin:
        spec = json.loads(line)
        last = 0.0

        def progress(done: float, message: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > 0.1:
                last = now
                send({"type": "progress", "done": float(done), "message": str(message)[:200]})

        _redirect(str(layout.root / spec["log"]))
        result = runner(spec, progress)
        sys.stdout.flush()
        sys.stderr.flush()
        send({"type": "result", **result})
    runner.close()


if __name__ == "__main__":
    main()
