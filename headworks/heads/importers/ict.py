"""ICT-FaceKit's own checkout: the OBJ files of `FaceXModel` as the arrays that `heads.ict` reads.

Which vertices are which part, tooth or shell is a constant of the topology, stated in the
repository's README; the eyeballs' spheres and the jaw's hinge are measured on the meshes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.headfiles import HeadFileError
from headworks.heads.importers.obj import read_obj, read_vertices

LICENCE = "ICT-FaceKit: MIT, (c) 2020 USC Institute for Creative Technologies"

_VERTICES, _UVS, _POLYGONS = 26719, 28911, 26384
_VERTEX_STARTS = (0, 9409, 11248, 13294, 13678, 14062, 17039, 21451, 23021, 24591, 24795, 24999,
                  25023, 25047, 25199, 25351, 26035)  # fmt: skip
_POLYGON_STARTS = (0, 9230, 11144, 13226, 13630, 14034, 17006, 21496, 23094, 24692, 24855, 25018,
                   25033, 25048, 25176, 25304, 25844)  # fmt: skip
_LEFT_EYE, _RIGHT_EYE, _TEETH = 7, 8, 6
_SPHERE_SIGMA_CM = 0.02  # what lies farther from the sphere is cornea


def read_checkout(folder: Path) -> tuple[dict[str, NDArray[Any]], list[Path]]:
    """Read an ICT-FaceKit checkout.

    Args:
        folder: the checkout, or its `FaceXModel` folder.

    Returns:
        Arrays as of format `ict-facekit-npz/1` (those that `headworks.heads.ict` uses), and all
        files that were read.

    Raises:
        HeadFileError: a file is missing, damaged or of another topology.
    """
    folder = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    table_path, neutral_path = folder / "vertex_indices.json", folder / "generic_neutral_mesh.obj"
    try:
        table = json.loads(table_path.read_text(encoding="utf-8"))
        names = [str(n) for n in table["expressions"]]
        landmarks = np.array(table["idx_to_landmark_verts"], np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HeadFileError(
            f"{table_path}: not ICT-FaceKit's index file ({error!r}); expected a checkout of "
            "ICT-FaceKit with its folder FaceXModel"
        ) from None
    mesh = read_obj(neutral_path)
    found = (len(mesh.vertices), len(mesh.uvs), len(mesh.polys))
    if found != (_VERTICES, _UVS, _POLYGONS):
        raise HeadFileError(
            f"{neutral_path}: {found[0]} vertices, {found[1]} UVs, {found[2]} polygons; expected "
            f"{_VERTICES}, {_UVS}, {_POLYGONS} of the Face Model Light"
        )
    if landmarks.shape != (68,) or landmarks.min() < 0 or landmarks.max() >= _VERTICES:
        raise HeadFileError(f"{table_path}: expected 68 landmark vertices below {_VERTICES}")
    used = [table_path, neutral_path]

    def offsets(path: Path) -> NDArray[np.float16]:
        vertices = read_vertices(path)
        if len(vertices) != _VERTICES:
            raise HeadFileError(f"{path}: {len(vertices)} vertices, expected {_VERTICES}")
        used.append(path)
        return (vertices - mesh.vertices).astype(np.float16)

    identities = sorted(folder.glob("identity[0-9][0-9][0-9].obj"))
    if not identities or identities[-1].name != f"identity{len(identities) - 1:03d}.obj":
        raise HeadFileError(
            f"{folder}: identity files are missing between identity000.obj and the last"
        )
    identity = np.stack([offsets(path) for path in identities])
    expression = np.stack([offsets(folder / f"{name}.obj") for name in names])

    part = np.searchsorted(_VERTEX_STARTS, np.arange(_VERTICES), side="right") - 1
    poly_part = np.searchsorted(_POLYGON_STARTS, np.arange(_POLYGONS), side="right") - 1
    material = mesh.material
    subs = _eye_shells(mesh.polys, mesh.materials, material, poly_part)
    centres = np.stack(
        [_sphere_centre(mesh.vertices[slice(*subs[f"sclera_{side}"][:2])])
         for side in ("left", "right")]
    )  # fmt: skip
    data: dict[str, NDArray[Any]] = {
        "vertices": mesh.vertices.astype(np.float32),
        "uv": mesh.uvs.astype(np.float32),
        "faces": mesh.triangles(mesh.polys),
        "faces_uv": mesh.triangles(mesh.polys_uv),
        "face_poly": mesh.poly_of_triangle(),
        "poly_part": poly_part.astype(np.uint8),
        "poly_material": material.astype(np.uint8),
        "material_names": np.array(mesh.materials),
        "vertex_part": part.astype(np.uint8),
        "sub_names": np.array(list(subs)),
        "sub_ranges": np.array(list(subs.values()), np.int32),
        "identity_basis": identity,
        "expression_basis": expression,
        "expression_names": np.array(names),
        "lmk68_vertices": landmarks,
        "eye_centers": centres,
        "jaw_pivot": _jaw_pivot(mesh.vertices, expression, names, part),
    }
    return data, used


def _eye_shells(
    polys: NDArray[np.int64], materials: tuple[str, ...], material: NDArray[np.int64],
    poly_part: NDArray[np.int64],
) -> dict[str, tuple[int, int, int, int]]:  # fmt: skip
    """Vertex and polygon ranges of the eyeballs' outer and inner shells, by their materials."""
    out = {}
    for side, part in (("left", _LEFT_EYE), ("right", _RIGHT_EYE)):
        for shell, name in (("sclera", "M_Sclera"), ("iris", "M_Iris")):
            wanted = f"{name}{side.capitalize()}"
            if wanted not in materials:
                raise HeadFileError(f"generic_neutral_mesh.obj: no material {wanted}")
            mine = np.flatnonzero((material == materials.index(wanted)) & (poly_part == part))
            corners = polys[mine]
            vertices = np.unique(corners[corners >= 0])
            row = (int(vertices[0]), int(vertices[-1]) + 1, int(mine[0]), int(mine[-1]) + 1)
            if row[1] - row[0] != len(vertices) or row[3] - row[2] != len(mine):
                raise HeadFileError(f"generic_neutral_mesh.obj: {wanted} is not in one piece")
            out[f"{shell}_{side}"] = row
    return out


