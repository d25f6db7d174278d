"""Where the 68 landmarks of the iBUG order lie on the procedural head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural.assembly import Assembly
from headworks.heads.procedural.parttypes import Points
from headworks.heads.procedural.rings import LID_COUNT, LIP_COUNT

# Subject's left half, mm: the jaw from ear to chin, brow and nose.
_JAW = ((69, 29, 8), (67.5, 10.5, 8), (65, -9, 12), (61, -29, 15), (54.5, -48.5, 18),
        (46.5, -64, 36), (34, -74, 58), (17.5, -81.5, 82), (0, -85.5, 92))  # fmt: skip
_BROW = ((11.5, 37.5, 97), (22, 42, 98), (32, 44, 94), (42, 43, 86), (51, 36.5, 74))
_BRIDGE = ((0, 24, 96), (0, 12.5, 104), (0, 1, 113.4), (0, -11, 121.4))
_BASE = ((0, -22.8, 105.8), (6.3, -22.6, 106.5), (12.8, -22, 102.5))
_OUTER_LIP_X = (0.0, 7.0, 15.0)


def closest(head: Assembly, targets: Points) -> tuple[NDArray[np.int64], Points]:
    """Closest points on the head's skin: face indices [N] and barycentrics [N, 3]."""
    skin = np.flatnonzero(np.isin(head.faces, head.members["head"]).all(1))
    a, b, c = (head.points[head.faces[skin, i]] for i in range(3))
    faces, barys = [], []
    for target in targets:
        bary = _closest_bary(target, a, b, c)
        point = bary[:, :1] * a + bary[:, 1:2] * b + bary[:, 2:] * c
        best = int(np.linalg.norm(point - target, axis=1).argmin())
        faces.append(skin[best])
        barys.append(bary[best])
    return np.array(faces, np.int64), np.array(barys)


def _closest_on_middle(head: Assembly, target: Points) -> tuple[int, Points]:
    """As `closest` for one target on the middle plane, on the skin's edges in that plane."""
    skin = np.flatnonzero(np.isin(head.faces, head.members["head"]).all(1))
    middle = np.abs(head.points[head.faces[skin], 0]) < 1e-9
    skin = skin[middle.sum(1) == 2]
    best: tuple[float, int, Points] = (np.inf, -1, np.zeros(3))
    for face in skin:
        ids = head.faces[face]
        at = np.flatnonzero(np.abs(head.points[ids, 0]) < 1e-9)
        start, end = head.points[ids[at]]
        way = end - start
        t = float(np.clip(((target - start) * way).sum() / (way * way).sum(), 0, 1))
        gap = start + t * way - target
        distance = float((gap * gap).sum())
        if distance < best[0] - 1e-9:
            bary = np.zeros(3)
            bary[at] = 1 - t, t
            best = (distance, int(face), bary)
    return best[1:]


def _closest_bary(p: Points, a: Points, b: Points, c: Points) -> Points:
    """Barycentrics of the points of triangles [F] closest to p."""
    e0, e1, d = b - a, c - a, p - a
    d00, d01, d11 = (e0 * e0).sum(1), (e0 * e1).sum(1), (e1 * e1).sum(1)
    d20, d21 = (d * e0).sum(1), (d * e1).sum(1)
    det = np.maximum(d00 * d11 - d01 * d01, 1e-12)
    v = (d11 * d20 - d01 * d21) / det
    w = (d00 * d21 - d01 * d20) / det
    inside = np.column_stack([1 - v - w, v, w])
    options = [np.where((inside >= 0).all(1, keepdims=True), inside, np.nan)]
    for i, (start, end) in enumerate(((a, b), (b, c), (c, a))):
        edge = end - start
        t = np.clip(((p - start) * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-12), 0, 1)
        bary = np.zeros((len(a), 3))
        bary[:, i] = 1 - t
        bary[:, (i + 1) % 3] = t
        options.append(bary)
    stack = np.stack(options)
    point = stack[..., :1] * a + stack[..., 1:2] * b + stack[..., 2:] * c
    distance = np.linalg.norm(point - p, axis=2)
    distance[np.isnan(distance)] = np.inf
    return np.take_along_axis(stack, distance.argmin(0)[None, :, None], 0)[0]


def landmark_embedding(head: Assembly) -> tuple[NDArray[np.int64], Points]:
    """Face index [68] and barycentrics [68, 3] of the landmarks, iBUG order."""
    flip = np.array([-1.0, 1, 1])
    jaw, brow = np.array(_JAW, np.float64), np.array(_BROW, np.float64)
    base = np.array(_BASE, np.float64)
    targets = np.full((68, 3), np.nan)
    targets[8:17] = jaw[::-1]
    targets[0:8] = jaw[:8] * flip
    targets[22:27] = brow
    targets[17:22] = brow[::-1] * flip
    targets[27:31] = _BRIDGE
    targets[33:36] = base
    targets[31:33] = base[:0:-1] * flip
    free = np.flatnonzero(~np.isnan(targets[:, 0]))
    faces = np.zeros(68, np.int64)
    barys = np.zeros((68, 3))
    faces[free], barys[free] = closest(head, targets[free])
    for landmark in (8, 27, 28, 29, 30, 33):
        faces[landmark], barys[landmark] = _closest_on_middle(head, targets[landmark])
    for landmark, vertex in _ring_landmarks(head).items():
        owners = np.flatnonzero((head.faces == vertex).any(1))
        skin = owners[np.isin(head.faces[owners], head.members["head"]).all(1)][0]
        faces[landmark] = skin
        barys[landmark] = head.faces[skin] == vertex
    return faces, barys


def _ring_landmarks(head: Assembly) -> dict[int, int]:
    """Landmarks that are vertices: landmark -> vertex."""
    n = LID_COUNT
    third = n // 3
    left, right = head.tags["lid0"], head.tags["lid0_r"]
    steps = (0, third, 2 * third, n, n + third, n + 2 * third)
    found = {42 + i: int(left[s]) for i, s in enumerate(steps)}
    # From the outer canthus on the subject's right: outer, upper outer, upper inner, inner, ...
    outer_first = (n, 2 * third, third, 0, n + 2 * third, n + third)
    found |= {36 + i: int(right[s]) for i, s in enumerate(outer_first)}
    half = LIP_COUNT
    border, corner, edge = head.tags["lip3"], head.tags["lip0"], head.tags["lip0"]
    found |= {54: int(corner[0]), 48: int(corner[half])}

    def at(ring: NDArray[np.int64], upper: bool, x: float) -> int:
        ids = ring[1:half] if upper else ring[half + 1 :]
        return int(ids[np.abs(head.points[ids, 0] - x).argmin()])

    near, far = _OUTER_LIP_X[1:]
    for i, x in zip((53, 52, 51, 50, 49), (far, near, 0, -near, -far), strict=True):
        found[i] = at(border, True, x)
    for i, x in zip((55, 56, 57, 58, 59), (far, near, 0, -near, -far), strict=True):
        found[i] = at(border, False, x)
    inner = 21.0
    found |= {64: at(edge, True, inner), 60: at(edge, True, -inner)}
    for upper_i, lower_i, x in ((63, 65, 8.5), (62, 66, 0.0), (61, 67, -8.5)):
        found[upper_i] = at(edge, True, x)
        found[lower_i] = at(edge, False, x)
    return found
