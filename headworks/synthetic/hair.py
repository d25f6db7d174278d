"""Hair as a displaced shell over the scalp and a curtain of hanging strands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from headworks.heads import load_head
from headworks.heads.procedural.mesh import smoothstep
from headworks.heads.procedural.surface import SkinSurface
from headworks.synthetic.noise import noise
from headworks.synthetic.skin import beard_mask

Array = NDArray[np.float64]

STYLES: dict[str, dict[str, float]] = {
    # top, side: thickness in mm; fringe: how far the front comes down, mm; end: height of the
    # tips, mm (0: nothing hangs); curl: size of curls, mm; part: where hanging hair is parted, mm.
    "bald": {"top": 0, "side": 0, "fringe": 0, "end": 0, "curl": 0},
    "buzz": {"top": 3.0, "side": 2.2, "fringe": 0, "end": 0, "curl": 0},
    "short": {"top": 15, "side": 6, "fringe": 6, "end": 0, "curl": 0},
    "crop": {"top": 20, "side": 8, "fringe": 22, "end": 0, "curl": 0},
    "receding": {"top": 5, "side": 7, "fringe": -24, "end": 0, "curl": 0},
    "curly": {"top": 30, "side": 22, "fringe": 6, "end": 0, "curl": 11},
    "afro": {"top": 46, "side": 38, "fringe": 4, "end": 0, "curl": 12},
    "bob": {"top": 16, "side": 13, "fringe": 12, "end": -78, "curl": 0, "part": 8},
    "medium": {"top": 17, "side": 13, "fringe": 0, "end": -118, "curl": 0, "part": -22},
    "long": {"top": 15, "side": 12, "fringe": 0, "end": -205, "curl": 0, "part": 0},
}
HAIR_COLOURS: dict[str, tuple[float, float, float]] = {
    "black": (0.055, 0.048, 0.045), "dark brown": (0.13, 0.085, 0.06),
    "brown": (0.25, 0.155, 0.10), "light brown": (0.38, 0.26, 0.16), "blond": (0.66, 0.50, 0.31),
    "red": (0.45, 0.19, 0.09), "grey": (0.50, 0.49, 0.48), "white": (0.78, 0.77, 0.75),
}  # fmt: skip
_CROWN = np.array([0.0, 104.0, -42.0])


@dataclass(frozen=True, eq=False)
class Hair:
    """Hair of one person at rest.

    Attributes:
        vertices: [H, 3] metres. faces: [F, 3]. weights: [H, 5] of the head's joints.
        parents: int [H, 4], shares: [H, 4] head vertices whose expression moves the hair.
        strand: [H, 3] where on the strands: around the crown, along in mm; and their sheen.
        flow: [H, 3] unit directions in which the strands run.
    """

    vertices: Array
    faces: NDArray[np.int64]
    weights: Array
    parents: NDArray[np.int64]
    shares: Array
    strand: Array
    flow: Array


@dataclass(frozen=True, eq=False)
class _Shell:
    """The head's skin, twice subdivided where hair may grow."""

    parents: NDArray[np.int64]
    shares: Array
    faces: NDArray[np.int64]
    canonical: Array


