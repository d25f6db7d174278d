"""How synthetic people move: held expressions, and a talking, turning, blinking head.

The jaw moves by the expression `jawOpen`; the jaw joint stays at rest, so that the truth has one
representation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.heads import HeadModel, HeadPose
from headworks.synthetic.curves import (
    BLINKS_REST_HZ,
    BLINKS_TALK_HZ,
    HOLD_S,
    ONSET_S,
    RELEASE_S,
    between,
    blinks,
    minimum_jerk,
    pulse,
    saccades,
    speech,
    stroke,
    turns,
    wander,
)
from headworks.synthetic.scripts import PRESETS, SCRIPTS

Array = NDArray[np.float64]

_BOTH = ("Left", "Right")
_TREMOR = 0.06
_EYE_REACH = 0.52
"""Eyes turn about 30 degrees before the head follows."""


@dataclass(frozen=True)
class Motion:
    """Expression and pose over time.

    Attributes:
        expression: [T, Ke]. pose: batch of T. names: what each time step shows.
    """

    expression: Tensor
    pose: HeadPose
    names: tuple[str, ...]


def coefficients(head: HeadModel, wanted: dict[str, float], strict: bool = True) -> Array:
    """[Ke] of named activations; a name that ends in `*` stands for both sides.

    Args:
        head: whose expressions. wanted: name -> activation. strict: refuse names the head lacks.
    """
    out = np.zeros(len(head.expression_names))
    for name, value in wanted.items():
        sides = [name[:-1] + side for side in _BOTH] if name.endswith("*") else [name]
        for full in sides:
            if strict or full in head.expression_names:
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


def faces(head: HeadModel, count: int, rng: np.random.Generator, turn: float = 0.35) -> Motion:
    """`count` unrelated moments: random expression, head pose and gaze in each, as GASP draws them.

    Half of the expressions mix two of the presets, half move a few single muscles by chance.

    Args:
        head: whose expressions. count: T. rng: source of chance. turn: largest yaw, radians.

    Source: GASP (CVPR 2025), its synthetic data: random expression and pose in every image.
    """
    names = list(PRESETS)
    rows = np.zeros((count, len(head.expression_names)))
    units = _units(head)
    for i in range(count):
        if rng.uniform() < 0.5:
            for name, most in zip(rng.choice(names, 2, replace=False), (1.0, 0.6), strict=True):
                rows[i] += rng.uniform(0.2, most) * coefficients(head, PRESETS[str(name)])
        else:
            for k in rng.choice(len(units), int(rng.integers(2, 6)), replace=False):
                rows[i, units[k]] += rng.uniform(0.15, 0.9)
    neck = rng.uniform(-1, 1, (count, 3)) * [0.55 * turn, turn, 0.4 * turn]
    gaze = rng.uniform(-1, 1, (count, 3)) * [0.22, 0.38, 0]
    zero = np.zeros((count, 3))
    return _motion(head, rows, neck, zero, zero, gaze, ("random",) * count)


def _units(head: HeadModel) -> list[list[int]]:
    """Expressions that move together: pairs of sides, and single ones; without the lids' gaze."""
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(head.expression_names):
        stem = name.removesuffix("Left").removesuffix("Right")
        if stem.startswith("eyeLook"):
            continue
        single = stem in ("jaw", "mouth")
        groups.setdefault(name if single else stem, []).append(i)
    return list(groups.values())


def talking(head: HeadModel, count: int, fps: float, rng: np.random.Generator) -> Motion:
    """A head that talks, turns, blinks, smiles and raises its brows.

    Args:
        head: whose expressions. count: T frames. fps: frames per second. rng: source of chance.
    """
    time, end = np.arange(count) / fps, count / fps
    rows, stress = _spoken(head, time, end, rng)
    for wanted, every in (
        ({"mouthSmile*": 0.6, "cheekSquint*": 0.3}, 3.4),
        ({"browInnerUp": 0.5, "browOuterUp*": 0.5}, 2.8),
        ({"browDown*": 0.5}, 4.2),
    ):
        at = rng.uniform(0.1, 0.5) * every
        while at < end:
            swing = stroke(time, at, rng, 0.7)
            rows += rng.uniform(0.5, 1.0) * swing[:, None] * coefficients(head, wanted, False)
            at += every * rng.uniform(0.7, 1.3)
    # Brows and head beat with the stressed syllables (Munhall et al. 2004).
    rows += 0.18 * stress[:, None] * coefficients(head, {"browInnerUp": 1.0}, False)
    neck = turns(time, end, (0.15, 0.45, 0.10), rng)
    neck[:, 0] += 0.035 * stress
    return _alive(head, time, end, rows, neck, BLINKS_TALK_HZ, (0.16, 0.24), rng, "talking")