def _sphere_centre(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of the sphere through most points (the cornea bulges out of it)."""
    weight = np.ones(len(points))
    centre = points.mean(0)
    for _ in range(50):
        rows = np.column_stack([2 * points, np.ones(len(points))]) * weight[:, None]
        x = np.linalg.lstsq(rows, (points**2).sum(1) * weight, rcond=None)[0]
        centre = x[:3]
        radius = np.linalg.norm(points - centre, axis=1)
        weight = 1 / (1 + ((radius - np.median(radius)) / _SPHERE_SIGMA_CM) ** 2)
    return centre


def _jaw_pivot(
    neutral: NDArray[np.float64], expression: NDArray[np.float16], names: list[str],
    part: NDArray[np.int64],
) -> NDArray[np.float64]:  # fmt: skip
    """Point on the hinge about which `jawOpen` turns the lower teeth; the axis is x."""
    if "jawOpen" not in names:
        raise HeadFileError("vertex_indices.json: no expression jawOpen")
    move = expression[names.index("jawOpen")].astype(np.float64)
    teeth = np.flatnonzero((part == _TEETH) & (np.linalg.norm(move, axis=1) > 0.1))
    if len(teeth) < 10:
        raise HeadFileError("jawOpen.obj: the lower teeth do not move")
    a, b = neutral[teeth][:, 1:], (neutral + move)[teeth][:, 1:]
    x, y = a - a.mean(0), b - b.mean(0)
    angle = np.arctan2((x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).sum(), (x * y).sum())
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # The fixed point: c = turn (c - mean a) + mean b.
    fixed = np.linalg.solve(np.eye(2) - turn, b.mean(0) - turn @ a.mean(0))
    return np.array([0.0, *fixed])
