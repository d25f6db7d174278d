"""Albedo and roughness of skin, lips and scalp, painted on the UV map from pigments."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural import anatomy
from headworks.synthetic.canvas import Canvas
from headworks.synthetic.creases import crease
from headworks.synthetic.eyes import EyeStyle, eye_colours, mouth_colours
from headworks.synthetic.facial_hair import BrowStyle, beard_mask, brow_mask
from headworks.synthetic.hair import inside_hairline
from headworks.synthetic.noise import noise
from headworks.synthetic.pigment import skin_colours
from headworks.synthetic.scene import GAMMA

Real = NDArray[np.float32]
Colour = tuple[float, float, float]


PATCHES: dict[str, tuple[float, float, float, float]] = {
    # |x|, y, and radii along both, mm on the mean head
    "forehead": (0, 66, 36, 15), "temples": (58, 42, 14, 20), "glabella": (0, 38, 9, 11),
    "orbits": (31, 24, 15, 11), "bridge": (0, 14, 6, 16), "sides of nose": (13, 2, 5, 12),
    "tip": (0, -13, 10, 8), "cheekbones": (42, 0, 15, 9), "hollows": (46, -30, 12, 17),
    "beside mouth": (36, -46, 9, 13), "upper lip": (0, -31, 19, 6), "chin": (0, -72, 16, 11),
    "jaw": (46, -62, 18, 14), "under lip": (0, -58, 14, 4),
}  # fmt: skip
"""Parts of the face that differ in pigment from person to person."""


@dataclass(frozen=True)
class MakeUp:
    """What is painted over skin; sRGB colours and amounts 0 to 1."""

    lips: Colour = (0.6, 0.2, 0.2)
    lips_amount: float = 0.0
    shadow: Colour = (0.4, 0.3, 0.3)
    shadow_amount: float = 0.0
    liner: float = 0.0
    blusher: float = 0.0


@dataclass(frozen=True)
class SkinStyle:
    """What the skin of one person looks like; amounts are 0 to 1 unless said.

    Attributes:
        melanin, blood: volume fractions (`pigment.skin_reflectance`).
        warmth: -1 (olive) to 1 (rosy) undertone.
        age: 0 (young) to 1 (very old): how old the skin looks.
        creases: depth of each group of lines, 0 to about 1 (`creases.names`).
        redness: of nose, cheeks, ears. freckles, mottled, bags: amounts. moles: how many.
        lip_blood, lip_melanin: pigment of the lips beside the skin's.
        stubble: shadow of shaved beard. stubble_colour, root_colour: linear [3].
        scalp: how much of the skin between the hairs of the head looks dark, 0 to 1.
        raised, temples, crown: of the hairline, as in `hair.HairStyle`.
        brows: painted below the strands. brow_colour: linear [3].
        gloss: 0 (matte) to 1 (oily). make_up: or none.
        pattern: how pigment differs over the face, for each of PATCHES: (melanin, blood), both
            logarithms. socket: darkness of the orbits. fold: of the upper lids' crease.
    """

    melanin: float
    blood: float
    warmth: float
    age: float
    creases: dict[str, float]
    redness: float
    freckles: float
    mottled: float
    bags: float
    moles: int
    lip_blood: float
    lip_melanin: float
    stubble: float
    stubble_colour: Colour
    root_colour: Colour
    scalp: float
    raised: float
    temples: float
    crown: float
    brows: BrowStyle
    brow_colour: Colour
    gloss: float
    pattern: tuple[tuple[float, float], ...]
    socket: float
    fold: float
    make_up: MakeUp = field(default_factory=MakeUp)


def _step(x: Real, low: float, high: float) -> Real:
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _blob(x: Real, y: Real, cx: float, cy: float, rx: float, ry: float) -> Real:
    """Gaussian over |x|, y."""
    return np.exp(-0.5 * (((x - np.float32(cx)) / rx) ** 2 + ((y - np.float32(cy)) / ry) ** 2))


def _mix(base: Real, colour: object, amount: Real) -> Real:
    return base + np.clip(amount, 0, 1)[:, None] * (np.asarray(colour, np.float32) - base)


def _linear(colour: Colour) -> Real:
    return np.asarray(colour, np.float32) ** np.float32(GAMMA)


def paint(canvas: Canvas, style: SkinStyle, eyes: EyeStyle, seed: int) -> tuple[Real, Real]:
    """The textures of one person.

    Args:
        canvas: where the UV map lies. style, eyes: what to paint. seed: of all noise.

    Returns:
        albedo float32 [S, S, 3] linear and roughness float32 [S/4, S/4].
    """
    p = canvas.position
    count = len(p)
    melanin = np.full(count, np.log(style.melanin), np.float32)
    blood = np.full(count, style.blood, np.float32)
    dim = np.ones(count, np.float32)
    rough = np.full(count, 0.56 - 0.14 * style.gloss, np.float32)
    melanin += 0.07 * noise(p, 26.0, seed, 2).astype(np.float32)
    ears = canvas.of("ears")
    blood[ears] *= np.float32(1.5 + 1.2 * style.redness)
    _face(canvas, style, melanin, blood, dim, rough, seed)
    _scalp_spots(canvas, melanin, seed)
    color = skin_colours(melanin, blood) * dim[:, None]
    color *= np.array([1 + 0.03 * style.warmth, 1.0, 1 - 0.07 * style.warmth], np.float32)
    _hair_shadows(canvas, style, color, seed)
    _lips(canvas, style, color, rough, seed)
    _lids(canvas, style, color)
    for part in ("eyes", "teeth", "tongue", "mouth_inner"):
        some = canvas.of(part)
        place = p[some].astype(np.float64)
        srgb = (
            eye_colours(place, eyes, seed)
            if part == "eyes"
            else mouth_colours(place, part, eyes, seed)
        )
        color[some] = np.clip(srgb, 0, 1) ** GAMMA
        rough[some] = 0.08 if part == "eyes" else 0.25
    image = canvas.image(np.clip(color, 0.001, 0.95))
    return image, np.ascontiguousarray(canvas.image(rough[:, None])[::4, ::4, 0])


def _face(
    canvas: Canvas, style: SkinStyle, melanin: Real, blood: Real, dim: Real, rough: Real, seed: int
) -> None:
    """Pigment, lines and shine of the face; changes the arrays in place."""
    f = canvas.face
    p = canvas.position[f]
    # Faces are not mirrored exactly: everything is looked up a little aside.
    aside = 1.8 * noise(p, 24.0, seed + 1).astype(np.float32)
    x, y, z = np.abs(p[:, 0] + 0.6 * aside), p[:, 1] + aside, p[:, 2]
    front = _step(z, 20, 50)
    cheek, nose = _blob(x, y, 39, -6, 15, 13), _blob(x, y, 0, -13, 13, 9)
    chin, brow = _blob(x, y, 0, -74, 15, 9), _blob(x, y, 0, 62, 34, 16)
    socket = _blob(x, y, 28, 11, 12, 5.5)
    upper_lid = _blob(x, y, 31, 30, 14, 5)
    red = (0.5 + 1.6 * style.redness) * (0.9 * cheek + 1.1 * nose + 0.5 * chin) * front
    red += 0.35 * style.make_up.blusher * _blob(x, y, 44, -3, 13, 9) * 3
    patches = _step(noise(p, 6.0, seed + 4, 2).astype(np.float32), -0.3, 0.9)
    b = blood[f] * (1 + red * (0.55 + 0.7 * patches) - 0.25 * brow * front)
    b *= 1 + 0.9 * style.bags * socket + 0.35 * upper_lid
    m = melanin[f]
    m += front * (0.20 * upper_lid + (0.12 + 0.32 * style.bags) * socket)
    m += 0.16 * front * _blob(x, y, 0, -46, 34, 15) * (1 if style.melanin > 0.06 else 0.3)
    for place, (more_melanin, more_blood) in zip(PATCHES.values(), style.pattern, strict=True):
        where = _blob(x, y, *place) * front
        m += np.float32(more_melanin) * where
        b *= np.exp(np.float32(more_blood) * where)
    lid = _blob(x, y, 30, 31.5, 15, 4.5) + 0.8 * _blob(x, y, 17, 24, 5, 9)
    lower = _blob(x, y, 27, 10.5, 12, 4.5)
    m += front * style.socket * (0.55 * lid + 0.75 * lower)
    b *= 1 + 0.8 * style.socket * (lid + lower) * front
    fine = noise(p, 1.5, seed + 7, 2).astype(np.float32)
    m += 0.05 * fine + style.mottled * 0.22 * noise(p, 9.0, seed + 8, 3).astype(np.float32)
    b *= 1 + 0.16 * noise(p, 4.0, seed + 9, 2).astype(np.float32)
    if style.freckles > 0.02:
        # A turned grid: noise has no visible rows then.
        turn = np.array([[0.8, 0.36, -0.48], [-0.6, 0.48, -0.64], [0.0, 0.8, 0.6]], np.float32)
        dots = noise(p @ turn, 2.4, seed + 11).astype(np.float32)
        where = _blob(x, y, 26, -1, 24, 15) + 0.8 * _blob(x, y, 0, 2, 15, 18) + 0.35 * brow
        m += 1.1 * style.freckles * _step(dots, 0.42, 0.72) * where * front
    if style.age > 0.45:
        spots = noise(p, 7.0, seed + 12, 2).astype(np.float32)
        m += (
            (style.age - 0.45)
            * 0.8
            * _step(spots, 0.45, 1.0)
            * _step((x + 0.4 * y).astype(np.float32), 20, 55)
        )
    rng = np.random.default_rng(seed + 13)
    for _ in range(style.moles):
        at = np.array([rng.uniform(-58, 58), rng.uniform(-95, 85)])
        size = rng.uniform(0.8, 1.9)
        gap = (p[:, 0] - at[0]) ** 2 + (p[:, 1] - at[1]) ** 2
        near = np.flatnonzero((gap < 16 * size**2) & (z > 0))
        m[near] += rng.uniform(0.9, 2.0) * np.exp(-((gap[near] / size**2) ** 2))
    depth = np.zeros(len(f), np.float32)
    for name, amount in style.creases.items():
        if amount > 0.01:
            depth += np.float32(amount) * crease(name, x, y)
    depth *= _step(z, 0, 25)
    d = np.exp(-0.40 * np.minimum(depth, 1.3))
    b *= 1 + 0.35 * np.minimum(depth, 1)
    pores = noise(p, 0.8, seed + 14).astype(np.float32)
    d *= 1 + (0.025 + 0.03 * style.age) * pores * (0.5 + cheek + nose)
    # Nostrils and the crease around the wings of the nose.
    hole = np.exp(
        -0.5 * (((x - 7.3) / 2.7) ** 2 + ((y + 20.8 - aside) / 1.35) ** 2 + ((z - 107) / 5) ** 2)
    )
    d *= 1 - 0.88 * np.clip(1.25 * hole, 0, 1)
    wing = np.exp(-0.5 * (((x - 19.6) / 1.2) ** 2 + ((y + 15) / 6) ** 2)) * _step(z, 80, 90)
    d *= 1 - 0.30 * wing
    d *= 1 - np.minimum(0.75 * style.fold * crease("lid_crease", x, y), 0.8) * front
    melanin[f], blood[f], dim[f] = m, b, d
    shiny = 0.9 * nose + 0.7 * brow + 0.5 * chin + 0.4 * cheek
    rough[f] += 0.05 * fine + 0.10 * depth - (0.06 + 0.10 * style.gloss) * shiny


def _scalp_spots(canvas: Canvas, melanin: Real, seed: int) -> None:
    some = canvas.of("scalp", "neck", "ears")
    melanin[some] += 0.10 * noise(canvas.position[some], 8.0, seed + 15, 3).astype(np.float32)


def _hair_shadows(canvas: Canvas, style: SkinStyle, color: Real, seed: int) -> None:
    """Roots of hair on the head, stubble, and the skin's tint under the brows; in place."""
    skin = np.flatnonzero(canvas.of("skin", "scalp", "neck", "lips"))
    p = canvas.position[skin]
    near = np.flatnonzero(p[:, 1] > -75)
    q = p[near]
    inside = inside_hairline(q.astype(np.float64), style.raised, style.temples).astype(np.float32)
    top = _step(q[:, 1], 52, 92) * _step(q[:, 2], -112, -60)
    grown = _step(inside + 2.5 * noise(q, 3.0, seed + 16).astype(np.float32), -3, 6)
    grain = 0.8 + 0.2 * noise(q, 0.9, seed + 17).astype(np.float32)
    amount = style.scalp * grown * (1 - style.crown * top) * grain
    ids = skin[near]
    color[ids] = _mix(color[ids], style.root_colour, amount)
    face = canvas.face
    q = canvas.position[face]
    if style.stubble > 0.01:
        area = beard_mask(q.astype(np.float64)).astype(np.float32)
        dots = _step(noise(q, 0.75, seed + 18).astype(np.float32), -0.35, 0.75)
        # Under shaved skin hairs look blue-grey.
        under = 0.55 * np.asarray(style.stubble_colour, np.float32) + 0.45 * color[face] * [
            0.42,
            0.47,
            0.55,
        ]
        color[face] = _mix(color[face], under, style.stubble * area * (0.42 + 0.5 * dots))
    brows = brow_mask(q.astype(np.float64), style.brows).astype(np.float32)
    color[face] = _mix(color[face], style.brow_colour, 0.55 * style.brows.density * brows)


