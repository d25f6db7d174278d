"""The face's texture over a clip: unprojected, averaged, and drawn again at any pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.heads.base import HeadModel
from headworks.mesh import MeshBuffers, interpolate, rasterize_mesh, rasterize_uv
from headworks.tracking.energy import State
from headworks.tracking.points import PointModel, vertex_points

Array = NDArray[np.float64]
_TEXTURED = ("skin", "lips", "eyelids")
HEAD = ("skin", "scalp", "lips", "eyelids", "eyes", "teeth", "tongue", "mouth_inner", "ears")
"""Regions of `FaceSurface.faces`."""

_DEPTH_TOLERANCE_M = 0.004
_GRAZING = 0.35  # least cosine between normal and view


@dataclass(frozen=True)
class FaceSurface:
    """The head without neck and torso, ready to be drawn, and its texels.

    Attributes:
        vertex_ids: [V] vertices of the head model. model: those vertices.
        faces: int [F, 3] into them. uvs: [F, 3, 2] per corner.
        texel_face: int [N] into faces, of the textured texels. texel_bary: [N, 3].
        texel_at: int [N, 2] row and column. size: texels per side.
    """

    vertex_ids: NDArray[np.int64]
    model: PointModel
    faces: NDArray[np.int64]
    uvs: NDArray[np.float32]
    texel_face: NDArray[np.int64]
    texel_bary: Array
    texel_at: NDArray[np.int64]
    size: int

    def vertices(self, state: State, t: int) -> Array:
        """[V, 3] in the camera at frame t, metres."""
        points = self.model.whole(state.identity, state.expression[t], float(state.jaw[t]))
        return points @ state.rotation[t].T + state.translation[t]


def face_surface(head: HeadModel, size: int = 512) -> FaceSurface:
    """Prepare a head model; the texture covers skin, lips and lids."""
    kept = head.region_faces(*HEAD).numpy()
    corners = head.faces.numpy()[kept]
    used, local = np.unique(corners, return_inverse=True)
    textured = head.region_faces(*_TEXTURED).numpy()[kept]
    uvs, faces_uv = head.uvs.numpy(), head.faces_uv.numpy()[kept]
    ids, bary = rasterize_uv(uvs, faces_uv, size)
    # Behind the ears nothing is ever seen squarely enough to help.
    front = head.template.numpy()[corners].mean(1)[:, 2] > 0
    at = np.argwhere((ids >= 0) & (textured & front)[ids])
    return FaceSurface(
        used,
        vertex_points(head, used),
        local.reshape(-1, 3),
        uvs[faces_uv],
        ids[at[:, 0], at[:, 1]].astype(np.int64),
        bary[at[:, 0], at[:, 1]].astype(np.float64),
        at,
        size,
    )


def draw(surface: FaceSurface, vertices: Array, K: Array, width: int, height: int) -> MeshBuffers:
    """Z-buffer of the surface; vertices are in the camera."""
    return rasterize_mesh(vertices, surface.faces, Camera(np.eye(4), K, width, height))


def seen_points(
    surface: FaceSurface,
    faces: NDArray[np.int64],
    bary: Array,
    vertices: Array,
    K: Array,
    buffers: MeshBuffers,
) -> tuple[Array, Array]:
    """Pixels [N, 2] of surface points and how squarely they are seen [N] (0 where hidden)."""
    corners = vertices[surface.faces]  # [F, 3, 3]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = corners.mean(1)
    length = np.linalg.norm(normals, axis=1) * np.linalg.norm(middle, axis=1) + 1e-20
    cosine = (-(normals * middle).sum(1) / length)[faces]
    points = np.einsum("ni,nic->nc", bary, corners[faces])
    pixels = points[:, :2] / points[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]
    h, w = buffers.depth.shape
    inside = (pixels > 1).all(1) & (pixels[:, 0] < w - 1) & (pixels[:, 1] < h - 1)
    cell = np.where(inside[:, None], pixels, 0).astype(int)
    visible = points[:, 2] < buffers.depth[cell[:, 1], cell[:, 0]] + _DEPTH_TOLERANCE_M
    return pixels, np.where(inside & visible & (cosine > _GRAZING), cosine, 0.0)


def sample(image: NDArray, pixels: Array) -> NDArray[np.float32]:
    """Bilinear samples [N] or [N, D] of an image at pixels [N, 2] (centres at +0.5)."""
    import cv2

    source = np.ascontiguousarray(image, np.float32)
    x, y = (np.ascontiguousarray(pixels[None, :, i] - 0.5, np.float32) for i in (0, 1))
    # remap keeps its coordinates in 16 bits, so long lists go in pieces.
    parts = [
        cv2.remap(source, x[:, i : i + 30000], y[:, i : i + 30000], cv2.INTER_LINEAR,
                  borderMode=cv2.BORDER_REPLICATE)[0]
        for i in range(0, pixels.shape[0], 30000)
    ]  # fmt: skip
    return np.concatenate(parts)


def gather_texture(
    surface: FaceSurface,
    state: State,
    Ks: Array,
    images: NDArray[np.float32],
    frames: NDArray[np.int64],
) -> tuple[Array, Array, Array]:
    """Mean texture over frames, its standard deviation and its weight.

    Args:
        surface, state: geometry. Ks: [T, 3, 3]. images: [T, H, W]. frames: which to use.

    Returns:
        mean, deviation, weight: [N] per textured texel; the weight is 0 where never seen.
    """
    n = len(surface.texel_face)
    total, squares, weights = np.zeros(n), np.zeros(n), np.zeros(n)
    h, w = images.shape[1:3]
    for t in frames:
        vertices = surface.vertices(state, t)
        buffers = draw(surface, vertices, Ks[t], w, h)
        pixels, cosine = seen_points(
            surface, surface.texel_face, surface.texel_bary, vertices, Ks[t], buffers
        )
        values = sample(images[t], pixels)
        total += cosine * values
        squares += cosine * values**2
        weights += cosine
    safe = np.maximum(weights, 1e-9)
    mean = total / safe
    return mean, np.sqrt(np.maximum(squares / safe - mean**2, 0)), weights


def texture_image(surface: FaceSurface, values: Array, weight: Array) -> NDArray[np.float32]:
    """Texels as an image [size, size]; places never seen are filled from their neighbours."""
    import cv2

    image = np.zeros((surface.size, surface.size), np.float32)
    known = np.zeros_like(image)
    row, column = surface.texel_at.T
    seen = weight > 0
    image[row[seen], column[seen]] = values[seen]
    known[row[seen], column[seen]] = 1
    filled = image.copy()
    for sigma in (1.0, 3.0, 9.0, 27.0):
        share = cv2.GaussianBlur(known, (0, 0), sigma)
        spread = cv2.GaussianBlur(image, (0, 0), sigma) / np.maximum(share, 1e-6)
        empty = (known == 0) & (filled == 0) & (share > 1e-3)
        filled[empty] = spread[empty]
    return filled


def draw_texture(
    surface: FaceSurface, buffers: MeshBuffers, texture: NDArray[np.float32]
) -> NDArray[np.float32]:
    """[H, W] the texture where the surface is seen, 0 elsewhere."""
    uv = interpolate(buffers, surface.uvs, surface.faces)
    pixels = np.stack([uv[..., 0], 1 - uv[..., 1]], -1).reshape(-1, 2) * surface.size
    drawn = sample(texture, pixels.astype(np.float64)).reshape(uv.shape[:2])
    return np.where(buffers.face_ids >= 0, drawn, 0).astype(np.float32)
