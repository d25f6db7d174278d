"""Wavefront OBJ files, as far as head models use them: v, vt, usemtl, f."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headworks.headfiles import HeadFileError


@dataclass(frozen=True)
class Mesh:
    """A polygon mesh.

    Attributes:
        vertices: float64 [V, 3]. uvs: float64 [T, 2].
        polys, polys_uv: int64 [P, 4], corners from 0; -1 in the last column for triangles, and
            everywhere in `polys_uv` where the file gives none.
        materials: names in order of first use. material: int64 [P], -1 without.
    """

    vertices: NDArray[np.float64]
    uvs: NDArray[np.float64]
    polys: NDArray[np.int64]
    polys_uv: NDArray[np.int64]
    materials: tuple[str, ...]
    material: NDArray[np.int64]

    def poly_of_triangle(self) -> NDArray[np.int64]:
        """[F] polygon of each triangle."""
        return np.repeat(np.arange(len(self.polys)), np.where(self.polys[:, 3] < 0, 1, 2))

    def triangles(self, corners: NDArray[np.int64]) -> NDArray[np.int64]:
        """[F, 3]: polygons (a, b, c, d) as (a, b, c), (a, c, d), in order."""
        owner = self.poly_of_triangle()
        second = np.concatenate([[False], owner[1:] == owner[:-1]])
        four = corners[owner]
        return np.where(second[:, None], four[:, [0, 2, 3]], four[:, :3])


def read_vertices(path: Path) -> NDArray[np.float64]:
    """Only the vertices of an OBJ file, float64 [V, 3].

    Raises:
        HeadFileError: it cannot be read.
    """
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            rows = [line.split()[1:4] for line in file if line.startswith("v ")]
        return np.array(rows, np.float64).reshape(-1, 3)
    except (OSError, ValueError) as error:
        raise HeadFileError(f"{path}: not a readable OBJ file ({error})") from None


def read_obj(path: Path) -> Mesh:
    """Read an OBJ file of triangles and quads.

    Raises:
        HeadFileError: it cannot be read, or has other polygons.
    """
    uvs: list[list[str]] = []
    polys: list[list[int]] = []
    polys_uv: list[list[int]] = []
    materials: list[str] = []
    material: list[int] = []
    current = -1
    try:
        for number, line in enumerate(
            path.read_text(encoding="ascii", errors="replace").split("\n")
        ):
            words = line.split()
            if not words:
                continue
            if words[0] == "vt":
                uvs.append(words[1:3])
            elif words[0] == "usemtl":
                if words[1] not in materials:
                    materials.append(words[1])
                current = materials.index(words[1])
            elif words[0] == "f":
                if len(words) not in (4, 5):
                    raise ValueError(f"line {number + 1}: a polygon of {len(words) - 1} corners")
                parts = [word.split("/") for word in words[1:]]
                row = [int(p[0]) - 1 for p in parts]
                row_uv = [int(p[1]) - 1 if len(p) > 1 and p[1] else -1 for p in parts]
                polys.append(row + [-1] * (4 - len(row)))
                polys_uv.append(row_uv + [-1] * (4 - len(row)))
                material.append(current)
        return Mesh(
            read_vertices(path),
            np.array(uvs, np.float64).reshape(-1, 2),
            np.array(polys, np.int64).reshape(-1, 4),
            np.array(polys_uv, np.int64).reshape(-1, 4),
            tuple(materials),
            np.array(material, np.int64),
        )
    except (OSError, ValueError, IndexError) as error:
        raise HeadFileError(f"{path}: not a readable OBJ file ({error})") from None
