"""Triangulation of the skin: graded points, rings around eyes and mouth, neck and torso."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial import ConvexHull

from headworks.heads.procedural import anatomy
from headworks.heads.procedural.surface import SkinSurface

Points = NDArray[np.float64]
Faces = NDArray[np.int64]

LID_COUNT = 12
"""Steps along one lid from canthus to canthus."""
LIP_COUNT = 20
"""Steps along one lip from corner to corner."""
_LID_OFFSETS = (0.0, 1.3, 2.8, 4.6, 6.8)
_LIP_GAP = 1.5
_LIP_RINGS = (0.0, 0.36, 0.7, 1.0, 1.45, 2.0)
NECK_COLUMNS = 56


@dataclass
class Part:
    """A piece of the mesh under construction.

    Attributes:
        points: [V, 3] mm. faces: [F, 3]. tags: named vertex index arrays.
        flat: [V, 3] unit directions that unfold the skin where it folds in space (lips).
    """

    points: Points
    faces: Faces
    flat: Points | None = None
    tags: dict[str, NDArray[np.int64]] = field(default_factory=dict)


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


def smoothstep(x: Points, low: float | Points, high: float | Points) -> Points:
    """0 below `low`, 1 above `high`, smooth between (also for low > high)."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def spacing(points: Points) -> Points:
    """Wanted distance between neighbouring vertices, mm: fine at the face, coarse behind."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    base = 3.7 + 7.0 * smoothstep(z, 62, 5)
    base += 4.0 * smoothstep(y, 50, 90)
    nose = np.exp(-((x / 20) ** 4) - (np.maximum(np.abs(y + 8) - 12, 0) / 14) ** 2)
    eye = np.exp(-((np.hypot(x - 31.5, y - 22) / 24) ** 4) - (np.maximum(50 - z, 0) / 10) ** 2)
    mouth = np.exp(-((x / 34) ** 4) - ((y + 42) / 20) ** 4 - (np.maximum(60 - z, 0) / 10) ** 2)
    return np.clip(base - 1.3 * nose - 0.9 * eye - 0.8 * mouth, 2.3, 12)


def lip_heights(x: Points) -> tuple[Points, Points]:
    """Heights of the upper and lower vermilion over the lip line at |x| mm, as heights."""
    u = np.clip(np.abs(x) / anatomy.MOUTH_HALF_WIDTH, 0, 1)
    upper = PchipInterpolator([0, 0.21, 0.46, 0.75, 1], [7.1, 8.4, 6.6, 3.6, 0.7])(u)
    lower = PchipInterpolator([0, 0.25, 0.5, 0.77, 1], [9.2, 8.9, 7.3, 4.2, 0.7])(u)
    return upper, lower


def _lip_rings(surface: SkinSurface) -> tuple[list[Points], list[Points]]:
    """Rings (left half, upper corner to midline then lower midline to corner) and flat points."""
    half = LIP_COUNT // 2
    t = np.linspace(0, 1, half + 1) ** 0.9
    x = anatomy.MOUTH_HALF_WIDTH * np.cos(np.pi / 2 * t)
    x[-1] = 0
    open_by = _LIP_GAP * np.sqrt(np.clip(1 - (x / anatomy.MOUTH_HALF_WIDTH) ** 2, 0, 1))
    upper_h, lower_h = lip_heights(x)
    rings, flats = [], []
    for scale in _LIP_RINGS:
        beyond = max(scale - 1, 0)
        grow = 1 + 0.10 * min(scale, 1) + 0.24 * beyond
        rise = min(scale, 1) + 0.55 * beyond
        up = np.column_stack([x * grow, anatomy.MOUTH_Y + rise * upper_h + 2.5 * beyond])
        down = np.column_stack([x * grow, anatomy.MOUTH_Y - rise * lower_h - 2.5 * beyond])
        # The corner belongs to both lips.
        up[0, 1] = down[0, 1] = anatomy.MOUTH_Y
        ring = np.concatenate([up, down[:0:-1]])
        gap = np.concatenate([open_by, -open_by[:0:-1]]) * max(0.0, 1 - 0.3 * scale)
        rings.append(surface.front(ring))
        flats.append(rings[-1] + np.column_stack([0 * gap, gap, 0 * gap]))
    return rings, flats


def _lid_rings(surface: SkinSurface) -> list[Points]:
    """Closed rings around the left eye: outer part of upper lid from inner canthus, then lower."""
    upper = anatomy.lid_margin("upper", LID_COUNT + 1)
    lower = anatomy.lid_margin("lower", LID_COUNT + 1)[::-1]
    margin = np.concatenate([upper, lower[1:-1]])
    middle = (anatomy.ENDOCANTHION + anatomy.EXOCANTHION) / 2
    rings = [margin]
    out = margin[:, :2] - middle[:2]
    # The rings turn into an ellipse outwards, so that they do not fold at the canthi.
    normal = np.column_stack([out[:, 0] / 14.5**2, out[:, 1] / 7.0**2])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    angle = np.pi - 2 * np.pi * np.arange(len(margin)) / len(margin)
    slant = np.arctan2(*(anatomy.EXOCANTHION - anatomy.ENDOCANTHION)[[1, 0]])
    turn = np.array([[np.cos(slant), np.sin(slant)], [-np.sin(slant), np.cos(slant)]])
    for offset in _LID_OFFSETS[1:]:
        oval = np.column_stack([(14.3 + offset) * np.cos(angle), (5.2 + offset) * np.sin(angle)])
        share = offset / _LID_OFFSETS[-1]
        flat = (1 - share) * (out + normal * offset) + share * (oval @ turn)
        ring = surface.front(middle[:2] + flat, guess=margin[:, 2])
        keep = np.clip(1 - offset / 6.0, 0, 1)
        on = anatomy.on_lid_sphere(ring, anatomy.LID_RADIUS + 0.1 * offset)
        rings.append(ring + np.sqrt(keep) * (on - ring))
    return rings


def neck_border(azimuth: Points) -> Points:
    """Heights (mm) at which head and neck meet, over azimuth about the neck's axis."""
    knots = np.radians([0, 30, 60, 90, 120, 150, 180])
    heights = [-103, -101, -95, -85, -72, -62, -58]
    return CubicSpline(knots, heights, bc_type="clamped")(np.abs(azimuth))


