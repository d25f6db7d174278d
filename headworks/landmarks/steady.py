"""Quiet the jitter of landmarks over time without flattening blinks and speech."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Savitzky-Golay: a parabola over five frames. A motion of three frames passes; single-frame noise
# is halved.
_WINDOW = 5
_ORDER = 2
# Departures from the parabola beyond so many standard deviations of the noise are motion.
_NOISE_GATE = (2.0, 4.0)


def steady(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Landmarks of one sequence with less jitter.

    The movement of the whole face (a similarity transform per frame) is smoothed; the movement of
    single points within the face is smoothed only where it does not rise above the noise.

    Args:
        points: [T, N, 3] x, y in pixels and confidence, in order of time; NaN where not found.

    Returns:
        float32 [T, N, 3]; NaN where it was NaN; the confidence as it was.

    Source: Savitzky and Golay, Smoothing and Differentiation of Data, 1964.
    """
    points = np.asarray(points, np.float32)
    result = points.copy()
    found = np.isfinite(points[..., :2]).all((1, 2))
    for run in _runs(found):
        if run.stop - run.start >= _WINDOW:
            result[run, :, :2] = _steady_run(points[run, :, :2].astype(np.float64))
    return result


def noise(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Standard deviation of frame-to-frame noise, robust against motion.

    Args:
        points: [T, ...] samples in order of time, T >= 3.

    Returns:
        float64 [...], from the median of |second differences| as of white noise.
    """
    second = points[:-2] - 2 * points[1:-1] + points[2:]
    return np.median(np.abs(second), 0) * 1.4826 / np.sqrt(6)


def _runs(found: NDArray[np.bool_]) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.r_[False, found, False].astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2])]


def _steady_run(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """[T, N, 2] -> [T, N, 2]. Points are complex numbers, so that a similarity is z -> a z + b."""
    from scipy.signal import savgol_filter

    z = xy[..., 0] + 1j * xy[..., 1]
    centre = z.mean(1, keepdims=True)
    shape = _mean_shape(z - centre)
    turn = ((z - centre) * shape.conj()).sum(1, keepdims=True) / (np.abs(shape) ** 2).sum()
    local = (z - centre) / turn - shape

    def smooth(signal: NDArray[np.complex128]) -> NDArray[np.complex128]:
        parts = [savgol_filter(p, _WINDOW, _ORDER, axis=0) for p in (signal.real, signal.imag)]
        return parts[0] + 1j * parts[1]

    quiet = smooth(local)
    departure = local - quiet
    deviation = np.hypot(noise(local.real), noise(local.imag)) / np.sqrt(2)
    low, high = _NOISE_GATE
    ratio = np.abs(departure) / np.maximum(deviation, 1e-9)
    motion = np.clip((ratio - low) / (high - low), 0, 1)
    local = quiet + motion * departure
    z = smooth(turn) * (shape + local) + smooth(centre)
    return np.stack([z.real, z.imag], -1)


def _mean_shape(z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Mean of centred shapes after turning each onto the first: [T, N] -> [N]."""
    shape = z[0]
    for _ in range(2):
        turn = (z * shape.conj()).sum(1, keepdims=True) / (np.abs(shape) ** 2).sum()
        shape = (z / turn).mean(0)
    return shape
