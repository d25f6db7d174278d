"""How synthetic people move: held expressions, and a talking, turning, blinking head.

The jaw moves by the expression `jawOpen`; the jaw joint stays at rest, so that the truth has one
representation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.heads import HeadModel, HeadPose

Array = NDArray[np.float64]

_BOTH = ("Left", "Right")
PRESETS: dict[str, dict[str, float]] = {
    # "*" stands for both sides.
    "neutral": {},
    "smile": {"mouthSmile*": 0.9, "cheekSquint*": 0.4},
    "open": {"jawOpen": 0.75},
    "surprise": {"browInnerUp": 0.8, "browOuterUp*": 0.8, "eyeWide*": 0.8, "jawOpen": 0.35},
    "anger": {"browDown*": 0.9, "noseSneer*": 0.5, "mouthPress*": 0.6, "eyeSquint*": 0.3},
    "pucker": {"mouthPucker": 0.9},
    "laugh": {"mouthSmile*": 0.8, "jawOpen": 0.45, "mouthUpperUp*": 0.4, "eyeSquint*": 0.6},
    "sad": {"mouthFrown*": 0.8, "browInnerUp": 0.7, "eyeBlink*": 0.25},
    "closed": {"eyeBlink*": 1.0},
    "funnel": {"mouthFunnel": 0.8, "jawOpen": 0.25},
    "disgust": {"noseSneer*": 0.9, "mouthUpperUp*": 0.6, "browDown*": 0.4},
    "puff": {"cheekPuff": 0.9, "mouthPress*": 0.3},
    "wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.5, "cheekSquintLeft": 0.5},
    "sideways": {"mouthLeft": 0.7, "jawLeft": 0.4},
    "teeth": {"mouthUpperUp*": 0.7, "mouthLowerDown*": 0.7, "mouthStretch*": 0.4},
}

_VISEMES: tuple[dict[str, float], ...] = (
    {"jawOpen": 0.55},
    {"jawOpen": 0.35, "mouthSmile*": 0.2, "mouthUpperUp*": 0.15},
    {"jawOpen": 0.20, "mouthStretch*": 0.35, "mouthLowerDown*": 0.25},
    {"jawOpen": 0.28, "mouthFunnel": 0.55},
    {"jawOpen": 0.10, "mouthPucker": 0.60},
    {"mouthPress*": 0.35, "mouthRollLower": 0.20, "mouthRollUpper": 0.15},
    {"jawOpen": 0.06, "mouthRollLower": 0.35, "mouthUpperUp*": 0.10},
    {"jawOpen": 0.16, "mouthLowerDown*": 0.20},
)


@dataclass(frozen=True)
class Motion:
    """Expression and pose over time.

    Attributes:
        expression: [T, Ke]. pose: batch of T. names: what each time step shows.
    """

    expression: Tensor
    pose: HeadPose
    names: tuple[str, ...]


def coefficients(head: HeadModel, wanted: dict[str, float]) -> Array:
    """[Ke] of named activations; a name that ends in `*` stands for both sides."""
    out = np.zeros(len(head.expression_names))
    for name, value in wanted.items():
        sides = [name[:-1] + side for side in _BOTH] if name.endswith("*") else [name]
        for full in sides:
            out[head.expression_index(full)] += value
    return out


def _pose(neck: Array, rotation: Array, translation: Array, gaze: Array) -> HeadPose:
    def tensor(array: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    zero = torch.zeros(len(neck), 3)
    return HeadPose(
        tensor(rotation), tensor(translation), tensor(neck), zero, zero.clone(),
        tensor(np.repeat(gaze[:, None], 2, 1)),
    )  # fmt: skip


def _with_gaze(head: HeadModel, expression: Array, gaze: Array) -> Array:
    """Lids follow the eyes: gaze [T, 3] axis-angle, positive x looks down."""
    down, up = np.clip(gaze[:, 0] / 0.5, 0, 1), np.clip(-gaze[:, 0] / 0.5, 0, 1)
    out = expression.copy()
    shut = np.zeros(len(gaze))
    for side in _BOTH:
        shut = np.maximum(shut, out[:, head.expression_index(f"eyeBlink{side}")])
    for side in _BOTH:
        out[:, head.expression_index(f"eyeLookDown{side}")] += down * (1 - shut)
        out[:, head.expression_index(f"eyeLookUp{side}")] += up * (1 - shut)
    return out


def held(head: HeadModel, count: int, rng: np.random.Generator, turn: float = 0.25) -> Motion:
    """`count` held expressions, neutral first, with small random head turns and gazes.

    Args:
        head: whose expressions. count: T. rng: source of chance. turn: largest yaw, radians.
    """
    names = list(PRESETS)
    order = ["neutral"]
    while len(order) < count:
        order += [names[i] for i in rng.permutation(np.arange(1, len(names)))]
    order = order[:count]
    rows = np.stack([coefficients(head, PRESETS[name]) for name in order])
    rows *= rng.uniform(0.75, 1.0, (count, 1))
    some = rng.choice(list(PRESETS), count)
    for i in range(1, count):
        rows[i] += rng.uniform(0, 0.25) * coefficients(head, PRESETS[str(some[i])])
    rows = np.clip(rows, 0, 1)
    neck = rng.uniform(-1, 1, (count, 3)) * [0.5 * turn, turn, 0.35 * turn]
    gaze = rng.uniform(-1, 1, (count, 3)) * [0.16, 0.3, 0]
    neck[0] = gaze[0] = 0
    zero = np.zeros((count, 3))
    pose = _pose(neck, zero, zero, gaze)
    tensor = torch.from_numpy(_with_gaze(head, rows, gaze).astype(np.float32))
    return Motion(tensor, pose, tuple(order))


def _pulse(time: Array, start: float, rise: float, hold: float, fall: float) -> Array:
    """0, up within `rise` seconds, held, and down again; smooth ends."""
    up = np.clip((time - start) / rise, 0, 1)
    down = np.clip((time - start - rise - hold) / fall, 0, 1)
    return up * up * (3 - 2 * up) * (1 - down * down * (3 - 2 * down))


def _wander(time: Array, period: float, rng: np.random.Generator) -> Array:
    """A smooth random path about [-1, 1]: a few slow sines of random phase."""
    total = np.zeros_like(time)
    weight = 0.0
    for k, amplitude in enumerate((1.0, 0.6, 0.35)):
        rate = 2 * np.pi / period * (1 + 0.9 * k) * rng.uniform(0.8, 1.2)
        total += amplitude * np.sin(rate * time + rng.uniform(0, 2 * np.pi))
        weight += amplitude
    return total / weight * 1.35


def talking(head: HeadModel, count: int, fps: float, rng: np.random.Generator) -> Motion:
    """A head that talks, turns, blinks and raises its brows.

    Args:
        head: whose expressions. count: T frames. fps: frames per second. rng: source of chance.
    """
    time = np.arange(count) / fps
    end = count / fps
    rows = np.zeros((count, len(head.expression_names)))
    start = rng.uniform(0.3, 0.6)
    while start < end:
        # A phrase of syllables, then a pause.
        stop = start + rng.uniform(1.0, 2.2)
        while start < stop:
            length = rng.uniform(0.14, 0.26)
            shape = coefficients(head, _VISEMES[int(rng.integers(len(_VISEMES)))])
            swing = _pulse(time, start - 0.06, 0.5 * length + 0.03, 0.02, 0.5 * length + 0.05)
            rows += rng.uniform(0.7, 1.1) * swing[:, None] * shape
            start += length
        start += rng.uniform(0.2, 0.5)
    for wanted, every in (
        ({"mouthSmile*": 0.55, "cheekSquint*": 0.25}, 2.6),
        ({"browInnerUp": 0.5, "browOuterUp*": 0.5}, 2.0),
        ({"browDown*": 0.5}, 3.2),
    ):
        at = rng.uniform(0.2, 0.7 * every)
        while at < end:
            swing = _pulse(time, at, 0.22, rng.uniform(0.2, 0.7), 0.35)
            rows += rng.uniform(0.5, 1.0) * swing[:, None] * coefficients(head, wanted)
            at += every * rng.uniform(0.7, 1.3)
    blink = np.zeros(count)
    at = rng.uniform(0.4, 1.0)
    while at < end:
        blink = np.maximum(blink, _pulse(time, at, 0.10, 0.05, 0.16))
        at += rng.uniform(1.1, 2.4)
    rows = np.clip(rows, 0, 1)
    for side in _BOTH:
        rows[:, head.expression_index(f"eyeBlink{side}")] = blink
    yaw = 0.42 * _wander(time, 3.6, rng)
    pitch = 0.14 * _wander(time, 3.0, rng)
    roll = 0.09 * _wander(time, 4.2, rng)
    neck = np.column_stack([pitch, yaw, roll])
    rotation = np.column_stack([0.03 * _wander(time, 5, rng), 0.07 * _wander(time, 6, rng),
                                0.02 * _wander(time, 5, rng)])  # fmt: skip
    shift = np.column_stack([0.010 * _wander(time, 5, rng), 0.006 * _wander(time, 3, rng),
                             0.012 * _wander(time, 6, rng)])  # fmt: skip
    # Eyes stay with the viewer while the head turns, and jump now and then.
    look = np.zeros((count, 2))
    at = 0.0
    while at < end:
        look[time >= at] = rng.uniform(-1, 1, 2) * [0.06, 0.14]
        at += rng.uniform(0.4, 1.2)
    gaze = np.column_stack([look[:, 0] - 0.5 * pitch, look[:, 1] - 0.55 * yaw, 0 * yaw])
    gaze[:, 1] = np.clip(gaze[:, 1], -0.5, 0.5)
    pose = _pose(neck, rotation, shift, gaze)
    tensor = torch.from_numpy(_with_gaze(head, rows, gaze).astype(np.float32))
    return Motion(tensor, pose, ("talking",) * count)