def _subdivide(
    faces: NDArray[np.int64], parents: NDArray[np.int64], shares: Array
) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Split every triangle in four; new vertices mix the parents of an edge's ends."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    middle = len(parents) + inverse.reshape(3, -1).T
    mixed_parents = np.concatenate([parents[unique[:, 0]], parents[unique[:, 1]]], 1)
    mixed_shares = np.concatenate([shares[unique[:, 0]], shares[unique[:, 1]]], 1) / 2
    padded = np.concatenate([parents, parents], 1), np.concatenate([shares, 0 * shares], 1)
    a, b, c = faces.T
    ab, bc, ca = middle.T
    split = np.concatenate(
        [np.column_stack(f) for f in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    )
    return (
        split,
        np.concatenate([padded[0], mixed_parents]),
        np.concatenate([padded[1], mixed_shares]),
    )


@lru_cache(maxsize=2)
def _shell(what: str) -> _Shell:
    head = load_head("procedural")
    points = head.template.numpy().astype(np.float64) * 1000
    faces = head.faces.numpy()
    skin = head.region_faces("skin", "scalp", "neck", "lips").numpy()
    middle = points[faces].mean(1)
    if what == "scalp":
        azimuth = np.degrees(np.arctan2(np.abs(middle[:, 0]), middle[:, 2]))
        wanted = middle[:, 1] > hairline(azimuth) - 34
    else:
        wanted = (beard_mask(points)[faces].max(1) > 0) & (middle[:, 2] > -12)
    chosen = faces[skin & wanted & (middle[:, 1] > -125)]
    used, compact = np.unique(chosen, return_inverse=True)
    parents, shares = used[:, None], np.ones((len(used), 1))
    split = compact.reshape(-1, 3)
    for _ in range(2):
        split, parents, shares = _subdivide(split, parents, shares)
    canonical = (points[parents] * shares[..., None]).sum(1)
    return _Shell(parents, shares, split, canonical)


def hairline(azimuth: Array) -> Array:
    """Height of the hairline (mm) over degrees from the front."""
    degrees = [0, 14, 28, 40, 52, 62, 71, 78, 86, 96, 108, 125, 150, 180]
    heights = [95, 94, 90, 80, 64, 44, 26, 10, 4, 2, -12, -34, -50, -54]
    return np.interp(np.abs(azimuth), degrees, heights)


def _normals(points: Array, faces: NDArray[np.int64]) -> Array:
    corner = points[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    out = np.zeros_like(points)
    for i in range(3):
        np.add.at(out, faces[:, i], normal)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def _strand_coordinates(canonical: Array) -> tuple[Array, Array]:
    """Angle around the crown with distance from it, and the unit direction away from it."""
    offset = canonical - _CROWN
    axis = np.array([0.0, 0.8, -0.6])
    across = offset - (offset @ axis)[:, None] * axis
    side = np.cross(axis, [0, 0, 1.0])
    side /= np.linalg.norm(side)
    front = np.cross(side, axis)
    around = np.arctan2(across @ side, across @ front)
    along = np.linalg.norm(offset, axis=1)
    flow = offset / np.maximum(along[:, None], 1e-9)
    return np.column_stack([around / (2 * np.pi), along]), flow


def _parted_coordinates(canonical: Array, part: float) -> tuple[Array, Array]:
    """As above for hair that falls to both sides of a parting at x = part mm."""
    x, y = canonical[:, 0] - part, canonical[:, 1] - 20
    turn = np.arctan2(x, y)
    reach = np.hypot(x, y)
    around = canonical[:, 2] / (2 * np.pi * 62) + np.where(x > 0, 0.0, 0.37)
    side = np.sign(x)[:, None]
    flow = side * np.column_stack([np.cos(turn), -np.sin(turn), 0 * turn])
    return np.column_stack([around, np.abs(turn) * reach]), flow


def _cap(rest: Array, weights: Array, style: dict[str, float], seed: int) -> Hair:
    shell = _shell("scalp")
    p = shell.canonical
    points = (rest[shell.parents] * shell.shares[..., None]).sum(1) * 1000
    strand, flow = _strand_coordinates(p)
    parted = style["end"] < 0
    if parted:
        strand, flow = _parted_coordinates(p, style["part"])
    azimuth = np.degrees(np.arctan2(np.abs(p[:, 0]), p[:, 2]))
    front = smoothstep(azimuth, 62, 30)
    line = hairline(azimuth) - style["fringe"] * front
    ragged = 3.5 * noise(np.column_stack([strand[:, 0] * 400, p[:, 1] * 0.12, 0 * azimuth]), 2.2,
                         seed + 1)  # fmt: skip
    inside = p[:, 1] - line + ragged * min(1.0, style["top"] / 8)
    top = smoothstep(p[:, 1], 30, 92)
    thick = style["side"] + (style["top"] - style["side"]) * top
    ramp = np.clip(0.9 * thick, 3, 26)
    # Around the ear hair stays close to the head.
    ear = np.exp(-((p[:, 1] - 2) ** 2 / 26**2 + (p[:, 2] + 6) ** 2 / 22**2)) * (
        np.abs(p[:, 0]) > 40
    )
    if style["end"] == 0 and style["curl"] == 0:
        thick = thick * (1 - 0.75 * ear)
    bulk = np.clip(inside / ramp, 0, 1)
    rise = np.sqrt(np.clip(1 - (1 - bulk) ** 2, 0, 1))
    clumps = noise(np.column_stack([strand[:, 0] * 2 * np.pi * 60, strand[:, 1], 0 * top]),
                   (5.0, 60.0, 1.0), seed + 2)  # fmt: skip
    bumps = 0.10 * clumps
    if parted:
        groove = np.exp(-(((p[:, 0] - style["part"]) / 3.0) ** 2)) * smoothstep(p[:, 2], -50, -10)
        bumps = bumps - 0.45 * groove
    if style["curl"]:
        bumps = 6.0 / style["top"] * noise(p, style["curl"], seed + 3, 2)
    offset = rise * thick * (1 + bumps) - 2.5 + 3.0 * smoothstep(inside, -3.0, 1.0)
    vertices = points + _normals(points, shell.faces) * offset[:, None]
    own = (weights[shell.parents] * shell.shares[..., None]).sum(1)
    sheen = (0.25 if style["curl"] else 1.0) * smoothstep(inside, 2, 22)
    return Hair(vertices / 1000, shell.faces, own, shell.parents, shell.shares,
                np.column_stack([strand, sheen]), flow)  # fmt: skip


def _curtain(
    rest: Array, template: Array, weights: Array, style: dict[str, float], seed: int
) -> Hair:
    """Strands that hang from the sides and back of the cap."""
    from scipy.spatial import cKDTree

    columns, rows = 121, 40
    surface = SkinSurface()
    opening = np.radians(50.0)
    turn = np.linspace(-1, 1, columns)
    s = np.linspace(0, 1, rows)[:, None]
    elevation = np.radians(62 - 50 * np.clip(s / 0.35, 0, 1))
    part = opening - np.radians(5) * smoothstep(s, 0.3, 0.75)
    azimuth = np.pi + turn * (np.pi - part)
    ray = np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation) + 0 * azimuth,
         np.cos(azimuth) * np.cos(elevation)], -1
    )  # fmt: skip
    skull = surface.points(ray.reshape(-1, 3)).reshape(rows, columns, 3)
    skull += ray * (style["side"] * (0.78 + 0.25 * s[..., None]) + 1.0)
    fallen = np.clip((s - 0.35) / 0.65, 0, 1)
    last = skull[np.searchsorted(s[:, 0], 0.35)]
    tips = style["end"] + 9 * noise(
        np.column_stack([turn * 90, 0 * turn, 0 * turn]), 1.3, seed + 4, 2
    )
    # Shorter in front of the shoulders than behind.
    tips = tips + 22 * smoothstep(np.abs(turn), 0.75, 1.0)
    y = last[None, :, 1] + (tips - last[:, 1])[None] * fallen
    drop = last[None, :, 1] - y
    wave = 3.0 * noise(
        np.stack(np.broadcast_arrays(turn[None] * 30 + 0 * s, drop / 40, 0 * drop), -1), 1.0,
        seed + 5,
    )  # fmt: skip
    narrow = 1 - 0.10 * smoothstep(drop, 25, 130) + wave / 90
    hang = np.stack([last[None, :, 0] * narrow, y, last[None, :, 2] * narrow - 4 * fallen], -1)
    mix = smoothstep(s, 0.30, 0.42)[..., None]
    points = ((1 - mix) * skull + mix * hang).reshape(-1, 3)

    moved = (rest - template) * 1000
    mean = template * 1000
    shells = np.flatnonzero(mean[:, 1] > -120)
    distance, near = cKDTree(mean[shells]).query(points, k=12)
    share = 1 / (distance + 8) ** 2
    share /= share.sum(1, keepdims=True)
    canonical = points.copy()
    points = points + (moved[shells[near]] * share[..., None]).sum(1)
    own = np.zeros((len(points), 5))
    own[:, 1] = smoothstep(canonical[:, 1], -230, -85)
    own[:, 0] = 1 - own[:, 1]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate(
        [np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]
    )
    along = np.broadcast_to(s * 260, (rows, columns)).reshape(-1)
    strand = np.column_stack([np.tile(turn / 2, rows), along])
    grid = points.reshape(rows, columns, 3)
    flow = np.gradient(grid, axis=0).reshape(-1, 3)
    flow /= np.maximum(np.linalg.norm(flow, axis=1, keepdims=True), 1e-9)
    nobody = np.zeros((len(points), 4))
    return Hair(points / 1000, faces, own, nobody.astype(np.int64), nobody,
                np.column_stack([strand, np.ones(len(points))]), flow)  # fmt: skip


