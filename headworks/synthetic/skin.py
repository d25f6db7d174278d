"""Albedo of skin, lips, brows, eyes, teeth and clothes, painted on the UV map by code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural import anatomy
from headworks.heads.procedural.mesh import smoothstep
from headworks.synthetic.canvas import Canvas
from headworks.synthetic.noise import noise

Array = NDArray[np.float64]

# sRGB of unlit skin from very light to very dark, over the Fitzpatrick range.
_TONES = np.array(
    [
        (0.93, 0.77, 0.69), (0.89, 0.71, 0.60), (0.81, 0.61, 0.48),
        (0.69, 0.48, 0.35), (0.50, 0.33, 0.24), (0.34, 0.22, 0.16),
    ]
)  # fmt: skip
IRIS_COLOURS = {
    "brown": (0.30, 0.17, 0.08), "dark": (0.16, 0.09, 0.05), "hazel": (0.40, 0.28, 0.12),
    "green": (0.33, 0.40, 0.24), "blue": (0.32, 0.46, 0.60), "grey": (0.42, 0.47, 0.50),
}  # fmt: skip


@dataclass(frozen=True)
class SkinStyle:
    """What the skin of one person looks like.

    Attributes:
        tone: 0 (lightest) to 1 (darkest). redness, freckles, stubble, age: 0 to 1.
        lip_colour: 0 (as the skin) to 1 (strong). lashes, brow_density: 0 to 1.
        brow_thickness: about 1.
        hair_colour: sRGB of brows and stubble. iris: key of IRIS_COLOURS.
        clothes: sRGB. clothes_pattern: 0 plain, 1 stripes, 2 mottled. collar: mm below the chin.
    """

    tone: float
    redness: float
    freckles: float
    stubble: float
    age: float
    lip_colour: float
    lashes: float
    brow_density: float
    brow_thickness: float
    hair_colour: tuple[float, float, float]
    iris: str
    clothes: tuple[float, float, float]
    clothes_pattern: int
    collar: float


def tone_colour(tone: float) -> Array:
    """sRGB of the skin at a tone in [0, 1]."""
    at = np.clip(tone, 0, 1) * (len(_TONES) - 1)
    return np.array([np.interp(at, np.arange(len(_TONES)), _TONES[:, i]) for i in range(3)])


def _mix(base: Array, colour: Array | tuple[float, ...], amount: Array) -> Array:
    return base + np.clip(amount, 0, 1)[:, None] * (np.asarray(colour) - base)


def _blob(p: Array, x: float, y: float, rx: float, ry: float) -> Array:
    """Gaussian on the face, on both sides."""
    depth = smoothstep(p[:, 2], 25, 55)
    return depth * np.exp(-0.5 * (((np.abs(p[:, 0]) - x) / rx) ** 2 + ((p[:, 1] - y) / ry) ** 2))


_BROW_X = (9.0, 16.0, 26.0, 36.0, 45.0, 53.0)
_BROW_Y = (36.5, 38.0, 40.5, 41.5, 39.5, 35.5)
_BROW_HALF = (3.6, 4.2, 3.9, 3.4, 2.6, 1.2)


def brow_mask(p: Array, thickness: float, seed: int) -> Array:
    """Density of the brows' hairs, [N] in [0, 1]."""
    x = np.abs(p[:, 0])
    middle = np.interp(x, _BROW_X, _BROW_Y)
    half = np.interp(x, _BROW_X, _BROW_HALF) * thickness
    across = (p[:, 1] - middle) / half
    body = smoothstep(np.abs(across), 1.25, 0.35) * smoothstep(x, 6.5, 12.5) * smoothstep(x, 56, 47)
    # Hairs lean outwards: noise stretched along a slanted axis.
    slanted = np.column_stack([x - 0.9 * (p[:, 1] - middle), p[:, 1] + 0.25 * x, 0 * x])
    hairs = noise(slanted, (0.9, 4.0, 1.0), seed)
    return body * smoothstep(p[:, 2], 40, 60) * np.clip(0.78 + 0.45 * hairs, 0, 1)


