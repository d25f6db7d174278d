"""Sum of the bytes of the raw files; misbehaves as the raw file asks."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from pydantic import Field

from headworks.errors import CaptureError, TransientError
from stages.contract import Context, Inputs, Params
from toystages.common import note, write


class ReadParams(Params):
    """Params of read."""

    modulus: int = Field(1000, ge=2, le=100000, description="sums are taken modulo this")
    wait_s: float = Field(0.0, ge=0, le=60, description="how long it takes")


def _once(mark: str) -> bool:
    """Whether this is the first call with this mark."""
    path = Path(os.environ["TOY_MARKS"]) / mark
    if path.exists():
        return False
    path.touch()
    return True


def run(inputs: Inputs, params: ReadParams, out: Path, context: Context) -> None:
    """Read."""
    raw = Path(inputs["raw"])
    data = b"".join(p.read_bytes() for p in sorted(raw.iterdir()) if p.suffix != ".json")
    note("read", raw.name)
    print("reading", raw.name)
    context.progress(0.5, "reading")
    time.sleep(params.wait_s)
    if data.startswith(b"bad"):
        raise CaptureError(f"{raw}: this capture is bad; take another")
    if data.startswith(b"bug"):
        raise ValueError("a programming mistake")
    if data.startswith(b"flaky") and _once("flaky"):
        raise TransientError("may pass")
    if data.startswith(b"kill") and _once("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if data.startswith(b"sleep"):
        time.sleep(60)
    if data.startswith(b"child"):
        child = subprocess.Popen(["sleep", "60"])
        (Path(os.environ["TOY_MARKS"]) / "children").write_text(f"{child.pid} {os.getpid()}")
        child.wait()
    if data.startswith(b"empty"):
        return
    choice = {"backend": "plain", "reason": "asked by the bytes"} if data[:6] == b"choose" else {}
    write(out, "read", sum(data) % params.modulus, choice)
