"""What sits in and on the head: eyeballs, lids' inner rims, mouth cavity, teeth, tongue, ears."""

from __future__ import annotations

import numpy as np

from headworks.heads.procedural import anatomy
from headworks.heads.procedural.mesh import Faces, Part, Points
from headworks.heads.procedural.surface import SkinSurface

CORNEA = 0.35
"""How far the cornea stands out of the eyeball, mm; real ones do 2 mm, but linear lids cut it."""


def grid_faces(rows: int, columns: int, closed: bool) -> Faces:
    """Triangles of a grid of points [rows, columns], flattened row by row.

    Counter-clockwise where columns run to the right and rows run down as seen from outside.
    """
    faces = []
    for r in range(rows - 1):
        for c in range(columns if closed else columns - 1):
            a, b = r * columns + c, r * columns + (c + 1) % columns
            faces += [(a, a + columns, b), (b, a + columns, b + columns)]
    return np.array(faces, np.int64)


def eyeball(segments: int = 24, rings: int = 14) -> Part:
    """The left eyeball with its pole forward; a slight bulge for the cornea."""
    angle = np.pi * (np.linspace(0, 1, rings + 1)[1:]) ** 1.25
    turn = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    a, t = np.meshgrid(angle, turn, indexing="ij")
    bulge = CORNEA * np.clip(1 - (angle / 0.5) ** 2, 0, 1)
    radius = anatomy.EYE_RADIUS + bulge[:, None]
    # Turning clockwise seen from the front keeps the grid's outside outward.
    x, y, z = radius * np.sin(a) * np.sin(t), radius * np.sin(a) * np.cos(t), radius * np.cos(a)
    points = np.stack([x, y, z], -1)[:-1].reshape(-1, 3)
    n = len(points)
    points = np.concatenate(
        [points, [[0, 0, anatomy.EYE_RADIUS + CORNEA], [0, 0, -anatomy.EYE_RADIUS]]]
    )
    faces = [grid_faces(rings - 1, segments, True)[:, ::-1]]
    around = np.arange(segments)
    after = (around + 1) % segments
    last = (rings - 2) * segments
    faces.append(np.column_stack([np.full(segments, n), after, around]))
    faces.append(np.column_stack([last + around, last + after, np.full(segments, n + 1)]))
    return Part(points + anatomy.EYE_CENTRE, np.concatenate(faces))


def lid_rim(margin: Points) -> Part:
    """Inner rim of the lids, from the margin to just inside the eyeball.

    The first row repeats the margin.
    """
    offset = margin - anatomy.EYE_CENTRE
    inward = offset / np.linalg.norm(offset, axis=1, keepdims=True)
    rows = [margin]
    for depth in (0.8, 2.2):
        rows.append(margin - depth * inward - [0, 0, 0.9 * depth])
    return Part(np.concatenate(rows), grid_faces(3, len(margin), True))


def mouth_sock(lips: Points, depths: tuple[float, ...] = (2.5, 7.0, 16.0, 30.0, 46.0)) -> Part:
    """The mouth's inside, from the closed ring of the lips' edge back into the head.

    The first row repeats the ring; the last vertex closes it.
    """
    n = len(lips)
    half = n // 2
    upper = np.arange(n) <= half
    lift = np.sin(np.pi * np.where(upper, np.arange(n), np.arange(n) - half) / half)
    sign = np.where(upper, 1.0, -1.0)
    rows = [lips]
    heights = np.where(upper, [[0.5], [4.0], [9.0], [12.0], [9.0]],
                       [[0.7], [6.0], [13.0], [14.0], [9.0]])  # fmt: skip
    widths = (0.99, 0.98, 0.97, 0.85, 0.6)
    corner_z = lips[0, 2]
    for depth, height, width in zip(depths, heights, widths, strict=True):
        z = lips[:, 2] - depth
        if depth > 10:
            z = 0.5 * z + 0.5 * (corner_z - depth)
        y = anatomy.MOUTH_Y + sign * lift * height - (2.0 if depth > 20 else 0.0)
        rows.append(np.column_stack([lips[:, 0] * width, y, z]))
    points = np.concatenate([*rows, [rows[-1].mean(0) - [0, 0, 4]]])
    faces = grid_faces(len(rows), n, True)
    last = (len(rows) - 1) * n
    around = np.arange(n)
    cap = np.column_stack([last + around, np.full(n, len(points) - 1), last + (around + 1) % n])
    # As a sock turned inside out: its faces look into the mouth.
    return Part(points, np.concatenate([faces, cap])[:, ::-1])


