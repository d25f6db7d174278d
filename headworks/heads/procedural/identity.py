"""Identity modes of the procedural head: anthropometric controls and smooth local shapes.

Every mode is a displacement field over space, in millimetres per standard deviation; deviations
follow the order of published ones (2 to 8 mm for heights and breadths; Farkas 1994). Eyeballs,
teeth and joints move rigidly with the field at their place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural import anatomy
from headworks.heads.procedural.assembly import Assembly
from headworks.heads.procedural.mesh import LID_COUNT, Points, smoothstep
from headworks.heads.procedural.skinning import joints

Field = Callable[[Points], Points]
_RADIUS_NEAR, _RADIUS_FAR = 14.5, 23.0


def _gauss(p: Points, centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.float64]:
    return np.exp(-0.5 * (((p - np.array(centre)) / np.array(radii)) ** 2).sum(1))


def _pair(
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    move: tuple[float, float, float],
) -> Field:
    """A bump on both sides, mirrored."""

    def field(p: Points) -> Points:
        left = _gauss(p, centre, radii)[:, None] * np.array(move)
        right = _gauss(p * [-1, 1, 1], centre, radii)[:, None] * (np.array(move) * [-1, 1, 1])
        return left + right

    return field


def _bump(
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    move: tuple[float, float, float],
) -> Field:
    return lambda p: _gauss(p, centre, radii)[:, None] * np.array(move)


def _both(*fields: Field) -> Field:
    return lambda p: sum((f(p) for f in fields), np.zeros_like(p))


def _squeeze(
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    rates: tuple[float, float, float],
) -> Field:
    """Stretch about a centre, fading with distance: displacement = rates * (p - centre)."""
    return lambda p: _gauss(p, centre, radii)[:, None] * (p - np.array(centre)) * np.array(rates)


def _head_only(p: Points) -> NDArray[np.float64]:
    return smoothstep(p[:, 1] + 0.2 * p[:, 2], -165, -85)


def _scale(rates: tuple[float, float, float]) -> Field:
    return lambda p: _head_only(p)[:, None] * p * np.array(rates)


def _lower_face(p: Points) -> Points:
    """Longer or shorter from the nasion down to the chin."""
    down = np.clip(30 - p[:, 1], 0, 118) * smoothstep(p[:, 2], 5, 60) * _head_only(p)
    return np.column_stack([0 * down, -0.045 * down, 0 * down])


def _cranial_height(p: Points) -> Points:
    up = np.clip(p[:, 1] - 50, 0, None)
    return np.column_stack([0 * up, 0.06 * up, 0 * up])


def _occiput(p: Points) -> Points:
    back = np.clip(-p[:, 2] - 10, 0, None) * smoothstep(p[:, 1], -70, -5)
    return np.column_stack([0 * back, 0 * back, -0.055 * back])


def _neck_width(p: Points) -> Points:
    w = _gauss(p * [0, 1, 0], (0, -118, 0), (1, 28, 1)) * smoothstep(-p[:, 1], 60, 95)
    return np.column_stack([0.06 * p[:, 0] * w, 0 * w, 0.05 * (p[:, 2] + 10) * w])


def _shoulders(p: Points) -> Points:
    w = smoothstep(-p[:, 1], 135, 190)
    return np.column_stack([0.07 * p[:, 0] * w, 0 * w, 0.04 * p[:, 2] * w])


def _slope(p: Points) -> Points:
    w = _gauss(p * [1, 0, 1], (0, 0, 85), (45, 1, 40)) * smoothstep(p[:, 1], 40, 62)
    w *= smoothstep(-p[:, 1], -130, -80)
    return np.column_stack([0 * w, 0 * w, -0.085 * (p[:, 1] - 40) * w])


FIELDS: dict[str, Field] = {
    "size": _scale((0.03, 0.03, 0.03)),
    "head_breadth": _scale((0.042, 0, 0)),
    "head_length": _occiput,
    "cranial_height": _cranial_height,
    "face_height": _lower_face,
    "bizygomatic": _pair((66, -2, 32), (18, 24, 36), (3.2, 0, 0)),
    "bigonial": _pair((52, -58, 20), (20, 22, 34), (4.2, 0, 0)),
    "gonial_height": _pair((50, -62, 24), (22, 20, 26), (0, -3.5, 0)),
    "chin_height": _bump((0, -80, 90), (26, 17, 28), (0, -3.6, 0)),
    "chin_protrusion": _bump((0, -74, 95), (20, 16, 26), (0, -0.3, 3.4)),
    "chin_width": _pair((18, -79, 88), (11, 12, 20), (2.6, -0.8, 0)),
    "nose_length": _bump((0, -14, 112), (18, 13, 26), (0, -2.9, 0)),
    "nose_protrusion": _bump((0, -11, 114), (13, 13, 20), (0, 0, 3.0)),
    "nose_width": _pair((15, -14, 101), (8, 9, 12), (1.9, 0, -0.2)),
    "bridge_height": _bump((0, 22, 96), (9, 13, 14), (0, 0, 2.3)),
    "bridge_width": _pair((8, 14, 94), (5, 15, 10), (1.3, 0, 0)),
    "tip_rotation": _bump((0, -15, 116), (9, 8, 10), (0, 2.5, 0.4)),
    "hump": _bump((0, 8, 103), (6, 8, 10), (0, 0.2, 1.6)),
    "mouth_width": _squeeze((0, -42, 98), (26, 13, 26), (0.095, 0, 0)),
    "upper_lip": _bump((0, -36.5, 107), (17, 4.6, 12), (0, 0.9, 0.9)),
    "lower_lip": _bump((0, -48, 106), (17, 5.2, 12), (0, -1.0, 1.1)),
    "lip_protrusion": _bump((0, -42, 104), (20, 11, 16), (0, 0, 2.0)),
    "philtrum": _bump((0, -40, 100), (34, 12, 34), (0, -2.3, 0)),
    "intercanthal": _pair((31.5, 22, 78), (17, 17, 26), (1.5, 0, 0)),
    "eye_height": _pair((31.5, 22, 78), (22, 16, 28), (0, 1.6, 0)),
    "eye_depth": _pair((31.5, 24, 80), (17, 15, 22), (0, 0, 1.5)),
    "brow_height": _pair((31, 40, 93), (22, 8, 24), (0, 2.1, 0)),
    "brow_tilt": _both(
        _pair((45, 40, 85), (12, 9, 20), (0, 1.8, 0)),
        _pair((15, 39, 97), (10, 9, 18), (0, -1.1, 0)),
    ),
    "brow_ridge": _pair((24, 38, 97), (20, 8, 22), (0, 0, 2.0)),
    "forehead_slope": _slope,
    "forehead_width": _pair((56, 60, 60), (18, 26, 34), (3.0, 0, 0.5)),
    "temple": _pair((64, 36, 48), (12, 16, 20), (2.2, 0, 0)),
    "cheekbone": _pair((48, 2, 76), (15, 12, 20), (1.6, 0, 2.0)),
    "cheek_fullness": _pair((46, -34, 70), (17, 19, 26), (3.3, 0, 1.2)),
    "midface_depth": _bump((0, -12, 98), (34, 26, 28), (0, 0, 2.2)),
    "infraorbital": _pair((27, 3, 86), (14, 8, 14), (0, 0, 1.2)),
    "mentolabial": _bump((0, -57, 97), (18, 5, 12), (0, 0, -1.4)),
    "submental": _bump((0, -98, 62), (32, 14, 34), (0, -4.2, 1.2)),
    "ear_size": _pair((72, 5, -10), (12, 40, 40), (0, 0, 0)),
    "ear_stand": _pair((76, 10, -20), (14, 34, 16), (3.5, 0, 0)),
    "neck_width": _neck_width,
    "shoulders": _shoulders,
    "nose_bend": _bump((0, -8, 112), (13, 14, 20), (1.0, 0, 0)),
    "chin_shift": _bump((0, -75, 92), (24, 17, 28), (1.5, 0, 0)),
    "mouth_tilt": _both(
        _bump((24, -42, 93), (11, 10, 16), (0, 0.8, 0)),
        _bump((-24, -42, 93), (11, 10, 16), (0, -0.8, 0)),
    ),
    "brow_uneven": _both(
        _bump((32, 40, 93), (18, 8, 20), (0, 0.8, 0)),
        _bump((-32, 40, 93), (18, 8, 20), (0, -0.8, 0)),
    ),
}
_LID_MODES = {"lid_height": 0.8, "lid_lower": -0.5, "eye_width": 1.1, "canthal_tilt": 1.0}
IDENTITY_NAMES = (*FIELDS, *_LID_MODES)


def _rigid_near_eyes(head: Assembly, shape: Points, at_eyes: Points) -> Points:
    """Near an eye the skin moves with the eyeball, so that the lids stay on it."""
    for side, ids_name, move in ((1, "eye_left", at_eyes[0]), (-1, "eye_right", at_eyes[1])):
        centre = anatomy.EYE_CENTRE * [side, 1, 1]
        offset = (head.points - centre) * [0.85, 1.1, 1.0]
        near = smoothstep(np.linalg.norm(offset, axis=1), _RADIUS_FAR, _RADIUS_NEAR)[:, None]
        soft = np.zeros((len(shape), 1))
        suffix = ids_name.removeprefix("eye_")
        for name in ("head", f"rim_{suffix}"):
            soft[head.members[name]] = 1
        shape = shape + soft * near * (move - shape)
        shape[head.members[ids_name]] = move
    return shape


def _lid_mode(head: Assembly, name: str, amount: float) -> Points:
    """Lid margins and their rings moved along the eyeball; both eyes."""
    out = np.zeros_like(head.points)
    n = LID_COUNT
    t = np.concatenate([np.linspace(0, 1, n + 1), np.linspace(1, 0, n + 1)[1:-1]])
    upper = np.arange(2 * n) <= n
    way = np.zeros((2 * n, 3))
    if name == "lid_height":
        way[:, 1] = amount * np.sin(np.pi * t) * upper
    elif name == "lid_lower":
        way[:, 1] = amount * np.sin(np.pi * t) * ~upper
    elif name == "eye_width":
        way[:, 0] = amount * t**2
        way[:, 2] = -0.6 * amount * t**2
    else:
        way[:, 1] = amount * t**1.5
    for side, suffix in ((1, ""), (-1, "_r")):
        for k, follow in enumerate((1.0, 0.9, 0.7, 0.4, 0.15)):
            ids = head.tags[f"lid{k}{suffix}"]
            base = head.points[ids] * [side, 1, 1]
            moved = base + follow * way
            if k < 3:
                moved = anatomy.on_lid_sphere(moved, anatomy.LID_RADIUS + 0.12 * k)
            out[ids] = (moved - base) * [side, 1, 1]
        rim = head.members["rim_left" if side == 1 else "rim_right"]
        for r in range(1, len(rim) // (2 * n)):
            out[rim[r * 2 * n : (r + 1) * 2 * n]] = out[head.tags[f"lid0{suffix}"]]
    return out


def _ears_scaled(head: Assembly, rate: float = 0.07) -> Points:
    out = np.zeros_like(head.points)
    for name in ("ear_left", "ear_right"):
        ids = head.members[name]
        centre = head.points[ids].mean(0)
        out[ids] = rate * (head.points[ids] - centre) * [0.5, 1, 1]
    return out


def identity(head: Assembly) -> tuple[Points, Points]:
    """Modes [Ki, V, 3] and what they do to the joints [Ki, 5, 3], mm per standard deviation."""
    rest = joints()
    shapes, moved = [], []
    for name, field in FIELDS.items():
        shape, at_joints = field(head.points), field(rest)
        at_joints[0] = 0
        at_joints[2] = field(anatomy.JAW_JOINT + np.array([[55, 0, 0], [-55, 0, 0]])).mean(0)
        for ids_name, place in (
            ("teeth_upper", (0, -36, 99)),
            ("teeth_lower", (0, -50, 98)),
            ("tongue", (0, -50, 92)),
        ):
            rigid = field(np.array([place], np.float64))[0]
            if name in ("upper_lip", "lower_lip", "lip_protrusion", "mouth_tilt"):
                rigid = np.zeros(3)
            shape[head.members[ids_name]] = rigid
        if name == "ear_size":
            shape, at_joints = _ears_scaled(head), np.zeros_like(rest)
        shapes.append(_rigid_near_eyes(head, shape, at_joints[3:5]))
        moved.append(at_joints)
    for name, amount in _LID_MODES.items():
        shapes.append(_lid_mode(head, name, amount))
        moved.append(np.zeros_like(rest))
    return np.stack(shapes), np.stack(moved)
