"""What a renderer needs of one posed person: surfaces, strands of hair, light."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MATERIALS = ("skin", "lips", "eye", "wet", "inside", "cloth", "plastic", "metal", "lens")
"""What a face of a surface is made of: skin; lips (glossier skin); eyes (a smooth wet coat over
diffuse); wet (teeth and tongue); inside of the mouth; cloth; plastic and metal of spectacles and
buttons; lens (thin clear glass)."""
GAMMA = 2.2
"""Between linear and display colours, in both directions."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A textured triangle mesh in the world.

    Attributes:
        name: "head" (its first faces are the head model's own), "clothes", "glasses", "lenses".
        vertices: [V, 3] metres. normals: [V, 3] unit. faces: int64 [F, 3], counter-clockwise from
            outside. uvs: [F, 3, 2] per corner, v up. materials: int64 [F] into MATERIALS.
        albedo: float32 [S, S, 3] linear. roughness: float32 [R, R] in [0, 1], over the same UVs.
        occlusion: float32 [V], how much of the surroundings a vertex sees, 0 to 1 (previews).
        covered: float32 [V], 1 where clothes lie over the surface, else 0.
    """

    name: str
    vertices: Array
    normals: Array
    faces: NDArray[np.int64]
    uvs: NDArray[np.float32]
    materials: NDArray[np.int64]
    albedo: NDArray[np.float32]
    roughness: NDArray[np.float32]
    occlusion: NDArray[np.float32]
    covered: NDArray[np.float32]

    def faces_of(self, *materials: str) -> NDArray[np.int64]:
        """Indices of the faces made of any of the named materials."""
        return np.flatnonzero(np.isin(self.materials, [MATERIALS.index(m) for m in materials]))


@dataclass(frozen=True, eq=False)
class Strands:
    """Hairs as polylines in the world.

    Attributes:
        kind: "hair", "beard", "brows", "lashes".
        points: float32 [N, P, 3] metres, from root to tip.
        radius: float32 [N] metres at the root; hairs taper to a third of it at the tip. One strand
            stands for as many hairs as its width covers.
        colour: float32 [N, 3] linear.
        light: float32 [N, P], how much of the surroundings a point sees through the other hairs.
        fine: whether strands are thinner than a pixel of an ordinary picture and drawn by their
            share of it.
    """

    kind: str
    points: NDArray[np.float32]
    radius: NDArray[np.float32]
    colour: NDArray[np.float32]
    light: NDArray[np.float32]
    fine: bool


@dataclass(frozen=True, eq=False)
class Light:
    """Broad lamps and a sky.

    Attributes:
        directions: [L, 3] unit, towards the lamps; the first casts shadows.
        intensities: [L, 3] linear irradiance over pi of a surface that faces the lamp.
        softness: [L] how far light reaches past the terminator, 0 (sun) to 1 (a wall of light).
        above, below: [3] linear radiance from above and from below.
    """

    directions: Array
    intensities: Array
    softness: Array
    above: Array
    below: Array


@dataclass(frozen=True, eq=False)
class Scene:
    """A posed person with the light that falls on them.

    Attributes:
        surfaces: the head first. strands: all hairs. landmarks: [68, 3] metres.
        middle: [3] metres, the middle of the skull.
    """

    surfaces: tuple[Surface, ...]
    strands: tuple[Strands, ...]
    light: Light
    landmarks: Array
    middle: Array


def mesh_normals(points: Array, faces: NDArray[np.int64]) -> Array:
    """Unit area-weighted vertex normals, [V, 3]."""
    out = np.zeros_like(points)
    _sum_normals(points, faces, out)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


@numba.njit(cache=True, nogil=True)
def _sum_normals(points: Array, faces: NDArray[np.int64], out: Array) -> None:
    for corner in range(3):
        for f in range(len(faces)):
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            x, y, z = points[i, 0], points[i, 1], points[i, 2]
            ax, ay, az = points[j, 0] - x, points[j, 1] - y, points[j, 2] - z
            bx, by, bz = points[k, 0] - x, points[k, 1] - y, points[k, 2] - z
            at = faces[f, corner]
            out[at, 0] += ay * bz - az * by
            out[at, 1] += az * bx - ax * bz
            out[at, 2] += ax * by - ay * bx
