"""Brows, lashes and beards as strands that ride on the skin they grow from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural import anatomy
from headworks.heads.procedural.mesh import smoothstep
from headworks.synthetic import strands
from headworks.synthetic.hair import HairAtRest, Roots, scatter
from headworks.synthetic.noise import noise
from headworks.synthetic.space import HeadSpace
from headworks.synthetic.strands import Growth

Array = NDArray[np.float64]

BEARDS: dict[str, dict[str, float]] = {
    # mm of hair on cheeks and jaw, chin, upper lip; low: how far below the mean cheek line, mm.
    "none": {},
    "moustache": {"jaw": 0, "chin": 0, "lip": 11, "low": 0},
    "handlebar": {"jaw": 0, "chin": 0, "lip": 19, "low": 0},
    "goatee": {"jaw": 0, "chin": 14, "lip": 8, "low": 0},
    "circle": {"jaw": 0, "chin": 9, "lip": 9, "low": 0},
    "short boxed": {"jaw": 7, "chin": 9, "lip": 7, "low": 6},
    "full": {"jaw": 15, "chin": 24, "lip": 11, "low": 2},
    "long": {"jaw": 26, "chin": 75, "lip": 14, "low": 2},
    "chin strap": {"jaw": 6, "chin": 8, "lip": 0, "low": 20},
}
BROWS: dict[str, tuple[float, float, float, float]] = {
    # rise of the arch, mm; where it peaks (share of the length); tilt, mm; length, mm
    "straight": (0.4, 0.55, 0.4, 41.0),
    "soft": (2.6, 0.62, 0.2, 43.0),
    "arched": (4.8, 0.66, 0.0, 44.0),
    "round": (4.2, 0.50, -1.2, 42.0),
    "angled": (3.6, 0.72, 1.2, 44.0),
    "short": (2.2, 0.60, 0.4, 33.0),
    "drooping": (2.4, 0.45, -1.8, 45.0),
    "high": (6.6, 0.60, 0.4, 43.0),
    "steep": (3.0, 0.80, 2.4, 42.0),
    "sad": (1.6, 0.40, -2.6, 42.0),
    "flat": (0.3, 0.50, -0.6, 49.0),
}


@dataclass(frozen=True)
class BrowStyle:
    """A pair of eyebrows.

    Attributes:
        shape: key of BROWS. thickness: mm at the widest. density: share of the possible hairs.
        inner: |x| mm where a brow begins. lift: mm above the mean place.
        taper: how thin the tail is, 0 to 1.
    """

    shape: str
    thickness: float
    density: float
    inner: float
    lift: float
    taper: float


def brow_curve(style: BrowStyle, count: int = 25) -> tuple[Array, Array, Array]:
    """Along a brow from nose to temple: |x| [N], y [N], half thickness [N], mm on the mean head."""
    rise, peak, tilt, length = BROWS[style.shape]
    t = np.linspace(0, 1, count)
    x = style.inner + length * 0.94 * t
    arch = np.where(t < peak, np.sin(np.pi / 2 * t / peak),
                    np.cos(np.pi / 2 * (t - peak) / (1 - peak) * 0.92))  # fmt: skip
    y = (
        37.6
        + style.lift
        + rise * arch
        + tilt * (2 * t - 1)
        - 4.4 * np.clip(t - 0.62, 0, 1) ** 1.5 * 4
    )
    half = 0.5 * style.thickness * (1 - style.taper * smoothstep(t, 0.30, 1.0))
    half *= smoothstep(t, -0.10, 0.10) * smoothstep(t, 1.05, 0.85) ** 0.5
    return x, y, half


def brow_mask(place: Array, style: BrowStyle) -> Array:
    """How dense a brow is at places [N, 3] mm on the mean head, [N] in [0, 1]."""
    x, y, half = brow_curve(style)
    at = np.abs(place[:, 0])
    across = (place[:, 1] - np.interp(at, x, y)) / np.maximum(np.interp(at, x, half), 0.3)
    body = smoothstep(np.abs(across), 1.15, 0.45) * smoothstep(place[:, 2], 40, 58)
    return body * smoothstep(at, x[0] - 2.5, x[0] + 3.5) * smoothstep(at, x[-1] + 2, x[-1] - 6)


def beard_mask(place: Array, style: dict[str, float] | None = None) -> Array:
    """Where a beard grows, [N] in [0, 1] over places [N, 3] mm on the mean head.

    Args:
        place: where. style: of BEARDS; None for all that can grow.
    """
    x, y, z = np.abs(place[:, 0]), place[:, 1], place[:, 2]
    cheek_line = np.interp(x, [0, 12, 24, 40, 55, 66], [-27, -27, -34, -34, -18, 2])
    low = 0.0 if style is None else style["low"]
    cheek_line = cheek_line - low * smoothstep(x, 22, 40)
    area = smoothstep(cheek_line - y + 3.0 * noise(place, 9.0, 41, 2), -7, 9) * smoothstep(z, -4, 8)
    area *= smoothstep(y + 0.25 * (z - 40), -118, -100)
    lips = np.exp(-(((x / 27.5) ** 2 + ((y + 43.0) / 9.0) ** 2) ** 2))
    area *= 1 - smoothstep(lips, 0.10, 0.5)
    # Below the lower lip hair grows in the middle only.
    area *= 1 - 0.7 * smoothstep(y, -64, -56) * smoothstep(y, -48, -53) * smoothstep(x, 8, 12) * (
        smoothstep(x, 27, 22)
    )
    if style is None:
        return area
    mouth = smoothstep(y, -45, -38) * smoothstep(x, 37, 29)
    chin = smoothstep(x, 34, 26) * smoothstep(y, -44, -54)
    circle = smoothstep(x, 37, 31) * smoothstep(y, -30, -36) * smoothstep(x, 21, 26)
    parts = np.zeros_like(area)
    if style.get("lip", 0):
        parts = np.maximum(parts, mouth)
    if style.get("chin", 0):
        parts = np.maximum(parts, chin)
        if style.get("lip", 0):
            parts = np.maximum(parts, circle)
    if style.get("jaw", 0):
        parts = np.maximum(parts, 1 - mouth)
    return area * parts


def beard_length(place: Array, style: dict[str, float]) -> Array:
    """Lengths of a beard's hairs, mm."""
    x, y = np.abs(place[:, 0]), place[:, 1]
    mouth = smoothstep(y, -48, -40) * smoothstep(x, 38, 30)
    chin = smoothstep(x, 42, 18) * smoothstep(y, -46, -62)
    base = style["jaw"] + (style["chin"] - style["jaw"]) * chin
    return np.maximum(base + (style["lip"] - base) * mouth, 2.5)


