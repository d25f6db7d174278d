"""Expression shapes of the procedural head, named as ARKit's where they coincide.

Displacements in millimetres at activation 1. `jawOpen` is the displacement of a jaw rotation by
JAW_OPEN_ANGLE with the same weights as the jaw joint, so that either may open the mouth.
`eyeLookUp/Down` move the lids alone; the eyeballs turn with their joints.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural import anatomy
from headworks.heads.procedural.assembly import Assembly
from headworks.heads.procedural.lids import FLIP, move_lids
from headworks.heads.procedural.parttypes import Points, smoothstep
from headworks.heads.procedural.skinning import jaw_weights

JAW_OPEN_ANGLE = 0.30
"""Radians at jawOpen = 1: about 30 mm between the incisors."""


_LID_MOVERS = (
    # Expression, how far it takes the upper and the lower lid to the closed line.
    ("cheekSquint", 0.08, 0.4),
    ("eyeWide", -0.32, -0.12),
    ("eyeSquint", 0.28, 0.8),
    ("eyeLookUp", -0.22, -0.15),
    ("eyeLookDown", 0.5, -0.3),
)


class _Face:
    """The mean head with the masks that expressions are made of."""

    def __init__(self, head: Assembly) -> None:
        self.head = head
        self.p = head.points
        self.jaw = jaw_weights(head)
        self.soft = np.zeros(len(self.p))
        for name in ("head", "rim_left", "rim_right", "sock"):
            self.soft[head.members[name]] = 1
        # The sock's depth moves less than the lips.
        sock = head.members["sock"]
        ring = len(head.tags["lip0"])
        for r in range(1, (len(sock) - 1) // ring):
            self.soft[sock[r * ring : (r + 1) * ring]] = max(0.0, 1 - 0.25 * r)
        self.soft[sock[-1]] = 0
        # 0 where the closed lips touch: what moves one lip alone may part them, never cross them.
        self.off_contact = np.clip(np.abs(self.p[:, 1] - anatomy.MOUTH_Y) / 6.0, 0, 1)
        # Lids keep to the eyeball: cheeks and brows fade out there.
        eye = np.minimum(
            np.linalg.norm((self.p - anatomy.EYE_CENTRE) * [0.85, 1.15, 1], axis=1),
            np.linalg.norm((self.p * FLIP - anatomy.EYE_CENTRE) * [0.85, 1.15, 1], axis=1),
        )
        self.off_eye = smoothstep(eye, 13.5, 21)

    def bump(self, x: float, y: float, z: float, *radius: float) -> NDArray[np.float64]:
        """Gaussian weight around a point; radii along x, y, z or one for all."""
        scale = np.array(radius if len(radius) == 3 else radius * 3)
        return self.soft * np.exp(-0.5 * (((self.p - [x, y, z]) / scale) ** 2).sum(1))

    def upper_lip(self) -> NDArray[np.float64]:
        """Weight of the upper lip and the skin above it."""
        return self.bump(0, -38, 103, 19, 8, 16) * (1 - self.jaw)

    def lower_lip(self) -> NDArray[np.float64]:
        """Weight of the lower lip and the skin below it."""
        return self.bump(0, -47, 103, 19, 8, 16) * self.jaw

    def rolled(self, lip: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weight of a lip that rolls in: where the lips touch the other one goes along.

        One that slid back alone would cut into lips whose seam is tilted.
        """
        together = 0.5 * self.bump(0, -42, 103, 19, 8, 16)
        return lip * self.off_contact + together * (1 - self.off_contact)


def _move(weight: NDArray[np.float64], *direction: float) -> Points:
    return weight[:, None] * np.array(direction)


def _jaw_rotation(face: _Face, angle: float) -> Points:
    c, s = np.cos(angle), np.sin(angle)
    offset = face.p - anatomy.JAW_JOINT
    turned = offset.copy()
    # A positive turn about +x takes +z to -y: the chin goes down.
    turned[:, 1] = c * offset[:, 1] - s * offset[:, 2]
    turned[:, 2] = s * offset[:, 1] + c * offset[:, 2]
    return face.jaw[:, None] * (turned - offset)


