"""Triangle rasteriser with the cameras of `headworks.cameras` (NumPy in, NumPy out)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.mesh import kernels


class MeshBuffers(NamedTuple):
    """What the nearest surface is at every pixel centre.

    Attributes:
        face_ids: int32 [H, W], -1 where no face is seen.
        barycentric: float32 [H, W, 3], perspective-correct weights of the face's corners,
            0 where no face is seen.
        depth: float32 [H, W], camera z in metres, inf where no face is seen.
    """

    face_ids: NDArray[np.int32]
    barycentric: NDArray[np.float32]
    depth: NDArray[np.float32]


def rasterize_mesh(
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    camera: Camera,
    near: float = 0.01,
    cull_backfaces: bool = False,
) -> MeshBuffers:
    """Draw a triangle mesh into a z-buffer.

    A pixel belongs to a face when the ray through its centre (+0.5) meets the closed triangle at
    depth >= `near`; faces that cross the near plane are cut there. At equal depth the lower face
    index wins, so two faces that share an edge leave no hole and the result is deterministic.

    Args:
        vertices: [V, 3] metres, world. faces: int [F, 3], counter-clockwise seen from outside.
        camera: the view. near: metres, > 0.
        cull_backfaces: leave out faces seen from inside.

    Returns:
        MeshBuffers of size (camera.height, camera.width).

    Raises:
        ValueError: a shape is wrong, a vertex is not finite, or a face index is out of range.
    """
    vertices = np.asarray(vertices, np.float64)
    faces = _checked_faces(faces, len(vertices) if vertices.ndim == 2 else 0)
    _check_points("vertices", vertices, 3)
    if not near > 0:
        raise ValueError(f"near must be > 0, got {near}")
    points = np.ascontiguousarray(vertices @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3])
    shape = (camera.height, camera.width)
    buffers = MeshBuffers(
        np.full(shape, -1, np.int32),
        np.zeros((*shape, 3), np.float32),
        np.full(shape, np.inf, np.float32),
    )
    kernels.draw(
        points,
        faces,
        np.ascontiguousarray(camera.K),
        np.ascontiguousarray(np.linalg.inv(camera.K)),
        float(near),
        bool(cull_backfaces),
        *buffers,
    )
    return buffers


def interpolate(
    buffers: MeshBuffers, attributes: NDArray[np.floating], faces: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Interpolate attributes over the seen surface.

    Args:
        buffers: from `rasterize_mesh`. faces: int [F, 3], the same faces.
        attributes: [V, D] per vertex (indexed by `faces`) or [F, 3, D] per corner.

    Returns:
        float32 [H, W, D], 0 where no face is seen.

    Raises:
        ValueError: a shape is wrong.
    """
    attributes = np.ascontiguousarray(attributes, np.float32)
    faces = np.asarray(faces)
    if attributes.ndim == 2:
        faces = _checked_faces(faces, len(attributes))
    elif attributes.ndim == 3 and attributes.shape[:2] == faces.shape:
        attributes = attributes.reshape(-1, attributes.shape[2])
        faces = np.arange(len(attributes), dtype=np.int32).reshape(-1, 3)
    else:
        raise ValueError(
            f"attributes must be [V, D] or [F, 3, D] with F = {len(faces)}, got {attributes.shape}"
        )
    out = np.zeros((*buffers.face_ids.shape, attributes.shape[1]), np.float32)
    kernels.interpolate(buffers.face_ids, buffers.barycentric, attributes, faces, out)
    return out


def rasterize_uv(
    uvs: NDArray[np.floating], faces_uv: NDArray[np.integer], size: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Rasterise a UV layout: which face and where in it does every texel lie.

    The texel in row y, column x has its centre at u = (x + 0.5) / size and
    v = 1 - (y + 0.5) / size (v points up). It is covered when all barycentric coordinates of the
    centre are >= 0 in double precision; the lowest face index wins.

    Args:
        uvs: [T, 2] in [0, 1]. faces_uv: int [F, 3] into `uvs`. size: texels per side.

    Returns:
        face_ids int32 [size, size] (-1 = uncovered), barycentric float32 [size, size, 3].

    Raises:
        ValueError: a shape is wrong, a coordinate is not finite, or an index is out of range.

    Source: GASP section 3.4.
    """
    uvs = np.asarray(uvs, np.float64)
    _check_points("uvs", uvs, 2)
    faces_uv = _checked_faces(faces_uv, len(uvs))
    if size < 1:
        raise ValueError(f"size must be >= 1, got {size}")
    face_ids = np.full((size, size), -1, np.int32)
    barycentric = np.zeros((size, size, 3), np.float32)
    texels = np.stack([uvs[:, 0] * size, (1.0 - uvs[:, 1]) * size], -1)
    kernels.draw_flat(np.ascontiguousarray(texels), faces_uv, face_ids, barycentric)
    return face_ids, barycentric


def _check_points(name: str, points: NDArray[np.floating], dims: int) -> None:
    if points.ndim != 2 or points.shape[1] != dims:
        raise ValueError(f"{name} must be [n, {dims}], got {points.shape}")
    bad = ~np.isfinite(points).all(1)
    if bad.any():
        raise ValueError(f"{name}[{int(bad.argmax())}] is not finite")


def _checked_faces(faces: NDArray[np.integer], n_points: int) -> NDArray[np.int32]:
    faces = np.asarray(faces)
    if faces.ndim != 2 or faces.shape[1] != 3 or not np.issubdtype(faces.dtype, np.integer):
        raise ValueError(f"faces must be integers [F, 3], got {faces.dtype} {faces.shape}")
    if len(faces) and (faces.min() < 0 or faces.max() >= n_points):
        raise ValueError(
            f"faces point at vertices {faces.min()}..{faces.max()}, there are {n_points}"
        )
    return np.ascontiguousarray(faces, np.int32)
