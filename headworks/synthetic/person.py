"""One synthetic person: shape, skin, hair, clothes and light, all from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.heads import load_head
from headworks.heads.procedural import Sex, sample_identity
from headworks.seeds import derive_seed, generator
from headworks.synthetic.canvas import canvas
from headworks.synthetic.hair import HAIR_COLOURS, STYLES, Hair, make_hair
from headworks.synthetic.shading import GAMMA
from headworks.synthetic.skin import IRIS_COLOURS, SkinStyle, paint

TEXTURE = 1024
"""Texels per side of an albedo texture."""


@dataclass(frozen=True)
class Light:
    """Where light comes from: a key light and a soft surrounding (linear intensities [3])."""

    direction: NDArray[np.float64]
    key: NDArray[np.float64]
    fill: NDArray[np.float64]
    above: NDArray[np.float64]
    below: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Person:
    """A synthetic person.

    Attributes:
        identity: [Ki]. albedo: float32 [S, S, 3] linear. hair: at rest, or None.
        hair_linear: [3] linear colour. hair_contrast: of its strands. gloss: shine of the skin.
        light: how this person is lit. attributes: labels, JSON values.
    """

    identity: Tensor
    albedo: NDArray[np.float32]
    hair: Hair | None
    hair_linear: NDArray[np.float64]
    hair_contrast: float
    gloss: float
    light: Light
    attributes: dict[str, Any]


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    names = list(weights)
    share = np.array([weights[n] for n in names], np.float64)
    return names[int(rng.choice(len(names), p=share / share.sum()))]


def _rgb(colour: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(colour[0]), float(colour[1]), float(colour[2])


def _light(rng: np.random.Generator) -> Light:
    azimuth, elevation = rng.uniform(-0.9, 0.9), rng.uniform(0.25, 0.9)
    direction = np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )
    warmth = rng.uniform(-0.06, 0.08)
    key = rng.uniform(0.42, 0.62) * np.array([1 + warmth, 1, 1 - warmth])
    cool = np.array([1 - warmth / 2, 1, 1 + warmth / 2])
    ambient = rng.uniform(0.36, 0.46)
    return Light(direction, key, 0.16 * cool, ambient * cool, 0.5 * ambient * cool)


def make_person(seed: int, texture: int = TEXTURE) -> Person:
    """Draw a person.

    Args:
        seed: who. texture: texels per side of the albedo.
    """
    rng = generator(seed, "person")
    head = load_head("procedural")
    masculine = float(rng.choice([-1, 1]) * rng.uniform(0.4, 1.0))
    age = float(rng.beta(1.6, 2.4))
    sex: Sex = "male" if masculine > 0 else "female"
    identity = torch.from_numpy(sample_identity(sex, age, generator(seed, "identity")))
    tone = float(rng.uniform(0, 1))
    dark = tone > 0.62
    colours = dict.fromkeys(HAIR_COLOURS, 1.0)
    if dark:
        colours = {"black": 4.0, "dark brown": 1.0, "grey": 0.3}
    colours["grey"] = 0.3 + 4.0 * max(0.0, age - 0.5)
    colours["white"] = 8.0 * max(0.0, age - 0.75)
    colour = _pick(rng, colours)
    if masculine > 0:
        styles = {"bald": 0.7, "buzz": 1.4, "short": 3, "crop": 2, "receding": 0.3 + 2 * age,
                  "curly": 0.9, "medium": 0.5, "long": 0.2}  # fmt: skip
    else:
        styles = {"bob": 2, "medium": 2, "long": 3, "short": 0.6, "crop": 0.6, "curly": 1.0,
                  "buzz": 0.2}  # fmt: skip
    if dark:
        styles["afro"] = 1.5
    style = _pick(rng, styles)
    beard = 0.0
    stubble = 0.0
    if masculine > 0:
        stubble = float(rng.uniform(0.0, 0.55))
        if rng.uniform() < 0.3:
            beard, stubble = float(rng.uniform(1.5, 7.0)), 0.6
    iris = {"brown": 2.0, "dark": 1.0, "hazel": 1.0, "green": 0.7, "blue": 1.2, "grey": 0.7}
    if dark:
        iris = {"brown": 2.0, "dark": 3.0}
    iris_name = _pick(rng, {k: iris.get(k, 0.0) for k in IRIS_COLOURS})
    hair_colour = np.array(HAIR_COLOURS[colour])
    hair_colour = np.clip(hair_colour * rng.uniform(0.85, 1.15) + rng.normal(0, 0.008, 3), 0.02, 1)
    hue = rng.uniform(0, 1, 3)
    clothes = 0.12 + 0.72 * hue * rng.uniform(0.3, 1.0)
    brows = 0.65 * hair_colour if colour in ("blond", "white", "grey", "red") else hair_colour
    look = SkinStyle(
        tone=tone,
        redness=float(rng.uniform(0, 1)),
        freckles=float(max(0.0, rng.normal(0, 0.5))) * (1 - tone),
        stubble=stubble,
        age=age,
        lip_colour=float(rng.uniform(0.15, 0.5) + (0.3 * rng.uniform() if masculine < 0 else 0)),
        lashes=0.8 if masculine > 0 else 1.0,
        brow_density=float(rng.uniform(0.7, 0.95)),
        brow_thickness=float(rng.uniform(0.75, 1.1) + 0.18 * masculine),
        hair_colour=_rgb(brows),
        iris=iris_name,
        clothes=_rgb(clothes),
        clothes_pattern=int(rng.choice(3, p=[0.6, 0.2, 0.2])),
        collar=float(rng.uniform(0, 45)),
    )
    paint_seed = derive_seed(seed, "paint") % 2**30
    albedo = paint(canvas(texture), look, paint_seed) ** np.float32(GAMMA)
    with torch.no_grad():
        rest = head.rest_vertices(identity[None], torch.zeros(1, len(head.expression_names)))
    hair = make_hair(rest[0].numpy(), style, beard, derive_seed(seed, "hair") % 2**30)
    assert style in STYLES
    return Person(
        identity=identity,
        albedo=albedo,
        hair=hair,
        hair_linear=hair_colour**GAMMA * 1.25,
        hair_contrast=float(rng.uniform(0.22, 0.42)),
        gloss=float(rng.uniform(0.25, 0.9)),
        light=_light(rng),
        attributes={
            "masculine": round(masculine, 4), "age": round(age, 4), "skin_tone": round(tone, 4),
            "hair": style, "hair_colour": colour, "beard_mm": round(beard, 2),
            "stubble": round(stubble, 3), "iris": iris_name,
            "freckles": round(look.freckles, 3),
            "clothes": [round(c, 3) for c in look.clothes],
        },
    )  # fmt: skip
