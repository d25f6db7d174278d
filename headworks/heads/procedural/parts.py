"""What sits in and on the head: eyeballs, lids' inner rims, mouth cavity, teeth, tongue."""

from __future__ import annotations

import numpy as np

from headworks.heads.procedural import anatomy
from headworks.heads.procedural.parttypes import Faces, Part, Points, smoothstep

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
    """The lids' thickness: from the margin to just inside the eyeball.

    The first row repeats the margin. At the inner canthus the way is longer: the caruncle.
    """
    offset = margin - anatomy.EYE_CENTRE
    inward = offset / np.linalg.norm(offset, axis=1, keepdims=True)
    depth = anatomy.EYE_CENTRE + (anatomy.EYE_RADIUS - 0.5) * inward
    nasal = smoothstep(anatomy.EYE_CENTRE[0] - margin[:, 0], 10.0, 15.0)
    depth[:, 2] -= 1.2 + 2.6 * nasal
    edge = margin - 0.7 * inward - [0, 0, 0.7]
    return Part(np.concatenate([margin, edge, depth]), grid_faces(3, len(margin), True))


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


def mirrored(part: Part) -> Part:
    """The same part on the subject's right."""
    return Part(part.points * [-1, 1, 1], part.faces[:, ::-1].copy())
