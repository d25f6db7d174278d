"""The auricle: one sheet from its root on the skin over back, helix and antihelix to the canal."""

from __future__ import annotations

import numpy as np

from headworks.heads.procedural.parts import grid_faces
from headworks.heads.procedural.parttypes import Part, Points
from headworks.heads.procedural.rings import EAR_BASE, EAR_COUNT, around_ear, ear_plane
from headworks.heads.procedural.surface import SkinSurface

_OUTLINE = around_ear(
    ((0, 9.5), (25, 12.5), (45, 20.5), (65, 28.5), (90, 32.5), (120, 33), (150, 31), (180, 28.5),
     (210, 26), (240, 25.5), (262, 27.5), (285, 25), (308, 17), (335, 10.5))
)  # fmt: skip
"""Radius of the rim about the canal, mm: an ear about 60 mm long and 35 mm wide."""
_STAND = 0.40
"""How fast the auricle stands off behind the canal (tangent of its angle with the head)."""
# Front of the auricle, from the rim inwards: share of the outline, and how high each relief is.
_FRONT = (1.0, 0.95, 0.87, 0.77, 0.67, 0.58, 0.46, 0.30, 0.14)
_HELIX = (2.6, 2.9, 0.9, -0.9, -0.4, 0.2, -2.6, -4.6, -6.0)
_ANTIHELIX = (0.0, 0.0, 0.2, 0.9, 2.4, 2.2, 0.3, 0.0, 0.0)
_LOBE = (0.6, 1.0, 1.2, 1.3, 1.2, 0.8, -1.0, -3.5, -6.0)
_TRAGUS = (0.3, 0.9, 1.9, 2.7, 2.9, 1.6, -2.2, -5.0, -6.5)
_CRUS = (0.0, 0.0, 0.0, 0.4, 0.8, 1.4, 2.2, 1.6, 0.4)
_ANTITRAGUS = (0.0, 0.0, 0.0, 0.2, 0.9, 2.0, 2.6, 0.8, 0.0)
# Back, from the root to the rim: way from base to outline, and height.
_BACK = ((0.45, -3.6), (0.85, -2.6), (1.02, -0.6), (1.03, 1.3))


def _near(degrees: float, width: float) -> Points:
    """Bump over the angle about the canal, [EAR_COUNT]."""
    turn = 360 * np.arange(EAR_COUNT) / EAR_COUNT
    off = (turn - degrees + 180) % 360 - 180
    return np.exp(-0.5 * (off / width) ** 2)


def ear(base: Points, surface: SkinSurface) -> Part:
    """The left auricle.

    Args:
        base: [EAR_COUNT, 3] mm, the ring of the skin from which it springs; the first vertices.
        surface: the skin, which the auricle does not touch elsewhere.
    """
    lobe, tragus = _near(275, 17), _near(352, 24)
    rest = np.clip(1 - lobe - tragus, 0, 1)
    anti = around_ear(((40, 0.0), (75, 0.8), (110, 1.0), (180, 1.0), (240, 0.9), (275, 0.0),
                       (330, 0.0)))  # fmt: skip
    crus, antitragus = _near(28, 12), _near(303, 12)
    at_root = np.clip(1.6 - 1.6 * (_OUTLINE - EAR_BASE) / 6.0, 0, 1)
    level = base[:, 0]
    middle = float(level.mean())
    rows = [base]

    def row(radius: Points, height: Points, root: Points, clear: float) -> Points:
        yz = ear_plane(radius)
        behind = np.clip(4.0 - yz[:, 1] - 9.0, 0, None)
        off = middle + 0.6 + _STAND * behind + height
        x = root * (level + height) + (1 - root) * off
        # Over its root the front may sink (the concha); beyond it, it passes over the back.
        sunk = np.interp(radius - EAR_BASE, (-8.0, -4.0, -1.5, 1.0), (18.0, 7.0, 2.0, 0.0))
        return np.column_stack([np.maximum(x, surface.side(yz) + clear - sunk), yz])

    for way, height in _BACK:
        radius = EAR_BASE + way * (_OUTLINE - EAR_BASE)
        sunk = np.full(EAR_COUNT, height) * (1 - at_root) + 0.3 * way * at_root
        rows.append(row(radius, sunk, np.maximum(at_root, 0.6 * (1 - way) * (way < 0.9)), 2.4))
    for k, share in enumerate(_FRONT):
        relief = rest * (_HELIX[k] + anti * _ANTIHELIX[k]) + lobe * _LOBE[k] + tragus * _TRAGUS[k]
        relief = relief + crus * _CRUS[k] + antitragus * _ANTITRAGUS[k]
        rows.append(row(_OUTLINE * share, relief, at_root, 5.8))
    canal = rows[-1].mean(0) - [2.0, 0, 0]
    points = np.concatenate([*rows, [canal]])
    around = np.arange(EAR_COUNT)
    last = (len(rows) - 1) * EAR_COUNT
    cap = np.column_stack(
        [last + around, np.full(EAR_COUNT, len(points) - 1), last + (around + 1) % EAR_COUNT]
    )
    return Part(points, np.concatenate([grid_faces(len(rows), EAR_COUNT, True), cap]))
