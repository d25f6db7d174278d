"""The person's own colours: what the background added to half-covered pixels is taken out again.

A frame shows I = alpha F + (1 - alpha) B. Put over another background with its own colours I, a
half-covered pixel would bring part of the old background along: a green rim after a green screen,
a bright one after a white wall.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from headworks.images import to_float, to_uint8

# Published settings: smoothness everywhere and across the matte's edges, sweeps on small and
# large levels, and what is small.
_SMOOTH = 1e-5
_EDGE = 1.0
_SMALL_SWEEPS, _LARGE_SWEEPS = 10, 2
_SMALL = 32


def own_colours(frame: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The person's colours in a frame.

    Args:
        frame: uint8 [H, W, 3]. alpha: uint8 [H, W].

    Returns:
        uint8 [H, W, 3]: the frame where alpha is 255, free of the background where it is less,
        the frame again where it is 0.
    """
    half = (alpha > 0) & (alpha < 255)
    if not half.any():
        return frame
    colours = to_uint8(estimate_foreground(to_float(frame), to_float(alpha)))
    return np.where(half[..., None], colours, frame)


def estimate_foreground(
    image: NDArray[np.float32], alpha: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Foreground colours F of I = alpha F + (1 - alpha) B, smooth where alpha changes.

    Args:
        image: float32 [H, W, 3] in [0, 1]. alpha: float32 [H, W] in [0, 1].

    Returns:
        float32 [H, W, 3] in [0, 1]; a smooth guess where alpha is 0.

    Source: Germer et al., Fast Multi-Level Foreground Estimation, 2020, algorithm 1.
    """
    height, width = alpha.shape
    levels = max(1, int(np.ceil(np.log2(max(height, width)))))
    foreground = _mean_colour(image, alpha)
    background = _mean_colour(image, 1 - alpha)
    for level in range(levels + 1):
        size = (
            max(1, round(height ** (level / levels))),
            max(1, round(width ** (level / levels))),
        )
        rows = np.arange(size[0]) * height // size[0]
        columns = np.arange(size[1]) * width // size[1]
        foreground, background = _nearest(foreground, size), _nearest(background, size)
        sweeps = _SMALL_SWEEPS if max(size) <= _SMALL else _LARGE_SWEEPS
        at = np.ix_(rows, columns)
        _relax(image[at], alpha[at], foreground, background, sweeps)
    return foreground


def _mean_colour(image: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weighted mean as a picture of one pixel."""
    total = max(float(weight.sum()), 1e-6)
    return ((image * weight[..., None]).sum((0, 1), keepdims=True) / total).astype(np.float32)


def _nearest(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    rows = np.arange(size[0]) * image.shape[0] // size[0]
    columns = np.arange(size[1]) * image.shape[1] // size[1]
    return np.ascontiguousarray(image[np.ix_(rows, columns)])


@nb.njit(cache=True)
def _relax(
    image: NDArray[np.float32],
    alpha: NDArray[np.float32],
    foreground: NDArray[np.float32],
    background: NDArray[np.float32],
    sweeps: int,
) -> None:
    """Gauss-Seidel sweeps in place: each pixel's two colours from its own and its neighbours'."""
    height, width = alpha.shape
    smooth, edge = np.float32(_SMOOTH), np.float32(_EDGE)
    for _ in range(sweeps):
        for y in range(height):
            above, below = max(y - 1, 0), min(y + 1, height - 1)
            for x in range(width):
                left, right = max(x - 1, 0), min(x + 1, width - 1)
                a = alpha[y, x]
                b = np.float32(1) - a
                wa = smooth + edge * abs(a - alpha[above, x])
                wb = smooth + edge * abs(a - alpha[below, x])
                wl = smooth + edge * abs(a - alpha[y, left])
                wr = smooth + edge * abs(a - alpha[y, right])
                total = wa + wb + wl + wr
                aa, ab, bb = a * a + total, a * b, b * b + total
                scale = np.float32(1) / (aa * bb - ab * ab)
                for c in range(3):
                    p = (
                        a * image[y, x, c]
                        + wa * foreground[above, x, c]
                        + wb * foreground[below, x, c]
                        + wl * foreground[y, left, c]
                        + wr * foreground[y, right, c]
                    )
                    q = (
                        b * image[y, x, c]
                        + wa * background[above, x, c]
                        + wb * background[below, x, c]
                        + wl * background[y, left, c]
                        + wr * background[y, right, c]
                    )
                    f, g = (bb * p - ab * q) * scale, (aa * q - ab * p) * scale
                    foreground[y, x, c] = min(max(f, np.float32(0)), np.float32(1))
                    background[y, x, c] = min(max(g, np.float32(0)), np.float32(1))
