"""What chance decides about one person: every label from which looks are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural.groups import GROUPS
from headworks.synthetic.clothes import PATTERNS, ClothesStyle
from headworks.synthetic.creases import names as crease_names
from headworks.synthetic.eyes import IRIS_COLOURS, EyeStyle
from headworks.synthetic.facial_hair import BEARDS, BROWS, BrowStyle
from headworks.synthetic.glasses import FRAMES, GlassesStyle
from headworks.synthetic.hair import HAIR_COLOURS, STYLES
from headworks.synthetic.pigment import FITZPATRICK
from headworks.synthetic.scene import GAMMA, Light
from headworks.synthetic.skin import PATCHES, MakeUp, SkinStyle

Array = NDArray[np.float64]
Rng = np.random.Generator
Colour = tuple[float, float, float]

_YOUNGEST, _OLDEST = 18.0, 82.0


@dataclass(frozen=True)
class Traits:
    """Looks of one person before they are made.

    Attributes:
        sex: "female" or "male". age: 0 (about 20 years) to 1 (about 80).
        group: key of `groups.GROUPS`, whose means the head follows.
        skin, eyes, clothes, glasses: styles of the parts; no glasses if None.
        hair_style: key of `hair.STYLES`. hair_colour, brow_colour, beard_colour: sRGB.
        grey: share of white hairs. density: about 1. parting: mm.
        fringe: factor of its length. raised, temples: of the
            hairline, mm. lashes: 0 to 1. beard: key of BEARDS. beard_length: factor.
        light: how the person is lit. attributes: labels, JSON values.
    """

    sex: Literal["female", "male"]
    age: float
    group: str
    skin: SkinStyle
    eyes: EyeStyle
    clothes: ClothesStyle
    glasses: GlassesStyle | None
    hair_style: str
    hair_colour: Colour
    brow_colour: Colour
    beard_colour: Colour
    grey: float
    density: float
    parting: float
    fringe: float
    raised: float
    temples: float
    lashes: float
    beard: str
    beard_length: float
    light: Light
    attributes: dict[str, Any]


def pick(rng: Rng, weights: dict[str, float]) -> str:
    """A key, drawn by weight."""
    share = np.array(list(weights.values()), np.float64)
    return list(weights)[int(rng.choice(len(share), p=share / share.sum()))]


def _rgb(colour: Array) -> Colour:
    return float(colour[0]), float(colour[1]), float(colour[2])


def draw_light(rng: Rng) -> Light:
    """A key light, a weaker one from the other side, light from behind, and a sky."""
    side = rng.choice([-1.0, 1.0])
    lamps = (
        # azimuth, elevation, intensity, softness
        (side * rng.uniform(0.15, 0.95), rng.uniform(0.25, 0.85), rng.uniform(0.60, 0.85), 0.30),
        (-side * rng.uniform(0.4, 1.2), rng.uniform(0.0, 0.4), rng.uniform(0.14, 0.34), 0.60),
        (-side * rng.uniform(2.2, 2.8), rng.uniform(0.3, 0.8), rng.uniform(0.10, 0.35), 0.30),
    )
    warmth = rng.uniform(-0.06, 0.08)
    tints = np.array([[1 + warmth, 1, 1 - warmth], [1 - warmth, 1, 1 + warmth], [1, 1, 1]])
    directions = np.array(
        [(np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)) for a, e, *_ in lamps]
    )
    ambient = rng.uniform(0.36, 0.48) * np.array([1 - warmth / 2, 1, 1 + warmth / 2])
    return Light(
        directions,
        np.array([lamp[2] for lamp in lamps])[:, None] * tints,
        np.array([lamp[3] for lamp in lamps]),
        ambient,
        rng.uniform(0.45, 0.65) * ambient,
    )


_SKIN_TYPES: dict[str, dict[str, float]] = {
    "europe": {"I": 1.3, "II": 1.6, "III": 0.9, "IV": 0.15},
    "middle east": {"II": 0.6, "III": 1.5, "IV": 1.3, "V": 0.2},
    "south asia": {"III": 0.5, "IV": 1.3, "V": 1.5, "VI": 0.4},
    "east asia": {"II": 1.0, "III": 1.6, "IV": 0.8},
    "africa": {"IV": 0.25, "V": 1.3, "VI": 2.0},
}
"""Fitzpatrick's types in the groups of populations."""


