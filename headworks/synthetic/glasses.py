"""Spectacles: rims, bridge, temples and lenses that sit on a person's nose and ears."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headworks.synthetic.space import Grid, HeadSpace

Array = NDArray[np.float64]

FRAMES: dict[str, tuple[float, float, float, float, float]] = {
    # width and height of a lens, mm; power of its outline; how much wider above; lift outside, mm
    "round": (44.0, 42.0, 2.0, 0.0, 0.0),
    "oval": (48.0, 33.0, 2.2, 0.0, 0.0),
    "rectangle": (51.0, 31.0, 4.5, 0.02, 0.0),
    "wayfarer": (50.0, 38.0, 3.2, 0.09, 1.5),
    "aviator": (55.0, 47.0, 2.5, 0.10, -1.0),
    "cat-eye": (51.0, 36.0, 2.7, 0.06, 5.0),
}
_SECTION = 8
_PLANE_Z, _CENTRE_Y = 100.5, 16.5
_EAR = np.array([71.5, 29.0, -8.0])
_CLEARANCE, _BRIDGE_ROOM = 1.2, 5.0


@dataclass(frozen=True)
class GlassesStyle:
    """A pair of spectacles: a key of FRAMES, "plastic" or "metal", sRGB, radius of the wire, mm."""

    frame: str
    material: str
    colour: tuple[float, float, float]
    wire: float


@dataclass(frozen=True, eq=False)
class Glasses:
    """Spectacles on a person at rest.

    Attributes:
        vertices: [V, 3] metres of the frame. faces: int64 [F, 3].
        lens_vertices: [L, 3] metres. lens_faces: int64 [G, 3]. style: what they are.
    """

    vertices: Array
    faces: NDArray[np.int64]
    lens_vertices: Array
    lens_faces: NDArray[np.int64]
    style: GlassesStyle


def _outline(style: GlassesStyle, count: int = 44) -> Array:
    """A lens' outline on the subject's left around its middle, [N, 2] mm (x outwards)."""
    width, height, power, wider, lift = FRAMES[style.frame]
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    x = 0.5 * width * np.sign(c) * np.abs(c) ** (2 / power)
    y = 0.5 * height * np.sign(s) * np.abs(s) ** (2 / power)
    x = x * (1 + wider * y / (0.5 * height))
    if style.frame == "aviator":
        x = x + 2.5 * np.clip(-s, 0, 1) * np.clip(c, 0, 1)
    y = y + lift * np.clip(x / (0.5 * width), 0, 1) ** 2 * (y > 0)
    return np.column_stack([x, y])


def tube(path: Array, radii: Array, closed: bool) -> tuple[Array, NDArray[np.int64]]:
    """A tube of elliptic section along a path.

    Args:
        path: [N, 3]. radii: [2], across and along the section's axes (the second keeps to y).
        closed: whether the path returns to its start.
    """
    tangent = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    depth = np.array([0.0, 0.0, 1.0])
    side = np.cross(tangent, depth)
    # Along the temples the path runs in depth itself.
    flat = np.linalg.norm(side, axis=1, keepdims=True) < 0.5
    side = np.where(flat, np.cross(tangent, [1.0, 0.0, 0.0]), side)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(side, tangent)
    turn = np.arange(_SECTION) / _SECTION * 2 * np.pi
    ring = (
        radii[0] * np.cos(turn)[None, :, None] * side[:, None]
        + radii[1] * np.sin(turn)[None, :, None] * other[:, None]
    )
    points = (path[:, None] + ring).reshape(-1, 3)
    faces = []
    count = len(path)
    for i in range(count if closed else count - 1):
        for k in range(_SECTION):
            a, b = i * _SECTION + k, i * _SECTION + (k + 1) % _SECTION
            j = (i + 1) % count * _SECTION
            c, d = j + k, j + (k + 1) % _SECTION
            faces += [(a, c, b), (b, c, d)]
    return points, np.array(faces, np.int64)


def make_glasses(space: HeadSpace, warp: Grid, rest: Array, style: GlassesStyle) -> Glasses:
    """Spectacles that fit a person.

    Args:
        space: of the head model. warp: from `space.warp`. rest: [V, 3] mm, neutral vertices.
        style: what they are.
    """
    anchors = np.array([(0.0, 14, 99), (31.5, 22, 84), (-31.5, 22, 84), _EAR, _EAR * [-1, 1, 1]])
    moved = anchors + warp.at(anchors)
    bridge, ears = moved[0], moved[3:]
    eyes = moved[1:3]
    middle = 0.5 * (eyes[0, 0] + eyes[1, 0])
    scale = np.clip((eyes[0, 0] - eyes[1, 0]) / 63.0, 0.92, 1.12)
    outline = _outline(style) * scale
    half = 0.5 * FRAMES[style.frame][0] * scale
    gap = 9.0 * scale
    centre = np.array([gap + half, bridge[1] + (_CENTRE_Y - 14.0)])
    place = np.column_stack([centre[0] + outline[:, 0], centre[1] + outline[:, 1]])

    def depth(x: Array, y: Array) -> Array:
        """The frame leans forward above and bends round the face."""
        return _PLANE_Z + 0.10 * (y - centre[1]) - 0.0011 * x**2

    # As far back as nose, brows and cheeks allow.
    skin = np.unique(space.head.faces.numpy()[space.head.region_faces("skin", "eyelids").numpy()])
    mean = space.canonical[skin]
    face = skin[
        (mean[:, 2] > 50) & (np.abs(mean[:, 0]) < 66) & (mean[:, 1] > -20) & (mean[:, 1] < 50)
    ]
    q = rest[face] - [middle, 0, 0]
    both = np.concatenate([place, place * [-1, 1], [[x, centre[1] + 5.0] for x in (-6, 0, 6)]])
    close = ((q[:, None, :2] - both[None]) ** 2).sum(2).min(1) < (style.wire + 2.0) ** 2
    push = (q[close, 2] - depth(q[close, 0], q[close, 1])).max() + _CLEARANCE + style.wire

    def put(x: Array, y: Array) -> Array:
        return np.column_stack([x + middle, y, depth(x, y) + push])

    parts: list[tuple[Array, NDArray[np.int64]]] = []
    lenses: list[tuple[Array, NDArray[np.int64]]] = []
    radii = np.array([style.wire, style.wire * (1.0 if style.material == "metal" else 0.85)])
    for side in (1, -1):
        rim = put(side * place[:, 0], place[:, 1])
        parts.append(tube(rim, radii, True))
        count = len(rim)
        inner = rim.mean(0) + 0.55 * (rim - rim.mean(0)) + [0, 0, 0.8]
        points = np.concatenate([rim, inner, (rim.mean(0) + np.array([0.0, 0.0, 1.2]))[None]])
        around, after = np.arange(count), (np.arange(count) + 1) % count
        faces = np.concatenate(
            [
                np.column_stack([around, after, count + around]),
                np.column_stack([after, count + after, count + around]),
                np.column_stack([count + around, count + after, np.full(count, 2 * count)]),
            ]
        )
        lenses.append((points, faces if side == 1 else faces[:, ::-1]))
        top = place[np.argmax(place[:, 0] + 0.8 * place[:, 1])]
        hinge = put(np.array([side * (top[0] + 1.0)]), top[1:2])[0]
        ear = ears[0 if side == 1 else 1] + [side * 1.0, 1.5, 0]
        corner = hinge + np.array([side * 2.5, 0.0, -5.0])
        s = np.linspace(0, 1, 14)[:, None]
        arm = corner + (ear - corner) * s
        arm[:, 0] += side * 3.0 * np.sin(np.pi * s[:, 0])
        head = skin[(np.abs(mean[:, 0]) > 45) & (mean[:, 2] > -20)]
        h = rest[head]
        for i in range(len(arm)):
            near = (np.abs(h[:, 1] - arm[i, 1]) < 7) & (np.abs(h[:, 2] - arm[i, 2]) < 7) & (
                h[:, 0] * side > 0)  # fmt: skip
            if near.any():
                least = (side * h[near, 0]).max() + 1.0 + style.wire * 0.6
                arm[i, 0] = side * max(side * arm[i, 0], least)
        tip = ear + np.array([side * -1.0, -22.0, -17.0])
        bend = np.linspace(0, 1, 7)[1:, None]
        hook = (
            (1 - bend) ** 2 * ear
            + 2 * bend * (1 - bend) * (ear + np.array([0.0, -1.0, -12.0]))
            + bend**2 * tip
        )
        hook[:, 0] = arm[-1, 0] - side * 1.5 * bend[:, 0]
        path = np.concatenate([hinge[None], arm, hook])
        parts.append(tube(path, radii * [0.7, 1.0], False))
    inner_x = place[:, 0].min()
    x = np.linspace(-inner_x, inner_x, 9)
    arch = put(x, centre[1] + 5.0 * scale + 2.2 * (1 - (x / inner_x) ** 2))
    # Before a flat nose the bridge bends back towards it.
    nose = q[(np.abs(q[:, 0]) < 6) & (np.abs(q[:, 1] - arch[4, 1]) < 5), 2]
    room = arch[4, 2] - nose.max(initial=-np.inf) - style.wire
    arch[:, 2] += (1.2 - np.clip(room - _BRIDGE_ROOM, 0, 4)) * (1 - (x / inner_x) ** 2)
    parts.append(tube(arch, radii, False))
    frame, frame_faces = _joined(parts)
    lens, lens_faces = _joined(lenses)
    return Glasses(frame / 1000, frame_faces, lens / 1000, lens_faces, style)


def _joined(parts: list[tuple[Array, NDArray[np.int64]]]) -> tuple[Array, NDArray[np.int64]]:
    starts = np.cumsum([0, *(len(points) for points, _ in parts[:-1])])
    return (
        np.concatenate([points for points, _ in parts]),
        np.concatenate([faces + at for (_, faces), at in zip(parts, starts, strict=True)]),
    )