def _lips(canvas: Canvas, style: SkinStyle, color: Real, rough: Real, seed: int) -> None:
    """Colour and shine of the lips; in place."""
    some = np.flatnonzero(canvas.lip > 0.02)
    p, lip = canvas.position[some], canvas.lip[some]
    edge = _step(lip + 0.06 * noise(p, 1.5, seed + 20).astype(np.float32), 0.30, 0.85)
    log = np.full(len(some), np.log(style.melanin) + style.lip_melanin, np.float32)
    red = np.full(len(some), style.lip_blood, np.float32)
    grooves = noise(p, (0.9, 9, 9), seed + 21).astype(np.float32)
    red *= 1 + 0.15 * grooves
    upper = p[:, 1] > anatomy.MOUTH_Y
    lips = skin_colours(log, red) * np.where(upper, 0.88, 1.0)[:, None].astype(np.float32)
    lips *= (1 + (0.05 + 0.05 * style.age) * grooves)[:, None]
    paint_on = style.make_up.lips_amount
    lips = _mix(lips, _linear(style.make_up.lips), np.full(len(some), paint_on, np.float32))
    seam = np.exp(-0.5 * ((p[:, 1] - anatomy.MOUTH_Y) / 0.9) ** 2) * (np.abs(p[:, 0]) < 27)
    lips *= (1 - 0.45 * seam * _step(p[:, 2], 82, 90))[:, None].astype(np.float32)
    color[some] = _mix(color[some], lips, edge * (0.86 + 0.14 * paint_on))
    rough[some] += edge * (0.36 - 0.12 * paint_on - rough[some])


