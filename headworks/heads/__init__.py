"""Head models under one interface: `load_head("procedural")`, `load_head("ict:<file>")`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from headworks.errors import HeadworksError
from headworks.heads.base import HeadModel, HeadPose

__all__ = ["HeadModel", "HeadPose", "load_head"]


@lru_cache(maxsize=4)
def load_head(name: str) -> HeadModel:
    """The head model that `params.yaml` names; built or read once per process.

    Args:
        name: "procedural", made by code; or "ict:<path to ict_facekit.npz>".

    Raises:
        HeadworksError: when there is no such head model.
    """
    kind, _, path = name.partition(":")
    if name == "procedural":
        from headworks.heads.procedural import build

        return build()
    if kind == "ict" and path:
        from headworks.heads.ict import load_ict

        return load_ict(Path(path))
    raise HeadworksError(
        f"no head model {name!r}: expected 'procedural' or 'ict:<path to ict_facekit.npz>'"
    )
