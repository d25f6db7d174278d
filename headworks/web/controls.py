"""The page's sliders and poses, from the names of a head's expressions.

A control moves several numbers of the driving row at once: number `index` becomes its resting value
plus `factor * value`, clamped to [low, high].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headworks.heads.base import HeadModel

LID_PITCH = 0.5
"""Radians of gaze at which the lids have followed as far as they go (`headworks.tracking.eyes`)."""
SIGNED_MODES = 10
"""How many unnamed modes (standard deviations) stand among the main controls."""
_BIG = 1e9
_NECK, _JAW, _EYES = 6, 12, 15  # offsets in the pose part of a row

MAIN: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("Open jaw", ("jawOpen",), ()),
    ("Smile", ("mouthSmileLeft", "mouthSmileRight"), ()),
    ("Mouth corners down", ("mouthFrownLeft", "mouthFrownRight"), ()),
    ("Pucker", ("mouthPucker",), ()),
    ("Funnel", ("mouthFunnel",), ()),
    ("Stretch", ("mouthStretchLeft", "mouthStretchRight"), ()),
    ("Mouth to the side", ("mouthLeft",), ("mouthRight",)),
    ("Puff cheeks", ("cheekPuff",), ()),
    ("Brows", ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
     ("browDownLeft", "browDownRight")),
    ("Lids", ("eyeWideLeft", "eyeWideRight"), ("eyeBlinkLeft", "eyeBlinkRight")),
    ("Squint", ("eyeSquintLeft", "eyeSquintRight", "cheekSquintLeft", "cheekSquintRight"), ()),
    ("Wrinkle nose", ("noseSneerLeft", "noseSneerRight"), ()),
    ("Tongue", ("tongueOut",), ()),
)  # fmt: skip
"""Label, expressions of positive values, expressions of negative values."""

POSES: tuple[tuple[str, dict[str, float]], ...] = (
    ("Smile", {"mouthSmile*": 0.9, "cheekSquint*": 0.5, "eyeSquint*": 0.2}),
    ("Jaw open", {"jawOpen": 0.8}),
    ("Surprise", {"jawOpen": 0.45, "browInnerUp": 0.8, "browOuterUp*": 0.8, "eyeWide*": 0.7}),
    ("Anger", {"browDown*": 0.9, "noseSneer*": 0.5, "mouthPress*": 0.5, "eyeSquint*": 0.3}),
    ("Sadness", {"browInnerUp": 0.7, "mouthFrown*": 0.8, "mouthShrugLower": 0.4}),
    ("Pucker", {"mouthPucker": 0.9}),
    ("Cheeks", {"cheekPuff": 0.9}),
    ("Blink", {"eyeBlink*": 1.0}),
)
"""Named expressions; `*` stands for Left and Right."""


class Part(NamedTuple):
    """One number that a control moves: row[number] = rest + clamp(factor * value, low, high)."""

    number: int
    factor: float
    low: float
    high: float


def make_controls(head: HeadModel) -> list[dict[str, Any]]:
    """Controls in the order of the page: dicts with group, label, low, high, unit and parts."""
    names, pose = head.expression_names, len(head.expression_names)
    place = {name: i for i, name in enumerate(names)}
    out: list[dict[str, Any]] = []

    def add(group: str, label: str, low: float, high: float, unit: str, parts: list[Part]) -> None:
        out.append(
            {"group": group, "label": label, "low": low, "high": high, "unit": unit,
             "parts": [list(part) for part in parts]}
        )  # fmt: skip

    for label, plus, minus in MAIN:
        up = [Part(place[n], 1.0, 0.0, 1.0) for n in plus if n in place]
        down = [Part(place[n], -1.0, 0.0, 1.0) for n in minus if n in place]
        if up or down:
            add("face", label, -1.0 if down else 0.0, 1.0 if up else 0.0, "share", up + down)
    signed = [i for i, s in enumerate(head.signed()) if s]
    for i in signed[:SIGNED_MODES]:
        add("face", names[i], -3.0, 3.0, "sigma", [Part(i, 1.0, -_BIG, _BIG)])

    def turn(group: str, label: str, reach: float, offset: int, *more: Part, sign: float = 1.0,
             low: float | None = None) -> None:  # fmt: skip
        parts = [Part(pose + offset, sign, -_BIG, _BIG), *more]
        add(group, label, -reach if low is None else low, reach, "angle", parts)

    turn("jaw", "Jaw down", 0.35, _JAW, low=0.0)
    turn("jaw", "Jaw sideways", 0.15, _JAW + 1)
    lids = [
        Part(place[f"eyeLook{way}{side}"], factor / LID_PITCH, 0.0, 1.0)
        for way, factor in (("Up", 1.0), ("Down", -1.0))
        for side in ("Left", "Right")
        if f"eyeLook{way}{side}" in place
    ]
    right_eye = Part(pose + _EYES + 3, -1.0, -_BIG, _BIG)
    turn("gaze", "Up and down", 0.4, _EYES, right_eye, *lids, sign=-1.0)
    turn("gaze", "Left and right", 0.5, _EYES + 1, Part(pose + _EYES + 4, 1.0, -_BIG, _BIG))
    turn("head", "Turn", 0.8, _NECK + 1)
    turn("head", "Nod", 0.5, _NECK)
    turn("head", "Tilt", 0.5, _NECK + 2)
    for i, name in enumerate(names):
        low, high = (-3.0, 3.0) if i in signed else (0.0, 1.0)
        unit = "sigma" if i in signed else "share"
        add("all", name, low, high, unit, [Part(i, 1.0, -_BIG, _BIG)])
    return out


def make_poses(head: HeadModel) -> list[dict[str, Any]]:
    """Named expressions that the head can show: dicts with label and values ([[index, value]])."""
    place = {name: i for i, name in enumerate(head.expression_names)}
    out: list[dict[str, Any]] = [{"label": "Neutral", "values": []}]
    for label, wanted in POSES:
        values = []
        for name, value in wanted.items():
            sides = [name[:-1] + side for side in ("Left", "Right")] if "*" in name else [name]
            values += [[place[full], value] for full in sides if full in place]
        if values:
            out.append({"label": label, "values": values})
    if len(out) == 1:  # a head without named activations still has its jaw
        jaw = len(head.expression_names) + _JAW
        out.append({"label": "Jaw open", "values": [[jaw, 0.28]]})
    return out


def pose_rows(head: HeadModel, resting: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The named expressions, neutral left out, as driving rows [Ke + 21]."""
    rows = []
    for pose in make_poses(head)[1:]:
        row = resting.copy()
        for index, value in pose["values"]:
            row[index] += value
        rows.append(row)
    return rows
