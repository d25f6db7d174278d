"""Surfaces and strands of a scene as Mitsuba's shapes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.seeds import generator
from headworks.synthetic.scene import Surface

TIP = 1 / 3
"""Radius of a strand's tip in radii of its root."""


def mesh(mi: Any, name: str, surface: Surface, chosen: NDArray[np.integer], bsdf: Any) -> Any:
    """Some faces of a surface, with vertices split where the UV atlas has seams.

    Args:
        mi: the activated module. name: of the shape. surface: whole. chosen: indices of faces.
        bsdf: what the faces are made of.
    """
    corner = surface.faces[chosen].ravel()
    keys = np.column_stack([corner.astype(np.float64), surface.uvs[chosen].reshape(-1, 2)])
    unique, faces = np.unique(keys, axis=0, return_inverse=True)
    index = unique[:, 0].astype(np.int64)
    properties = mi.Properties()
    properties["bsdf"] = bsdf
    shape = mi.Mesh(
        name, len(index), len(chosen), has_vertex_normals=True, has_vertex_texcoords=True,
        props=properties,
    )  # fmt: skip
    values = mi.traverse(shape)
    values["vertex_positions"] = surface.vertices[index].astype(np.float32).ravel()
    values["vertex_normals"] = surface.normals[index].astype(np.float32).ravel()
    # Mitsuba's pictures begin at the top, the atlas at the bottom.
    flipped = np.column_stack([unique[:, 1], 1 - unique[:, 2]])
    values["vertex_texcoords"] = flipped.astype(np.float32).ravel()
    values["faces"] = faces.reshape(-1).astype(np.uint32)
    values.update()
    return shape


def split(
    points: NDArray[np.floating], radius: NDArray[np.floating], count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Every strand as a lock of thinner ones of the same width together.

    Args:
        points: [N, P, 3] metres. radius: [N] metres. count: strands of a lock.

    Returns:
        [N count, P, 3], [N count].
    """
    if count <= 1:
        return np.asarray(points, np.float32), np.asarray(radius, np.float32)
    rng = generator(0, "locks", len(points), count)
    offset = rng.normal(0, 1, (len(points), count, 3))
    offset *= rng.uniform(0.3, 1.2, (*offset.shape[:2], 1)) / np.linalg.norm(
        offset, axis=-1, keepdims=True
    )
    # Locks come together at their tips.
    taper = np.linspace(1.0, 0.6, points.shape[1])[:, None]
    spread = (offset * radius[:, None, None])[:, :, None] * taper
    many = points[:, None] + spread
    return (
        many.reshape(-1, *points.shape[1:]).astype(np.float32),
        np.repeat(radius / count, count).astype(np.float32),
    )


def curves(mi: Any, points: NDArray[np.floating], radius: NDArray[np.floating], bsdf: Any) -> Any:
    """Strands of one colour, straight from point to point.

    Mitsuba has cubic splines as well, but where a spline bends as tightly as it is thick its
    surface has no tangent: the path goes on in no direction and the process dies (3.9.1).

    Args:
        mi: the activated module. points: [N, P, 3] metres. radius: [N] metres at the root.
        bsdf: of all.
    """
    taper = np.linspace(1, TIP, points.shape[1])
    body = np.concatenate([points, (radius[:, None] * taper)[..., None]], -1)
    # The plugin reads strands from a text file only; a micrometre is fine enough.
    line = "%.6f %.6f %.6f %.7f\n"
    text = ((line * body.shape[1] + "\n") * len(body)) % tuple(body.ravel().tolist())
    with tempfile.TemporaryDirectory(prefix="headworks-hair-") as folder:
        path = Path(folder) / "strands.txt"
        path.write_text(text, encoding="ascii")
        return mi.load_dict({"type": "linearcurve", "filename": str(path), "bsdf": bsdf})
