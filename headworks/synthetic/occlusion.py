"""How much of its surroundings each part of a head sees."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera, intrinsics, look_at
from headworks.mesh import rasterize_mesh
from headworks.synthetic.scene import mesh_normals
from headworks.synthetic.space import HeadSpace

_OCCLUSION_RAYS = 72
_OCCLUSION_SIZE = 192


@lru_cache(maxsize=2)
def ambient_occlusion(space: HeadSpace) -> NDArray[np.float32]:
    """How much of the sky each vertex of a bald mean head sees, float32 [V] in [0, 1]."""
    head = space.head
    points = head.template.numpy().astype(np.float64)
    faces = head.faces.numpy()
    normals = mesh_normals(points, faces)
    index = np.arange(_OCCLUSION_RAYS) + 0.5
    phi = np.arccos(1 - 2 * index / _OCCLUSION_RAYS)
    theta = np.pi * (1 + 5**0.5) * index
    seen, total = np.zeros(len(points)), np.zeros(len(points))
    for p, t in zip(phi, theta, strict=True):
        direction = np.array([np.cos(t) * np.sin(p), np.cos(p), np.sin(t) * np.sin(p)])
        if direction[1] < -0.5:
            continue
        middle = np.array([0.0, -0.03, 0.0])
        s = _OCCLUSION_SIZE
        camera = Camera(
            look_at(middle + 4 * direction, middle, (0.01, 1, 0.02)),
            intrinsics(s * 4 / 0.52, s, s), s, s,
        )  # fmt: skip
        depth = rasterize_mesh(points, faces, camera).depth
        pixel = camera.project(points)
        at = np.clip(np.floor(pixel[:, :2]).astype(int), 0, s - 1)
        free = pixel[:, 2] <= depth[at[:, 1], at[:, 0]] + 0.003
        weight = np.clip(normals @ direction, 0, None)
        seen += weight * free
        total += weight
    open_share = seen / np.maximum(total, 1e-9)
    occlusion = 0.18 + 0.82 * open_share
    # Inside the mouth it is dark while closed, but pictures show it open.
    for name, least in (("mouth_inner", 0.35), ("tongue", 0.45), ("lips", 0.6), ("teeth", 0.7),
                        ("eyes", 0.35)):  # fmt: skip
        members = np.unique(faces[head.region_faces(name).numpy()])
        occlusion[members] = np.maximum(occlusion[members], least)
    return np.clip(occlusion, 0, 1).astype(np.float32)
