"""A UV atlas for models that come without one: no overlaps, few seams.

The large skin is unrolled around the vertical axis; triangles that would lie over others (ears,
nostrils, the inside of the mouth) and small parts become charts of their own, each laid flat along
its mean normal. Charts are packed row by row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.mesh import rasterize_uv

Array = NDArray[np.float64]
Faces = NDArray[np.int64]

_GRID = 1024
"""Texels per side on which overlaps are looked for."""

_GAP = 0.004
_ROUNDS = 12


def make_atlas(vertices: Array, faces: Faces) -> tuple[NDArray[np.float32], Faces]:
    """UVs of a mesh.

    Args:
        vertices: [V, 3] metres, +y up. faces: [F, 3].

    Returns:
        uvs float32 [U, 2] in [0, 1]; faces_uv int64 [F, 3].
    """
    charts: list[tuple[Faces, Array]] = []  # faces of a chart, corner UVs [f, 3, 2] in metres
    todo = [(part, True) for part in _components(faces, np.arange(len(faces)))]
    for _ in range(_ROUNDS):
        rest: list[tuple[Faces, bool]] = []
        for part, whole in todo:
            corners = vertices[faces[part]]
            flat = _unrolled(corners) if whole and _is_wide(corners) else _projected(corners)
            keep = _apart(flat)
            charts.append((part[keep], flat[keep]))
            left = part[~keep]
            if len(left):
                rest += [(piece, False) for piece in _components(faces, left)]
        todo = rest
        if not todo:
            break
    charts += [
        (part[i : i + 1], _projected(vertices[faces[part[i : i + 1]]]))
        for part, _ in todo
        for i in range(len(part))
    ]
    return _pack([c for c in charts if len(c[0])], len(faces), faces)


def _components(faces: Faces, ids: Faces) -> list[Faces]:
    """Groups of faces that hang together by vertices, largest first."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    used, local = np.unique(faces[ids], return_inverse=True)
    local = local.reshape(-1, 3)
    pairs = np.concatenate([local[:, :2], local[:, 1:]])
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(used),) * 2)
    label = connected_components(graph, directed=False)[1][local[:, 0]]
    order = np.argsort(label, kind="stable")
    parts = np.split(ids[order], np.flatnonzero(np.diff(label[order])) + 1)
    return sorted(parts, key=lambda p: (-len(p), int(p[0])))


def _is_wide(corners: Array) -> bool:
    """Whether a part reaches around the head rather than being an eyeball or a tooth."""
    return bool(np.ptp(corners[..., 0]) > 0.1)


def _unrolled(corners: Array) -> Array:
    """Angle around the vertical axis times a mean radius, and height bent over the crown."""
    middle = np.array([0.0, 0.03, 0.0])
    local = corners - middle
    angle = np.arctan2(local[..., 0], local[..., 2])
    first = angle[:, :1]
    angle = first + (angle - first + np.pi) % (2 * np.pi) - np.pi  # no face across the seam
    radius = np.hypot(local[..., 0], local[..., 2])
    above = np.maximum(local[..., 1], 0)
    rise = np.arctan2(above, radius) * 0.11 + np.minimum(local[..., 1], 0)
    # Towards the crown rings shrink, as on a globe drawn sinusoidally, so that texels stay even.
    width = 0.085 * np.maximum(np.cos(np.arctan2(above, radius)), 0.05)
    return np.stack([angle * width, rise], -1)


