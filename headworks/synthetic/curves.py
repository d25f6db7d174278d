"""How faces and heads move in time: strokes, blinks, saccades, speech.

All curves are functions of time: what is drawn by chance depends on the duration alone, so that
one performance sampled at two rates shows the same moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ONSET_S, HOLD_S, RELEASE_S = (0.30, 0.70), (0.40, 1.60), (0.40, 0.90)
"""A shown expression: spontaneous smiles rise within about half a second, felt expressions last
0.5 to 4 s and fade slower than they come.

Source: Schmidt, Ambadar, Cohn and Reed (2006); Ekman and Friesen, Felt, False and Miserable
Smiles (1982)."""
BLINK_CLOSE_S, BLINK_SHUT_S, BLINK_OPEN_S = (0.06, 0.10), (0.01, 0.06), (0.12, 0.22)
"""A spontaneous blink lasts 0.15 to 0.4 s; the lid falls about twice as fast as it rises.

Source: Evinger, Manning and Sibony, Eyelid Movements (1991); Caffier, Erdmann and Ullsperger
(2003)."""
BLINKS_REST_HZ, BLINKS_TALK_HZ = 17 / 60, 26 / 60
"""Source: Bentivoglio et al., Analysis of Blink Rate Patterns in Normal Subjects (1997)."""
_SHORTEST_GAP_S = 0.5

SACCADE_BASE_S, SACCADE_PER_RAD_S = 0.021, 0.0022 * 180 / np.pi
"""Duration of a saccade: 21 ms and 2.2 ms per degree.

Source: Carpenter, Movements of the Eyes (1988); Bahill, Clark and Stark, The Main Sequence
(1975)."""
FIXATION_S, FIXATION_SPREAD = 0.45, 0.55
"""Median and log-normal spread of fixations on a listener's face and away from it."""

SYLLABLES_HZ = (4.0, 5.5)
"""Mouths open and close at the rate of syllables, 2 to 7 Hz, mostly 4 to 5.

Source: Chandrasekaran et al., The Natural Statistics of Audiovisual Speech (2009)."""
PHRASE_SYLLABLES, PAUSE_S = (5, 13), (0.30, 0.75)
_DOMINANCE_S = 0.048
_LIPS_CLOSE_AT = 6.0
_VOICE_EDGE_S = 0.12


def minimum_jerk(share: Array) -> Array:
    """Position along a stroke, 0 to 1, with velocity and acceleration 0 at both ends.

    Args:
        share: of the duration that has passed; clipped to [0, 1].

    Source: Flash and Hogan, The Coordination of Arm Movements (1985).
    """
    s = np.clip(share, 0, 1)
    return s**3 * (10 - 15 * s + 6 * s**2)


def pulse(time: Array, start: float, onset: float, hold: float, release: float) -> Array:
    """0, up within `onset` seconds, held, and down within `release`."""
    up = minimum_jerk((time - start) / onset)
    return up * (1 - minimum_jerk((time - start - onset - hold) / release))


