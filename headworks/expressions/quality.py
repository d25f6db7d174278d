"""Does a picture show the driver's expression? Landmarks of the mouth after aligning the faces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST_DIFFERENCE = 0.1
"""In interocular distances: what differs more is not the same expression (GPHMv2's rule)."""

_STEADY = [*range(27, 31), *range(31, 36), 36, 39, 42, 45]
_MOUTH = slice(48, 68)


def mouth_difference(driver: NDArray[np.floating], made: NDArray[np.floating]) -> float:
    """Mean distance of the mouth's landmarks, in interocular distances; NaN where one is unknown.

    The faces are aligned by the eyes' corners and the nose (similarity), and the mouths by their
    means: what is left is the mouth's shape, of the expression and, in part, of the person.

    Args:
        driver, made: [68, >= 2] pixels, each of its own picture.
    """
    a, b = (np.asarray(p, np.float64)[:, :2] for p in (driver, made))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("nan")
    za, zb = (p @ np.array([1, 1j]) for p in (a, b))
    za, zb = za - za[_STEADY].mean(), zb - zb[_STEADY].mean()
    turn = np.vdot(zb[_STEADY], za[_STEADY]) / np.vdot(zb[_STEADY], zb[_STEADY]).real
    zb = zb * turn
    mouth_a, mouth_b = za[_MOUTH] - za[_MOUTH].mean(), zb[_MOUTH] - zb[_MOUTH].mean()
    return float(np.abs(mouth_a - mouth_b).mean() / abs(za[45] - za[36]))
