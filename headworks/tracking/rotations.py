"""Rotations in float64 NumPy, batched: exponential, logarithm, interpolation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

Array = NDArray[np.float64]


def exp(axis_angle: Array) -> Array:
    """Axis-angle [T, 3] radians -> rotations [T, 3, 3]."""
    return Rotation.from_rotvec(axis_angle).as_matrix()


def log(matrix: Array) -> Array:
    """Rotations [T, 3, 3] -> axis-angle [T, 3] radians, angle in [0, pi]."""
    return Rotation.from_matrix(matrix).as_rotvec()


def cross_matrix(v: Array) -> Array:
    """[..., 3] -> [..., 3, 3] with cross_matrix(v) @ w = v x w."""
    x, y, z = np.moveaxis(v, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape, 3)


def fill(matrix: Array, known: NDArray[np.bool_]) -> Array:
    """Replace unknown rotations by the interpolation of the known ones around them.

    Args:
        matrix: [T, 3, 3]. known: bool [T], at least one true.
    """
    at = np.flatnonzero(known)
    if len(at) == 1:
        return np.repeat(matrix[at], len(matrix), 0)
    wanted = np.clip(np.arange(len(matrix)), at[0], at[-1])
    filled = Slerp(at, Rotation.from_matrix(matrix[at]))(wanted).as_matrix()
    return np.where(known[:, None, None], matrix, filled)


def mean(matrix: Array) -> Array:
    """Mean [3, 3] of rotations [T, 3, 3]."""
    return Rotation.from_matrix(matrix).mean().as_matrix()