def _lips_press(face: _Face) -> Points:
    """Both lips thinner and pressed, all along."""
    towards = anatomy.MOUTH_Y - face.p[:, 1]
    lips = face.bump(0, -42, 101, 20, 8, 16)
    out = _move(lips * np.clip(towards, -9, 9), 0, 0.2, 0)
    return out + _move(lips, 0, 0, -1.5)


def _left_shapes(face: _Face) -> dict[str, Points]:
    """Shapes of the subject's left side; the right ones are their mirror images."""
    left = smoothstep(face.p[:, 0], -7, 7)
    corner = face.bump(26, -42, 92, 11, 10, 16)
    wide = face.bump(32, -36, 86, 17, 14, 20)
    cheek = face.bump(38, -8, 84, 13, 11, 18) * face.off_eye
    upper, lower = face.upper_lip(), face.lower_lip()
    frown = face.bump(16, 37, 96, 10, 8, 20)
    lids = {name: move_lids(face.head, up, low) for name, up, low in _LID_MOVERS}
    return {
        "mouthSmile": _move(corner, 4.5, 4.5, -4)
        + _move(wide, 3.0, 3.0, -1.0)
        + _move(cheek, 0.5, 2.2, 1.8),
        "mouthFrown": _move(corner, 0.5, -6.0, -1) + _move(wide, 0.5, -2.0, 0),
        "mouthDimple": _move(face.bump(27, -42, 92, 8), 3.5, 0.8, -3.0),
        "mouthStretch": _move(corner, 5.5, -1.5, -3.5)
        + _move(face.bump(34, -52, 84, 14), 3, -2, -1),
        "mouthPress": _lips_press(face) * left[:, None],
        "mouthLowerDown": _move(lower * face.bump(11, -48, 103, 9, 30, 40), 1.0, -7.5, -0.5),
        "mouthUpperUp": _move(upper * face.bump(11, -38, 103, 9, 30, 40), 0.8, 7.0, 0.8)
        + _move(face.bump(22, -25, 92, 9), 0.5, 2, 0.5),
        "browDown": _move(face.bump(22, 38, 95, 14, 8, 22) * face.off_eye, -1.5, -4.5, 0.5)
        + _move(frown * face.off_eye, -2.0, -1.5, 1.0),
        "browOuterUp": _move(face.bump(45, 42, 82, 13, 11, 24) * face.off_eye, 0, 6.5, -1.0),
        "cheekSquint": _move(face.bump(38, 2, 82, 14, 10, 18) * face.off_eye, 0, 4.5, 2.0)
        + lids["cheekSquint"],
        "noseSneer": _move(face.bump(15, -10, 99, 6.5, 8, 12), 1.0, 3.5, 0)
        + _move(face.bump(9, 18, 92, 7, 8, 12) * face.off_eye, 0, 1.5, 0.8)
        + _move(upper * face.bump(14, -36, 100, 9, 30, 40), 0, 2.2, 0.5),
        "eyeBlink": move_lids(face.head, 1.0, 1.0),
        "eyeWide": lids["eyeWide"]
        + _move(face.bump(32, 38, 92, 16, 6, 20) * face.off_eye, 0, 1.5, 0),
        "eyeSquint": lids["eyeSquint"]
        + _move(face.bump(34, 5, 84, 14, 8, 16) * face.off_eye, 0, 2.0, 1.0),
        "eyeLookUp": lids["eyeLookUp"],
        "eyeLookDown": lids["eyeLookDown"],
    }


