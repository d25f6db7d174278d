"""Surfaces and strands of a scene as Mitsuba's shapes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def control_points(
    points: NDArray[np.floating], radius: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Control points of cubic B-splines that begin at the roots and end at the tips.

    Args:
        points: [N, P, 3] polylines, P >= 2. radius: [N] at the root.

    Returns:
        [N, P + 2, 4]: position and radius.
    """
    taper = np.linspace(1, TIP, points.shape[1])
    body = np.concatenate([points, (radius[:, None] * taper)[..., None]], -1).astype(np.float64)
    # A point mirrored beyond each end: the spline then passes through the end itself.
    first, last = 2 * body[:, :1] - body[:, 1:2], 2 * body[:, -1:] - body[:, -2:-1]
    out = np.concatenate([first, body, last], 1)
    out[..., 3] = np.maximum(out[..., 3], 1e-7)
    return out.astype(np.float32)


def curves(mi: Any, points: NDArray[np.floating], radius: NDArray[np.floating], bsdf: Any) -> Any:
    """Strands of one colour.

    Args:
        mi: the activated module. points: [N, P, 3] metres. radius: [N] metres. bsdf: of all.
    """
    splines = control_points(points, radius)
    # The plugin reads splines from a text file only; a micrometre is fine enough.
    line = "%.6f %.6f %.6f %.7f\n"
    text = ((line * splines.shape[1] + "\n") * len(splines)) % tuple(splines.ravel().tolist())
    with tempfile.TemporaryDirectory(prefix="headworks-hair-") as folder:
        path = Path(folder) / "strands.txt"
        path.write_text(text, encoding="ascii")
        return mi.load_dict({"type": "bsplinecurve", "filename": str(path), "bsdf": bsdf})