def _border_points(surface: SkinSurface, columns: int) -> Points:
    """Ring where head and neck meet, from front to back on the left side, on the skin."""
    azimuth = np.linspace(0, np.pi, columns // 2 + 1)
    y = neck_border(azimuth)
    rho = np.full(len(azimuth), 55.0)
    for _ in range(30):
        point = np.column_stack(
            [rho * np.sin(azimuth), y, rho * np.cos(azimuth) + anatomy.NECK_AXIS_Z]
        )
        ray = point / np.linalg.norm(point, axis=1, keepdims=True)
        rho = rho + 0.7 * (surface.radius(ray) - np.linalg.norm(point, axis=1))
    point[[0, -1], 0] = 0
    return point


def head(surface: SkinSurface) -> Part:
    """Skin of the head with openings at eyes, mouth and neck; exactly symmetric.

    Tags: lid rings "lid0".. (left) and "lid0_r".. , lip rings "lip0".., "neck" (front, left side,
    back, right side), "mirror" (each vertex's counterpart).
    """
    lips, lip_flats = _lip_rings(surface)
    lids = _lid_rings(surface)
    border = _border_points(surface, NECK_COLUMNS)
    fixed_points = np.concatenate([*lips, *lids, border])
    fixed_flat = np.concatenate([*lip_flats, *lids, border])
    fixed_flat = fixed_flat / np.linalg.norm(fixed_flat, axis=1, keepdims=True)

    index = np.arange(60000) + 0.5
    phi, theta = np.arccos(1 - 2 * index / 60000), np.pi * (1 + 5**0.5) * index
    fib = np.column_stack([np.cos(theta) * np.sin(phi), np.cos(phi), np.sin(theta) * np.sin(phi)])
    fib = fib[(fib[:, 0] > 0) & (fib[:, 1] > -0.97)]
    arc = np.linspace(-np.pi, np.pi, 2400, endpoint=False)
    middle = np.column_stack([0 * arc, np.sin(arc), np.cos(arc)])
    middle = middle[middle[:, 1] > -0.97]
    order = np.argsort(np.sin(np.arange(len(fib)) * 12.9898) * 43758.5453 % 1, kind="stable")
    rays = np.concatenate([middle, fib[order]])
    points = surface.points(rays)
    gap = spacing(points)
    ok = np.ones(len(rays), bool)
    ok[len(middle) :] &= points[len(middle) :, 0] > 0.75 * gap[len(middle) :]
    azimuth = np.arctan2(points[:, 0], points[:, 2] - anatomy.NECK_AXIS_Z)
    above = (points[:, 1] > neck_border(azimuth) + 3) | (points[:, 2] > 62)
    ok &= above | (points[:, 1] > -45)
    for ring in (lids[-1], lips[-1]):
        ok &= ~_inside(points, ring)
    rays, points, gap = rays[ok], points[ok], gap[ok]
    all_points = np.concatenate([fixed_points, points])
    keep = _thin(all_points, np.concatenate([spacing(fixed_points), gap]), len(fixed_points))
    points_half = all_points[keep]
    flat_half = np.concatenate([fixed_flat, rays])[keep]
    on_middle = np.abs(points_half[:, 0]) < 1e-9
    points_half[on_middle, 0] = 0
    flat_half[on_middle, 0] = 0

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
    lip_ids, lid_ids = [], []
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
    for k, ring in enumerate(lids):
        tags[f"lid{k}"] = at + np.arange(len(ring))
        lid_ids.append(tags[f"lid{k}"])
        tags[f"lid{k}_r"] = mirror[tags[f"lid{k}"]]
        at += len(ring)
    side = at + np.arange(len(border))
    tags["neck"] = np.concatenate([side, mirror[side[-2:0:-1]]])
    tags["mirror"] = mirror

    # Between the rings the mesh is a strip; outside them it is Delaunay.
    inside = np.concatenate([*lip_ids[:-1], *lid_ids[:-1]])
    apart = np.setdiff1d(np.arange(len(flat)), np.concatenate([inside, mirror[inside]]))
    hull = apart[ConvexHull(flat[apart]).simplices]
    hull = hull[(flat[hull][:, :, 0] >= 0).all(1)]
    for hole in (lip_ids[-1], lid_ids[-1], tags["neck"]):
        hull = hull[~np.isin(hull, hole).all(1)]
    middle_top = len(lips[0]) // 2
    strips = [
        *(_strip(a, b, {middle_top}) for a, b in pairwise(lip_ids)),
        *(_strip(a, b, set()) for a, b in pairwise(lid_ids)),
    ]
    left_faces = np.concatenate([hull, *strips])
    inward = np.linalg.det(flat[left_faces]) < 0
    left_faces[inward] = left_faces[inward][:, ::-1]
    right_faces = mirror[left_faces][:, ::-1]
    faces = np.concatenate([left_faces, right_faces])
    return Part(points, faces, flat, tags)


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
    """Which points on the face lie inside a closed ring seen from the front (even-odd rule)."""
    x, y = points[:, 0], points[:, 1]
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(ring[:, :2], np.roll(ring[:, :2], -1, 0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside & (points[:, 2] > 20)


_TORSO = (
    # front (y, z), side (y, x), back (y, z), power
    ((-124, 45), (-108, 55.5), (-84, -64), 2.0),
    ((-142, 47), (-124, 61), (-106, -70), 2.0),
    ((-157, 55), (-140, 92), (-130, -82), 2.0),
    ((-172, 66), (-155, 140), (-156, -96), 2.2),
    ((-192, 77), (-172, 184), (-184, -104), 2.4),
    ((-220, 87), (-204, 212), (-214, -109), 2.5),
    ((-260, 96), (-250, 226), (-255, -110), 2.6),
    ((-330, 103), (-330, 232), (-330, -108), 2.6),
    ((-420, 106), (-420, 232), (-420, -106), 2.6),
)
"""Sections of neck and torso below the head, mm: where front, side and back of a ring lie."""


def torso(border: Points, rows: int = 20) -> Part:
    """Neck and torso as rows of rings hung from the head's border; the first row is the border."""
    n = len(border)
    azimuth = np.arctan2(border[:, 0], border[:, 2] - anatomy.NECK_AXIS_Z)
    rings = [border]
    for (yf, zf), (ys, xs), (yb, zb), power in _TORSO:
        c, s = np.cos(azimuth), np.sin(azimuth)
        span, middle = (zf - zb) / 2, (zf + zb) / 2
        x = xs * np.sign(s) * np.abs(s) ** (2 / power)
        z = middle + span * np.sign(c) * np.abs(c) ** (2 / power)
        ends = np.where(c > 0, yf, yb)
        y = ys + (ends - ys) * np.abs(c) ** 1.6
        rings.append(np.column_stack([x, y, z]))
    stack = np.stack(rings)
    knots = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(stack, axis=0), axis=2).mean(1))])
    heights = knots[-1] * np.linspace(0, 1, rows + 1) ** 1.25
    smooth = PchipInterpolator(knots, stack, axis=0)(heights)
    points = smooth.reshape(-1, 3)
    faces = []
    for r in range(rows):
        for column in range(n):
            a, b = r * n + column, r * n + (column + 1) % n
            # Mirrored diagonals on the two sides keep the mesh symmetric.
            if column < n // 2:
                faces += [(a, a + n, b), (b, a + n, b + n)]
            else:
                faces += [(a, a + n, b + n), (a, b + n, b)]
    return Part(points, np.array(faces, np.int64))
