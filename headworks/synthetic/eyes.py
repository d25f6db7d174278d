"""Colours of eyeballs, teeth, tongue and the inside of the mouth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural import anatomy
from headworks.synthetic.noise import noise

Array = NDArray[np.float64]

IRIS_COLOURS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    # sRGB of the ciliary zone and of the ring around the pupil
    "dark brown": ((0.20, 0.115, 0.07), (0.17, 0.09, 0.05)),
    "brown": ((0.34, 0.20, 0.11), (0.30, 0.16, 0.08)),
    "amber": ((0.55, 0.36, 0.15), (0.46, 0.26, 0.09)),
    "hazel": ((0.40, 0.37, 0.22), (0.46, 0.29, 0.12)),
    "green": ((0.38, 0.46, 0.32), (0.46, 0.40, 0.20)),
    "blue": ((0.38, 0.52, 0.66), (0.50, 0.56, 0.58)),
    "dark blue": ((0.25, 0.36, 0.52), (0.34, 0.42, 0.50)),
    "grey": ((0.48, 0.53, 0.56), (0.54, 0.54, 0.48)),
}


@dataclass(frozen=True)
class EyeStyle:
    """Eyes and teeth of a person.

    Attributes:
        iris: key of IRIS_COLOURS. radius, pupil: mm. limbus: darkness of the iris' rim, 0 to 1.
        red: veins and redness, 0 to 1. yellow: of sclera and teeth, 0 to 1.
    """

    iris: str
    radius: float
    pupil: float
    limbus: float
    red: float
    yellow: float


def _step(x: Array, low: float, high: float) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _mix(base: Array, colour: Array, amount: Array) -> Array:
    return base + np.clip(amount, 0, 1)[:, None] * (colour - base)


def eye_colours(place: Array, style: EyeStyle, seed: int) -> Array:
    """sRGB of eyeballs at places [N, 3] mm on the mean head, [N, 3]."""
    offset = np.column_stack([np.abs(place[:, 0]), place[:, 1:]]) - anatomy.EYE_CENTRE
    turn = np.arctan2(offset[:, 1], offset[:, 0])
    angle = np.arccos(np.clip(offset[:, 2] / np.linalg.norm(offset, axis=1), -1, 1))
    radius = angle * anatomy.EYE_RADIUS
    white = np.array([0.700, 0.672, 0.655]) - style.yellow * np.array([0.02, 0.04, 0.12])
    color = np.broadcast_to(white, place.shape).copy()
    corner = _step(radius, 6.5, 12)
    color = _mix(color, np.array([0.70, 0.50, 0.46]), (0.35 + 0.4 * style.red) * corner)
    veins = 1 - np.abs(noise(place, (3.0, 1.6, 3.0), seed + 31, 2)) / 0.10
    color = _mix(color, np.array([0.68, 0.36, 0.34]),
                 np.clip(veins, 0, 1) * corner * (0.15 + 0.6 * style.red))  # fmt: skip
    # The caruncle at the nose's side.
    inner = _step(-offset[:, 0], 8.2, 10.0) * _step(offset[:, 2], -2, 3)
    color = _mix(color, np.array([0.66, 0.38, 0.36]), 0.8 * inner)
    outer, ring = (np.array(c) for c in IRIS_COLOURS[style.iris])
    polar = np.column_stack([np.cos(turn) * 6, np.sin(turn) * 6, radius * 0.3])
    fibres = 1 + 0.30 * noise(polar, 0.5, seed + 33) + 0.22 * noise(polar, 1.4, seed + 34)
    collar = style.pupil + 1.3 + 0.5 * noise(polar, 1.2, seed + 35)
    pattern = _mix(np.broadcast_to(outer, place.shape), ring, _step(radius, 0, 1) * _step(
        collar - radius, -0.7, 0.5))  # fmt: skip
    pattern = pattern * fibres[:, None]
    # Light that enters above gathers below.
    pattern = pattern * (1.0 - 0.22 * np.sin(turn) * _step(radius, 1, 4))[:, None]
    rim = _step(radius, style.radius - 1.5, style.radius - 0.15)
    pattern = pattern * (1 - (0.35 + 0.5 * style.limbus) * rim)[:, None]
    inside = _step(radius, style.radius + 0.35, style.radius - 0.3)
    color = _mix(color, white * 0.72, 0.5 * _step(radius, style.radius + 1.1, style.radius))
    color = color * (1 - inside[:, None]) + pattern * inside[:, None]
    return _mix(color, np.full(3, 0.012), _step(radius, style.pupil + 0.18, style.pupil - 0.12))


def mouth_colours(place: Array, part: str, style: EyeStyle, seed: int) -> Array:
    """sRGB of "teeth", "tongue" or "mouth_inner" at places [N, 3] mm on the mean head, [N, 3]."""
    if part == "mouth_inner":
        deep = np.clip((place[:, 2] - 55) / 45, 0, 1)[:, None]
        return np.array([0.10, 0.02, 0.02]) + deep**2 * np.array([0.40, 0.15, 0.15])
    if part == "tongue":
        rough = 1 + 0.10 * noise(place, 1.5, seed + 2)
        middle = 1 - 0.12 * np.exp(-((place[:, 0] / 1.6) ** 2))
        return np.array([0.60, 0.33, 0.33]) * (rough * middle)[:, None]
    enamel = np.array([0.87, 0.845, 0.79]) - style.yellow * np.array([0.04, 0.08, 0.20])
    # Widths of teeth shrink along the arch.
    x = np.abs(place[:, 0])
    upper = place[:, 1] > -43.6
    edges = np.where(upper, 1.0, 0.72)
    borders = np.array([0.0, 8.2, 14.6, 19.0, 22.0, 24.5])
    gap = np.min(np.abs(x[:, None] / edges[:, None] - borders[None]), axis=1)
    shade = (1 - 0.42 * np.exp(-((gap / 0.32) ** 2))) * (0.42 + 0.58 * _step(place[:, 2], 72, 93))
    gum = np.where(upper, _step(place[:, 1], -37.0, -35.6), _step(place[:, 1], -50.6, -52.0))
    scallop = 0.9 * np.cos(np.pi * np.clip(gap / 4.0, 0, 1))
    gum = np.clip(gum + 0.35 * scallop * gum * (1 - gum), 0, 1)
    return _mix(enamel * shade[:, None], np.array([0.68, 0.38, 0.38]), gum)
