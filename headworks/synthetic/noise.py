"""Deterministic smooth noise over space."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True)
def _hash(x: int, y: int, z: int, seed: int) -> float:
    h = np.uint32(x) * np.uint32(374761393) + np.uint32(y) * np.uint32(668265263)
    h += np.uint32(z) * np.uint32(2147483647) + np.uint32(seed) * np.uint32(974634777)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(2246822519)
    h = h ^ (h >> np.uint32(15))
    return (h & np.uint32(0xFFFFFF)) / 16777215.0 * 2 - 1


@numba.njit(cache=True)
def value(x: float, y: float, z: float, seed: int) -> float:
    """Smooth noise in [-1, 1] with features of size 1, at one point."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    tx, ty, tz = x - fx, y - fy, z - fz
    tx = tx * tx * (3 - 2 * tx)
    ty = ty * ty * (3 - 2 * ty)
    tz = tz * tz * (3 - 2 * tz)
    total = 0.0
    for dx in range(2):
        for dy in range(2):
            for dz in range(2):
                weight = (tx if dx else 1 - tx) * (ty if dy else 1 - ty) * (tz if dz else 1 - tz)
                total += weight * _hash(int(fx) + dx, int(fy) + dy, int(fz) + dz, seed)
    return total


@numba.njit(cache=True)
def _value_noise(points: NDArray[np.float64], seed: int, out: NDArray[np.float64]) -> None:
    for i in range(len(points)):
        out[i] = value(points[i, 0], points[i, 1], points[i, 2], seed)


def noise(
    points: NDArray[np.floating],
    scale: float | tuple[float, float, float],
    seed: int,
    octaves: int = 1,
) -> NDArray[np.float64]:
    """Smooth noise, about [-1, 1].

    Args:
        points: [..., 3]. scale: size of a feature, in the points' unit (per axis or one for all).
        seed: which noise. octaves: finer noises of half the size and amplitude added.

    Returns:
        [...].
    """
    flat = np.ascontiguousarray(points, np.float64).reshape(-1, 3)
    total = np.zeros(len(flat))
    layer = np.empty(len(flat))
    size = np.broadcast_to(np.asarray(scale, np.float64), 3)
    for octave in range(octaves):
        _value_noise(flat / size * 2.0**octave + 17.3 * octave, seed % 2**31 + octave, layer)
        total += layer * 0.5**octave
    return total.reshape(np.shape(points)[:-1])