def _projected(corners: Array) -> Array:
    """Corners laid flat along their area-weighted mean normal."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axis = normal.sum(0)
    if np.linalg.norm(axis) < 0.3 * np.linalg.norm(normal, axis=1).sum():
        # A closed part: show the side that faces the largest triangle.
        axis = normal[np.linalg.norm(normal, axis=1).argmax()]
    axis = axis / max(float(np.linalg.norm(axis)), 1e-30)
    help_axis = np.eye(3)[np.abs(axis).argmin()]
    u = np.cross(help_axis, axis)
    u /= max(float(np.linalg.norm(u)), 1e-30)
    return np.stack([corners @ u, corners @ np.cross(axis, u)], -1)


def _apart(flat: Array) -> NDArray[np.bool_]:
    """Which triangles [f, 3, 2] are upright and lie over no other that is kept."""
    e1, e2 = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    longest = np.maximum.reduce(
        [np.square(e1).sum(1), np.square(e2).sum(1), np.square(e2 - e1).sum(1)]
    )
    keep = area > 0.02 * longest  # neither turned over nor a sliver
    if not keep.any():
        keep[np.abs(area).argmax()] = True
        return keep
    low = flat.reshape(-1, 2).min(0)
    scale = (_GRID - 2) / max(float(np.ptp(flat.reshape(-1, 2), 0).max()), 1e-9)
    for _ in range(4):
        ids = np.flatnonzero(keep)
        owners = _owners((flat[ids] - low) * scale + 1)
        both = owners[0] != owners[1]
        # The lower-numbered face stays: the loser is what lies over it.
        losers = np.unique(np.maximum(owners[0][both], owners[1][both]))
        if not len(losers):
            break
        keep[ids[losers]] = False
    if not keep.any():
        keep[0] = True
    return keep


def _owners(pixels: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest and highest triangle over every covered texel, as flat arrays."""
    count = len(pixels)
    uvs = (pixels / _GRID).reshape(-1, 2)
    corner = np.arange(3 * count).reshape(-1, 3)
    first = rasterize_uv(uvs.astype(np.float32), corner, _GRID)[0].reshape(-1)
    last = rasterize_uv(uvs.astype(np.float32), corner[::-1].copy(), _GRID)[0].reshape(-1)
    covered = (first >= 0) & (last >= 0)
    return first[covered].astype(np.int64), count - 1 - last[covered].astype(np.int64)


def _pack(
    charts: list[tuple[Faces, Array]], count: int, faces: Faces
) -> tuple[NDArray[np.float32], Faces]:
    """Charts side by side in the unit square: the largest below, the others in rows above it."""
    sizes = np.array([np.ptp(flat.reshape(-1, 2), 0) for _, flat in charts])
    order = np.argsort(-sizes[:, 1], kind="stable")
    main = int((sizes[:, 0] * sizes[:, 1]).argmax())
    order = np.concatenate([[main], order[order != main]]).astype(int)

    def layout(scale: float) -> tuple[dict[int, Array], float]:
        places: dict[int, Array] = {}
        x = y = row = 0.0
        for rank, chart in enumerate(order):
            w, h = sizes[chart] * scale + 2 * _GAP
            if x + w > 1.0 and x > 0:
                x, y, row = 0.0, y + row, 0.0
            places[int(chart)] = np.array([x + _GAP, y + _GAP])
            x, row = x + w, max(row, h)
            if rank == 0 and w > 0.5:  # the rest starts above the large chart
                x, y, row = 0.0, h, 0.0
        return places, y + row

    low, high = 0.0, (1 - 2 * _GAP) / float(sizes[:, 0].max())
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if layout(middle)[1] <= 1.0 else (low, middle)
    places, _ = layout(low)
    uvs: list[Array] = []
    faces_uv = np.zeros((count, 3), np.int64)
    total = 0
    for index, (part, flat) in enumerate(charts):
        corner = flat.reshape(-1, 2)
        placed = (corner - corner.min(0)) * low + places[index]
        # Corners of one vertex that fell on one place share their UV.
        key = np.column_stack([faces[part].reshape(-1), np.round(placed * 1e7).astype(np.int64)])
        _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
        uvs.append(placed[first])
        faces_uv[part] = total + inverse.reshape(-1, 3)
        total += len(first)
    return np.clip(np.concatenate(uvs), 0, 1).astype(np.float32), faces_uv
