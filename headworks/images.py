"""Images: float32 in [0, 1] in memory, uint8 on disk, straight alpha."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_float(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [...] -> float32 [...] in [0, 1]."""
    return np.asarray(image).astype(np.float32) / np.float32(255)


def to_uint8(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """float [...] -> uint8 [...], clipped to [0, 1] and rounded."""
    return np.rint(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8)


def composite(
    rgb: NDArray[np.floating],
    alpha: NDArray[np.floating],
    background: tuple[float, float, float] = (1, 1, 1),
) -> NDArray[np.float32]:
    """Straight-alpha composite over one colour.

    Args:
        rgb: [..., H, W, 3] in [0, 1]. alpha: [..., H, W] in [0, 1]. background: sRGB in [0, 1].

    Returns:
        float32 [..., H, W, 3].
    """
    a = np.asarray(alpha, np.float32)[..., None]
    return np.asarray(rgb, np.float32) * a + np.asarray(background, np.float32) * (1 - a)


def resize(image: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Resize [H, W] or [H, W, C] with area filtering when shrinking, cubic when growing."""
    import cv2

    shrinking = width * height < image.shape[0] * image.shape[1]
    mode = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=mode)
