"""What the toy stages share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def note(stage: str, text: str) -> None:
    """Append to the log of computations, if a test keeps one."""
    path = os.environ.get("TOY_LOG")
    if path:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{stage} {text}\n".encode())
        os.close(handle)


def write(out: Path, kind: str, value: Any, facts: dict[str, Any] | None = None) -> None:
    """An artifact with one number file in a folder."""
    (out / "numbers").mkdir()
    (out / "numbers" / "value.json").write_text(json.dumps(value, sort_keys=True))
    (out / "artifact.json").write_text(json.dumps({"kind": kind, **(facts or {})}))


def value(folder: Path) -> Any:
    """What `write` wrote."""
    return json.loads((folder / "numbers" / "value.json").read_text())
