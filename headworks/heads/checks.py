"""Is a head sound? Self-intersections, gaps between closed lids, lids and lips that cross.

All functions take any `HeadModel` and vertices in metres; results are in millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.heads.base import REGIONS, HeadModel
from headworks.mesh import rasterize_mesh

Array = NDArray[np.float64]
Ids = NDArray[np.int64]

CROSSING_MM = 0.05
"""Triangles that reach less deeply into each other than this are taken to touch."""
_LIFT_MM = 0.02
_MM = 1000.0
_SKIN = ("skin", "scalp", "lips", "eyelids", "ears", "neck", "torso")
_FLESH = (*_SKIN, "mouth_inner")
_PIXEL_MM = 0.1


@dataclass(frozen=True)
class Soundness:
    """The worst that was found on some people.

    Attributes:
        intersections: most pairs of crossing skin triangles on one neutral head.
        intersection_depth_mm: how deeply the worst pair reaches into each other.
        lid_gap_mm: highest slit through which an eyeball is seen between closed lids.
        lid_depth_mm, lip_depth_mm: how deeply one lid or lip lies in the other at most.
        people: how many neutral heads. expressions: how many faces with expressions.
    """

    intersections: int
    intersection_depth_mm: float
    lid_gap_mm: float
    lid_depth_mm: float
    lip_depth_mm: float
    people: int
    expressions: int


def soundness(
    head: HeadModel,
    identities: NDArray[np.floating],
    expressions: NDArray[np.floating],
    largest_self_tests: int = 40,
) -> Soundness:
    """Check people and their expressions.

    Args:
        head: the model. identities: [N, Ki]. expressions: [N, M, Ke], M faces of each person.
        largest_self_tests: on how many people at most triangles are tested against each other.
    """
    neutral = np.zeros((1, len(head.expression_names)), np.float32)
    counts, depths, gaps, lids, lips = [0], [0.0], [0.0], [0.0], [0.0]
    for i, identity in enumerate(identities):
        rest = _vertices(head, identity, neutral)[0]
        if i < largest_self_tests:
            found = self_intersections(head, rest)
            counts.append(len(found))
            depths.append(float(found.max(initial=0.0)))
        if all(f"eyeBlink{side}" in head.expression_names for side in ("Left", "Right")):
            shut = neutral.copy()
            for side in ("Left", "Right"):
                shut[0, head.expression_index(f"eyeBlink{side}")] = 1
            closed = _vertices(head, identity, shut)[0]
            gaps.append(lid_gap(head, closed))
        faces = _vertices(head, identity, expressions[i])
        for moved in faces:
            lids.append(max(depth_between(head, rest, moved, part) for part in ("left", "right")))
            lips.append(depth_between(head, rest, moved, "lips"))
    return Soundness(
        max(counts), max(depths), max(gaps), max(lids), max(lips), len(identities),
        expressions.shape[0] * expressions.shape[1],
    )  # fmt: skip


def random_expressions(head: HeadModel, count: int, rng: np.random.Generator) -> Array:
    """Faces of a few expressions at once, [count, Ke]: up to five, of any strength.

    Left and right go together in half of them. The tongue stays in, as it may well leave through
    closed lips; of jawLeft and jawRight, say, only one is taken.
    """
    names = head.expression_names
    out = np.zeros((count, len(names)))
    usable = [i for i, name in enumerate(names) if not name.startswith("tongue")]
    for row in out:
        for i in rng.choice(usable, rng.integers(1, 6), replace=False):
            name = names[i]
            row[i] = rng.uniform(0, 1)
            if name.endswith(("Left", "Right")):
                stem, side = (name[:-4], "Right") if name.endswith("Left") else (name[:-5], "Left")
                other = stem + side
                if other in names:
                    opposed = stem in ("jaw", "mouth", "eyeLookIn", "eyeLookOut")
                    row[names.index(other)] = 0 if opposed else row[i] * rng.integers(0, 2)
    return out


def _vertices(
    head: HeadModel, identity: NDArray[np.floating], faces: NDArray[np.floating]
) -> Array:
    with torch.no_grad():
        expression = torch.from_numpy(np.asarray(faces, np.float32))
        who = torch.from_numpy(np.asarray(identity, np.float32))[None].expand(len(expression), -1)
        return head.rest_vertices(who, expression).double().numpy()


def self_intersections(head: HeadModel, vertices: Array) -> Array:
    """Depths [K] mm of pairs of skin triangles that cross (and share no vertex).

    Args:
        head: the model. vertices: [V, 3] metres.
    """
    chosen = head.region_faces(*_SKIN).numpy()
    faces = np.ascontiguousarray(head.faces.numpy()[chosen])
    points = np.ascontiguousarray(np.asarray(vertices, np.float64) * _MM)
    corners = points[faces]
    low, high = corners.min(1), corners.max(1)
    order = np.argsort(low[:, 0], kind="stable")
    depths = _crossings(points, faces[order], low[order], high[order], CROSSING_MM)
    return np.asarray(depths, np.float64)


@numba.njit(cache=True)
def _crossings(points: Array, faces: Ids, low: Array, high: Array, least: float) -> list[float]:
    """Sweep along x over bounding boxes; exact test of what remains."""
    out = [0.0][:0]
    count = len(faces)
    for i in range(count):
        for j in range(i + 1, count):
            if low[j, 0] > high[i, 0]:
                break
            if low[j, 1] > high[i, 1] or low[i, 1] > high[j, 1]:
                continue
            if low[j, 2] > high[i, 2] or low[i, 2] > high[j, 2]:
                continue
            shared = False
            for a in range(3):
                for b in range(3):
                    shared = shared or faces[i, a] == faces[j, b]
            if shared:
                continue
            depth = triangle_crossing(
                points[faces[i, 0]], points[faces[i, 1]], points[faces[i, 2]],
                points[faces[j, 0]], points[faces[j, 1]], points[faces[j, 2]],
            )  # fmt: skip
            if depth > least:
                out.append(depth)
    return out


@numba.njit(cache=True)
def _cross(a: Array, b: Array) -> Array:
    return np.array(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


@numba.njit(cache=True)
def _interval(along: Array, off: Array) -> tuple[float, float]:
    """Where a triangle meets the line in which two planes cross (corners' places, distances)."""
    first, second = np.inf, -np.inf
    for k in range(3):
        m = (k + 1) % 3
        if (off[k] > 0) != (off[m] > 0):
            t = off[k] / (off[k] - off[m])
            at = along[k] + t * (along[m] - along[k])
            first, second = min(first, at), max(second, at)
    return first, second


@numba.njit(cache=True)
def triangle_crossing(a0: Array, a1: Array, a2: Array, b0: Array, b1: Array, b2: Array) -> float:
    """How deeply two triangles reach through each other, 0 where they do not cross.

    The depth is by how much one must move along the other's normal to come free of its plane.

    Source:
        Moeller, A fast triangle-triangle intersection test, J. Graphics Tools 2(2), 1997.
    """
    first, second = (a0, a1, a2), (b0, b1, b2)
    nb = _cross(b1 - b0, b2 - b0)
    na = _cross(a1 - a0, a2 - a0)
    size_a, size_b = np.sqrt((na * na).sum()), np.sqrt((nb * nb).sum())
    if size_a < 1e-12 or size_b < 1e-12:
        return 0.0
    off_a, off_b = np.empty(3), np.empty(3)
    for k in range(3):
        off_a[k] = ((first[k] - b0) * nb).sum() / size_b
        off_b[k] = ((second[k] - a0) * na).sum() / size_a
    if off_a.min() >= 0 or off_a.max() <= 0 or off_b.min() >= 0 or off_b.max() <= 0:
        return 0.0
    line = _cross(na, nb)
    along_a, along_b = np.empty(3), np.empty(3)
    for k in range(3):
        along_a[k] = (first[k] * line).sum()
        along_b[k] = (second[k] * line).sum()
    from_a, to_a = _interval(along_a, off_a)
    from_b, to_b = _interval(along_b, off_b)
    overlap = min(to_a, to_b) - max(from_a, from_b)
    length = np.sqrt((line * line).sum())
    if overlap <= 0 or length < 1e-15:
        return 0.0
    depth = min(min(off_a.max(), -off_a.min()), min(off_b.max(), -off_b.min()))
    return min(depth, overlap / length)


def lid_gap(head: HeadModel, closed: Array) -> float:
    """Highest slit in mm through which an eyeball shows from the front between the lids.

    Args:
        head: the model. closed: [V, 3] metres, with both eyes shut.
    """
    faces = np.ascontiguousarray(head.faces.numpy(), np.int32)
    is_eye = head.face_regions.numpy() == REGIONS.index("eyes")
    worst = 0.0
    distance, size = 50.0, 400
    for joint in (3, 4):
        centre = head.joints[joint].double().numpy() * 1.0
        eyes = np.unique(faces[is_eye])
        near = eyes[np.abs(closed[eyes, 0] - centre[0]) < 0.02]
        centre = closed[near].mean(0)
        view = np.diag([1.0, -1.0, -1.0, 1.0])
        view[:3, 3] = [-centre[0], centre[1], centre[2] + distance]
        focal = distance / (_PIXEL_MM / _MM)
        K = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
        seen = rasterize_mesh(closed, faces, Camera(view, K, size, size)).face_ids
        slit = (seen >= 0) & is_eye[np.maximum(seen, 0)]
        worst = max(worst, float(slit.sum(0).max()) * _PIXEL_MM)
    return worst


def depth_between(head: HeadModel, rest: Array, moved: Array, part: str) -> float:
    """How deeply upper and lower lip (or lid) lie in one another, mm.

    Args:
        head: the model. rest: [V, 3] metres of the neutral face, which tells upper from lower.
        moved: [V, 3] metres. part: "lips", or the lids of the subject's "left" or "right" eye.
    """
    faces = head.faces.numpy()
    points = np.ascontiguousarray(moved * _MM)
    worst = 0.0
    upper, lower = _halves(head, rest, part)
    # A lip that stands behind the other one is not in it: what is in it is in the head's flesh.
    flesh = np.ascontiguousarray(faces[head.region_faces(*_FLESH).numpy()])
    closed = part == "lips" and bool(head.region_faces("mouth_inner").any())
    for inside, outside in ((upper, lower), (lower, upper)):
        own = np.unique(faces[inside])
        other = np.ascontiguousarray(faces[outside])
        # Corners belong to both halves.
        own = np.setdiff1d(own, np.unique(other))
        if len(own) and len(other):
            depths = _depths(points[own], points, other)
            for i in np.flatnonzero(depths > worst):
                if not closed or _inside(_lifted(points, faces[inside], own[i]), points, flesh):
                    worst = max(worst, float(depths[i]))
    return worst


def _lifted(points: Array, faces: Ids, vertex: int) -> Array:
    """A little out of the surface at a vertex, [3]."""
    corners = points[faces[(faces == vertex).any(1)]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).sum(0)
    out: Array = points[vertex] + _LIFT_MM * normal / max(float(np.linalg.norm(normal)), 1e-12)
    return out


@numba.njit(cache=True)
def _inside(p: Array, points: Array, faces: Ids) -> bool:
    """Whether a surface winds around a point; openings far away do not matter.

    Source:
        Jacobson, Kavan, Sorkine-Hornung, Robust inside-outside segmentation using generalized
        winding numbers, SIGGRAPH 2013; solid angles by van Oosterom and Strackee, 1983.
    """
    total = 0.0
    for f in range(len(faces)):
        a, b, c = points[faces[f, 0]] - p, points[faces[f, 1]] - p, points[faces[f, 2]] - p
        x, y, z = np.sqrt((a * a).sum()), np.sqrt((b * b).sum()), np.sqrt((c * c).sum())
        below = x * y * z + (a * b).sum() * z + (b * c).sum() * x + (c * a).sum() * y
        total += 2 * np.arctan2((a * _cross(b, c)).sum(), below)
    return total > 2 * np.pi


def _halves(head: HeadModel, rest: Array, part: str) -> tuple[Ids, Ids]:
    """Faces of the upper and of the lower lip or lid."""
    marks = head.landmarks(torch.from_numpy(np.asarray(rest, np.float32))[None])[0].numpy()
    corners = {"lips": (60, 64), "right": (36, 39), "left": (42, 45)}[part]
    pairs = {
        "lips": ((61, 67), (62, 66), (63, 65)),
        "right": ((37, 41), (38, 40)),
        "left": ((43, 47), (44, 46)),
    }[part]
    line = np.array(
        [marks[corners[0]], *((marks[a] + marks[b]) / 2 for a, b in pairs), marks[corners[1]]]
    )
    faces, region = head.faces.numpy(), head.face_regions.numpy()
    name = "lips" if part == "lips" else "eyelids"
    middle = rest[faces].mean(1)
    # Canthi and corners belong to both: leave the ends of the line out.
    width = line[-1, 0] - line[0, 0]
    within = (middle[:, 0] > line[0, 0] + 0.06 * width) & (
        middle[:, 0] < line[-1, 0] - 0.06 * width
    )
    chosen = np.flatnonzero((region == REGIONS.index(name)) & within)
    above = middle[chosen, 1] > np.interp(middle[chosen, 0], line[:, 0], line[:, 1])
    return chosen[above], chosen[~above]


@numba.njit(cache=True)
def _depths(own: Array, points: Array, faces: Ids) -> Array:
    """How far points lie behind the surface of the triangles that they are nearest to, [N]."""
    normals = np.empty((len(faces), 3))
    for f in range(len(faces)):
        a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        n = _cross(b - a, c - a)
        normals[f] = n / max(np.sqrt((n * n).sum()), 1e-12)
    out = np.zeros(len(own))
    for i in range(len(own)):
        p = own[i]
        best, side, inner = np.inf, 0.0, False
        for f in range(len(faces)):
            a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
            q, interior = _nearest(p, a, b, c)
            gap = p - q
            square = (gap * gap).sum()
            if square < best - 1e-12:
                best = square
                side = (gap * normals[f]).sum()
                inner = interior
        # Beyond the rim of the sheet there is no inside.
        if inner and side < 0:
            out[i] = -side
    return out


@numba.njit(cache=True)
def _nearest(p: Array, a: Array, b: Array, c: Array) -> tuple[Array, bool]:
    """The point of a triangle nearest to p, and whether it lies in its interior."""
    e0, e1, d = b - a, c - a, p - a
    d00, d01, d11 = (e0 * e0).sum(), (e0 * e1).sum(), (e1 * e1).sum()
    d20, d21 = (d * e0).sum(), (d * e1).sum()
    det = max(d00 * d11 - d01 * d01, 1e-18)
    v, w = (d11 * d20 - d01 * d21) / det, (d00 * d21 - d01 * d20) / det
    if v >= 0 and w >= 0 and v + w <= 1:
        return a + v * e0 + w * e1, True
    best, found = np.inf, a
    for k in range(3):
        start = a if k == 0 else (b if k == 1 else c)
        end = b if k == 0 else (c if k == 1 else a)
        way = end - start
        t = min(max(((p - start) * way).sum() / max((way * way).sum(), 1e-18), 0.0), 1.0)
        q = start + t * way
        square = ((p - q) * (p - q)).sum()
        if square < best:
            best, found = square, q
    return found, False
