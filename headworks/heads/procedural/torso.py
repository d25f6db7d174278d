"""Neck and torso: rings hung from the border of the head."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from headworks.heads.procedural import anatomy
from headworks.heads.procedural.parttypes import Part, Points
from headworks.heads.procedural.surface import SkinSurface


def neck_border(azimuth: Points) -> Points:
    """Heights (mm) at which head and neck meet, over azimuth about the neck's axis."""
    knots = np.radians([0, 30, 60, 90, 120, 150, 180])
    heights = [-103, -101, -95, -85, -72, -62, -58]
    return CubicSpline(knots, heights, bc_type="clamped")(np.abs(azimuth))


def border_points(surface: SkinSurface, columns: int) -> Points:
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


_TORSO = (
    # front (y, z), side (y, x), back (y, z), power
    ((-124, 42), (-108, 51.5), (-84, -62), 2.0),
    ((-142, 43), (-124, 56), (-106, -69), 2.0),
    ((-157, 51), (-142, 84), (-130, -82), 2.0),
    ((-172, 64), (-157, 136), (-156, -96), 2.2),
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
