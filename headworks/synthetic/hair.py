"""Hair of the head as strands: where it starts, how styles grow, and how it moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural.mesh import smoothstep
from headworks.synthetic import strands
from headworks.synthetic.space import Grid, HeadSpace, body_distance
from headworks.synthetic.strands import Growth

Array = NDArray[np.float64]

_POOL = 24_000


@dataclass(frozen=True)
class HairStyle:
    """How the hair of the head is worn.

    Attributes:
        count: strands. points: per strand. width: mm of a strand at the root.
        top, side, front: lengths, mm. layer_top, layer_side: how high hair lies, mm.
        lift: 0 starts along the skin, 1 upright. growth: how it grows.
        every, clump: one strand in so many is a lock's middle; how much it gathers the others.
        curl, wave: radius and length of curls, mm; flat: 1 for waves, 0 for helices.
        raised: by how many mm the hairline lies higher. temples: mm by which it recedes there.
        crown: share of hairs that the top has lost. tail: length of what hangs from a tie, mm;
            -1 for a bun. ends: range of `long` factors of the lengths.
        fringe: mm of hair that falls over the forehead, 0 for none. fine: drawn by share of pixels.
    """

    count: int
    points: int
    width: float
    top: float
    side: float
    front: float
    layer_top: float
    layer_side: float
    lift: float
    growth: Growth
    every: int = 10
    clump: float = 0.4
    curl: float = 0.0
    wave: float = 40.0
    flat: float = 0.0
    raised: float = 0.0
    temples: float = 0.0
    crown: float = 0.0
    tail: float = 0.0
    ends: tuple[float, float] = (0.85, 1.2)
    fringe: float = 0.0
    fine: bool = False


_SHORT = Growth(comb=strands.FROM_CROWN, comb_weight=0.5, stiffness=1.0, noise=0.35, stray=0.25,
                gravity=0.15, gravity_from=20, rise=10)  # fmt: skip
_HANG = Growth(comb=strands.FROM_PART, comb_weight=1.2, comb_reach=90, gravity=1.3,
               gravity_from=70, noise=0.30, noise_size=20, stray=0.10, hug=0.25, rise=22,
               face=63)  # fmt: skip
_TIED = Growth(comb=strands.TO_TIE, comb_weight=2.5, noise=0.12, stray=0.08, hug=0.6, rise=20)

STYLES: dict[str, HairStyle | None] = {
    "shaved": None,
    "buzz": HairStyle(11000, 3, 0.36, 5, 3.5, 5, 4, 2.5, 0.6,
                      replace(_SHORT, gravity=0, comb_weight=0.2), clump=0, fine=True),
    "short": HairStyle(7000, 8, 0.85, 34, 14, 34, 14, 5, 0.55, _SHORT),
    "crop": HairStyle(7000, 10, 0.85, 48, 18, 52, 15, 6, 0.35,
                      replace(_SHORT, comb=strands.FORWARD, comb_weight=0.8, hug=0.1)),
    "side part": HairStyle(7000, 12, 0.85, 80, 24, 85, 18, 7, 0.45,
                           replace(_SHORT, comb=strands.FROM_PART, part=26, comb_weight=1.1,
                                   gravity=0.3, hug=0.15, rise=18)),
    "slicked back": HairStyle(6500, 14, 0.85, 105, 62, 110, 15, 8, 0.35,
                              replace(_SHORT, comb=strands.BACKWARD, comb_weight=1.6, noise=0.2,
                                      stray=0.1, hug=0.25, rise=16), clump=0.5),
    "receding": HairStyle(5200, 8, 0.8, 28, 15, 24, 8, 5, 0.45, _SHORT, raised=10, temples=26,
                          crown=0.45),
    "bald top": HairStyle(3600, 8, 0.8, 8, 20, 5, 3, 6, 0.4, _SHORT, raised=46, temples=30,
                          crown=0.97),
    "curly": HairStyle(5200, 30, 0.85, 85, 48, 50, 26, 16, 0.8,
                       replace(_SHORT, gravity=0.5, noise=0.9, stray=0.4, rise=22),
                       every=14, clump=0.55, curl=5.5, wave=19),
    "afro": HairStyle(8000, 12, 1.1, 66, 56, 58, 50, 40, 1.0,
                      Growth(noise=0.55, stray=0.9, noise_size=11, rise=45), every=9, clump=0.3,
                      curl=2.6, wave=9),
    "bob": HairStyle(5600, 26, 1.0, 205, 165, 195, 17, 14, 0.35, _HANG, ends=(0.8, 1.1)),
    "fringe": HairStyle(5600, 26, 1.0, 215, 175, 205, 18, 14, 0.35, _HANG, ends=(0.8, 1.45),
                        fringe=62),
    "short fringe": HairStyle(6800, 16, 0.9, 72, 34, 74, 15, 6, 0.35,
                              replace(_SHORT, comb=strands.FORWARD, comb_weight=0.8, hug=0.2,
                                      gravity=0.3), fringe=54),
    "bowl": HairStyle(6400, 20, 0.95, 120, 92, 112, 15, 10, 0.3,
                      replace(_HANG, noise=0.25), ends=(0.85, 1.1), fringe=60, clump=0.5),
    "curly fringe": HairStyle(5600, 30, 0.85, 78, 46, 70, 24, 15, 0.7,
                              replace(_SHORT, gravity=0.5, noise=0.9, stray=0.4, rise=22),
                              every=14, clump=0.55, curl=5.0, wave=18, fringe=46),
    "ponytail": HairStyle(4600, 30, 0.95, 100, 80, 110, 10, 9, 0.15, _TIED, tail=230, clump=0.1),
    "bun": HairStyle(4200, 34, 0.95, 100, 80, 110, 10, 9, 0.15, _TIED, tail=-1, clump=0.1),
    "long straight": HairStyle(5600, 32, 1.05, 390, 345, 380, 17, 13, 0.3,
                               replace(_HANG, noise=0.22), ends=(0.75, 1.2), clump=0.45),
    "long fringe": HairStyle(5800, 32, 1.05, 390, 345, 380, 17, 13, 0.3,
                             replace(_HANG, noise=0.25), ends=(0.75, 1.2), clump=0.45,
                             fringe=62),
    "long wavy": HairStyle(5600, 36, 1.05, 400, 350, 380, 20, 16, 0.4,
                           replace(_HANG, noise=0.5, stray=0.15), every=12, clump=0.6, curl=7.5,
                           wave=75, flat=0.7, ends=(0.7, 1.15)),
    "long curly": HairStyle(4400, 64, 0.95, 330, 290, 300, 26, 20, 0.6,
                            replace(_HANG, noise=0.7, stray=0.3), every=14, clump=0.65, curl=7.5,
                            wave=27, ends=(0.7, 1.15)),
}  # fmt: skip

LONG = ("bob", "fringe", "long straight", "long fringe", "long wavy", "long curly")
"""Styles that hang beside the face."""

HAIR_COLOURS: dict[str, tuple[float, float, float]] = {
    # sRGB of a lock in soft light
    "black": (0.085, 0.075, 0.072), "dark brown": (0.175, 0.125, 0.095),
    "brown": (0.29, 0.195, 0.13), "light brown": (0.42, 0.30, 0.20),
    "dark blond": (0.54, 0.42, 0.28),
    "blond": (0.74, 0.60, 0.41), "auburn": (0.36, 0.16, 0.09), "red": (0.58, 0.27, 0.12),
    "grey": (0.52, 0.51, 0.50), "white": (0.82, 0.81, 0.79),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class HairAtRest:
    """Strands on a person at rest.

    Attributes:
        kind: as of `scene.Strands`. points: [N, P, 3] metres. faces: int [N] of the head that the
            roots stand on, bary: [N, 3] of the roots there.
        turns: bool, whether a hair turns with its face (beard, brows, lashes) or with the head.
        neck: [N, P] share of the neck joint against the root joint.
        radius: [N] metres. colour: [N, 3] linear. light: [N, P]. fine: as of `scene.Strands`.
    """

    kind: str
    points: NDArray[np.float32]
    faces: NDArray[np.int64]
    bary: Array
    turns: bool
    neck: NDArray[np.float32]
    radius: NDArray[np.float32]
    colour: NDArray[np.float32]
    light: NDArray[np.float32]
    fine: bool

    @cached_property
    def with_head(self) -> bool:
        """Whether no strand reaches down to what the neck leaves behind."""
        return bool(self.neck.min() > 0.999)


@dataclass(frozen=True, eq=False)
class Roots:
    """Places where hair may start.

    Attributes:
        faces: int [N], bary: [N, 3] on a head model. place: [N, 3] mm on the mean head.
    """

    faces: NDArray[np.int64]
    bary: Array
    place: Array

    def __getitem__(self, index: NDArray[np.int64]) -> Roots:
        return Roots(self.faces[index], self.bary[index], self.place[index])

    def __len__(self) -> int:
        return len(self.faces)

    def on(self, points: Array, faces: NDArray[np.int64]) -> Array:
        """Where the roots are on a mesh with points [V, 3], [N, 3]."""
        return (points[faces[self.faces]] * self.bary[..., None]).sum(1)


def scatter(space: HeadSpace, wanted: NDArray[np.bool_], count: int, seed: int) -> Roots:
    """Roots spread evenly over the wanted faces [F] of a head, in random order."""
    faces = space.head.faces.numpy()
    corner = space.canonical[faces]
    area = np.linalg.norm(
        np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1
    )
    area = np.where(wanted, area, 0.0)
    rng = np.random.default_rng(seed)
    # A regular comb over the summed area is more even than independent draws.
    at = (np.arange(count) + rng.uniform(0, 1, count)) / count * area.sum()
    chosen = np.minimum(np.searchsorted(np.cumsum(area), at), len(area) - 1)
    u, v = rng.uniform(0, 1, (2, count))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    bary = np.column_stack([1 - u - v, u, v])
    order = rng.permutation(count)
    chosen, bary = chosen[order], bary[order]
    return Roots(chosen, bary, (corner[chosen] * bary[..., None]).sum(1))


def hairline(azimuth: Array) -> Array:
    """Height of the mean hairline (mm) over degrees from the front."""
    degrees = [0, 14, 28, 40, 52, 62, 71, 78, 86, 96, 108, 125, 150, 180]
    heights = [92, 91, 88, 79, 64, 44, 26, 10, 4, 2, -12, -34, -50, -54]
    return np.interp(np.abs(azimuth), degrees, heights)


def inside_hairline(place: Array, raised: float = 0.0, temples: float = 0.0) -> Array:
    """How far places [N, 3] mm on the mean head lie above the hairline, mm (below: negative)."""
    azimuth = np.degrees(np.arctan2(np.abs(place[:, 0]), place[:, 2]))
    front = smoothstep(azimuth, 70, 45)
    corner = np.exp(-(((azimuth - 33) / 13) ** 2))
    line = hairline(azimuth) + raised * front + temples * corner
    return place[:, 1] - line


@lru_cache(maxsize=2)
def _pool(space: HeadSpace) -> Roots:
    middle = space.canonical[space.head.faces.numpy()].mean(1)
    skin = space.head.region_faces("skin", "scalp").numpy()
    wanted = skin & (inside_hairline(middle) > -16)
    return scatter(space, wanted, _POOL, 11)


def _normals(place: Array) -> Array:
    """Unit directions away from the mean head, [N, 3]."""
    grid = body_distance()
    step = np.eye(3) * 4.0
    out = np.stack([grid.at(place + s)[:, 0] - grid.at(place - s)[:, 0] for s in step], 1)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)


def make_hair(
    space: HeadSpace,
    warp: Grid,
    rest: Array,
    style: HairStyle,
    colour: Array,
    grey: float,
    density: float,
    parting: float,
    raised: float,
    temples: float,
    seed: int,
) -> tuple[HairAtRest, strands.Thicket, float]:
    """Hair of the head on a person at rest.

    Args:
        space: of the head model. warp: from `space.warp`. rest: [V, 3] mm, neutral vertices.
        style: how it is worn. colour: [3] linear. grey: share of white hairs.
        density: about 1. parting: mm. raised, temples: of the hairline, mm, beside the style's.
        seed: of all chance.

    Returns:
        the strands; what dims light on the mean head; length of the longest hairs, mm.
    """
    rng = np.random.default_rng(seed)
    pool = _pool(space)
    ragged = rng.normal(0, 2.0, len(pool))
    inside = inside_hairline(pool.place, style.raised + raised, style.temples + temples) + ragged
    top = smoothstep(pool.place[:, 1], 52, 92) * smoothstep(pool.place[:, 2], -112, -60)
    # Along the hairline hair is thinner.
    keep = rng.uniform(0, 1, len(pool)) < np.clip(0.35 + inside / 14, 0, 1) * (
        1 - style.crown * top
    )
    roots = pool[np.flatnonzero((inside > 0) & keep)[: int(style.count * density)]]
    inside = inside_hairline(roots.place, style.raised + raised, style.temples + temples)
    points, lengths, lock = _grown(roots, inside, style, parting, rng, seed)
    total = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1)
    width = style.width * (0.8 + 0.4 * rng.uniform(0, 1, len(roots)))
    thicket = strands.Thicket(points, total, width)
    flat = points.reshape(-1, 3)
    light = thicket.light(flat).reshape(points.shape[:2])
    tone = 1 + 0.10 * rng.normal(0, 1, len(roots)) + 0.10 * rng.normal(0, 1, lock.max() + 1)[lock]
    shade = (
        colour * np.clip(tone, 0.6, 1.5)[:, None] * (1 + 0.05 * rng.normal(0, 1, (len(roots), 3)))
    )
    # A strand stands for many hairs, some of them white.
    white = np.clip(grey + 0.9 * grey * (1 - grey) * rng.normal(0, 1, (len(roots), 1)), 0, 1)
    shade = shade + white * (np.array([0.50, 0.49, 0.47]) * tone[:, None] - shade)

    placed = carried(points, roots, warp, rest, space)
    neck = smoothstep(points[..., 1], -225, -90)
    hair = HairAtRest(
        "hair", (placed / 1000).astype(np.float32), roots.faces, roots.bary, False,
        neck.astype(np.float32), (width / 2000).astype(np.float32),
        np.clip(shade, 0.002, 0.9).astype(np.float32), light.astype(np.float32), style.fine,
    )  # fmt: skip
    return hair, thicket, float(np.quantile(lengths, 0.8))


def carried(points: Array, roots: Roots, warp: Grid, rest: Array, space: HeadSpace) -> Array:
    """Hairs [N, P, 3] mm from the mean head to a person; roots stand exactly on the skin."""
    moved = points + warp.at(points)
    gap = roots.on(rest, space.head.faces.numpy()) - moved[:, 0]
    along = np.concatenate(
        [np.zeros((len(points), 1)), np.linalg.norm(np.diff(points, axis=1), axis=2).cumsum(1)], 1
    )
    return moved + np.exp(-along / 60)[..., None] * gap[:, None]


def _grown(
    roots: Roots,
    inside: Array,
    style: HairStyle,
    parting: float,
    rng: np.random.Generator,
    seed: int,
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Strands around the mean head [N, P, 3] mm, their lengths [N] and locks [N]."""
    p = roots.place
    top = smoothstep(p[:, 1], 40, 95)
    front = smoothstep(p[:, 2], 15, 70) * top
    lengths = style.side + (style.top - style.side) * top + (style.front - style.top) * front
    lengths = lengths * rng.uniform(0.86, 1.08, len(p))
    if style.top < 70:
        lengths = lengths * np.clip(0.35 + inside / 34, 0.35, 1)
    layer = style.layer_side + (style.layer_top - style.layer_side) * top
    layer = layer * rng.uniform(0.05, 1.0, len(p)) ** 0.7 * np.clip(0.3 + inside / 22, 0.3, 1)
    growth = replace(style.growth, part=parting)
    if growth.comb == strands.FROM_PART:
        layer = layer * (0.3 + 0.7 * smoothstep(np.abs(p[:, 0] - parting), 2, 34))
    normal = _normals(p)
    start = style.lift * normal + (1 - style.lift) * _combed(p, growth, normal)
    start += 0.12 * rng.normal(0, 1, p.shape)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    if style.tail:
        return _tied(p, start, layer, style, growth, rng, seed)
    hairs = strands.grow(p, start, lengths, layer, style.points, growth, seed)
    if style.fringe:
        brow = (p[:, 2] > 30) & (np.abs(p[:, 0]) < 50) & (rng.uniform(0, 1, len(p)) < 0.95)
        falling = replace(growth, comb=strands.FORWARD, comb_weight=1.4, gravity=0.8,
                          gravity_from=20, hug=0.35, rise=14, face=0.0, noise=0.15)  # fmt: skip
        reach = style.fringe + 1.15 * np.clip(86 - p[brow, 2], 0, None)
        hairs[brow] = strands.grow(
            p[brow],
            start[brow],
            reach * rng.uniform(0.93, 1.03, brow.sum()),
            0.6 * layer[brow],
            style.points,
            falling,
            seed + 1,
        )
        lengths[brow] = reach
    lock = np.zeros(len(p), np.int64)
    if style.clump:
        hairs, lock = strands.clump(hairs, style.every, style.clump, seed + 2)
    if style.curl:
        hairs = strands.curl(hairs, lengths, style.curl, style.wave, lock, seed + 3, style.flat)
    if style.clump or style.curl:
        hairs = strands.keep_out(hairs, 0.6, growth.face if not style.fringe else 0.0)
    return hairs, lengths, lock


