"""Faces and their 68 landmarks in images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.landmarks import dlib68, fan

_BACKENDS: dict[str, Any] = {dlib68.NAME: dlib68, fan.NAME: fan}


def detect(
    backend: str,
    frames: NDArray[np.uint8],
    sequential: bool = True,
    progress: Callable[[float], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Landmarks of the main face in each frame of one camera.

    Args:
        backend: "dlib" or "face_alignment".
        frames: uint8 [T, H, W, 3].
        sequential: whether the frames follow each other in time.
        progress: called with the fraction done.

    Returns:
        float32 [T, 68, 3] x, y in pixels (centres at +0.5) and confidence in [0, 1], NaN where not
        found; float32 [T, 4] boxes x0, y0, x1, y1.

    Raises:
        WeightsError: the backend's weights are absent.
    """
    function = _BACKENDS[backend].detect
    if sequential:
        return function(frames, progress)
    single = [function(frame[None], None) for frame in frames]
    return np.concatenate([p for p, _ in single]), np.concatenate([b for _, b in single])


def file_digest(backend: str) -> str:
    """SHA-256 of the backend's weights, hexadecimal."""
    with _BACKENDS[backend].weights_path().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
