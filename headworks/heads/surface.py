"""Closest points on a mesh, rays that meet it, and left-right partners of its vertices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
_CANDIDATES = 24
_SYMMETRY_M = 0.003
"""Metres by which a vertex may miss its partner's mirror image."""


def closest_on_triangles(points: Array, corners: Array) -> Array:
    """Barycentric coordinates of the points of triangles closest to given points.

    Args:
        points: [N, 3]. corners: [N, 3, 3], one triangle (corner, axis) per point.

    Returns:
        [N, 3], not negative, summing to 1.
    """
    a, b, c = corners.swapaxes(0, 1)
    e0, e1, d = b - a, c - a, points - a
    d00, d01, d11 = (e0 * e0).sum(-1), (e0 * e1).sum(-1), (e1 * e1).sum(-1)
    d20, d21 = (d * e0).sum(-1), (d * e1).sum(-1)
    det = np.maximum(d00 * d11 - d01 * d01, 1e-24)
    v, w = (d11 * d20 - d01 * d21) / det, (d00 * d21 - d01 * d20) / det
    best = np.stack([1 - v - w, v, w], -1)
    distance = np.where(
        (best >= 0).all(-1), np.linalg.norm((best[..., None] * corners).sum(1) - points, axis=-1),
        np.inf,
    )  # fmt: skip
    for i in range(3):
        start, edge = corners[:, i], corners[:, (i + 1) % 3] - corners[:, i]
        t = ((points - start) * edge).sum(-1) / np.maximum((edge * edge).sum(-1), 1e-24)
        t = np.clip(t, 0, 1)
        gap = np.linalg.norm(start + t[:, None] * edge - points, axis=-1)
        bary = np.zeros_like(best)
        bary[:, i], bary[:, (i + 1) % 3] = 1 - t, t
        nearer = gap < distance
        best[nearer], distance[nearer] = bary[nearer], gap[nearer]
    return best


def closest_points(
    points: Array, vertices: Array, faces: NDArray[np.int64], allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Array]:
    """Closest points of a mesh: the best of the triangles whose corners or middles are nearest.

    Args:
        points: [N, 3]. vertices: [V, 3]. faces: [F, 3]. allowed: bool [F], faces to look at.

    Returns:
        faces int64 [N], barycentric [N, 3].
    """
    ids = np.flatnonzero(allowed)
    corners = vertices[faces[ids]]
    # A triangle's middle may be far from its closest point: its corners vote, too.
    samples = np.concatenate([corners.mean(1), *corners.swapaxes(0, 1)])
    owner = np.tile(np.arange(len(ids)), 4)
    count = min(_CANDIDATES, len(samples))
    near = owner[cKDTree(samples).query(points, count)[1].reshape(len(points), -1)]
    repeated = np.repeat(points, near.shape[1], 0)
    chosen = corners[near.reshape(-1)]
    bary = closest_on_triangles(repeated, chosen)
    gap = np.linalg.norm((bary[..., None] * chosen).sum(1) - repeated, axis=-1)
    best = gap.reshape(near.shape).argmin(1)
    rows = np.arange(len(points))
    return ids[near[rows, best]], bary.reshape(*near.shape, 3)[rows, best]


def outermost_hits(
    origins: Array, directions: Array, vertices: Array, faces: NDArray[np.int64],
    allowed: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], Array]:  # fmt: skip
    """Where rays leave a mesh for the last time.

    Args:
        origins, directions: [N, 3]. vertices: [V, 3]. faces: [F, 3]. allowed: bool [F].

    Returns:
        faces int64 [N], -1 for a ray that meets nothing; barycentric [N, 3].
    """
    ids = np.flatnonzero(allowed)
    a, b, c = vertices[faces[ids]].swapaxes(0, 1)
    e1, e2 = b - a, c - a
    found, bary = np.full(len(origins), -1, np.int64), np.zeros((len(origins), 3))
    for i, (o, d) in enumerate(zip(origins, directions, strict=True)):
        p = np.cross(d, e2)
        det = (e1 * p).sum(-1)
        safe = np.where(np.abs(det) < 1e-15, np.inf, det)
        s = o - a
        u = (s * p).sum(-1) / safe
        q = np.cross(s, e1)
        v, t = (q @ d) / safe, (e2 * q).sum(-1) / safe
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        if hit.any():
            best = int(np.where(hit, t, -np.inf).argmax())
            found[i], bary[i] = ids[best], (1 - u[best] - v[best], u[best], v[best])
    return found, bary


def mirror_vertices(vertices: Array) -> NDArray[np.int64]:
    """Left-right partners of the vertices of a head that is symmetric about x = 0.

    Args:
        vertices: [V, 3] metres.

    Returns:
        int64 [V], an involution where it is not -1 (no vertex within 3 mm of the mirror image).
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    flipped = vertices * [-1.0, 1.0, 1.0]
    count = min(6, len(vertices))
    gap, near = cKDTree(vertices).query(flipped, count)
    gap, near = gap.reshape(len(vertices), -1), near.reshape(len(vertices), -1)
    rows = np.arange(len(vertices))
    partner = near[:, 0].astype(np.int64)
    settled = (partner[partner] == rows) & (gap[:, 0] < _SYMMETRY_M)
    # Where several claim one vertex (folds, coincident rims), small groups are matched at best.
    open_rows = np.flatnonzero(~settled)
    out = np.where(settled, partner, -1)
    usable = (gap[open_rows] < _SYMMETRY_M) & ~settled[near[open_rows]]
    a = np.repeat(open_rows, usable.sum(1))
    b = near[open_rows][usable]
    cost = gap[open_rows][usable]
    graph = coo_matrix((np.ones(len(a)), (a, b)), shape=(len(vertices),) * 2)
    label = connected_components(graph, directed=False)[1]
    order = np.argsort(label[a], kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(label[a][order])) + 1):
        if not len(part):
            continue
        members = np.unique(np.concatenate([a[part], b[part]]))
        if len(members) > 2000:
            continue
        table = np.full((len(members), len(members)), 1.0)
        at_a, at_b = np.searchsorted(members, a[part]), np.searchsorted(members, b[part])
        table[at_a, at_b] = np.minimum(table[at_a, at_b], cost[part])
        table = (table + table.T) / 2
        left, right = linear_sum_assignment(table)
        good = table[left, right] < _SYMMETRY_M
        out[members[left[good]]] = members[right[good]]
    broken = (out >= 0) & (out[out] != rows)
    out[broken] = -1
    return out