@lru_cache(maxsize=4)
def _pool(space: HeadSpace, what: str) -> Roots:
    middle = space.canonical[space.head.faces.numpy()].mean(1)
    skin = space.head.region_faces("skin", "scalp", "eyelids", "neck").numpy()
    if what == "beard":
        return scatter(space, skin & (beard_mask(middle) > 0.0), 26_000, 12)
    near = (np.abs(middle[:, 1] - 40) < 16) & (middle[:, 2] > 35) & (np.abs(middle[:, 0]) < 68)
    return scatter(space, skin & near, 16_000, 13)


def _on_skin(
    space: HeadSpace, rest: Array, roots: Roots, hairs: Array
) -> tuple[Array, NDArray[np.float32]]:
    """Hairs [N, P, 3] mm around the mean head, turned and moved with the faces of their roots."""
    faces = space.head.faces.numpy()
    before = frames(space.canonical, faces, roots.faces)
    after = frames(rest, faces, roots.faces)
    turn = np.einsum("nij,nkj->nik", after, before)
    offset = np.einsum("nij,npj->npi", turn, hairs - roots.place[:, None])
    points = roots.on(rest, faces)[:, None] + offset
    return points, np.ones(points.shape[:2], np.float32)


def frames(points: Array, faces: NDArray[np.int64], which: NDArray[np.int64]) -> Array:
    """Orthonormal frames (columns) of faces, [N, 3, 3]."""
    a, b, c = (points[faces[which, i]] for i in range(3))
    x = b - a
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    z = np.cross(x, c - a)
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return np.stack([x, np.cross(z, x), z], -1)