def teeth(upper: bool, columns: int = 25) -> Part:
    """One dental arch as a bowed, closed strip."""
    s = np.linspace(-1, 1, columns)
    width, front, depth = (23.5, 95.5, 30.0) if upper else (22.0, 93.0, 28.0)
    x = width * np.sin(s * np.pi / 2 * 0.98)
    z = front - depth * (1 - np.cos(s * np.pi / 2 * 0.98))
    gum, edge = (-33.5, -43.0) if upper else (-54.0, -44.0)
    thick = 4.0
    normal = np.column_stack([x / width**2, z * 0, (z - front + depth) / depth**2])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    outline = ((gum, 0.0), ((gum + edge) / 2, 0.7), (edge, -0.2), (edge, -2.0), (gum, -thick))
    rows = [np.column_stack([x, np.full(columns, y), z]) + normal * out for y, out in outline]
    if not upper:
        rows = rows[::-1]
    # Columns run from the subject's right (-x), which is left as seen from the front.
    return Part(np.concatenate(rows), grid_faces(len(rows), columns, False))


def tongue(rows: int = 9, columns: int = 11) -> Part:
    """A rounded tongue resting behind the lower teeth."""
    u = np.linspace(0, 1, rows)
    t = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    half = 16 * np.sqrt(np.clip(1 - (1 - u * 0.985 - 0.015) ** 3, 0, 1))
    x = half[:, None] * np.sin(t)
    y = -49.0 + 5.0 * (half[:, None] / 16) * np.cos(t) - 2.0 * (1 - u[:, None])
    z = np.broadcast_to((86.0 - 44.0 * u)[:, None], x.shape)
    points = np.stack([x, y, z], -1).reshape(-1, 3)
    tip = np.array([[0, -51.2, 86.8]])
    faces = grid_faces(rows, columns, True)[:, ::-1]
    around = np.arange(columns)
    cap = np.column_stack([np.full(columns, len(points)), around, (around + 1) % columns])
    return Part(np.concatenate([points, tip]), np.concatenate([faces, cap[:, ::-1]]))


_EAR_OUTLINE = np.array(
    # Angle (degrees; 0 = front at the canal, growing over the top to the back), radius mm.
    [
        (0, 9), (30, 14), (60, 27), (90, 33), (120, 33), (150, 30), (180, 27), (210, 25),
        (240, 25.5), (265, 28), (290, 27), (315, 17), (340, 10),
    ]
)  # fmt: skip


# Rows of the auricle from the canal over concha, antihelix, scapha and helix to its back:
# (fraction of the outline, height over the head in mm).
_EAR_PROFILE = (
    (0.12, -4.0), (0.36, -2.5), (0.55, 2.8), (0.70, 3.6), (0.82, 2.0), (0.94, 4.6), (1.0, 4.4),
    (1.0, 2.6), (0.9, 0.6), (0.6, -3.5),
)  # fmt: skip
_EAR_CENTRE = np.array([5.0, -9.0])


def ear(surface: SkinSurface, columns: int = 28) -> Part:
    """The left auricle on the skin: front with concha and helix, rim, back; one sheet."""
    degrees, radius = _EAR_OUTLINE.T
    turn = np.linspace(0, 360, columns, endpoint=False)
    outline = np.interp(turn, np.append(degrees, 360), np.append(radius, radius[0]))
    outline = (np.roll(outline, 1) + 2 * outline + np.roll(outline, -1)) / 4
    # In the ear's plane, inclined backwards as ears are: u forward, v up.
    angle = np.radians(turn)
    u, v = np.cos(angle), np.sin(angle)
    lean = np.radians(-12)
    up, forward = v * np.cos(lean) - u * np.sin(lean), v * np.sin(lean) + u * np.cos(lean)
    rim = 0.5 - 0.5 * np.cos(np.radians(np.clip((turn - 20) / 250, 0, 1) * 360))
    lobe = np.exp(-(((turn - 275) / 28) ** 2))
    front = np.clip(np.cos(angle), 0, 1) ** 2
    rows: list[Points] = []
    for k, (fraction, height) in enumerate(_EAR_PROFILE):
        r = outline * fraction
        lift = height - 3.0 * (fraction > 0.5) * (1 - rim) * (k < 8)
        lift = lift + lobe * (1.5 if 2 <= k <= 4 else -1.0 if 5 <= k <= 6 else 0)
        # Towards the face the sheet sinks into the skin; at the back it stands off.
        lift = lift - 3.0 * front * (k >= 2)
        stand = 0.42 * np.maximum(-(r * u), -2) * (0.6 if k >= 8 else 1.0)
        yz = _EAR_CENTRE + r[:, None] * np.column_stack([up, forward])
        rows.append(np.column_stack([surface.side(yz) + lift + stand, yz]))
    canal = np.array([[surface.side(_EAR_CENTRE[None])[0] - 5, *_EAR_CENTRE]])
    points = np.concatenate([*rows, canal])
    faces = grid_faces(len(rows), columns, True)
    around = np.arange(columns)
    centre = np.column_stack([np.full(columns, len(points) - 1), around, (around + 1) % columns])
    return Part(points, np.concatenate([faces[:, ::-1], centre[:, ::-1]]))


def mirrored(part: Part) -> Part:
    """The same part on the subject's right."""
    return Part(part.points * [-1, 1, 1], part.faces[:, ::-1].copy())
