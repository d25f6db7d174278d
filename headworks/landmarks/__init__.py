"""Faces and their 68 landmarks in images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.landmarks import correction, dlib68, fan
from headworks.landmarks.lids import close_lids
from headworks.landmarks.steady import steady

_BACKENDS: dict[str, Any] = {dlib68.NAME: dlib68, fan.NAME: fan}


def detect(
    backend: str,
    frames: NDArray[np.uint8],
    progress: Callable[[float], None] | None = None,
    rendered: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Landmarks of the main face in each frame of one sequence and camera, without jitter.

    Args:
        backend: "dlib" or "face_alignment".
        frames: uint8 [T, H, W, 3], in order of time.
        progress: called with the fraction done.
        rendered: the pictures are no photographs: dlib's errors there are taken out (`correction`).

    Returns:
        float32 [T, 68, 3] x, y in pixels (centres at +0.5) and confidence in [0, 1], NaN where not
        found; float32 [T, 4] boxes x0, y0, x1, y1.

    Raises:
        WeightsError: the backend's weights are absent.
    """
    points, boxes = _BACKENDS[backend].detect(frames, progress)
    if backend != dlib68.NAME:
        return steady(points), boxes
    if rendered:
        points = correction.corrected(frames, points)
    # dlib's trees have hardly seen shut eyes.
    return close_lids(frames, steady(points)), boxes


def detect_3d(
    frames: NDArray[np.uint8],
    progress: Callable[[float], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Landmarks that stay on the head when its outline moves, with depth, without jitter.

    Args:
        frames: uint8 [T, H, W, 3], in order of time.
        progress: called with the fraction done.

    Returns:
        Points and boxes as `detect`; float32 [T, 68] depths in pixels, up to a constant, NaN where
        not found.

    Raises:
        WeightsError: the weights of "face_alignment_3d" are absent.
    """
    points, boxes, depths = fan.detect_3d(frames, progress)
    return steady(points), boxes, depths


def file_digest(backend: str, rendered: bool = False) -> str:
    """SHA-256 of the backend's weights, hexadecimal; of several files, joined by commas."""
    if backend == fan.NAME_3D:
        return ",".join(_digest(path) for path in fan.weights_paths_3d())
    own = _digest(_BACKENDS[backend].weights_path())
    return f"{own},{_digest(correction.WEIGHTS)}" if rendered and backend == dlib68.NAME else own


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