def _spoken(
    head: HeadModel, time: Array, end: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    rows = np.zeros((len(time), len(head.expression_names)))
    sounds, stress = speech(time, end, rng)
    for viseme, weight in sounds:
        rows += weight[:, None] * coefficients(head, viseme.face, False)
    return rows, stress


def performed(
    head: HeadModel, script: str, count: int, fps: float, rng: np.random.Generator
) -> Motion:
    """One of NeRSemble's sequences: its expressions one after another, each rising and fading.

    Args:
        head: whose expressions; what it lacks (a tongue, say) is left out.
        script: e.g. "EMO-1-shout+laugh", "EXP-2-eyes", "FREE" (which talks and plays anything).
        count: T frames. fps: frames per second. rng: source of chance.

    Raises:
        KeyError: no such script; with the names there are.
    """
    time, end = np.arange(count) / fps, count / fps
    if script == "FREE":
        acts = [act for acts in SCRIPTS.values() for act in acts if not act.gaze]
        rows, stress = _spoken(head, time, 0.55 * end, rng)
        neck = turns(time, end, (0.14, 0.40, 0.10), rng)
        neck[:, 0] += 0.03 * stress
        at, rate = 0.6 * end, BLINKS_TALK_HZ
    elif script in SCRIPTS:
        acts = list(SCRIPTS[script])
        rows = np.zeros((count, len(head.expression_names)))
        neck = np.stack([wander(time, 4.0 + d, rng) for d in range(3)], 1) * [0.02, 0.03, 0.015]
        at, rate = 0.0, BLINKS_REST_HZ
    else:
        raise KeyError(f"no script {script!r}; there are FREE, {', '.join(SCRIPTS)}")
    look = np.zeros((count, 2))
    # In order, but a random one first: short recordings do not all show the same.
    k = int(rng.integers(len(acts))) if script == "FREE" else 0
    at += rng.uniform(0.05, 0.3)
    while at < end:
        act = acts[k % len(acts)]
        onset, hold, release = (between(rng, w) * act.pace for w in (ONSET_S, HOLD_S, RELEASE_S))
        swing = pulse(time, at, onset, hold, release)
        strength = rng.uniform(0.75, 1.0)
        rows += strength * swing[:, None] * coefficients(head, act.face, False)
        neck += strength * swing[:, None] * np.array(act.head)
        look += (
            minimum_jerk((time - at) / 0.06)[:, None]
            * (1 - minimum_jerk((time - at - onset - hold) / 0.06))[:, None]
            * np.array(act.gaze or (0.0, 0.0))
        )
        # The next begins while this one still fades.
        at += onset + hold + 0.8 * release
        k += int(rng.integers(1, len(acts))) if script == "FREE" else 1
    return _alive(head, time, end, rows, neck, rate, (0.08, 0.12), rng, script, look)


def _alive(
    head: HeadModel, time: Array, end: float, rows: Array, neck: Array, blink_hz: float,
    reach: tuple[float, float], rng: np.random.Generator, name: str, look: Array | None = None,
) -> Motion:  # fmt: skip
    """What no living head lacks: blinks, saccades, eyes that stay while the head turns, sway."""
    shut = blinks(time, end, blink_hz, rng)
    # Nobody holds an expression quite still.
    rows = np.clip(rows * (1 + _TREMOR * wander(time, 1.4, rng)[:, None]), 0, 1)
    for side in _BOTH:
        lid = head.expression_index(f"eyeBlink{side}")
        rows[:, lid] = np.maximum(rows[:, lid], shut)
    gaze = saccades(time, end, reach, rng)
    if look is not None:
        gaze = gaze * (1 - np.clip(np.abs(look).sum(1) / 0.2, 0, 1))[:, None] + look
    # The vestibulo-ocular reflex turns the eyes against the head, as far as they go.
    eyes = np.column_stack([gaze[:, 0] - 0.6 * neck[:, 0], gaze[:, 1] - 0.6 * neck[:, 1],
                            np.zeros(len(time))])  # fmt: skip
    eyes = np.clip(eyes, -_EYE_REACH, _EYE_REACH)
    lean = np.column_stack([0.025 * wander(time, 5, rng), 0.06 * wander(time, 6, rng),
                            0.02 * wander(time, 5, rng)])  # fmt: skip
    shift = np.column_stack([0.010 * wander(time, 5, rng), 0.005 * wander(time, 3.5, rng),
                             0.012 * wander(time, 6, rng)])  # fmt: skip
    return _motion(head, rows, neck, lean, shift, eyes, (name,) * len(time))


def _motion(
    head: HeadModel, rows: Array, neck: Array, rotation: Array, shift: Array, gaze: Array,
    names: tuple[str, ...],
) -> Motion:  # fmt: skip
    tensor = torch.from_numpy(_with_gaze(head, np.clip(rows, 0, 1), gaze).astype(np.float32))
    return Motion(tensor, _pose(neck, rotation, shift, gaze), names)


def joined(motions: Sequence[Motion]) -> Motion:
    """Several motions one after another."""
    fields = [f.name for f in dataclasses.fields(HeadPose)]
    pose = HeadPose(*(torch.cat([getattr(m.pose, f) for m in motions]) for f in fields))
    names = tuple(name for m in motions for name in m.names)
    return Motion(torch.cat([m.expression for m in motions]), pose, names)
