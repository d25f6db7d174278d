"""The tracked mesh with a texture gathered from the training pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.mesh import interpolate, rasterize_mesh, rasterize_uv

_DEPTH_SLACK = 3e-3
"""Metres by which a texel may lie behind the nearest surface and still count as seen."""
_ANGLE_POWER = 3.0
"""Grazing views are blurred and misplaced: weight = cos(angle) ** this."""
_SURELY_FOREGROUND = 0.95
_SUPERSAMPLING = 2


class Texture(NamedTuple):
    """A texture map.

    Attributes:
        rgb: float32 [S, S, 3] in [0, 1], every texel filled. seen: bool [S, S], texels that some
            picture showed (the others are filled from their neighbours).
    """

    rgb: NDArray[np.float32]
    seen: NDArray[np.bool_]


class TrainingView(NamedTuple):
    """A picture and the mesh that it shows.

    Attributes:
        vertices: [V, 3] metres, world. camera: the view. rgb: float [H, W, 3] in [0, 1].
        alpha: float [H, W] in [0, 1].
    """

    vertices: NDArray[np.floating]
    camera: Camera
    rgb: NDArray[np.floating]
    alpha: NDArray[np.floating]


def gather_texture(
    faces: NDArray[np.integer],
    uvs: NDArray[np.floating],
    faces_uv: NDArray[np.integer],
    views: Iterable[TrainingView],
    size: int = 256,
) -> Texture:
    """Average what the pictures show at every texel, weighted by visibility and viewing angle.

    Args:
        faces: [F, 3]. uvs: [U, 2]. faces_uv: [F, 3] into uvs. views: pictures. size: texels a side.

    Raises:
        ValueError: when no picture shows any texel.
    """
    face_ids, bary = rasterize_uv(uvs, faces_uv, size)
    covered = face_ids >= 0
    corners, weights = faces[face_ids[covered]], bary[covered].astype(np.float64)
    total = np.zeros((len(corners), 3))
    mass = np.zeros(len(corners))
    for view in views:
        vertices = np.asarray(view.vertices, np.float64)
        triangles = vertices[corners]
        points = (triangles * weights[..., None]).sum(1)
        normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        towards = view.camera.centre - points
        lengths = np.linalg.norm(normals, axis=1) * np.linalg.norm(towards, axis=1)
        cosine = (normals * towards).sum(1) / np.maximum(lengths, 1e-20)
        pixels = view.camera.project(points)
        inside = (
            (cosine > 0)
            & (pixels[:, 2] > 0)
            & (pixels[:, :2] >= 0.5).all(1)
            & (pixels[:, 0] <= view.camera.width - 0.5)
            & (pixels[:, 1] <= view.camera.height - 0.5)
        )
        depth = rasterize_mesh(vertices, faces, view.camera).depth
        columns, rows = pixels[inside, 0].astype(int), pixels[inside, 1].astype(int)
        hidden = pixels[inside, 2] > depth[rows, columns] + _DEPTH_SLACK
        alpha = bilinear(np.asarray(view.alpha, np.float32), pixels[inside, :2])
        weight = cosine[inside] ** _ANGLE_POWER * (~hidden & (alpha > _SURELY_FOREGROUND))
        colour = bilinear(np.asarray(view.rgb, np.float32), pixels[inside, :2])
        total[inside] += weight[:, None] * colour
        mass[inside] += weight
    if not (mass > 0).any():
        raise ValueError("no training picture shows any part of the mesh")
    rgb = np.zeros((size, size, 3), np.float32)
    seen = np.zeros((size, size), bool)
    seen[covered] = mass > 0
    rgb[covered] = total / np.maximum(mass, 1e-20)[:, None]
    return Texture(_filled(rgb, seen), seen)


def _filled(rgb: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Unseen texels take the nearest seen colour, smoothed so that no streaks remain."""
    import cv2
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(~seen, return_distances=False, return_indices=True)
    nearest = rgb[rows, columns]
    smooth = cv2.GaussianBlur(nearest, (0, 0), max(1.0, len(rgb) / 64))
    return np.where(seen[..., None], rgb, smooth).astype(np.float32)


def bilinear(image: NDArray[np.float32], pixels: NDArray[np.floating]) -> NDArray[np.float32]:
    """Sample an image [H, W] or [H, W, D] at pixels [N, 2] (centres at +0.5, edges repeated)."""
    height, width = image.shape[:2]
    x = np.clip(pixels[:, 0] - 0.5, 0, width - 1)
    y = np.clip(pixels[:, 1] - 0.5, 0, height - 1)
    x0, y0 = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    if image.ndim == 3:
        fx, fy = fx[:, None], fy[:, None]
    top = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
    bottom = image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy, np.float32)


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh topology with its texture.

    Attributes:
        faces: [F, 3]. uvs: [U, 2]. faces_uv: [F, 3]. texture: what lies on it.
    """

    faces: NDArray[np.integer]
    uvs: NDArray[np.floating]
    faces_uv: NDArray[np.integer]
    texture: Texture

    def render(
        self,
        vertices: NDArray[np.floating],
        camera: Camera,
        background: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One picture, antialiased by four samples per pixel.

        Args:
            vertices: [V, 3] metres, world. camera: the view. background: sRGB in [0, 1].

        Returns:
            rgb float32 [H, W, 3], composited; alpha float32 [H, W].
        """
        width, height = camera.width, camera.height
        fine = camera.resized(width * _SUPERSAMPLING, height * _SUPERSAMPLING)
        buffers = rasterize_mesh(vertices, self.faces, fine)
        uv = interpolate(buffers, np.asarray(self.uvs)[self.faces_uv], self.faces)
        hit = buffers.face_ids >= 0
        size = len(self.texture.rgb)
        rgb = np.empty((fine.height, fine.width, 3), np.float32)
        rgb[:] = background
        texels = np.stack([uv[hit][:, 0] * size, (1 - uv[hit][:, 1]) * size], -1)
        rgb[hit] = bilinear(self.texture.rgb, texels)
        blocks = (height, _SUPERSAMPLING, width, _SUPERSAMPLING)
        return (
            rgb.reshape(*blocks, 3).mean((1, 3)).astype(np.float32),
            hit.reshape(blocks).mean((1, 3)).astype(np.float32),
        )