def beard_mask(p: Array) -> Array:
    """Where a beard grows, [N] in [0, 1]: jaw, chin, upper lip."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    cheek_line = np.interp(x, [0, 12, 24, 40, 55, 66], [-27, -27, -36, -34, -18, 0])
    area = smoothstep(cheek_line - y, 0, 7) * smoothstep(z, -2, 10)
    area *= smoothstep(y + 0.25 * (z - 40), -116, -98)
    around_mouth = np.exp(-(((x / 27) ** 2 + ((y + 43.5) / 9.5) ** 2) ** 2))
    # The upper lip keeps stubble, too thin for the beard's shell.
    area *= 1 - 0.72 * smoothstep(y, -46, -38) * smoothstep(x, 36, 27)
    return area * (1 - smoothstep(around_mouth, 0.05, 0.5))


def paint(canvas: Canvas, style: SkinStyle, seed: int) -> NDArray[np.float32]:
    """The albedo texture of one person.

    Args:
        canvas: where the UV map lies. style: what to paint. seed: of all noise.

    Returns:
        float32 [size, size, 3] sRGB.
    """
    p = canvas.position
    base = tone_colour(style.tone)
    color = np.broadcast_to(base, p.shape).copy()
    light = 1 - style.tone
    # Tint of blood: cheeks, nose, ears; less visible on dark skin.
    blush = (
        0.75 * _blob(p, 39, -6, 15, 13)
        + 0.75 * _blob(p, 0, -12, 15, 9)
        + 0.35 * _blob(p, 0, -74, 16, 10)
        + 0.6 * canvas.of("ears")
    )
    red = base * [1.02, 0.78, 0.76]
    color = _mix(color, red, blush * (0.18 + 0.42 * style.redness) * (0.4 + 0.6 * light))
    # Eye sockets and temples a little darker, forehead and nose bridge a little lighter.
    color = _mix(color, base * [0.78, 0.68, 0.68], 0.30 * _blob(p, 29, 12, 11, 4) * (1 + style.age))
    color = _mix(color, base * [0.82, 0.72, 0.70], 0.35 * _blob(p, 31, 30, 14, 4.5))
    mottle = noise(p, 14, seed, 3)[:, None] * 0.018 + noise(p, 1.6, seed + 7, 2)[:, None] * 0.014
    color = color * (1 + mottle * [0.8, 1.1, 1.2])
    # A turned grid: noise has no visible rows then.
    turned = p @ np.array([[0.8, 0.36, -0.48], [-0.6, 0.48, -0.64], [0.0, 0.8, 0.6]])
    spots = smoothstep(noise(turned, 2.3, seed + 11), 0.50, 0.75) * (
        _blob(p, 28, -2, 22, 14) + _blob(p, 0, 2, 14, 16)
    )
    color = _mix(color, base * [0.74, 0.6, 0.5], spots * style.freckles * 0.8)
    for y in (58.0, 66.0, 74.5):
        wave = p[:, 1] - y - 2.2 * noise(p, 30, seed + int(y))
        lines = np.exp(-0.5 * (wave / 0.9) ** 2) * smoothstep(np.abs(p[:, 0]), 44, 20)
        color = _mix(
            color,
            base * 0.72,
            0.5 * max(0.0, style.age - 0.3) * lines * smoothstep(p[:, 2], 60, 80),
        )
    fold = np.interp(p[:, 1], [-46, -30, -16], [33, 27, 20])
    crease = np.exp(-0.5 * ((np.abs(p[:, 0]) - fold) / 1.6) ** 2) * smoothstep(p[:, 1], -50, -42)
    crease *= smoothstep(p[:, 1], -12, -20) * smoothstep(p[:, 2], 60, 75)
    color = _mix(color, base * [0.8, 0.7, 0.68], (0.12 + 0.4 * style.age) * crease)
    # Nostrils: seen from below on the nose's base.
    hole = np.exp(
        -0.5 * (((np.abs(p[:, 0]) - 7.3) / 2.7) ** 2 + ((p[:, 1] + 20.8) / 1.35) ** 2)
        - 0.5 * ((p[:, 2] - 107) / 5) ** 2
    )
    color = _mix(color, base * [0.22, 0.13, 0.12], np.clip(hole * 1.25, 0, 0.95))
    wing = np.exp(-0.5 * (((np.abs(p[:, 0]) - 19.6) / 1.1) ** 2 + ((p[:, 1] + 15) / 6) ** 2))
    color = _mix(color, base * [0.68, 0.55, 0.52], 0.5 * wing * smoothstep(p[:, 2], 80, 90))

    hair = np.array(style.hair_colour)
    stubble = beard_mask(p) * style.stubble * (0.62 + 0.38 * noise(p, 0.9, seed + 3))
    color = _mix(color, 0.55 * hair + 0.25 * base, 0.75 * stubble)
    lip = smoothstep(canvas.lip, 0.35, 0.9)
    lip_base = base * [0.86, 0.60, 0.60] + np.array([0.03, 0.0, 0.01])
    lips = (1 - style.lip_colour) * (0.5 * base + 0.5 * lip_base) + style.lip_colour * (
        lip_base * [0.96, 0.78, 0.80]
    )
    grooves = 1 + 0.06 * noise(p, (1.1, 9, 9), seed + 5)[:, None]
    color = _mix(color, lips, lip * 0.92) * np.where(lip[:, None] > 0.5, grooves, 1)
    seam = np.exp(-0.5 * ((p[:, 1] - anatomy.MOUTH_Y) / 0.55) ** 2) * smoothstep(p[:, 2], 84, 90)
    color = _mix(color, lips * 0.45, 0.5 * seam * (np.abs(p[:, 0]) < 27))
    brows = brow_mask(p, style.brow_thickness, seed + 9)
    color = _mix(color, hair * 0.8, brows * style.brow_density)
    color = _paint_lids(canvas, color, base, style.lashes)
    return canvas.image(np.clip(_paint_parts(canvas, color, style, seed), 0, 1))


def _paint_lids(canvas: Canvas, color: Array, base: Array, strength: float) -> Array:
    """Lashes along the margins, a darker crease, the rims' pink."""
    p = canvas.position
    margin = np.concatenate([anatomy.lid_margin("upper", 33), anatomy.lid_margin("lower", 33)])
    is_upper = np.repeat([True, False], 33)
    eye = np.flatnonzero(
        (np.hypot(np.abs(p[:, 0]) - 31.5, p[:, 1] - 22) < 24) & (p[:, 2] > 55) & ~canvas.of("eyes")
    )
    folded = p[eye] * [1, 1, 1]
    folded[:, 0] = np.abs(folded[:, 0])
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(margin).query(folded)
    upper = is_upper[nearest]
    lash = np.where(
        upper, np.exp(-((distance / 1.25) ** 2)), 0.55 * np.exp(-((distance / 0.8) ** 2))
    )
    away = smoothstep(folded[:, 0], 17, 23)
    out = color.copy()
    out[eye] = _mix(out[eye], np.array([0.06, 0.045, 0.04]), strength * lash * (0.35 + 0.65 * away))
    crease = np.exp(-0.5 * ((distance - 6.0) / 1.0) ** 2) * upper * smoothstep(folded[:, 1], 23, 27)
    out[eye] = _mix(out[eye], base * [0.62, 0.50, 0.48], 0.55 * crease)
    return out


