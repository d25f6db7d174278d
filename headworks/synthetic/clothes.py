"""Upper clothes: a layer over the torso with a neckline and a collar, and its texture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from headworks.heads.procedural.mesh import smoothstep
from headworks.synthetic.noise import noise
from headworks.synthetic.scene import GAMMA
from headworks.synthetic.space import Grid, HeadSpace, body_distance

Array = NDArray[np.float64]

COLLARS = ("crew", "scoop", "v-neck", "shirt", "turtleneck", "hoodie")
PATTERNS = ("plain", "heather", "stripes", "pinstripes", "plaid", "mottled")
_COLUMNS, _ROWS = 96, 40
_CENTRE = np.array([0.0, -230.0, -10.0])
_LOWEST = np.radians(-58.0)
_TEXTURE = 256
_BODY_SHARE = 0.72
"""Share of the texture's height that the body of the garment takes; the rest is the collar's."""


@dataclass(frozen=True)
class ClothesStyle:
    """A garment.

    Attributes:
        collar: of COLLARS. pattern: of PATTERNS. colour, second: sRGB.
        depth: by how many mm the neckline lies lower in front.
    """

    collar: str
    pattern: str
    colour: tuple[float, float, float]
    second: tuple[float, float, float]
    depth: float


@dataclass(frozen=True, eq=False)
class Clothes:
    """A garment on a person at rest.

    Attributes:
        vertices: [V, 3] metres. faces: int64 [F, 3]. uvs: float32 [F, 3, 2].
        weights: [V, 5] of the head's joints. canonical: [V, 3] mm around the mean head.
        albedo: float32 [S, S, 3] linear. covers: bool, which vertices of the head it hides.
    """

    vertices: Array
    faces: NDArray[np.int64]
    uvs: NDArray[np.float32]
    weights: Array
    canonical: Array
    albedo: NDArray[np.float32]
    covers: NDArray[np.bool_]


def _azimuths() -> Array:
    return np.linspace(-np.pi, np.pi, _COLUMNS + 1)


def _leave(origin: Array, direction: Array, most: float) -> Array:
    """Distance at which rays [N, 3] from inside first leave the body, [N] mm."""
    grid = body_distance()
    steps = np.arange(12.0, most, 5.0)
    inside = np.stack([grid.at(origin + direction * s)[:, 0] for s in steps], 1)
    first = np.argmax(inside > 0, 1)
    first = np.where(inside.max(1) > 0, np.maximum(first, 1), len(steps) - 1)
    rows = np.arange(len(direction))
    a, b = inside[rows, first - 1], inside[rows, first]
    share = np.clip(-a / np.where(np.abs(b - a) < 1e-6, 1.0, b - a), 0, 1)
    return steps[first - 1] + 5.0 * share


@lru_cache(maxsize=1)
def _shape() -> tuple[Array, Array, Array]:
    """Elevations [E], distances [E, A] and heights [E, A] of the body seen from the chest."""
    elevations = np.radians(np.linspace(-58, 72, 66))
    e, a = np.meshgrid(elevations, _azimuths(), indexing="ij")
    ray = _rays(a, e)
    flat = ray.reshape(-1, 3)
    radius = _leave(np.broadcast_to(_CENTRE, flat.shape), flat, 420.0).reshape(e.shape)
    return elevations, radius, _CENTRE[1] + radius * np.sin(e)


def _rays(azimuth: Array, elevation: Array) -> Array:
    return np.stack(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ],
        -1,
    )


def neckline(style: ClothesStyle) -> Array:
    """Heights of the garment's edge over the azimuths, [A] mm on the mean head."""
    a = _azimuths()
    c = np.cos(a)
    y = -129.0 - 17.0 * np.clip(c, 0, 1) ** 1.5 + 19.0 * np.clip(-c, 0, 1) ** 1.5
    width = {"v-neck": 0.62, "scoop": 1.0, "shirt": 0.22}.get(style.collar, 0.9)
    if style.collar == "v-neck":
        y -= style.depth * np.clip(1 - np.abs(a) / width, 0, 1)
    else:
        y -= style.depth * np.exp(-((a / width) ** 4))
    if style.collar == "scoop":
        y -= 8.0
    return y