def _hair_style(rng: Rng, male: bool, years: float, afro: bool, straight: bool) -> str:
    old = max(0.0, (years - 40) / 40)
    if male:
        weights = {"shaved": 0.6 + 0.8 * old, "buzz": 1.3, "short": 2.6,
                   "crop": 1.6 * (1 - 0.5 * old),
                   "side part": 2.2, "slicked back": 1.0, "receding": 0.15 + 2.2 * old,
                   "bald top": 2.2 * old, "curly": 0.8, "short fringe": 1.8 * (1 - 0.6 * old),
                   "bowl": 0.6, "curly fringe": 0.9, "long straight": 0.15, "long wavy": 0.25,
                   "bob": 0.2, "bun": 0.15}  # fmt: skip
        if afro:
            weights = {"shaved": 1.2, "buzz": 3.0, "short": 0.8, "afro": 1.5, "curly": 1.0,
                       "curly fringe": 0.8, "receding": 0.1 + old,
                       "bald top": 1.2 * old}  # fmt: skip
    else:
        weights = {"bob": 1.4, "fringe": 1.7, "long fringe": 1.9 * (1 - 0.6 * old),
                   "short fringe": 0.9 + 0.4 * old, "bowl": 0.4, "curly fringe": 0.9,
                   "long straight": 2.4 * (1 - 0.6 * old),
                   "long wavy": 2.4 * (1 - 0.5 * old), "long curly": 1.0, "ponytail": 1.5,
                   "bun": 1.2, "short": 0.25 + 1.2 * old, "crop": 0.4, "side part": 0.3 + 0.6 * old,
                   "curly": 0.3 + 0.8 * old, "slicked back": 0.2, "buzz": 0.08}  # fmt: skip
        if afro:
            weights = {"afro": 1.6, "long curly": 1.6, "bun": 1.8, "ponytail": 0.8, "curly": 0.8,
                       "bob": 0.8, "long straight": 0.8, "buzz": 0.6, "curly fringe": 1.0,
                       "fringe": 0.8, "long fringe": 0.6}  # fmt: skip
    if straight:
        for name in ("curly", "long curly", "curly fringe", "afro"):
            weights[name] = 0.08 * weights.get(name, 0.0)
        for name in ("fringe", "long fringe", "short fringe", "bowl"):
            weights[name] = 1.6 * weights.get(name, 0.0)
    return pick(rng, {name: weights.get(name, 0.0) for name in STYLES})


def _hair_colour(rng: Rng, group: str, skin_type: str) -> tuple[str, Array]:
    dark = {"black": 5.0, "dark brown": 1.6, "brown": 0.2}
    middle = {"black": 2.5, "dark brown": 3.0, "brown": 1.5, "auburn": 0.3, "light brown": 0.3}
    light = {"black": 0.5, "dark brown": 1.5, "brown": 1.6, "light brown": 1.3, "dark blond": 1.2,
             "blond": 1.4, "auburn": 0.6, "red": 0.6}  # fmt: skip
    if group in ("africa", "east asia"):
        weights = dark
    elif group == "south asia" or skin_type in ("IV", "V"):
        weights = {**dark, "dark brown": 2.5}
    elif group == "middle east":
        weights = middle
    else:
        weights = light if skin_type in ("I", "II") else {**light, **middle}
    name = pick(rng, weights)
    colour = np.array(HAIR_COLOURS[name]) * rng.uniform(0.85, 1.15) + rng.normal(0, 0.006, 3)
    return name, np.clip(colour, 0.03, 0.95)


def _brows(rng: Rng, male: bool, old: float) -> BrowStyle:
    shapes = (
        {"straight": 2, "soft": 1.8, "angled": 1.4, "round": 0.6, "arched": 0.3, "short": 0.7,
         "drooping": 0.8, "steep": 0.8, "sad": 0.3, "flat": 1.3}
        if male
        else {"straight": 0.7, "soft": 1.6, "angled": 1.1, "round": 1.4, "arched": 2.2,
              "short": 0.5, "drooping": 0.5, "high": 1.2, "steep": 0.6, "sad": 0.4, "flat": 0.7}
    )  # fmt: skip
    thickness = rng.gamma(5.5, 2.0) if male else rng.gamma(3.2, 2.0)
    return BrowStyle(
        shape=pick(rng, {k: shapes.get(k, 0.0) for k in BROWS}),
        thickness=float(np.clip(thickness, 2.2, 18.0)),
        density=float(np.clip(rng.beta(1.1, 0.6) + (0.08 if male else 0.0) - 0.2 * old, 0.14, 1.0)),
        inner=float(np.clip(rng.normal(10.0 if male else 11.6, 3.6), 2 if male else 6, 18)),
        lift=float(np.clip(rng.normal(0.0 if male else 1.8, 2.4), -3.0, 6.5)),
        taper=float(rng.uniform(0.25, 0.95)),
    )