def _paint_parts(canvas: Canvas, color: Array, style: SkinStyle, seed: int) -> Array:
    p = canvas.position
    mouth = canvas.of("mouth_inner")
    deep = np.clip((p[mouth, 2] - 55) / 45, 0, 1)[:, None]
    color[mouth] = np.array([0.10, 0.02, 0.02]) + deep**2 * np.array([0.38, 0.12, 0.12])
    teeth = canvas.of("teeth")
    enamel = np.array([0.88, 0.84, 0.76]) - 0.06 * style.age
    gaps = np.abs(((p[teeth, 0] / 5.2) % 1) - 0.5)
    shade = 1 - 0.35 * smoothstep(gaps, 0.42, 0.5)
    shade *= 0.45 + 0.55 * smoothstep(p[teeth, 2], 72, 93)
    color[teeth] = enamel * shade[:, None]
    upper = p[teeth, 1] > -43.6
    gum = np.where(upper, smoothstep(p[teeth, 1], -36.5, -34.5), smoothstep(p[teeth, 1], -51, -53))
    color[teeth] = _mix(color[teeth], np.array([0.62, 0.30, 0.30]), gum)
    tongue = canvas.of("tongue")
    color[tongue] = (
        np.array([0.55, 0.26, 0.26]) * (1 + 0.1 * noise(p[tongue], 2, seed + 2))[:, None]
    )
    eyes = canvas.of("eyes")
    color[eyes] = _eye_colours(p[eyes], style, seed)
    trunk = canvas.of("torso", "neck") & (
        p[:, 1] < -112 - style.collar - 0.10 * p[:, 2] - 0.02 * np.abs(p[:, 0])
    )
    cloth = np.array(style.clothes)
    weave = 1 + 0.05 * noise(p, (2.5, 1.2, 2.5), seed + 21) + 0.06 * noise(p, 40, seed + 22, 2)
    color[trunk] = cloth * weave[trunk, None]
    if style.clothes_pattern == 1:
        stripe = smoothstep(np.sin(p[:, 1] / 5.5), -0.2, 0.2)
        color[trunk] *= (0.72 + 0.28 * stripe[trunk])[:, None]
    elif style.clothes_pattern == 2:
        spot = smoothstep(noise(p, 16, seed + 23), 0.1, 0.3)
        color[trunk] = _mix(color[trunk], cloth[::-1] * 0.9, 0.5 * spot[trunk])
    edge = p[:, 1] + 112 + style.collar + 0.10 * p[:, 2] + 0.02 * np.abs(p[:, 0])
    hem = np.exp(-0.5 * ((edge + 4) / 2.2) ** 2) * trunk
    return _mix(color, cloth * 0.7, 0.6 * hem)