def _beard(rest: Array, weights: Array, length: float, seed: int) -> Hair:
    shell = _shell("beard")
    p = shell.canonical
    points = (rest[shell.parents] * shell.shares[..., None]).sum(1) * 1000
    tuft = noise(p, 4.0, seed + 6, 2)
    inside = beard_mask(p) - 0.45 + 0.12 * tuft
    offset = length * smoothstep(inside, 0.0, 0.45) * (1 + 0.25 * tuft)
    offset = offset - 2.0 + 2.3 * smoothstep(inside, -0.12, 0.08)
    chin = np.exp(-(((p[:, 1] + 80) / 22) ** 2) - (p[:, 0] / 30) ** 2)
    vertices = points + _normals(points, shell.faces) * (offset * (1 + 0.5 * chin))[:, None]
    strand = np.column_stack([np.arctan2(p[:, 0], p[:, 2]) / np.pi * 1.3, -p[:, 1]])
    flow = np.broadcast_to([0.0, -0.9, 0.43], p.shape).copy()
    own = (weights[shell.parents] * shell.shares[..., None]).sum(1)
    return Hair(vertices / 1000, shell.faces, own, shell.parents, shell.shares,
                np.column_stack([strand, np.full(len(p), 0.12)]), flow)  # fmt: skip


def _joined(parts: list[Hair]) -> Hair:
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    return Hair(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + at for part, at in zip(parts, starts, strict=True)]),
        np.concatenate([part.weights for part in parts]),
        np.concatenate([part.parents for part in parts]),
        np.concatenate([part.shares for part in parts]),
        np.concatenate([part.strand for part in parts]),
        np.concatenate([part.flow for part in parts]),
    )


def make_hair(rest: Array, style: str, beard: float, seed: int) -> Hair | None:
    """Hair and beard on a head at rest.

    Args:
        rest: [V, 3] metres, the person's neutral vertices. style: key of STYLES.
        beard: length in mm, 0 for none. seed: of all noise.

    Returns:
        The hair, or None for a bald and shaved head.
    """
    head = load_head("procedural")
    template = head.template.numpy().astype(np.float64)
    weights = head.skin_weights.numpy().astype(np.float64)
    rest = np.asarray(rest, np.float64)
    look = STYLES[style]
    parts = []
    if look["top"] > 0:
        parts.append(_cap(rest, weights, look, seed))
    if look["end"] < 0:
        parts.append(_curtain(rest, template, weights, look, seed))
    if beard > 0:
        parts.append(_beard(rest, weights, beard, seed))
    return _joined(parts) if parts else None