def _combed(p: Array, growth: Growth, normal: Array) -> Array:
    """Unit directions along the skin in which hair starts, [N, 3]."""
    side = np.where(p[:, 0] >= growth.part, 1.0, -1.0)
    nothing, behind = np.zeros(len(p)), np.clip((-20 - p[:, 2]) / 50, 0, 1)
    way = {
        strands.NO_COMB: normal,
        strands.FROM_CROWN: p - strands.CROWN,
        strands.FROM_PART: np.column_stack(
            [side * (1 - behind) + behind * p[:, 0] / 90, -0.5 - 0.5 * behind, nothing - 0.22]
        ),
        strands.BACKWARD: np.column_stack([nothing, nothing - 0.2, nothing - 1.0]),
        strands.FORWARD: np.column_stack([nothing, nothing - 0.4, nothing + 1.0]),
        strands.TO_TIE: np.array(growth.tie) - p,
    }[growth.comb]
    if growth.comb != strands.NO_COMB:
        way = way - (way * normal).sum(1, keepdims=True) * normal
    return way / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9)


def _tied(
    p: Array,
    start: Array,
    layer: Array,
    style: HairStyle,
    growth: Growth,
    rng: np.random.Generator,
    seed: int,
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Hair drawn to a tie at the back of the head, and what leaves it there."""
    tie = np.array([0.0, rng.uniform(35, 95), 0.0])
    tie[2] = -104.0 + 0.004 * (tie[1] - 20) ** 2
    growth = replace(growth, tie=(0.0, float(tie[1]), float(tie[2])))
    first = 14
    far = np.linalg.norm(p - tie, axis=1)
    lengths = 1.22 * far
    hairs = strands.grow(p, start, lengths, layer, first, growth, seed)
    spread = rng.normal(0, 1, p.shape) * [5.0, 5.0, 2.0]
    s = np.linspace(0, 1, first)
    hairs += (s**4)[None, :, None] * (tie + spread - hairs[:, -1])[:, None]
    rest = style.points - first
    if style.tail > 0:
        long = style.tail * rng.uniform(0.8, 1.1, len(p))
        away = np.array([0.0, 0.15, -1.0]) + 0.22 * rng.normal(0, 1, p.shape)
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        hang = Growth(gravity=1.3, gravity_from=45, noise=0.25, stray=0.1)
        tail = strands.grow(
            tie + spread, away, long, np.full(len(p), 6.0), rest + 1, hang, seed + 1
        )
        tail = tail[:, 1:]
        lengths = lengths + long
    else:
        radius = rng.uniform(24, 34)
        turn = np.linspace(0, 2.2 * np.pi, rest)[None] + rng.uniform(0, 2 * np.pi, (len(p), 1))
        tilt = rng.uniform(-1.1, 1.1, (len(p), 1)) + 0.12 * np.sin(3 * turn)
        thick = radius * rng.uniform(0.86, 1.02, (len(p), 1))
        tail = np.stack([thick * np.cos(turn) * np.cos(tilt), thick * np.sin(turn) * np.cos(tilt),
                         0.8 * thick * np.sin(tilt)], -1)  # fmt: skip
        tail += tie + np.array([0.0, 4.0, -0.62 * radius])
    hairs = strands.keep_out(np.concatenate([hairs, tail], 1), 0.8, 0.0)
    return hairs, lengths, np.arange(len(p)) // 12