def _body(style: ClothesStyle, seed: int) -> Array:
    """Points of the garment below its edge, [rows, A, 3] mm."""
    elevations, radius, height = _shape()
    edge = neckline(style)
    start = np.array([np.interp(edge[k], height[:, k], elevations) for k in range(len(edge))])
    t = np.linspace(0, 1, _ROWS) ** 1.35
    elevation = start[None] + (_LOWEST - start)[None] * t[:, None]
    a = np.broadcast_to(_azimuths(), elevation.shape)
    on = np.stack(
        [np.interp(elevation[:, k], elevations, radius[:, k]) for k in range(len(edge))], 1
    )
    ray = _rays(a, elevation)
    # Cloth spans hollows.
    span = gaussian_filter(on, (1.6, 2.0), mode=("nearest", "wrap"))
    skin = _CENTRE + ray * on[..., None]
    folds = 1.8 * noise(skin, (34, 60, 34), seed, 2) * smoothstep(t, 0.03, 0.3)[:, None]
    loose = 3.6 + 3.0 * smoothstep(t, 0.0, 0.25)[:, None] + folds
    if style.collar != "turtleneck":
        loose = loose + 1.4 * np.exp(-((t[:, None] / 0.035) ** 2))
    rows = _CENTRE + ray * (np.maximum(span, on) + np.maximum(loose, 2.0))[..., None]
    # The edge turns in towards the skin.
    rim = _CENTRE + ray[0] * (on[0] - 2.5)[:, None] - [0, 1.5, 0]
    return np.concatenate([rim[None], rows])


def _neck(heights: Array) -> Array:
    """The neck's skin at heights [N, A] mm, from its axis outwards, [N, A, 3]."""
    a = np.broadcast_to(_azimuths(), heights.shape)
    ray = _rays(a, 0 * a).reshape(-1, 3)
    origin = np.stack([0 * heights, heights, -12.0 - 0.06 * (heights + 120)], -1).reshape(-1, 3)
    return (origin + ray * np.minimum(_leave(origin, ray, 130.0), 92.0)[:, None]).reshape(
        *heights.shape, 3
    )


def _collar(style: ClothesStyle, seed: int) -> Array | None:
    """Points of what stands up at the neck, [rows, A, 3] mm, or None."""
    edge = neckline(style)
    a = _azimuths()
    out = _rays(a, 0 * a)
    if style.collar == "turtleneck":
        rise = np.array([-10.0, 8, 22, 36, 44, 45, 42, 30, 16, 6])
        away = np.array([5.0, 4.0, 3.5, 3.5, 4.0, 6.0, 8.0, 8.5, 8.0, 7.0])
        base = _neck(edge[None] + 0.92 * rise[:, None])
        base = gaussian_filter(base, (0.6, 1.2, 0), mode=("nearest", "wrap", "nearest"))
        wrinkle = 0.8 * noise(base, (14, 9, 14), seed + 3)
        return base + out[None] * (away[:, None] + wrinkle)[..., None]
    if style.collar == "shirt":
        front = np.abs(a)
        # A band stands at the neck, a leaf folds over it and ends in points in front.
        back = smoothstep(front, 0.9, 2.6)
        rise = np.array([-6.0, 6, 16, 24, 27, 25, 17, 8, -1.0, -9.0])
        away = np.array([4.5, 5.0, 5.5, 6.0, 8.0, 10.5, 12.0, 13.0, 14.5, 16.5])
        tall = 0.95 + 0.35 * back
        base = _neck(edge[None] + rise[:, None] * tall[None])
        base = gaussian_filter(base, (0.6, 1.2, 0), mode=("nearest", "wrap", "nearest"))
        leaf = np.clip((np.arange(len(rise)) - 4) / 5, 0, 1)[:, None]
        points = base + out[None] * (away[:, None] + 6.0 * leaf * (1 - back))[..., None]
        tip = np.exp(-(((front - 0.30) / 0.22) ** 2))[None] * leaf
        middle = np.exp(-((front / 0.10) ** 2))[None]
        points[..., 1] -= 24.0 * tip * (1 - middle) - 6.0 * leaf * middle
        points[..., 2] += 9.0 * tip
        points[..., 1] -= 16.0 * middle * (1 - leaf) + 14.0 * middle * leaf
        return points
    if style.collar == "hoodie":
        base = _neck(edge[None])[0]
        thick = 13.0 + 15.0 * smoothstep(np.abs(a), 0.7, 2.4)
        turn = np.linspace(-0.35 * np.pi, 1.35 * np.pi, 12)
        side = np.cos(turn)[:, None] * thick * 1.15
        up = np.sin(turn)[:, None] * thick * 0.85
        points = base[None] + out[None] * (side + 0.9 * thick + 4.0)[..., None]
        points[..., 1] += up - 2.0 - 8.0 * np.clip(np.cos(a), 0, 1)
        fold = 2.2 * noise(points, (26, 14, 26), seed + 4, 2)
        return points + out[None] * fold[..., None]
    return None


def _grid(points: Array, first: int, v0: float, v1: float) -> tuple[NDArray[np.int64], Array]:
    """Faces and their UVs of a grid [R, A, 3] whose last column repeats the first place."""
    rows, columns = points.shape[:2]
    index = first + np.arange(rows * columns).reshape(rows, columns)
    v = np.linspace(v1, v0, rows)
    uv = np.stack(np.meshgrid(np.linspace(0.002, 0.998, columns), v), -1)
    a, b, c, d = (slice(None, -1), slice(None, -1)), (slice(None, -1), slice(1, None)), (
        slice(1, None), slice(None, -1)), (slice(1, None), slice(1, None))  # fmt: skip
    corners = [(a, c, b), (b, c, d)]
    faces = np.concatenate([np.stack([index[i] for i in t], -1).reshape(-1, 3) for t in corners])
    uvs = np.concatenate([np.stack([uv[i] for i in t], -2).reshape(-1, 3, 2) for t in corners])
    return faces, uvs