def _eye_colours(p: Array, style: SkinStyle, seed: int) -> Array:
    centre = anatomy.EYE_CENTRE * [1, 1, 1]
    offset = np.column_stack([np.abs(p[:, 0]), p[:, 1:]]) - centre
    turn = np.arctan2(offset[:, 1], offset[:, 0])
    angle = np.arccos(np.clip(offset[:, 2] / np.linalg.norm(offset, axis=1), -1, 1))
    radius = angle * anatomy.EYE_RADIUS
    white = np.array([0.86, 0.83, 0.80])
    color = np.broadcast_to(white, p.shape).copy()
    corner = smoothstep(radius, 7, 14)
    color = _mix(color, np.array([0.80, 0.60, 0.56]), 0.5 * corner)
    veins = smoothstep(noise(p, 2.2, seed + 31, 2), 0.5, 0.8) * corner
    color = _mix(color, np.array([0.75, 0.4, 0.38]), 0.5 * veins)
    iris = np.array(IRIS_COLOURS[style.iris])
    ring = np.column_stack([np.cos(turn) * 6, np.sin(turn) * 6, radius * 0.35])
    fibres = 1 + 0.35 * noise(ring, 0.45, seed + 33) + 0.2 * smoothstep(radius, 4, 2.4)
    pattern = iris * fibres[:, None] * (1 - 0.45 * smoothstep(radius, 4.6, 5.8))[:, None]
    inside = smoothstep(radius, 6.05, 5.6)
    color = color * (1 - inside[:, None]) + pattern * inside[:, None]
    pupil = smoothstep(radius, 2.35, 2.05)
    return _mix(color, np.array([0.015, 0.012, 0.012]), pupil)