def _make_up(rng: Rng, male: bool) -> MakeUp:
    if male or rng.uniform() < 0.35:
        return MakeUp()
    strong = rng.beta(1.2, 1.3)
    lips = pick(rng, {"nude": 2, "pink": 2, "red": 1.5, "berry": 1, "brown": 1})
    shades = {"nude": (0.66, 0.42, 0.38), "pink": (0.76, 0.36, 0.42), "red": (0.66, 0.10, 0.13),
              "berry": (0.45, 0.10, 0.22), "brown": (0.42, 0.22, 0.18)}  # fmt: skip
    shadow = [(0.30, 0.20, 0.17), (0.20, 0.19, 0.22), (0.42, 0.24, 0.28), (0.24, 0.28, 0.40),
              (0.50, 0.36, 0.22)][int(rng.integers(5))]  # fmt: skip
    return MakeUp(
        lips=shades[lips], lips_amount=float(strong * rng.uniform(0.3, 1.0)), shadow=shadow,
        shadow_amount=float(0.75 * strong * rng.uniform(0, 1)),
        liner=float(strong * rng.uniform(0.2, 1.0)), blusher=float(strong * rng.uniform(0, 1)),
    )  # fmt: skip


def _clothes(rng: Rng, male: bool) -> ClothesStyle:
    collar = pick(rng, {"crew": 3, "scoop": 0.3 if male else 1.4, "v-neck": 1.3, "shirt": 1.8,
                        "turtleneck": 0.7, "hoodie": 1.1})  # fmt: skip
    palette = rng.uniform(0, 1)
    hue = rng.uniform(0, 1, 3)
    grey = rng.uniform(0.08, 0.85)
    colour = grey + (0.12 if palette < 0.45 else 0.55) * (hue - hue.mean()) * (1 - 0.4 * grey)
    second = np.clip(colour * rng.uniform(0.45, 0.75) if grey > 0.45 else colour + 0.35, 0, 1)
    pattern = pick(rng, dict(zip(PATTERNS, (4.0, 1.6, 1.0, 0.4, 0.5, 0.4), strict=True)))
    return ClothesStyle(
        collar, pattern, _rgb(np.clip(colour, 0.05, 0.92)), _rgb(second),
        float(rng.uniform(0, 14) + (rng.uniform(30, 62) if collar == "v-neck" else 0)
              + (14 if collar == "scoop" else 0)),
    )  # fmt: skip


def _glasses(rng: Rng, old: float) -> GlassesStyle | None:
    if rng.uniform() > 0.26 + 0.24 * old:
        return None
    metal = rng.uniform() < 0.4
    frame = pick(rng, {"round": 1, "oval": 0.8, "rectangle": 2, "wayfarer": 1.6,
                       "aviator": 0.8 if metal else 0.2, "cat-eye": 0.5})  # fmt: skip
    assert frame in FRAMES
    if metal:
        colour = [(0.75, 0.62, 0.38), (0.62, 0.62, 0.64), (0.12, 0.12, 0.13)][int(rng.integers(3))]
        return GlassesStyle(frame, "metal", colour, float(rng.uniform(0.7, 1.0)))
    colour = [(0.03, 0.03, 0.035), (0.03, 0.03, 0.035), (0.22, 0.12, 0.06), (0.10, 0.13, 0.24),
              (0.38, 0.08, 0.10), (0.55, 0.50, 0.46)][int(rng.integers(6))]  # fmt: skip
    return GlassesStyle(frame, "plastic", colour, float(rng.uniform(1.2, 2.3)))