def between(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """A number between two limits."""
    return float(rng.uniform(*limits))


def stroke(time: Array, start: float, rng: np.random.Generator, pace: float = 1.0) -> Array:
    """An expression that comes, stays and goes.

    Args:
        time: [T] s. start: s. rng: of its timing. pace: factor on all durations.
    """
    onset, hold, release = (between(rng, w) * pace for w in (ONSET_S, HOLD_S, RELEASE_S))
    return pulse(time, start, onset, hold, release)


def blinks(time: Array, duration: float, rate_hz: float, rng: np.random.Generator) -> Array:
    """Closure of the lids, 0 open to 1 shut, [T].

    Args:
        time: [T] s. duration: over which blinks fall. rate_hz: mean rate. rng: of all.
    """
    out = np.zeros_like(time)
    at = between(rng, (0.2, 1.0)) * min(1 / rate_hz, 2.0)
    while at < duration:
        close, shut, rise = (between(rng, w) for w in (BLINK_CLOSE_S, BLINK_SHUT_S, BLINK_OPEN_S))
        out = np.maximum(out, pulse(time, at, close, shut, rise))
        at += _SHORTEST_GAP_S + float(rng.exponential(max(1 / rate_hz - _SHORTEST_GAP_S, 0.1)))
    return out


def saccades(
    time: Array, duration: float, reach: tuple[float, float], rng: np.random.Generator
) -> Array:
    """Where the eyes look: fixations, and jumps between them along the main sequence.

    Args:
        time: [T] s. duration: s. reach: farthest pitch and yaw from straight ahead, radians.
        rng: of all. Every second fixation or so returns to the listener (straight ahead).

    Returns:
        [T, 2] pitch and yaw, radians.
    """
    out = np.zeros((len(time), 2))
    at, look = 0.0, np.zeros(2)
    while at < duration:
        at += FIXATION_S * float(np.exp(FIXATION_SPREAD * rng.normal()))
        home = rng.uniform() < 0.5
        aside = np.clip(rng.laplace(0, 0.35, 2), -1, 1) * reach
        target = aside * (0.12 if home else 1.0)
        lasts = SACCADE_BASE_S + SACCADE_PER_RAD_S * float(np.linalg.norm(target - look))
        out += minimum_jerk((time - at) / lasts)[:, None] * (target - look)
        at, look = at + lasts, target
    return out


def wander(time: Array, period: float, rng: np.random.Generator) -> Array:
    """A slow sway about [-1, 1]: a few sines of random phase, as standing heads show."""
    total, weight = np.zeros_like(time), 0.0
    for k, amplitude in enumerate((1.0, 0.6, 0.35)):
        rate = 2 * np.pi / period * (1 + 0.9 * k) * rng.uniform(0.8, 1.2)
        total += amplitude * np.sin(rate * time + rng.uniform(0, 2 * np.pi))
        weight += amplitude
    return total / weight


def turns(
    time: Array, duration: float, reach: tuple[float, float, float], rng: np.random.Generator
) -> Array:
    """A head that turns to something, stays, and turns elsewhere; it nods a little in between.

    Args:
        time: [T] s. duration: s. reach: farthest pitch, yaw and roll, radians. rng: of all.

    Returns:
        [T, 3] pitch, yaw, roll.
    """
    limits = np.array(reach)
    out = np.stack([wander(time, 2.6 + d, rng) for d in range(3)], 1) * 0.12 * limits
    at, now, side = between(rng, (0.1, 0.5)), np.zeros(3), float(rng.choice([-1, 1]))
    while at < duration:
        target = rng.uniform(-1, 1, 3) * limits
        target[1] = side * between(rng, (0.45, 1.0)) * limits[1] if rng.uniform() < 0.8 else 0.0
        lasts = 0.45 + 0.9 * abs(target[1] - now[1]) + between(rng, (0.0, 0.3))
        out += minimum_jerk((time - at) / lasts)[:, None] * (target - now)
        at, now, side = at + lasts + between(rng, (0.25, 1.1)), target, -side
    return out


@dataclass(frozen=True)
class Viseme:
    """What one sound asks of the mouth.

    Attributes:
        face: activations; a name that ends in `*` stands for both sides.
        strength: how much it insists against its neighbours.
    """

    face: dict[str, float]
    strength: float = 1.0


VOWELS = (
    Viseme({"jawOpen": 0.52, "mouthLowerDown*": 0.10}),
    Viseme({"jawOpen": 0.36, "mouthSmile*": 0.16, "mouthUpperUp*": 0.12}),
    Viseme({"jawOpen": 0.17, "mouthStretch*": 0.28, "mouthSmile*": 0.12, "mouthLowerDown*": 0.15}),
    Viseme({"jawOpen": 0.30, "mouthFunnel": 0.50}),
    Viseme({"jawOpen": 0.13, "mouthPucker": 0.60, "mouthFunnel": 0.10}),
    Viseme({"jawOpen": 0.27, "mouthLowerDown*": 0.12}),
)
CONSONANTS = (
    # Lips must meet for p, b and m, and the lower lip the teeth for f and v.
    Viseme({"mouthPress*": 0.30, "mouthRollLower": 0.18, "mouthRollUpper": 0.14}, _LIPS_CLOSE_AT),
    Viseme({"jawOpen": 0.05, "mouthRollLower": 0.38, "mouthUpperUp*": 0.12}, 3.0),
    Viseme({"jawOpen": 0.12, "mouthLowerDown*": 0.14}),
    Viseme({"jawOpen": 0.06, "mouthStretch*": 0.22, "mouthLowerDown*": 0.18}, 1.5),
    Viseme({"jawOpen": 0.10, "mouthFunnel": 0.42}, 1.5),
    Viseme({"jawOpen": 0.20, "tongueOut": 0.04}, 0.7),
    Viseme({"jawOpen": 0.10, "mouthPucker": 0.38}),
)


def phrases(duration: float, rng: np.random.Generator) -> list[list[tuple[float, Viseme, float]]]:
    """What is said: phrases of (time, viseme, loudness), consonant and vowel by turns."""
    out = []
    at = between(rng, (0.15, 0.5))
    while at < duration:
        rate = between(rng, SYLLABLES_HZ)
        phrase: list[tuple[float, Viseme, float]] = []
        for _ in range(int(rng.integers(PHRASE_SYLLABLES[0], PHRASE_SYLLABLES[1] + 1))):
            length = between(rng, (0.75, 1.25)) / rate
            loud = between(rng, (0.65, 1.15))
            consonant = CONSONANTS[int(rng.integers(len(CONSONANTS)))]
            vowel = VOWELS[int(rng.integers(len(VOWELS)))]
            phrase += [(at, consonant, 1.0), (at + 0.45 * length, vowel, loud)]
            at += length
        out.append(phrase)
        at += between(rng, PAUSE_S)
    return out


def speech(
    time: Array, duration: float, rng: np.random.Generator
) -> tuple[list[tuple[Viseme, Array]], Array]:
    """How visemes share the mouth: each is blended with its neighbours by its dominance.

    Args:
        time: [T] s. duration: s. rng: of what is said.

    Returns:
        (viseme, weight [T]) of every sound, and the stress [T] of the syllables, 0 to 1.

    Source: Cohen and Massaro, Modeling Coarticulation in Synthetic Visual Speech (1993).
    """
    sounds: list[tuple[Viseme, Array]] = []
    stress = np.zeros_like(time)
    for phrase in phrases(duration, rng):
        begin, end = phrase[0][0], phrase[-1][0]
        voice = pulse(time, begin - _VOICE_EDGE_S, _VOICE_EDGE_S, end - begin, 1.5 * _VOICE_EDGE_S)
        near = np.flatnonzero(voice > 0)
        if not len(near):
            continue
        when = time[near, None] - np.array([at for at, _, _ in phrase])
        strength = np.array([viseme.strength for _, viseme, _ in phrase])
        dominance = strength * np.exp(-((when / _DOMINANCE_S) ** 2) / 2) + 1e-9
        share = dominance / dominance.sum(1, keepdims=True) * voice[near, None]
        for k, (at, viseme, loud) in enumerate(phrase):
            weight = np.zeros_like(time)
            weight[near] = share[:, k] * loud
            sounds.append((viseme, weight))
            if loud > 1.0:
                stress = np.maximum(stress, pulse(time, at - 0.15, 0.15, 0.05, 0.25))
    return sounds, stress
