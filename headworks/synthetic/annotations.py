"""What every pixel of a synthetic picture shows: depth, normal, texture coordinates, region.

From the z-buffer at pixel centres, for both renderers: a path tracer's own would be averages over
edges, or of a random place within the pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.heads import HeadModel
from headworks.heads.base import REGIONS
from headworks.mesh import MeshBuffers, interpolate, rasterize_mesh
from headworks.synthetic import drawing
from headworks.synthetic.scene import Scene, Surface

LABELS = ("background", *REGIONS, "clothes", "glasses", "hair", "beard")
"""Names of the values of `Annotations.regions`."""
DEPTH_STEP = 1e-4
"""Metres of one step of a stored depth; 0 is nothing."""
STORED: dict[str, tuple[tuple[int, ...], Any]] = {
    "depth": ((), np.uint16), "normals": ((3,), np.uint8), "uvs": ((2,), np.uint16),
    "regions": ((), np.uint8),
}  # fmt: skip
"""Arrays of a stored annotation: what follows [T, C, H, W], and the type."""
_NEAR = 0.01


class Annotations(NamedTuple):
    """What is seen at every pixel centre.

    Attributes:
        depth: float32 [H, W] camera z in metres, inf where nothing is.
        normals: float32 [H, W, 3] unit, world; 0 where nothing is and on hair.
        uvs: float32 [H, W, 2] of the head's texture, v up; -1 off the head.
        regions: uint8 [H, W] into `LABELS`.
    """

    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    uvs: NDArray[np.float32]
    regions: NDArray[np.uint8]

    def stored(self) -> dict[str, NDArray[Any]]:
        """The arrays of `STORED`: depth in steps of 0.1 mm, normals as (n + 1) * 127.5 rounded,
        coordinates as shares of 65534 (65535: off the head)."""
        depth = np.where(np.isfinite(self.depth), self.depth / DEPTH_STEP + 0.5, 0)
        on = self.uvs[..., :1] >= 0
        uvs = np.where(on, np.clip(self.uvs, 0, 1) * 65534 + 0.5, 65535)
        return {
            "depth": np.clip(depth, 0, 65535).astype(np.uint16),
            "normals": (np.clip(self.normals, -1, 1) * 127.5 + 128).astype(np.uint8),
            "uvs": uvs.astype(np.uint16),
            "regions": self.regions,
        }


def annotate(scene: Scene, head: HeadModel, camera: Camera) -> Annotations:
    """What a camera sees of a scene.

    What is clear or finer than a pixel is left out: behind lenses, brows and lashes lies what
    counts.

    Args:
        scene: a posed person. head: the model of its first surface. camera: the view.
    """
    opaque, faces, buffers = _surfaces(scene, camera)
    uvs, labels = [], []
    for surface in opaque:
        count = len(surface.faces)
        if surface.name == "head":
            uvs.append(surface.uvs)
            own = 1 + head.face_regions.numpy()[:count]
            # Faces beyond the model's own are drawn with it and belong to the skin.
            labels.append(np.r_[own, np.full(count - len(own), LABELS.index("skin"))])
        else:
            uvs.append(np.full((count, 3, 2), -1, np.float32))
            labels.append(np.full(count, LABELS.index(surface.name)))
    label = np.concatenate(labels).astype(np.uint8)
    regions = np.where(buffers.face_ids >= 0, label[np.maximum(buffers.face_ids, 0)], 0)
    normal = interpolate(buffers, np.concatenate([s.normals for s in opaque]), faces)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    uv = interpolate(buffers, np.concatenate(uvs).astype(np.float32), faces)
    off = (buffers.face_ids < 0) | (uv < -0.5).any(-1)
    depth = buffers.depth.copy()
    for kind, taken in _strands(scene, camera, depth):
        regions[taken] = LABELS.index(kind)
        normal[taken] = 0
        off |= taken
    uv[off] = -1
    return Annotations(depth, normal, uv, regions.astype(np.uint8))


def scene_depth(scene: Scene, camera: Camera) -> NDArray[np.float32]:
    """Depth alone, float32 [H, W] metres, inf where nothing is; see `annotate`."""
    depth = _surfaces(scene, camera)[2].depth.copy()
    for _ in _strands(scene, camera, depth):
        pass
    return depth


def _surfaces(scene: Scene, camera: Camera) -> tuple[list[Surface], NDArray[np.int64], MeshBuffers]:
    opaque = [surface for surface in scene.surfaces if surface.name != "lenses"]
    starts = np.cumsum([0, *(len(s.vertices) for s in opaque[:-1])])
    faces = np.concatenate([s.faces + at for s, at in zip(opaque, starts, strict=True)])
    vertices = np.concatenate([s.vertices for s in opaque])
    return opaque, faces, rasterize_mesh(vertices, faces, camera)


def _strands(
    scene: Scene, camera: Camera, depth: NDArray[np.float32]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Draw thick strands into a z-buffer; kind, and where it came to lie in front."""
    viewmat, K = np.ascontiguousarray(camera.viewmat), np.ascontiguousarray(camera.K)
    for group in scene.strands:
        if group.fine or group.kind not in LABELS:
            continue
        pixels = np.empty(group.points.shape, np.float32)
        drawing.project(group.points, viewmat, K, pixels)
        owner, share = np.full(depth.shape, -1, np.int32), np.zeros(depth.shape, np.float32)
        drawing.draw(pixels, group.radius, float(K[0, 0]), _NEAR, 1, depth, owner, share)
        yield group.kind, owner >= 0