def _skin(
    rng: Rng, male: bool, old: float, group: str, skin_type: str, hair: Array, brow: Array,
    stubble: float, style: str, raised: float, temples: float,
) -> SkinStyle:  # fmt: skip
    low, high = FITZPATRICK[skin_type]
    melanin = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    pale = skin_type in ("I", "II")
    worn = old**1.7
    creases = {}
    for name in crease_names():
        amount = rng.gamma(1.0, 1.0) * ((0.06 if male else 0.03) + 0.95 * worn)
        creases[name] = float(min(amount, 1.5))
    creases["nasolabial"] = float(
        min((0.12 if male else 0.05) + 0.3 * rng.uniform() ** 2 + creases["nasolabial"], 1.4)
    )
    creases["lid_crease"] = 0.0  # painted by its own amount, at every age
    creases["tear_trough"] = float(min(0.35 * rng.uniform() + 0.8 * creases["tear_trough"], 1.1))
    creases["mentolabial"] = float(0.15 + 0.35 * rng.uniform() + 0.2 * old)
    look = STYLES[style]
    root = hair**GAMMA * 0.55
    scalp = 0.0 if style == "bald top" else (0.55 if look is None else 0.85)
    if look is not None and look.fine:
        scalp = 0.72
    if look is None:
        scalp = float(rng.uniform(0.0, 0.45))
    bald_top = style in ("shaved",) and rng.uniform() < 0.5
    return SkinStyle(
        melanin=melanin, blood=float(rng.uniform(0.0055, 0.0125)),
        warmth=float(rng.normal(-0.1, 0.55)), age=old, creases=creases,
        redness=float(rng.beta(1.4, 2.2 if male else 2.8)),
        freckles=float(rng.uniform(0.25, 1.0)) if rng.uniform() < (0.36 if pale else 0.08) else 0.0,
        mottled=float(rng.beta(1.3, 2.5)),
        bags=float(np.clip(rng.beta(1.0, 2.6 if male else 3.4) + 0.35 * old, 0, 1)),
        moles=int(rng.poisson(rng.gamma(1.0, 2.2) + 1.5 * old)),
        lip_blood=float(np.exp(rng.uniform(np.log(0.008), np.log(0.068))) * (1 - 0.4 * old)),
        lip_melanin=float(rng.uniform(-0.55, 1.3) + (0.25 if skin_type in ("V", "VI") else 0.0)),
        stubble=stubble, stubble_colour=_rgb(hair**GAMMA * 0.7), root_colour=_rgb(root),
        scalp=scalp if style != "bald top" else 0.6,
        raised=raised + (0.0 if look is None else look.raised),
        temples=temples + (0.0 if look is None else look.temples),
        crown=float(1.0 if bald_top else 0.0 if look is None else look.crown),
        brows=_brows(rng, male, old), brow_colour=_rgb(brow**GAMMA * 0.8),
        gloss=float(rng.beta(2, 2)),
        pattern=tuple(
            (float(rng.normal(0, 0.26)), float(rng.normal(0, 0.30))) for _ in PATCHES
        ),
        socket=float(rng.beta(0.9, 1.5 if male else 2.2) * (1.5 if melanin < 0.1 else 0.8)),
        fold=float(rng.beta(0.6, 0.7) * 1.5 * (0.5 if group == "east asia" else 1.0)),
        make_up=_make_up(rng, male),
    )  # fmt: skip


