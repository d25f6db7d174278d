"""Triangulation of the head's skin: rings around its openings, graded points elsewhere."""

from __future__ import annotations

from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from headworks.heads.procedural import anatomy, rings, torso
from headworks.heads.procedural.detail import relief
from headworks.heads.procedural.parttypes import Faces, Part, Points, smoothstep
from headworks.heads.procedural.rings import LID_COUNT, LIP_COUNT
from headworks.heads.procedural.surface import SkinSurface

__all__ = ["LID_COUNT", "LIP_COUNT", "Faces", "Part", "Points", "head", "smoothstep"]

NECK_COLUMNS = 56
_UNFOLD_FROM = np.array([0.0, 8.0, 38.0])
"""Seen from here, the skin is unfolded: the base of the nose does not lie along the rays."""


@numba.njit(cache=True)
def _thin(points: Points, spacing: Points, fixed: int) -> NDArray[np.bool_]:
    """Greedy Poisson-disc thinning in the given order; the first `fixed` points stay."""
    keep = np.zeros(len(points), np.bool_)
    kept = np.empty(len(points), np.int64)
    count = 0
    for i in range(len(points)):
        good = True
        if i >= fixed:
            limit = spacing[i] * spacing[i]
            for j in range(count):
                k = kept[j]
                dx = points[i, 0] - points[k, 0]
                dy = points[i, 1] - points[k, 1]
                dz = points[i, 2] - points[k, 2]
                if dx * dx + dy * dy + dz * dz < limit:
                    good = False
                    break
        if good:
            keep[i] = True
            kept[count] = i
            count += 1
    return keep


