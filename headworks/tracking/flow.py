"""Sparse optical flow that says which of its points to believe."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def lucas_kanade(
    source: NDArray[np.uint8],
    target: NDArray[np.uint8],
    points: Array,
    guess: Array | None = None,
    window: int = 15,
    levels: int = 3,
    tolerance: float = 0.7,
) -> tuple[Array, NDArray[np.bool_]]:
    """Pyramidal Lucas-Kanade with a forward-backward check.

    Args:
        source, target: grey images [H, W]. points: [N, 2] pixels in `source`, centres at +0.5.
        guess: [N, 2] where they may be in `target`. window: side in pixels.
        levels: pyramid levels above the image. tolerance: pixels a point may miss on its way back.

    Returns:
        points in `target` [N, 2], and which of them came back to where they started.

    Source: Kalal, Mikolajczyk and Matas, Forward-Backward Error, ICPR 2010.
    """
    import cv2

    if not len(points):
        return np.zeros((0, 2)), np.zeros(0, bool)
    start = np.ascontiguousarray(points - 0.5, np.float32)
    first = start if guess is None else np.ascontiguousarray(guess - 0.5, np.float32)
    options: dict[str, Any] = {
        "winSize": (window, window),
        "maxLevel": levels,
        "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01),
        "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
    }
    there, forward, _ = cv2.calcOpticalFlowPyrLK(source, target, start, first.copy(), **options)
    back, backward, _ = cv2.calcOpticalFlowPyrLK(target, source, there, start.copy(), **options)
    miss = np.linalg.norm(back - start, axis=-1)
    h, w = target.shape
    inside = (there >= 0).all(-1) & (there[:, 0] <= w - 1) & (there[:, 1] <= h - 1)
    good = (forward.ravel() > 0) & (backward.ravel() > 0) & (miss < tolerance) & inside
    return there.astype(np.float64) + 0.5, good


def corners(image: NDArray[np.uint8], mask: NDArray[np.bool_], count: int, spacing: float) -> Array:
    """Points [N, 2] with texture in two directions inside a mask, strongest first."""
    import cv2

    found = cv2.goodFeaturesToTrack(
        image, count, 0.01, spacing, mask=mask.astype(np.uint8) * 255, blockSize=5
    )
    return np.zeros((0, 2)) if found is None else found.reshape(-1, 2).astype(np.float64) + 0.5