def draw_traits(rng: Rng) -> Traits:
    """Draw the looks of a person."""
    male = bool(rng.uniform() < 0.5)
    years = float(_YOUNGEST + (_OLDEST - _YOUNGEST) * rng.beta(1.15, 1.7))
    old = float(np.clip((years - 20) / 60, 0, 1))
    group = pick(rng, {name: one.share for name, one in GROUPS.items()})
    skin_type = pick(rng, _SKIN_TYPES[group])
    style = _hair_style(rng, male, years, group == "africa", group == "east asia")
    colour_name, natural = _hair_colour(rng, group, skin_type)
    grey = float(np.clip((years - rng.normal(52, 10)) / 26, 0, 1))
    if not male and rng.uniform() < 0.6:
        grey *= 0.15  # dyed
    hair = natural
    beard, stubble, beard_length = "none", 0.0, 1.0
    if male:
        stubble = float(rng.beta(0.8, 1.0) * 0.9)
        beard = pick(rng, {"none": 4.6, "moustache": 1.0, "handlebar": 0.4, "goatee": 0.9,
                           "circle": 0.6, "short boxed": 1.5, "full": 1.2, "long": 0.3,
                           "chin strap": 0.5})  # fmt: skip
        beard_length = float(rng.uniform(0.7, 1.4))
        stubble = stubble if beard == "none" else max(stubble, 0.35)
    raised = float(np.clip(rng.normal(1.0 if male else 0.0, 4.5), -9, 11))
    temples = (
        float(abs(rng.normal(0, 5)) + (9 * old if male else 1))
        if male
        else float(abs(rng.normal(0, 2)))
    )
    if style in ("curly", "afro", "curly fringe"):
        raised = max(raised, 6.0)  # or curls hang before the eyes
    brow = natural * rng.uniform(0.6, 1.0)
    if natural.mean() > 0.35:
        brow = brow * 0.72
    brow = brow + 0.35 * grey * (0.5 - brow)
    skin = _skin(rng, male, old, group, skin_type, hair, brow, stubble, style, raised, temples)
    iris_weights = {"dark brown": 3.0, "brown": 1.0}
    if group == "europe" and skin_type in ("I", "II"):
        iris_weights = {"blue": 2.0, "dark blue": 1.0, "grey": 1.0, "green": 1.1, "hazel": 1.2,
                        "brown": 1.3, "dark brown": 0.5, "amber": 0.4}  # fmt: skip
    elif group in ("europe", "middle east"):
        iris_weights = {"brown": 2.0, "dark brown": 2.0, "hazel": 1.3, "green": 0.7, "amber": 0.6,
                        "blue": 0.4, "grey": 0.2}  # fmt: skip
    eyes = EyeStyle(
        iris=pick(rng, {k: iris_weights.get(k, 0.0) for k in IRIS_COLOURS}),
        radius=float(np.clip(rng.normal(5.9, 0.2), 5.5, 6.4)), pupil=float(rng.uniform(1.6, 2.7)),
        limbus=float(np.clip(rng.uniform(0.2, 1.0) - 0.4 * old, 0, 1)),
        red=float(np.clip(rng.beta(1.3, 3) + 0.2 * old, 0, 1)),
        yellow=float(np.clip(rng.beta(1.3, 3) + 0.35 * old, 0, 1)),
    )  # fmt: skip
    parting = (
        float(rng.choice([-1, 1]) * rng.uniform(18, 34))
        if rng.uniform() < 0.6
        else float(rng.normal(0, 3))
    )
    if style == "side part":
        parting = float(rng.choice([-1, 1]) * rng.uniform(20, 36))
    clothes, glasses = _clothes(rng, male), _glasses(rng, old)
    lashes = float(np.clip(rng.normal(0.25 if male else 0.55, 0.15), 0, 1))
    lashes = min(1.0, lashes + 0.5 * skin.make_up.liner)
    look = BEARDS[beard]
    attributes = {
        "sex": "male" if male else "female", "age": round(years, 1), "skin_type": skin_type,
        "melanin": round(skin.melanin, 4), "hair": style, "hair_colour": colour_name,
        "grey": round(grey, 3), "beard": beard,
        "beard_mm": round(max(look.values(), default=0.0) * beard_length, 1),
        "stubble": round(stubble, 3), "brows": skin.brows.shape,
        "brow_thickness_mm": round(skin.brows.thickness, 2), "iris": eyes.iris,
        "freckles": round(skin.freckles, 3), "moles": skin.moles,
        "make_up": round(max(skin.make_up.lips_amount, skin.make_up.shadow_amount,
                             skin.make_up.liner), 3),
        "glasses": glasses.frame if glasses else "none", "collar": clothes.collar,
        "clothes": [round(c, 3) for c in clothes.colour], "clothes_pattern": clothes.pattern,
    }  # fmt: skip
    return Traits(
        sex="male" if male else "female", age=old, group=group, skin=skin, eyes=eyes,
        clothes=clothes, glasses=glasses, hair_style=style, hair_colour=_rgb(hair),
        brow_colour=_rgb(brow),
        beard_colour=_rgb(np.clip(natural * rng.uniform(0.8, 1.1), 0, 1)), grey=grey,
        density=float(np.clip(rng.normal(1.0, 0.1) - 0.15 * old, 0.7, 1.2)), parting=parting,
        fringe=float(rng.uniform(0.62, 1.05)),
        raised=raised, temples=temples, lashes=lashes, beard=beard, beard_length=beard_length,
        light=draw_light(rng), attributes=attributes,
    )  # fmt: skip
