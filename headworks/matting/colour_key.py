"""Mattes before a screen of one saturated colour, by the share of the screen in each pixel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from headworks.images import to_float, to_uint8
from headworks.matting.plate import fill

NAME = "colour_key"

_SAMPLES = 16
# Part of the frame's height, from the top, whose left and right borders can only show background.
_UPPER = 0.4
_BORDER = 0.03
# Chroma (0 grey, about 0.5 pure) that makes a screen, and how much of the border must show it.
_LEAST_CHROMA = 0.12
_LEAST_SHARE = 0.95
_SPREAD = 0.06
# Shares of the screen's colour below and above which a pixel is all person or all screen.
_LEVELS = (0.12, 0.90)


def screen_colour(frames: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """The colour of the screen, where the border of all frames is one saturated colour.

    Args:
        frames: uint8 [T, H, W, 3].

    Returns:
        Its chroma, float32 [2] (Cb, Cr around 0), or None where there is no such screen.
    """
    picked = frames[np.unique(np.linspace(0, len(frames) - 1, _SAMPLES).astype(int))]
    height, width = picked.shape[1:3]
    rows, columns = max(1, round(_BORDER * height)), max(1, round(_BORDER * width))
    upper = round(_UPPER * height)
    border = np.concatenate(
        [
            picked[:, :rows].reshape(-1, 3),
            picked[:, :upper, :columns].reshape(-1, 3),
            picked[:, :upper, -columns:].reshape(-1, 3),
        ]
    )
    colours = chroma(to_float(border))
    middle = np.median(colours, 0)
    alike = np.linalg.norm(colours - middle, axis=-1) < _SPREAD
    if np.linalg.norm(middle) < _LEAST_CHROMA or alike.mean() < _LEAST_SHARE:
        return None
    return middle.astype(np.float32)


def chroma(rgb: NDArray[np.floating]) -> NDArray[np.float32]:
    """Cb and Cr of ITU-R BT.601, [..., 3] in [0, 1] -> float32 [..., 2] around 0."""
    matrix = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
    return np.asarray(rgb, np.float32) @ matrix.T


def estimate(
    frames: NDArray[np.uint8],
    progress: Callable[[float], None] | None = None,
) -> NDArray[np.uint8]:
    """Alpha of whatever stands before the screen.

    Args:
        frames: uint8 [T, H, W, 3] of one camera, for which `screen_colour` finds a screen.
        progress: called with the fraction done.

    Returns:
        uint8 [T, H, W].

    Raises:
        ValueError: no screen of one saturated colour.

    Source: the chroma keyer of Mishima, Soft Edge Chroma-Key Generation, 1993, reduced to the
        component of chroma along the screen's.
    """
    key = screen_colour(frames)
    if key is None:
        raise ValueError("the border of the frames is not one saturated colour")
    direction = key / np.linalg.norm(key)
    alphas = np.empty(frames.shape[:3], np.uint8)
    for t, frame in enumerate(frames):
        along = chroma(to_float(frame)) @ direction
        across = chroma(to_float(frame)) @ np.array([-direction[1], direction[0]])
        # The person's own colours of that hue lie off the screen's axis.
        share = (along - np.abs(across)).astype(np.float32)
        screen = share > 0.8 * np.linalg.norm(key)
        # The light on a screen is uneven: each pixel is measured by the screen around it.
        level = fill(np.where(screen, share, 0)[..., None].astype(np.float32), screen)[..., 0]
        amount = share / np.maximum(level, 0.5 * np.linalg.norm(key))
        low, high = _LEVELS
        alphas[t] = to_uint8(1 - (amount - low) / (high - low))
        if progress is not None:
            progress((t + 1) / len(frames))
    return alphas
