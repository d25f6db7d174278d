"""The head's pose from landmarks in space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.tracking import rotations

Array = NDArray[np.float64]


def rigid_pose(source: Array, target: Array, weight: Array) -> tuple[Array, Array]:
    """Rotation and translation that carry source onto target (Kabsch).

    Args:
        source, target: [N, 3]. weight: [N], some three above 0.

    Returns:
        [3, 3] and [3].
    """
    w = weight / weight.sum()
    a, b = w @ source, w @ target
    u, _, vt = np.linalg.svd((target - b).T @ ((source - a) * w[:, None]))
    rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return rotation, b - rotation @ a


def poses(
    model: Array, space: Array, chosen: NDArray[np.int64]
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Head poses from landmarks in space.

    Args:
        model: [68, 3] in the head's frame. space: [T, 68, 3] world, NaN where unknown.
        chosen: which landmarks expressions move least.

    Returns:
        rotation [T, 3, 3], translation [T, 3], and where there was enough to tell; other frames
        are the identity.
    """
    t = len(space)
    rotation, translation = np.tile(np.eye(3), (t, 1, 1)), np.zeros((t, 3))
    known = np.asarray(np.isfinite(space[:, chosen]).all(-1))
    enough = known.sum(1) >= 5
    for i in np.flatnonzero(enough):
        some = chosen[known[i]]
        weight = np.ones(len(some))
        for _ in range(4):
            r, o = rigid_pose(model[some], space[i, some], weight)
            gap = np.linalg.norm(model[some] @ r.T + o - space[i, some], axis=1)
            weight = 1 / (1 + (gap / 0.006) ** 2) ** 2
        rotation[i], translation[i] = r, o
    return rotation, translation, enough


def interpolate(
    rotation: Array, translation: Array, known: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Fill frames without a pose from those around them; some frame is known."""
    at, frames = np.flatnonzero(known), np.arange(len(known))
    moved = [np.interp(frames, at, translation[at, axis]) for axis in range(3)]
    return rotations.fill(rotation, known), np.stack(moved, -1)