def _middle_shapes(face: _Face) -> dict[str, Points]:
    p, jaw = face.p, face.jaw
    around = face.bump(0, -42, 100, 24, 15, 24)
    # A jaw that slides drags both lips along: they part and press, but where they touch they do
    # not shear.
    near_lips = face.soft * smoothstep(face.bump(0, -42, 98, 30, 10, 26), 0.25, 0.65)
    dragged = jaw + (1 - 0.2 * face.off_contact) * near_lips * (0.55 - jaw)
    upper, lower = face.upper_lip(), face.lower_lip()
    side = np.clip(p[:, 0], -30, 30)
    inward = np.column_stack([-side, 0 * side, 0 * side])
    opened = _jaw_rotation(face, JAW_OPEN_ANGLE)
    puff = face.bump(46, -36, 70, 15, 16, 22) + face.bump(-46, -36, 70, 15, 16, 22)
    chin = face.bump(0, -60, 97, 14, 10, 14)
    brows = face.bump(12, 41, 98, 10, 12, 24) + face.bump(-12, 41, 98, 10, 12, 24)
    return {
        "jawOpen": opened,
        "jawForward": _move(dragged, 0, 0, 5.0),
        "jawLeft": _move(dragged, 6.0, 0, 0),
        "jawRight": _move(dragged, -6.0, 0, 0),
        # Alone it presses the lips; with an open jaw it closes them (see `correctives`).
        "mouthClose": 0.6 * _lips_press(face),
        "mouthFunnel": 0.42 * around[:, None] * inward
        + _move(around, 0, 0, 5.5)
        + _move(upper, 0, 3.5, 0)
        + _move(lower, 0, -4.5, 0),
        "mouthPucker": 0.48 * around[:, None] * inward + _move(around, 0, 0, 7.0),
        "mouthLeft": _move(around, 7.5, 0, -0.5),
        "mouthRight": _move(around, -7.5, 0, -0.5),
        "mouthRollUpper": _move(face.rolled(upper), 0, 0, -2.4)
        + _move(upper * face.off_contact, 0, -1.0, 0),
        "mouthRollLower": _move(face.rolled(lower), 0, 0, -1.7)
        + _move(lower * face.off_contact, 0, 1.2, 0),
        "mouthShrugUpper": _move(upper, 0, 2.0, 2.0),
        "mouthShrugLower": _move(face.bump(0, -44, 103, 18, 8, 16), 0, 3.0, 1.0)
        + _move(lower * face.off_contact, 0, 0, 0.6)
        + _move(chin, 0, 3.0, 1.0),
        "cheekPuff": _move(puff, 0, 0, 3.5) + np.sign(p[:, :1]) * _move(puff, 7.5, 0, 0),
        "browInnerUp": _move(brows * face.off_eye, 0, 6.0, 0.3),
    }


def expressions(head: Assembly, twin: NDArray[np.int64]) -> tuple[tuple[str, ...], Points]:
    """Names [Ke] and displacements [Ke, V, 3] mm.

    Args:
        head: the mean. twin: [V] each vertex's mirror image.
    """
    face = _Face(head)
    shapes = _middle_shapes(face)
    for name, shape in _left_shapes(face).items():
        shapes[f"{name}Left"] = shape
        shapes[f"{name}Right"] = shape[twin] * FLIP
    tongue = np.zeros(len(head.points))
    tongue[head.members["tongue"]] = 1
    shapes["tongueOut"] = (
        _move(tongue, 0, 0.25, 1.0) * np.clip((head.points[:, 2:] - 42) / 44, 0, 1) * 24.0
    )
    return tuple(shapes), np.stack(list(shapes.values()))


def correctives(head: Assembly, twin: NDArray[np.int64]) -> list[tuple[str, str, Points]]:
    """What two expressions add when they come together: pairs of names and shapes [V, 3] mm.

    A closed eye stays closed whatever else moves its lids; mouthClose closes the open jaw's lips.
    """
    face = _Face(head)
    lips_only = smoothstep(face.bump(0, -46, 101, 24, 10, 18), 0.15, 0.8)
    closed = -_jaw_rotation(face, JAW_OPEN_ANGLE) * lips_only[:, None]
    found = [("jawOpen", "mouthClose", closed)]
    for name, upper, lower in _LID_MOVERS:
        left = -move_lids(head, upper, lower)
        found.append(("eyeBlinkLeft", f"{name}Left", left))
        found.append(("eyeBlinkRight", f"{name}Right", left[twin] * FLIP))
    return found


def symmetric_vertices(head: Assembly) -> NDArray[np.int64]:
    """Each vertex's mirror image, int64 [V].

    Raises:
        ValueError: when the mean head is not symmetric.
    """
    from scipy.spatial import cKDTree

    # The closed lips lie on one another in space; what follows the jaw tells them apart.
    jaw = 10 * jaw_weights(head)[:, None]
    distance, twin = cKDTree(np.hstack([head.points, jaw])).query(
        np.hstack([head.points * FLIP, jaw])
    )
    if distance.max() > 1e-6:
        raise ValueError(f"the mean head is not symmetric: off by {distance.max():.3g} mm")
    return twin.astype(np.int64)