def _texture(style: ClothesStyle, body: Array, collar: Array | None, seed: int) -> Array:
    """sRGB [S, S, 3] over the garment's UVs."""
    from scipy.ndimage import zoom

    def spread(points: Array, height: int) -> Array:
        factors = (height / points.shape[0], _TEXTURE / points.shape[1], 1)
        return zoom(points, factors, order=1, grid_mode=True, mode="nearest")

    low = round(_TEXTURE * _BODY_SHARE)
    place = np.zeros((_TEXTURE, _TEXTURE, 3))
    place[_TEXTURE - low :] = spread(body, low)
    place[: _TEXTURE - low] = spread(body[:2] if collar is None else collar, _TEXTURE - low)
    colour, second = np.array(style.colour), np.array(style.second)
    image = np.broadcast_to(colour, place.shape).copy()
    x, y = place[..., 0], place[..., 1]

    def blend(amount: Array) -> None:
        nonlocal image
        image = image + np.clip(amount, 0, 1)[..., None] * (second - image)

    if style.pattern == "stripes":
        blend(smoothstep(np.sin(y / 4.2 + seed % 7), 0.0, 0.25))
    elif style.pattern == "pinstripes":
        blend(0.7 * smoothstep(np.sin(x / 2.1), 0.82, 0.95))
    elif style.pattern == "plaid":
        blend(0.5 * smoothstep(np.sin(x / 6.5), 0.1, 0.3))
        blend(0.5 * smoothstep(np.sin(y / 6.5), 0.1, 0.3))
    elif style.pattern == "mottled":
        blend(0.8 * smoothstep(noise(place, 17.0, seed + 5, 2), 0.05, 0.3))
    elif style.pattern == "heather":
        blend(0.35 * np.clip(noise(place, (1.6, 5.0, 1.6), seed + 6), 0, 1))
    weave = 1 + 0.04 * noise(place, (2.2, 1.4, 2.2), seed + 7) + 0.05 * noise(place, 30.0, seed + 8)
    image *= weave[..., None]
    if style.collar == "shirt":
        placket = np.exp(-(((x - 14) / 0.9) ** 2)) * (place[..., 2] > 20)
        seen = np.zeros_like(placket)
        seen[_TEXTURE - low :] = placket[_TEXTURE - low :]
        image *= (1 - 0.25 * seen)[..., None]
    elif style.collar in ("crew", "scoop", "v-neck"):
        band = smoothstep(np.arange(_TEXTURE, dtype=np.float64) - (_TEXTURE - low), 12, 9)[:, None]
        rib = 1 - 0.10 * band * (np.sin(np.arange(_TEXTURE) * 1.9) > 0)[None]
        image *= rib[..., None]
    return np.clip(image, 0.02, 0.97)


def make_clothes(
    space: HeadSpace, warp: Grid, rest: Array, style: ClothesStyle, seed: int
) -> Clothes:
    """A garment on a person at rest.

    Args:
        space: of the head model. warp: from `space.warp`. rest: [V, 3] mm, neutral vertices.
        style: what. seed: of folds and weave.
    """
    from scipy.spatial import cKDTree

    body, collar = _body(style, seed), _collar(style, seed)
    faces, uvs = _grid(body, 0, 0.002, _BODY_SHARE - 0.002)
    points = body.reshape(-1, 3)
    if collar is not None:
        more, more_uvs = _grid(collar, len(points), _BODY_SHARE + 0.002, 0.998)
        faces, uvs = np.concatenate([faces, more]), np.concatenate([uvs, more_uvs])
        points = np.concatenate([points, collar.reshape(-1, 3)])
    trunk = np.unique(
        space.head.faces.numpy()[space.head.region_faces("neck", "torso", "skin").numpy()]
    )
    distance, near = cKDTree(space.canonical[trunk]).query(points, k=6)
    share = 1 / (distance + 3) ** 2
    share /= share.sum(1, keepdims=True)
    weights = space.head.skin_weights.numpy().astype(np.float64)
    own = (weights[trunk[near]] * share[..., None]).sum(1)
    placed = points + warp.at(points)
    placed += (
        (rest - space.canonical - warp.at(space.canonical))[trunk[near]] * share[..., None]
    ).sum(1)
    albedo = (_texture(style, body, collar, seed) ** GAMMA).astype(np.float32)
    edge = np.interp(
        np.arctan2(space.canonical[:, 0], space.canonical[:, 2] - _CENTRE[2]),
        _azimuths(), neckline(style),
    )  # fmt: skip
    covers = space.canonical[:, 1] < edge - 3.0
    return Clothes(placed / 1000, faces, uvs.astype(np.float32), own, points, albedo, covers)
