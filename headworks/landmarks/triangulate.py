"""Landmarks of several calibrated cameras become points in space, whatever single cameras claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera

# A view further off than this share of the image's side contradicts the others.
TOLERANCE = 0.012
# Rays of the two most different views must enclose this angle, radians.
_LEAST_PARALLAX = np.radians(4.0)
_ROUNDS = 8
# Hypotheses times points times cameras held in memory at once.
_CHUNK = 4_000_000


class Landmarks3D(NamedTuple):
    """Landmarks in space.

    Attributes:
        points: float32 [T, N, 3] metres in the cameras' world, NaN where under two views agree.
        confidence: float32 [T, N] in [0, 1], 0 where NaN.
        residual: float32 [T, N] pixels: root mean square over the views that agree, NaN likewise.
        views: int32 [T, N], how many views agree.
    """

    points: NDArray[np.float32]
    confidence: NDArray[np.float32]
    residual: NDArray[np.float32]
    views: NDArray[np.int32]


def triangulate_landmarks(
    seen: NDArray[np.floating], cameras: Sequence[Camera], tolerance_px: float | None = None
) -> Landmarks3D:
    """Robust triangulation of each landmark at each time step.

    Every pair of views proposes a point (linear triangulation); the proposal that most views
    support within the tolerance wins (MSAC over all pairs, so there is no chance in it) and is
    refined by Gauss-Newton steps under Huber's loss on the pixels, with what still contradicts
    left out.

    Args:
        seen: [T, C, N, 3] x, y in pixels (centres at +0.5) and confidence; NaN or confidence 0
            where not seen.
        cameras: C cameras.
        tolerance_px: how far a view may be off; by default 1.2 % of the image's longer side.

    Returns:
        points, confidence, residual and views, see `Landmarks3D`. The confidence is the share of
        the seeing views' confidence that agrees, lowered by the residual and by few views.

    Source: Hartley and Zisserman, Multiple View Geometry, 2nd edition, sections 4.7 and 12.2;
        Torr and Zisserman, MLESAC, 2000 (the truncated cost).
    """
    times, count, marks = seen.shape[:3]
    if count != len(cameras):
        raise ValueError(f"{count} views of landmarks but {len(cameras)} cameras")
    tolerance = tolerance_px or TOLERANCE * max(max(c.width, c.height) for c in cameras)
    flat = np.asarray(seen, np.float64).transpose(0, 2, 1, 3).reshape(-1, count, 3)
    pairs = max(1, count * (count - 1) // 2)
    step = max(1, _CHUNK // (pairs * count))
    parts = [_block(flat[i : i + step], cameras, tolerance) for i in range(0, len(flat), step)]
    if not parts or count < 2:
        parts = [
            (
                np.full((len(flat), 3), np.nan),
                np.zeros(len(flat)),
                np.full(len(flat), np.nan),
                np.zeros(len(flat)),
            )
        ]
    points, confidence, residual, views = (np.concatenate(p) for p in zip(*parts, strict=True))
    return Landmarks3D(
        points.reshape(times, marks, 3).astype(np.float32),
        confidence.reshape(times, marks).astype(np.float32),
        residual.reshape(times, marks).astype(np.float32),
        views.reshape(times, marks).astype(np.int32),
    )


def _block(
    seen: NDArray[np.float64], cameras: Sequence[Camera], tolerance: float
) -> tuple[NDArray[np.float64], ...]:
    """[M, C, 3] -> points [M, 3], confidence [M], residual [M], views [M]."""
    count = len(cameras)
    P = np.stack([c.K @ c.viewmat[:3] for c in cameras])
    centres = np.stack([c.centre for c in cameras])
    trust = np.where(np.isfinite(seen).all(-1), np.clip(seen[..., 2], 0, 1), 0.0)
    xy = np.where(trust[..., None] > 0, seen[..., :2], 0.0)

    best = np.full((len(seen), 3), np.nan)
    lowest = np.full(len(seen), np.inf)
    for a in range(count):
        for b in range(a + 1, count):
            both = (trust[:, a] > 0) & (trust[:, b] > 0)
            if not both.any():
                continue
            proposal = _two_views(xy[both][:, [a, b]], P[[a, b]])
            wide = _parallax(proposal, centres[[a, b]]) > _LEAST_PARALLAX
            off = _errors(proposal, P, xy[both])
            cost = (trust[both] * np.minimum(off / tolerance, 1) ** 2).sum(-1)
            cost = np.where(wide & np.isfinite(cost), cost, np.inf)
            rows = np.flatnonzero(both)
            better = cost < lowest[rows]
            best[rows[better]], lowest[rows[better]] = proposal[better], cost[better]

    known = np.isfinite(best).all(-1)
    points = np.where(known[:, None], best, 0.0)
    for _ in range(_ROUNDS):
        off, jacobian, residuals = _linearised(points, P, xy)
        # Huber's weight within the tolerance, nothing beyond it.
        scale = tolerance / 4
        weight = trust * np.where(off < scale, 1.0, scale / np.maximum(off, 1e-9))
        weight = np.where(off < tolerance, weight, 0.0)
        normal = np.einsum("mc,mcki,mckj->mij", weight, jacobian, jacobian)
        right = np.einsum("mc,mcki,mck->mi", weight, jacobian, residuals)
        damping = 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-12
        points = points - np.linalg.solve(normal + damping * np.eye(3), right[..., None])[..., 0]

    off = _errors(points, P, xy)
    agrees = (trust > 0) & (off < tolerance) & known[:, None]
    views = agrees.sum(1)
    known &= (views >= 2) & (_widest(points, centres, agrees) > _LEAST_PARALLAX)
    weight = np.where(agrees, trust, 0.0)
    total = np.maximum(weight.sum(1), 1e-12)
    residual = np.sqrt((weight * np.where(agrees, off, 0.0) ** 2).sum(1) / total)
    share = weight.sum(1) / np.maximum(trust.sum(1), 1e-12)
    # Two views always nearly agree: only the third and further ones confirm.
    confirmed = 1 - 0.5 ** np.maximum(views - 1, 0)
    confidence = (total / np.maximum(views, 1)) * share * confirmed
    confidence = confidence / (1 + (residual / (tolerance / 2)) ** 2)
    points = np.where(known[:, None], points, np.nan)
    return (
        points,
        np.where(known, confidence, 0.0),
        np.where(known, residual, np.nan),
        np.where(known, views, 0),
    )


def _two_views(xy: NDArray[np.float64], P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear triangulation: [M, 2, 2] pixels, [2, 3, 4] -> [M, 3]."""
    rows = xy[..., None] * P[None, :, None, 2] - P[None, :, :2]
    rows = rows.reshape(len(xy), 4, 4)
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    A, b = rows[..., :3], -rows[..., 3]
    normal = np.einsum("mki,mkj->mij", A, A) + 1e-15 * np.eye(3)
    return np.linalg.solve(normal, np.einsum("mki,mk->mi", A, b)[..., None])[..., 0]