def spacing(points: Points) -> Points:
    """Wanted distance between neighbouring vertices, mm: fine at the face, coarse behind."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    base = 3.7 + 7.0 * smoothstep(z, 62, 5)
    base += 4.0 * smoothstep(y, 50, 90)
    nose = np.exp(-((x / 20) ** 4) - (np.maximum(np.abs(y + 8) - 12, 0) / 14) ** 2)
    eye = np.exp(-((np.hypot(x - 31.5, y - 22) / 24) ** 4) - (np.maximum(50 - z, 0) / 10) ** 2)
    mouth = np.exp(-((x / 34) ** 4) - ((y + 42) / 20) ** 4 - (np.maximum(60 - z, 0) / 10) ** 2)
    wing = np.exp(-(((x - 16) / 7) ** 2) - ((y + 14) / 9) ** 2 - ((z - 100) / 12) ** 2)
    least = 2.3 - 0.5 * wing
    return np.clip(base - 1.3 * nose - 0.9 * eye - 0.8 * mouth - 0.8 * wing, least, 12)


def unfolded(points: Points) -> Points:
    """Unit directions [N, 3] under which points of the skin are triangulated and charted."""
    away = points - _UNFOLD_FROM
    return away / np.linalg.norm(away, axis=1, keepdims=True)


def _candidates(surface: SkinSurface) -> tuple[Points, int]:
    """Points all over the left half of the skin, in random order; the first ones on the middle.

    Returns:
        points [N, 3] mm, and how many of them lie on the middle.
    """

    def spiral(count: int) -> Points:
        index = np.arange(count) + 0.5
        phi, theta = np.arccos(1 - 2 * index / count), np.pi * (1 + 5**0.5) * index
        return np.column_stack(
            [np.cos(theta) * np.sin(phi), np.cos(phi), np.sin(theta) * np.sin(phi)]
        )

    wide, fine = spiral(60000), spiral(600000)
    # The sides and the base of the nose lie along the rays: sample them more densely.
    nose = (fine[:, 2] > 0.95) & (fine[:, 1] < 0.1) & (fine[:, 1] > -0.28) & (fine[:, 0] < 0.23)
    rays = np.concatenate([wide, fine[nose]])
    rays = rays[(rays[:, 0] > 0) & (rays[:, 1] > -0.97)]
    arc = np.linspace(-np.pi, np.pi, 2400, endpoint=False)
    middle = np.column_stack([0 * arc, np.sin(arc), np.cos(arc)])
    middle = middle[middle[:, 1] > -0.97]
    order = np.argsort(np.sin(np.arange(len(rays)) * 12.9898) * 43758.5453 % 1, kind="stable")
    return surface.points(np.concatenate([middle, rays[order]])), len(middle)


def head(surface: SkinSurface) -> Part:
    """Skin of the head with openings at eyes, mouth, nostrils, ears and neck; exactly symmetric.

    Tags: rings "lid0".., "nostril0".. and "ear" of the left side and, with "_r", of the right
    one; lip rings "lip0".., "neck" (front, left side, back, right side), "mirror" (each vertex's
    counterpart).
    """
    lips, lip_flats = rings.lip_rings(surface)
    lids, lid_flats = rings.lid_rings(surface)
    nostrils, nostril_flats = rings.nostril_rings(surface)
    ear = rings.ear_ring(surface)
    border = torso.border_points(surface, NECK_COLUMNS)
    fixed_points = np.concatenate([*lips, *lids, *nostrils, ear, border])
    fixed_flat = unfolded(np.concatenate([*lip_flats, *lid_flats, *nostril_flats, ear, border]))

    points, on_arc = _candidates(surface)
    gap = spacing(points)
    ok = np.ones(len(points), bool)
    ok[on_arc:] &= points[on_arc:, 0] > 0.75 * gap[on_arc:]
    azimuth = np.arctan2(points[:, 0], points[:, 2] - anatomy.NECK_AXIS_Z)
    above = (points[:, 1] > torso.neck_border(azimuth) + 3) | (points[:, 2] > 62)
    ok &= above | (points[:, 1] > -45)
    ok &= ~(_inside(points[:, :2], lids[-1][:, :2]) & (points[:, 2] > 20))
    ok &= ~(_inside(points[:, :2], lips[-1][:, :2]) & (points[:, 2] > 20))
    base = (points[:, 2] > 90) & (points[:, 1] < -17) & (points[:, 1] > -26)
    ok &= ~(_inside(points[:, [0, 2]], nostrils[-1][:, [0, 2]]) & base)
    ok &= ~(_inside(points[:, 1:], ear[:, 1:]) & (points[:, 0] > 30))
    points, gap = points[ok], gap[ok]
    all_points = np.concatenate([fixed_points, points])
    keep = _thin(all_points, np.concatenate([spacing(fixed_points), gap]), len(fixed_points))
    points_half = all_points[keep]
    flat_half = np.concatenate([fixed_flat, unfolded(points)])[keep]
    on_middle = np.abs(points_half[:, 0]) < 1e-9
    points_half[on_middle, 0] = 0
    flat_half[on_middle, 0] = 0

    shaped = np.ones(len(points_half), bool)
    shaped[_rigid_rings(lips, lids)] = False
    points_half = points_half + shaped[:, None] * relief(points_half, unfolded(points_half))

    count = len(points_half)
    mirror_of = np.where(on_middle, np.arange(count), -1)
    twins = np.flatnonzero(~on_middle)
    mirror_of[twins] = count + np.arange(len(twins))
    flip = np.array([-1.0, 1, 1])
    flat = np.concatenate([flat_half, flat_half[twins] * flip])
    points = np.concatenate([points_half, points_half[twins] * flip])
    mirror = np.concatenate([mirror_of, twins])

    tags: dict[str, NDArray[np.int64]] = {}
    at = 0
    lip_ids = []
    for k, ring in enumerate(lips):
        left = at + np.arange(len(ring))
        lip_ids.append(left)
        half = len(ring) // 2
        # Closed: left corner, upper lip, right corner, lower lip.
        tags[f"lip{k}"] = np.concatenate(
            [
                left[: half + 1],
                mirror[left[half - 1 :: -1]],
                mirror[left[2 * half : half + 1 : -1]],
                left[half + 1 :],
            ]
        )
        at += len(ring)
    sided: dict[str, list[NDArray[np.int64]]] = {"lid": [], "nostril": []}
    for name, of in (("lid", lids), ("nostril", nostrils)):
        for k, ring in enumerate(of):
            tags[f"{name}{k}"] = at + np.arange(len(ring))
            tags[f"{name}{k}_r"] = mirror[tags[f"{name}{k}"]]
            sided[name].append(tags[f"{name}{k}"])
            at += len(ring)
    tags["ear"] = at + np.arange(len(ear))
    tags["ear_r"] = mirror[tags["ear"]]
    at += len(ear)
    side = at + np.arange(len(border))
    tags["neck"] = np.concatenate([side, mirror[side[-2:0:-1]]])
    tags["mirror"] = mirror

    # Between the rings the mesh is a strip; outside them it is Delaunay.
    lid_ids, nostril_ids = sided["lid"], sided["nostril"]
    inside = np.concatenate([*lip_ids[:-1], *lid_ids[:-1], *nostril_ids[:-1]])
    apart = np.setdiff1d(np.arange(len(flat)), np.concatenate([inside, mirror[inside]]))
    hull = apart[ConvexHull(flat[apart]).simplices]
    hull = hull[(flat[hull][:, :, 0] >= 0).all(1)]
    for hole in (lip_ids[-1], lid_ids[-1], nostril_ids[-1], tags["ear"], tags["neck"]):
        hull = hull[~np.isin(hull, hole).all(1)]
    middle_top = len(lips[0]) // 2
    pole = nostril_ids[0]
    strips = [
        *(_strip(a, b, {middle_top}) for a, b in pairwise(lip_ids)),
        *(_strip(a, b, set()) for a, b in pairwise(lid_ids)),
        *(_strip(a, b, set()) for a, b in pairwise(nostril_ids)),
        np.column_stack([np.full(len(pole) - 2, pole[0]), pole[1:-1], pole[2:]]),
    ]
    left_faces = np.concatenate([hull, *strips])
    inward = np.linalg.det(flat[left_faces]) < 0
    left_faces[inward] = left_faces[inward][:, ::-1]
    right_faces = mirror[left_faces][:, ::-1]
    faces = np.concatenate([left_faces, right_faces])
    return Part(points, faces, flat, tags)


def _rigid_rings(lips: list[Points], lids: list[Points]) -> NDArray[np.int64]:
    """Indices of the rings that relief leaves alone: where lips touch, and the lids."""
    before = sum(len(ring) for ring in lips)
    on_lids = before + np.arange(sum(len(ring) for ring in lids))
    return np.concatenate([np.arange(len(lips[0])), on_lids])


def _strip(inside: NDArray[np.int64], outside: NDArray[np.int64], gaps: set[int]) -> Faces:
    """Triangles between two rings of equal length; no quad starts at an index in `gaps`."""
    n = len(inside)
    faces = []
    for i in range(n):
        j = (i + 1) % n
        if i not in gaps:
            faces += [(inside[i], outside[i], inside[j]), (inside[j], outside[i], outside[j])]
    return np.array(faces, np.int64)


def _inside(points: Points, ring: Points) -> NDArray[np.bool_]:
    """Which points of a plane [N, 2] lie inside a closed ring [M, 2] (even-odd rule)."""
    x, y = points.T
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside
