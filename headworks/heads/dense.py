"""Dense landmarks: some 300 named surface points that every head model has in common.

They are defined by the 68 landmarks and the surface alone, so that each model provides them without
tables of its own: curves through landmarks (lids, lips, brows, nose, jaw), points between curves
(cheeks, forehead, sides of the nose), the ears' outlines, and rays from the middle of the head
(skull, neck). A model without ears or without the back of the head lacks those names.

Left and right are the subject's. `mirrored_name` gives a point's partner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.heads.base import JOINTS, HeadModel, HeadPose
from headworks.heads.surface import closest_points, mirror_vertices, outermost_hits

Array = NDArray[np.float64]


class _Curve(NamedTuple):
    """Points at equal steps on the curve through landmarks; `ends` says whether its ends count."""

    name: str
    landmarks: tuple[int, ...]
    points: int
    ends: bool
    opened: bool = False


_CURVES = (
    _Curve("jaw", tuple(range(17)), 33, True),
    _Curve("brow_right", tuple(range(17, 22)), 9, True),
    _Curve("brow_left", tuple(range(26, 21, -1)), 9, True),
    _Curve("nose_ridge", (27, 28, 29, 30), 7, True),
    _Curve("nose_base", tuple(range(31, 36)), 9, True),
    _Curve("lid_upper_right", (36, 37, 38, 39), 9, True),
    _Curve("lid_lower_right", (36, 41, 40, 39), 7, False),
    _Curve("lid_upper_left", (45, 44, 43, 42), 9, True),
    _Curve("lid_lower_left", (45, 46, 47, 42), 7, False),
    _Curve("lip_upper_outer", tuple(range(48, 55)), 13, True, True),
    _Curve("lip_lower_outer", (48, 59, 58, 57, 56, 55, 54), 11, False, True),
    _Curve("lip_upper_inner", tuple(range(60, 65)), 9, True, True),
    _Curve("lip_lower_inner", (60, 67, 66, 65, 64), 7, False, True),
)
# Points between two landmarks, and the landmarks on the other side.
_BETWEEN = {
    "cheek": (((36, 1), (41, 2), (31, 3), (48, 4), (48, 5), (59, 6), (58, 7)),
              ((45, 15), (46, 14), (35, 13), (54, 12), (54, 11), (55, 10), (56, 9))),
    "nose_side": (((28, 39), (29, 31), (30, 31)), ((28, 42), (29, 35), (30, 35))),
}  # fmt: skip
_FRACTIONS = {"cheek": (0.25, 0.5, 0.75), "nose_side": (0.5,)}
_FOREHEAD_ABOVE = (18, 20, 23, 25)
_FOREHEAD_STEPS = (0.15, 0.3, 0.45)
"""Heights above the brow, in distances from nasion to chin."""

_EAR_POINTS, _SKULL_TURNS, _NECK_TURNS = 12, 12, 10
_SKULL_RISES = (0.0, 0.35, 0.7, 1.05, 1.4)
"""Elevations of the skull's rays, radians; they start above the ear canals."""

_NECK_BELOW_CHIN = 0.25
_SKIN = ("skin", "scalp", "lips", "eyelids", "ears", "neck", "torso")
_MOUTH_SHAPE, _MOUTH_TURN = 0.4, 0.2
"""How far the mouth is opened, as `jawOpen` or radians, so that the lips can be told apart."""


def _names() -> tuple[str, ...]:
    names = [f"{c.name}_{i:02d}" for c in _CURVES for i in range(c.points)]
    for what, (right, _) in _BETWEEN.items():
        for side in ("right", "left"):
            names += [
                f"{what}_{side}_{i}_{j}"
                for i in range(len(right))
                for j in range(len(_FRACTIONS[what]))
            ]
    columns = range(len(_FOREHEAD_ABOVE) + 1)
    names += [f"forehead_{i}_{j}" for i in columns for j in range(len(_FOREHEAD_STEPS))]
    names += [f"ear_{side}_{i:02d}" for side in ("right", "left") for i in range(_EAR_POINTS)]
    names += [f"skull_{e}_{a:02d}" for e in range(len(_SKULL_RISES)) for a in range(_SKULL_TURNS)]
    names += [f"neck_{a:02d}" for a in range(_NECK_TURNS)]
    return tuple(names)


DENSE_NAMES = _names()
"""All names, in order. A head model's `dense_names` are those that it has."""


def mirrored_name(name: str) -> str:
    """The name of a dense landmark's partner on the other side (its own on the midline)."""
    if "_right" in name:
        return name.replace("_right", "_left")
    if "_left" in name:
        return name.replace("_left", "_right")
    stem, _, last = name.rpartition("_")
    for curve in _CURVES:
        if curve.name == stem and stem != "nose_ridge":
            return f"{stem}_{curve.points - 1 - int(last):02d}"
    if stem.startswith("forehead"):
        column = len(_FOREHEAD_ABOVE) - int(stem.rpartition("_")[2])
        return f"forehead_{column}_{last}"
    if stem == "neck" or stem.startswith("skull"):
        turns = _NECK_TURNS if stem == "neck" else _SKULL_TURNS
        return f"{stem}_{-int(last) % turns:02d}"
    return name


def complete(head: HeadModel) -> HeadModel:
    """The model with what follows from it: symmetric vertices and dense landmarks.

    Args:
        head: on the CPU. Fields that it has already are kept.
    """
    if head.mirror_vertices is None:
        partner = mirror_vertices(head.template.double().numpy())
        head = replace(head, mirror_vertices=torch.from_numpy(partner))
    if head.dense_faces is None:
        names, faces, bary = dense_embedding(head)
        head = replace(
            head,
            dense_names=names,
            dense_faces=torch.from_numpy(faces),
            dense_bary=torch.from_numpy(bary.astype(np.float32)),
        )
    return head


def dense_embedding(head: HeadModel) -> tuple[tuple[str, ...], NDArray[np.int64], Array]:
    """Where the dense landmarks lie on a head model that knows its symmetry.

    Returns:
        names [D] (of `DENSE_NAMES`, in that order), faces int64 [D], barycentric [D, 3].

    Raises:
        ValueError: the model has no `mirror_vertices`.
    """
    if head.mirror_vertices is None:
        raise ValueError(f"{head.name}: dense landmarks need mirror_vertices first; see complete")
    neutral = head.template.double().numpy()
    opened = _opened(head).double().numpy()
    marks = {
        False: head.landmarks(torch.from_numpy(neutral)[None])[0].numpy(),
        True: head.landmarks(torch.from_numpy(opened)[None])[0].numpy(),
    }
    faces = head.faces.numpy()
    skin = head.region_faces(*_SKIN).numpy()
    found: dict[str, tuple[int, Array]] = {}

    def put(names: Iterable[str], ids: NDArray[np.int64], bary: Array) -> None:
        for name, face, weights in zip(names, ids, bary, strict=True):
            if face >= 0:
                found[name] = int(face), weights

    for curve in _CURVES:
        targets = _along(marks[curve.opened][list(curve.landmarks)], curve.points, curve.ends)
        vertices = opened if curve.opened else neutral
        names = [f"{curve.name}_{i:02d}" for i in range(curve.points)]
        put(names, *closest_points(targets, vertices, faces, skin))
    m = marks[False]
    for what, sides in _BETWEEN.items():
        for side, pairs in zip(("right", "left"), sides, strict=True):
            for i, (a, b) in enumerate(pairs):
                share = np.array(_FRACTIONS[what])[:, None]
                targets = m[a] * (1 - share) + m[b] * share
                names = [f"{what}_{side}_{i}_{j}" for j in range(len(share))]
                put(names, *closest_points(targets, neutral, faces, skin))

    def shoot(origins: Array, directions: Array) -> tuple[NDArray[np.int64], Array]:
        return outermost_hits(origins, directions, neutral, faces, skin)

    _forehead(m, shoot, put)
    _ears(head, neutral, put)
    _rings(m, shoot, put)
    there = tuple(n for n in DENSE_NAMES if n in found)
    return (
        there,
        np.array([found[n][0] for n in there], np.int64),
        np.stack([found[n][1] for n in there]),
    )


_Put = Callable[[Iterable[str], NDArray[np.int64], Array], None]
_Shoot = Callable[[Array, Array], tuple[NDArray[np.int64], Array]]


def _forehead(marks: Array, shoot: _Shoot, put: _Put) -> None:
    height = marks[27, 1] - marks[8, 1]
    columns = np.insert(marks[list(_FOREHEAD_ABOVE)], 2, marks[[21, 22]].mean(0), axis=0)
    for i, brow in enumerate(columns):
        # Towards the front and a little up, from the middle of the head: the bare forehead.
        origins = np.array([[0.0, brow[1] + s * height, 0.0] for s in _FOREHEAD_STEPS])
        direction = np.array([brow[0], 0.0, brow[2]])
        names = [f"forehead_{i}_{j}" for j in range(len(origins))]
        put(names, *shoot(origins, np.broadcast_to(direction, origins.shape)))


def _ears(head: HeadModel, neutral: Array, put: _Put) -> None:
    """The outline of each ear seen from the side: the left one's, and its partners on the right."""
    faces = head.faces.numpy()
    ear = head.region_faces("ears").numpy()
    corners = np.unique(faces[ear])
    left = corners[neutral[corners, 0] > 0]
    assert head.mirror_vertices is not None
    partner = head.mirror_vertices.numpy()
    if not len(left):
        return
    points = neutral[left][:, [2, 1]]  # z forward, y up
    middle = (points.min(0) + points.max(0)) / 2
    turn = 2 * np.pi * np.arange(_EAR_POINTS) / _EAR_POINTS
    rays = np.stack([np.cos(turn), np.sin(turn)], -1)
    outline = left[((points - middle) @ rays.T).argmax(0)]
    for side, vertices in (("left", outline), ("right", partner[outline])):
        ids, bary = np.full(_EAR_POINTS, -1, np.int64), np.zeros((_EAR_POINTS, 3))
        for i, vertex in enumerate(vertices):
            owners = np.flatnonzero((faces == vertex).any(1))
            if vertex >= 0 and len(owners):
                ids[i], bary[i] = owners[0], faces[owners[0]] == vertex
        put([f"ear_{side}_{i:02d}" for i in range(_EAR_POINTS)], ids, bary)


def _rings(marks: Array, shoot: _Shoot, put: _Put) -> None:
    brow = marks[[21, 22], 1].mean()
    turn = 2 * np.pi * np.arange(_SKULL_TURNS) / _SKULL_TURNS
    for e, rise in enumerate(_SKULL_RISES):
        up = np.broadcast_to(np.sin(rise), turn.shape)
        rays = np.stack([np.sin(turn) * np.cos(rise), up, np.cos(turn) * np.cos(rise)], -1)
        origin = np.broadcast_to([0.0, brow + 0.02, 0.0], rays.shape)
        names = [f"skull_{e}_{a:02d}" for a in range(_SKULL_TURNS)]
        put(names, *shoot(origin, rays))
    height = marks[27, 1] - marks[8, 1]
    turn = 2 * np.pi * np.arange(_NECK_TURNS) / _NECK_TURNS
    rays = np.stack([np.sin(turn), 0 * turn, np.cos(turn)], -1)
    origin = np.broadcast_to([0.0, marks[8, 1] - _NECK_BELOW_CHIN * height, 0.0], rays.shape)
    put([f"neck_{a:02d}" for a in range(_NECK_TURNS)], *shoot(origin, rays))


def _opened(head: HeadModel) -> torch.Tensor:
    """The template with its mouth a little open, [V, 3]: by shape, by joint, or as it is."""
    identity = torch.zeros(1, len(head.identity_basis))
    expression = torch.zeros(1, len(head.expression_names))
    pose = HeadPose.zeros(1)
    if "jawOpen" in head.expression_names:
        expression[0, head.expression_index("jawOpen")] = _MOUTH_SHAPE
    elif float(head.skin_weights[:, JOINTS.index("jaw")].max()) > 0:
        pose.jaw[0, 0] = _MOUTH_TURN
    return head.vertices(identity, expression, pose)[0]


def _along(points: Array, count: int, ends: bool) -> Array:
    """`count` points at equal steps on the smooth curve through points [N, 3]."""
    from scipy.interpolate import CubicSpline

    knots = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    curve = CubicSpline(knots, points, bc_type="natural")
    fine = curve(np.linspace(0, knots[-1], 400))
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    steps = np.linspace(0, length[-1], count if ends else count + 2)
    steps = steps if ends else steps[1:-1]
    return np.stack([np.interp(steps, length, fine[:, i]) for i in range(3)], -1)
