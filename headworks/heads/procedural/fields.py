"""Displacement fields over space: the controls in which the procedural head varies.

A field gives millimetres per unit of its control. Fields that published measures cover (see
`measures`) are scaled by them when people are drawn; the others are fine shape, whose unit is one
standard deviation, set by eye to what faces show.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural.parttypes import Points, smoothstep

Field = Callable[[Points], Points]
Triple = tuple[float, float, float]


def gauss(p: Points, centre: Triple, radii: Triple) -> NDArray[np.float64]:
    """exp(-d^2 / 2) of the distance from a centre in units of the radii, [N]."""
    return np.exp(-0.5 * (((p - np.array(centre)) / np.array(radii)) ** 2).sum(1))


def _bump(centre: Triple, radii: Triple, move: Triple) -> Field:
    return lambda p: gauss(p, centre, radii)[:, None] * np.array(move)


def _pair(centre: Triple, radii: Triple, move: Triple) -> Field:
    """A bump on both sides, mirrored."""
    flip = np.array([-1.0, 1, 1])

    def field(p: Points) -> Points:
        left = gauss(p, centre, radii)[:, None] * np.array(move)
        return left + gauss(p * flip, centre, radii)[:, None] * (np.array(move) * flip)

    return field


def _opposed(centre: Triple, radii: Triple, move: Triple) -> Field:
    """A bump on the left and its negative, mirrored, on the right: asymmetry."""
    flip = np.array([-1.0, 1, 1])

    def field(p: Points) -> Points:
        left = gauss(p, centre, radii)[:, None] * np.array(move)
        return left - gauss(p * flip, centre, radii)[:, None] * (np.array(move) * flip)

    return field


def _both(*fields: Field) -> Field:
    return lambda p: sum((f(p) for f in fields), np.zeros_like(p))


def _squeeze(centre: Triple, radii: Triple, rates: Triple) -> Field:
    """Stretch about a centre, fading with distance: displacement = rates * (p - centre)."""
    return lambda p: gauss(p, centre, radii)[:, None] * (p - np.array(centre)) * np.array(rates)


def _head_only(p: Points) -> NDArray[np.float64]:
    return smoothstep(p[:, 1] + 0.2 * p[:, 2], -165, -85)


def _scale(rates: Triple) -> Field:
    return lambda p: _head_only(p)[:, None] * p * np.array(rates)


def _along(axis: int, amount: NDArray[np.float64]) -> Points:
    out = np.zeros((len(amount), 3))
    out[:, axis] = amount
    return out


def _stretch_down(top: float, bottom: float, rate: float) -> Field:
    """Longer or shorter between two heights of the face; what lies below moves along."""

    def field(p: Points) -> Points:
        down = np.clip(top - p[:, 1], 0, top - bottom) * smoothstep(p[:, 2], -10, 60)
        return _along(1, -rate * down * _head_only(p))

    return field


def _cranial_height(p: Points) -> Points:
    return _along(1, 0.05 * np.clip(p[:, 1] - 50, 0, None))


def _occiput(p: Points) -> Points:
    back = np.clip(-p[:, 2] - 10, 0, None) * smoothstep(p[:, 1], -70, -5)
    return _along(2, -0.055 * back)


def _neck_width(p: Points) -> Points:
    w = gauss(p * [0, 1, 0], (0, -118, 0), (1, 28, 1)) * smoothstep(-p[:, 1], 60, 95)
    return np.column_stack([0.06 * p[:, 0] * w, 0 * w, 0.05 * (p[:, 2] + 10) * w])


def _shoulders(p: Points) -> Points:
    w = smoothstep(-p[:, 1], 135, 190)
    return np.column_stack([0.06 * p[:, 0] * w, 0 * w, 0.04 * p[:, 2] * w])


def _slope(p: Points) -> Points:
    w = gauss(p * [1, 0, 1], (0, 0, 85), (45, 1, 40)) * smoothstep(p[:, 1], 40, 62)
    w *= smoothstep(-p[:, 1], -130, -80)
    return _along(2, -0.085 * (p[:, 1] - 40) * w)


def _face_curvature(p: Points) -> Points:
    """A flat face, or one whose sides fall away."""
    side = (np.clip(np.abs(p[:, 0]), 0, 60) / 50) ** 2 - 0.35
    w = smoothstep(p[:, 2], 20, 60) * smoothstep(p[:, 1], -95, -60) * smoothstep(-p[:, 1], -85, -50)
    return _along(2, 2.4 * side * w)


def _taper(p: Points) -> Points:
    """Broad above and narrow below, or the reverse."""
    w = np.clip((p[:, 1] + 15) / 70, -1, 1) * smoothstep(p[:, 2], -60, 20) * _head_only(p)
    return _along(0, 0.03 * p[:, 0] * w)


FIELDS: dict[str, Field] = {
    "size": _scale((0.026, 0.026, 0.026)),
    "head_breadth": _scale((0.04, 0, 0)),
    "head_length": _occiput,
    "cranial_height": _cranial_height,
    "face_taper": _taper,
    "face_curvature": _face_curvature,
    "midface_height": _stretch_down(28, -24, 0.06),
    "lower_face_height": _stretch_down(-22, -92, 0.06),
    "bizygomatic": _pair((66, -2, 32), (18, 24, 36), (3.2, 0, 0)),
    "bigonial": _pair((54, -56, 20), (18, 22, 32), (4.0, 0, 0)),
    "gonial_height": _pair((50, -62, 24), (22, 18, 26), (0, -3.6, 0)),
    "jaw_square": _pair((40, -74, 50), (14, 14, 20), (2.91, -1.79, 0.672)),
    "chin_height": _bump((0, -80, 90), (26, 17, 28), (0, -3.46, 0)),
    "chin_protrusion": _bump((0, -74, 95), (20, 16, 26), (0, -0.3, 3.4)),
    "chin_width": _pair((18, -79, 88), (10, 12, 20), (3.48, -0.994, 0)),
    "chin_cleft": _bump((0, -77, 97), (4.5, 8, 12), (0, 0, -1.1)),
    "mentolabial": _bump((0, -57, 97), (18, 5, 12), (0, 0, -1.62)),
    "jowl": _pair((34, -66, 66), (11, 11, 16), (1.73, -2.38, 0.432)),
    "submental": _bump((0, -98, 62), (32, 14, 34), (0, -4.2, 1.2)),
    "cheek_fullness": _pair((46, -34, 70), (17, 19, 26), (4.61, 0, 1.68)),
    "cheek_hollow": _pair((47, -22, 74), (10, 10, 18), (-2.42, 0, -1.61)),
    "cheek_apple": _pair((36, -8, 86), (11, 9, 14), (0.672, 0, 2.24)),
    "cheekbone": _pair((49, 2, 74), (14, 10, 20), (2.42, 0, 2.69)),
    "cheekbone_height": _pair((48, 0, 74), (16, 14, 22), (0, 2.69, 0)),
    "nasolabial": _both(
        _pair((29, -24, 89), (5, 11, 12), (0.432, -0.432, 1.4)),
        _pair((22, -28, 91), (4, 10, 12), (0, 0, -0.972)),
    ),
    "midface_depth": _bump((0, -12, 98), (34, 26, 28), (0, 0, 2.46)),
    "infraorbital": _pair((27, 3, 86), (14, 8, 14), (0, 0, 1.95)),
    "eye_bags": _pair((30, 8, 86), (11, 4, 10), (0, -0.648, 1.4)),
    "nose_length": _bump((0, -14, 112), (17, 12, 26), (0, -2.97, 0)),
    "nose_protrusion": _bump((0, -11, 114), (12, 13, 20), (0, 0, 2.6)),
    "nose_width": _pair((15, -14, 101), (7.5, 9, 12), (1.9, 0, -0.2)),
    "nostril_flare": _pair((15.5, -17, 102), (5, 5, 8), (1.78, -0.593, 0.593)),
    "alar_height": _pair((15, -16, 101), (7, 6, 11), (0, 1.88, 0)),
    "tip_width": _pair((7.5, -12, 113), (5, 7, 8), (2.31, 0, 0)),
    "tip_bulb": _bump((0, -10, 117), (8, 6.5, 8), (0, 0.702, 2.11)),
    "tip_rotation": _bump((0, -15, 116), (9, 8, 10), (0, 3.42, 0.57)),
    "columella": _bump((0, -21, 109), (5, 5, 9), (0, -1.95, 0.278)),
    "bridge_height": _bump((0, 20, 97), (9, 12, 14), (0, 0, 3.11)),
    "bridge_width": _pair((8, 12, 95), (5, 14, 10), (2.18, 0, 0)),
    "nasion_depth": _bump((0, 27, 96), (9, 6, 12), (0, 0, -2.11)),
    "hump": _bump((0, 7, 104), (6, 8, 10), (0, 0.24, 2.16)),
    "supratip": _bump((0, -4, 113), (6, 5, 9), (0, 0, -1.0)),
    "mouth_width": _squeeze((0, -42, 98), (26, 13, 26), (0.09, 0, 0)),
    "upper_lip": _both(
        _bump((0, -35.5, 107), (18, 3.6, 12), (0, 1.99, 0.657)),
        _bump((0, -38.5, 107), (18, 3.2, 12), (0, 0, 1.19)),
    ),
    "lower_lip": _both(
        _bump((0, -50.5, 104), (18, 4.0, 12), (0, -1.43, 0.265)),
        _bump((0, -46.5, 107), (17, 3.6, 12), (0, 0, 0.848)),
    ),
    "cupids_bow": _both(
        _pair((5.5, -33.5, 106), (3.2, 2.6, 8), (0, 0.8, 0.1)),
        _bump((0, -34.5, 107), (2.6, 2.6, 8), (0, -0.9, 0)),
    ),
    "lip_sides": _both(
        _pair((15, -36.5, 102), (6, 3.5, 10), (0, 1.21, 0.41)),
        _pair((15, -49.0, 100), (6, 3.5, 10), (0, -1.21, 0.41)),
    ),
    "lip_protrusion": _bump((0, -42, 104), (20, 12, 16), (0, 0, 2.23)),
    "overbite": _both(
        _bump((0, -36, 106), (16, 5, 14), (0, 0, 1.2)),
        _bump((0, -49, 105), (16, 6, 14), (0, 0, -1.2)),
    ),
    "mouth_corner": _pair((26, -42, 92), (7, 7, 14), (0, 1.49, 0)),
    "philtrum": _bump((0, -41, 100), (34, 12, 34), (0, -3.23, 0)),
    "philtrum_depth": _both(
        _pair((4.5, -29, 104), (2.2, 5, 8), (0, 0, 0.6)),
        _bump((0, -29, 104), (2.4, 5, 8), (0, 0, -0.8)),
    ),
    "intercanthal": _pair((31.5, 22, 78), (17, 17, 26), (1.5, 0, 0)),
    "eye_height": _pair((31.5, 22, 78), (22, 16, 28), (0, 2.28, 0)),
    "eye_depth": _pair((31.5, 24, 80), (17, 15, 22), (0, 0, 2.11)),
    "lid_fold": _pair((33, 34, 87), (14, 4.5, 14), (0, -1.87, 1.65)),
    "orbit_hollow": _pair((24, 33, 90), (10, 5, 12), (0, 0.48, -1.92)),
    "brow_height": _pair((31, 41, 93), (24, 8, 24), (0, 3.29, 0)),
    "brow_tilt": _both(
        _pair((45, 41, 85), (12, 9, 20), (0, 2.75, 0)),
        _pair((15, 40, 97), (10, 9, 18), (0, -1.78, 0)),
    ),
    "brow_arch": _both(
        _pair((36, 43, 91), (9, 8, 18), (0, 2.37, 0)),
        _pair((14, 39, 97), (8, 8, 18), (0, -0.889, 0)),
        _pair((52, 37, 74), (8, 8, 18), (0, -1.78, 0)),
    ),
    "brow_spacing": _pair((16, 39, 97), (10, 8, 18), (1.8, 0, 0)),
    "brow_ridge": _pair((24, 40, 97), (20, 7, 22), (0, 0, 2.8)),
    "glabella": _bump((0, 40, 99), (10, 8, 14), (0, 0, 1.75)),
    "forehead_slope": _slope,
    "forehead_boss": _bump((0, 72, 96), (30, 16, 24), (0, 0, 2.2)),
    "forehead_width": _pair((58, 58, 56), (18, 26, 34), (3.24, 0, 0.54)),
    "temple": _pair((64, 36, 48), (12, 16, 20), (2.4, 0, 0)),
    "ear_size": _pair((72, 5, -10), (12, 40, 40), (0, 0, 0)),
    "ear_stand": _pair((76, 10, -20), (14, 34, 16), (3.0, 0, 0)),
    "nose_bend": _bump((0, -8, 112), (13, 14, 20), (0.9, 0, 0)),
    "chin_shift": _bump((0, -75, 92), (24, 17, 28), (1.3, 0, 0)),
    "mouth_tilt": _opposed((24, -42, 93), (11, 10, 16), (0, 0.7, 0)),
    "brow_uneven": _opposed((32, 41, 93), (18, 8, 20), (0, 0.8, 0)),
    "eye_uneven": _opposed((31.5, 22, 78), (18, 14, 24), (0, 0.55, 0)),
    "nostril_uneven": _opposed((14, -16, 101), (7, 7, 11), (0, 0.55, 0)),
    "jaw_uneven": _opposed((48, -58, 42), (20, 24, 36), (1.0, 0.7, 0)),
    # Last, so that their modes move nothing else: the torso is placed without the face.
    "neck_width": _neck_width,
    "shoulders": _shoulders,
}  # fmt: skip