def _group(
    kind: str, space: HeadSpace, rest: Array, roots: Roots, hairs: Array, width: Array | float,
    colour: Array, light: Array | float, fine: bool = True,
) -> HairAtRest:  # fmt: skip
    points, neck = _on_skin(space, rest, roots, hairs)
    count = len(roots)
    return HairAtRest(
        kind, (points / 1000).astype(np.float32), roots.faces, roots.bary, True, neck,
        np.broadcast_to(np.asarray(width, np.float64) / 2000, count).astype(np.float32),
        np.clip(colour, 0.002, 0.9).astype(np.float32),
        np.broadcast_to(np.asarray(light, np.float64), points.shape[:2]).astype(np.float32), fine,
    )  # fmt: skip


def make_brows(
    space: HeadSpace, rest: Array, style: BrowStyle, colour: Array, grey: float, seed: int
) -> HairAtRest | None:
    """Eyebrows on a person at rest; colour [3] linear. None where there are no hairs."""
    rng = np.random.default_rng(seed)
    pool = _pool(space, "brows")
    mask = brow_mask(pool.place, style)
    keep = np.flatnonzero(rng.uniform(0, 1, len(pool)) < mask * style.density)
    if not len(keep):
        return None
    roots = pool[keep]
    x, y, _ = brow_curve(style)
    at = np.abs(roots.place[:, 0])
    t = np.clip((at - x[0]) / (x[-1] - x[0]), 0, 1)
    slope = np.interp(at, x, np.gradient(y, x))
    over = roots.place[:, 1] - np.interp(at, x, y)
    # Up at the nose, outwards in the middle; the upper hairs lean down, the lower ones up.
    angle = np.arctan(slope) + np.interp(t, [0, 0.15, 0.4, 1], [1.35, 0.75, 0.25, -0.1])
    angle += -0.10 * over * smoothstep(t, 0.1, 0.4) + 0.16 * rng.normal(0, 1, len(roots))
    side = np.sign(roots.place[:, 0])
    start = np.column_stack([side * np.cos(angle), np.sin(angle), 0.35 + 0 * angle])
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    length = rng.uniform(5.5, 9.5, len(roots)) * np.interp(t, [0, 0.3, 1], [0.85, 1.0, 0.7])
    hairs = strands.grow(roots.place, start, length, np.full(len(roots), 0.5), 5,
                         Growth(stiffness=1.0, rise=3, hug=0.4), seed)  # fmt: skip
    shade = colour * rng.uniform(0.75, 1.2, (len(roots), 1))
    shade[rng.uniform(0, 1, len(roots)) < 0.6 * grey] = 0.5
    return _group("brows", space, rest, roots, hairs, 0.16, shade, 0.75)


def make_lashes(
    space: HeadSpace, rest: Array, strength: float, colour: Array, seed: int
) -> HairAtRest:
    """Lashes of all four lids.

    Args:
        strength: 0 (short, thin) to 1 (long, thick, as with mascara). colour: [3] linear.
    """
    rng = np.random.default_rng(seed)
    skin = np.flatnonzero(space.head.region_faces("eyelids").numpy())
    faces = space.head.faces.numpy()
    middle = space.canonical[faces[skin]].mean(1)
    from scipy.spatial import cKDTree

    tree = cKDTree(middle)
    places, hairs = [], []
    for lid, count, long in (("upper", 74, 8.6), ("lower", 44, 4.6)):
        margin = anatomy.lid_margin(lid, 101)
        for side in (1, -1):
            t = np.sort(rng.uniform(0.10, 0.98, count))
            root = np.stack(
                [np.interp(t, np.linspace(0, 1, 101), margin[:, d]) for d in range(3)], 1
            )
            root *= [side, 1, 1]
            up = 1.0 if lid == "upper" else -1.0
            fan = (t - 0.42) * 1.5 + 0.14 * rng.normal(0, 1, count)
            length = (
                long
                * (0.72 + 0.4 * strength)
                * np.interp(t, [0, 0.3, 0.8, 1], [0.5, 0.9, 1.1, 0.9])
            )
            length = length * rng.uniform(0.8, 1.1, count)
            s = np.linspace(0, 1, 6)
            lift = (0.10 * s + 0.72 * s**2.2) * up
            out = s * (1 - 0.25 * s)
            hair = np.stack([side * np.sin(fan)[:, None] * 0.62 * s, lift + 0 * fan[:, None],
                             out + 0 * fan[:, None]], -1)  # fmt: skip
            places.append(root)
            hairs.append(root[:, None] + hair * length[:, None, None])
    place, lash = np.concatenate(places), np.concatenate(hairs)
    face = skin[tree.query(place)[1]]
    roots = Roots(face, _bary(place, space.canonical[faces[face]]), place)
    shade = np.broadcast_to(colour, (len(place), 3)) * rng.uniform(0.8, 1.1, (len(place), 1))
    return _group("lashes", space, rest, roots, lash, 0.11 + 0.13 * strength, shade, 0.7)