def _errors(
    points: NDArray[np.float64], P: NDArray[np.float64], xy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pixels between [M, 3] points and [M, C, 2]: [M, C], infinite behind a camera."""
    cam = np.einsum("cij,mj->mci", P[:, :, :3], points) + P[None, :, :, 3]
    z = cam[..., 2]
    off = np.linalg.norm(cam[..., :2] / np.where(z > 0, z, 1.0)[..., None] - xy, axis=-1)
    return np.where(z > 0, off, np.inf)


def _linearised(
    points: NDArray[np.float64], P: NDArray[np.float64], xy: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Pixel errors [M, C], Jacobian [M, C, 2, 3] and residuals [M, C, 2]."""
    cam = np.einsum("cij,mj->mci", P[:, :, :3], points) + P[None, :, :, 3]
    z = np.where(cam[..., 2] > 1e-6, cam[..., 2], 1e-6)
    pixel = cam[..., :2] / z[..., None]
    jacobian = (P[None, :, :2, :3] - pixel[..., None] * P[None, :, 2:, :3]) / z[..., None, None]
    residuals = pixel - xy
    off = np.where(cam[..., 2] > 0, np.linalg.norm(residuals, axis=-1), np.inf)
    return off, jacobian, residuals


def _parallax(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle at [M, 3] points between two camera centres [2, 3]: [M] radians."""
    rays = points[:, None] - centres
    rays /= np.maximum(np.linalg.norm(rays, axis=-1, keepdims=True), 1e-12)
    return np.arccos(np.clip((rays[:, 0] * rays[:, 1]).sum(-1), -1, 1))


def _widest(
    points: NDArray[np.float64], centres: NDArray[np.float64], agrees: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Largest angle at each point between rays of views that agree: [M] radians."""
    rays = points[:, None] - centres
    rays /= np.maximum(np.linalg.norm(rays, axis=-1, keepdims=True), 1e-12)
    cosine = np.einsum("mai,mbi->mab", rays, rays)
    both = agrees[:, :, None] & agrees[:, None, :]
    return np.arccos(np.clip(np.where(both, cosine, 1.0).min((1, 2)), -1, 1))