def _lids(canvas: Canvas, style: SkinStyle, color: Real) -> None:
    """Lash line, the wet pink rim, liner and shadow; in place."""
    from scipy.spatial import cKDTree

    p = canvas.position[canvas.face]
    eye = (np.hypot(np.abs(p[:, 0]) - 31.5, p[:, 1] - 24) < 25) & (p[:, 2] > 50)
    ids = canvas.face[eye]
    q = p[eye].astype(np.float64)
    q[:, 0] = np.abs(q[:, 0])
    margin = np.concatenate([anatomy.lid_margin("upper", 65), anatomy.lid_margin("lower", 65)])
    distance, nearest = cKDTree(margin).query(q)
    distance = distance.astype(np.float32)
    is_upper = nearest < 65
    away = _step(q[:, 0].astype(np.float32), 17, 24)
    out = color[ids]
    # Skin is thin and red along the margin.
    out = _mix(
        out, out * np.array([0.92, 0.66, 0.64], np.float32), 0.75 * np.exp(-((distance / 1.6) ** 2))
    )
    root = np.where(
        is_upper, np.exp(-((distance / 0.85) ** 2)), 0.30 * np.exp(-((distance / 0.6) ** 2))
    )
    out = _mix(out, (0.010, 0.007, 0.006), 0.75 * root.astype(np.float32) * (0.25 + 0.75 * away))
    make_up = style.make_up
    if make_up.shadow_amount > 0:
        area = np.where(is_upper, _step(distance, 12.5, 3.0), 0.25 * _step(distance, 4.0, 1.0))
        area = area * _step(q[:, 1].astype(np.float32), 18, 24) * away
        out = _mix(out, _linear(make_up.shadow), make_up.shadow_amount * area.astype(np.float32))
    if make_up.liner > 0:
        width = 1.5 + 0.8 * away
        line = np.where(
            is_upper, np.exp(-((distance / width) ** 4)), 0.5 * np.exp(-((distance / 0.9) ** 4))
        )
        out = _mix(out, (0.006, 0.005, 0.006), make_up.liner * line.astype(np.float32) * away)
    color[ids] = out