def _bary(places: Array, corners: Array) -> Array:
    """Barycentrics of the places' feet on triangles [N, 3, 3], clipped to them."""
    e0, e1 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    d = places - corners[:, 0]
    d00, d01, d11 = (e0 * e0).sum(1), (e0 * e1).sum(1), (e1 * e1).sum(1)
    d20, d21 = (d * e0).sum(1), (d * e1).sum(1)
    det = np.maximum(d00 * d11 - d01 * d01, 1e-12)
    v, w = (d11 * d20 - d01 * d21) / det, (d00 * d21 - d01 * d20) / det
    bary = np.clip(np.column_stack([1 - v - w, v, w]), 0, 1)
    return bary / bary.sum(1, keepdims=True)


def make_beard(
    space: HeadSpace, rest: Array, style: str, length: float, density: float, colour: Array,
    grey: float, seed: int,
) -> HairAtRest | None:  # fmt: skip
    """A beard on a person at rest.

    Args:
        style: key of BEARDS. length: factor of the style's lengths. density: about 1.
        colour: [3] linear. grey: share of white hairs.
    """
    look = BEARDS[style]
    if not look:
        return None
    rng = np.random.default_rng(seed)
    pool = _pool(space, "beard")
    patch = 0.35 * noise(pool.place, 9.0, seed % 2**30)
    patch += 0.45 * noise(pool.place, 2.2, (seed + 1) % 2**30)
    keep = rng.uniform(0, 1, len(pool)) < np.clip(beard_mask(pool.place, look) * (1 + patch), 0, 1)
    roots = pool[np.flatnonzero(keep)[: int(11_000 * density)]]
    p = roots.place
    long = beard_length(p, look) * length * rng.uniform(0.7, 1.1, len(p))
    # Shorter where the beard ends.
    long = long * (0.35 + 0.65 * beard_mask(p, look))
    lip = smoothstep(p[:, 1], -48, -40) * smoothstep(np.abs(p[:, 0]), 38, 30)
    down = np.column_stack([0.12 * np.sign(p[:, 0]) + 0 * lip, -1.0 + 0 * lip, 0.30 + 0 * lip])
    aside = np.column_stack(
        [np.sign(p[:, 0]) * (0.25 + np.abs(p[:, 0]) / 18), -0.8 + 0 * lip, 0.45 + 0 * lip]
    )
    start = (1 - lip[:, None]) * down + lip[:, None] * aside
    outward = p - [0, -40, 30]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    start = start + 0.55 * outward + 0.30 * rng.normal(0, 1, p.shape)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    layer = np.minimum(0.38 * long, 12) * rng.uniform(0.1, 1, len(p))
    growth = Growth(gravity=0.45, gravity_from=12, noise=0.5, noise_size=7, stray=0.5, rise=8)
    hairs = strands.grow(p, start, long, layer, 7, growth, seed)
    total = np.linalg.norm(np.diff(hairs, axis=1), axis=2).sum(1)
    fine = float(np.median(long)) < 12
    width = np.where(long < 12, 0.30, 0.55)
    light = strands.Thicket(hairs, total, width).light(hairs.reshape(-1, 3))
    shade = colour * np.clip(1 + 0.26 * rng.normal(0, 1, (len(p), 1)), 0.4, 1.8)
    white = rng.uniform(0, 1, len(p)) < grey
    shade[white] = 0.38 * rng.uniform(0.5, 1.2, (int(white.sum()), 1))
    return _group("beard", space, rest, roots, hairs, width, shade,
                  light.reshape(hairs.shape[:2]), fine)  # fmt: skip
