"""Whittaker's smoother for unevenly trusted series."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

Array = NDArray[np.float64]


def smooth(values: Array, weight: Array, stiffness: float) -> Array:
    """Minimise sum w (x - y)^2 + stiffness * sum (second difference of x)^2.

    Args:
        values: [T, ...]; ignored where the weight is 0. weight: [T], some > 0.
        stiffness: >= 0; with weights 1, a series keeps periods above 2 pi stiffness^(1/4) frames.

    Returns:
        [T, ...].

    Source: Whittaker 1923; Eilers, A Perfect Smoother, 2003.
    """
    t = len(values)
    flat = np.where(weight[:, None] > 0, values.reshape(t, -1), 0)
    if t < 3:
        mean = (flat * weight[:, None]).sum(0) / weight.sum()
        return np.where(weight[:, None] > 0, flat, mean).reshape(values.shape)
    band = np.zeros((3, t))
    band[0] = weight + 1e-9
    for offset, coefficient in ((0, 1.0), (1, 4.0), (2, 1.0)):
        band[0, offset : t - 2 + offset] += stiffness * coefficient
    band[1, : t - 2] -= 2 * stiffness
    band[1, 1 : t - 1] -= 2 * stiffness
    band[2, : t - 2] += stiffness
    solved = solveh_banded(band, flat * weight[:, None], lower=True)
    return solved.reshape(values.shape)


def smooth_runs(values: Array, weight: Array, stiffness: float, linked: NDArray) -> Array:
    """`smooth` on each run of linked frames; runs without any weight stay as they are.

    Args:
        values: [T, ...]. weight: [T]. stiffness: see `smooth`. linked: bool [T-1].
    """
    out = values.copy()
    for run in runs(linked):
        if weight[run].sum() > 0:
            out[run] = smooth(values[run], weight[run], stiffness)
    return out


def runs(linked: NDArray[np.bool_]) -> list[slice]:
    """Stretches of frames that follow each other; linked: bool [T-1]."""
    cuts = [0, *(np.flatnonzero(~linked) + 1).tolist(), len(linked) + 1]
    return [slice(a, b) for a, b in pairwise(cuts)]
