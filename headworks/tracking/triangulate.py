"""Landmarks of several cameras as points in space, and the head's pose from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.tracking import rotations

Array = NDArray[np.float64]
_STEPS = 6
_ROBUST_PX = 4.0


def triangulate(
    points: Array, weight: Array, viewmats: Array, Ks: Array, robust_px: float = _ROBUST_PX
) -> tuple[Array, NDArray[np.int64]]:
    """Robust triangulation: least squares over the rays, reweighted by the error in the images.

    Args:
        points: [T, C, N, 2] pixels. weight: [T, C, N], 0 where not seen. viewmats: [C, 4, 4].
        Ks: [T, C, 3, 3]. robust_px: errors well beyond it lose their say.

    Returns:
        [T, N, 3] metres in the world, NaN where fewer than two cameras agree, and how many do.
    """
    P = Ks @ viewmats[:, :3]  # [T, C, 3, 4]
    known = weight > 0
    at = np.where(known[..., None], np.nan_to_num(points), 0)
    trust = np.where(known, weight, 0.0)
    X = np.zeros((*points.shape[:1], points.shape[2], 3))
    error = np.full(known.shape, np.inf)
    for step in range(_STEPS):
        # Two rows per camera: (x P3 - P1) X = 0, over the depth so that they are pixels.
        rows = at[..., None] * P[:, :, None, 2:3] - P[:, :, None, :2]  # [T, C, N, 2, 4]
        depth = np.einsum("tcx,tnx->tcn", P[:, :, 2, :3], X) + P[:, :, 2, 3, None]
        scale = np.sqrt(trust) / (np.maximum(depth, 1e-3) if step else 1.0)
        rows = rows * scale[..., None, None]
        normal = np.einsum("tcnij,tcnik->tnjk", rows[..., :3], rows[..., :3])
        right = -np.einsum("tcnij,tcni->tnj", rows[..., :3], rows[..., 3])
        normal = normal + 1e-9 * np.trace(normal, axis1=2, axis2=3)[..., None, None] * np.eye(3)
        normal = normal + 1e-12 * np.eye(3)
        X = np.linalg.solve(normal, right[..., None])[..., 0]
        seen = np.einsum("tcxy,tny->tcnx", P[..., :3], X) + P[:, :, None, :, 3]
        error = np.linalg.norm(seen[..., :2] / seen[..., 2:] - at, axis=-1)
        soft = robust_px * max(1.0, 8.0 / 2**step)
        trust = np.where(known & (seen[..., 2] > 0), weight, 0) / (1 + (error / soft) ** 2) ** 2
    agree = (known & (error < 3 * robust_px)).sum(1)
    return np.where((agree >= 2)[..., None], X, np.nan), agree


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
