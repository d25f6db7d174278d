"""A reconstructed cloud as evidence: surface points shall lie on its planes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.heads.base import HeadModel
from headworks.tracking.rig_view import Cloud
from headworks.tracking.terms import SpacePoints, State
from headworks.tracking.texture import FaceSurface

Array = NDArray[np.float64]
_POINTS = 600
_REACH_M, _SIGMA_M = 0.012, 0.002
_LEAST_AGREEMENT = 0.6  # cosine between the mesh's normal and the cloud's
_MOST_POINTS = 60_000  # of one frame's cloud
_WEIGHT = 0.25
"""Neighbours on a surface err alike: so many of them count as few."""


def skin_vertices(head: HeadModel, surface: FaceSurface) -> NDArray[np.int64]:
    """Vertices of the surface, spread over the skin, that meet a cloud (no hair, no lids' rim)."""
    marks = head.landmarks(head.template[None])[0].numpy()
    kept = np.zeros(len(head.template), bool)
    kept[head.faces.numpy()[head.region_faces("skin").numpy()]] = True
    place = surface.model.template
    # From the chin to above the brows, and in front of the ears.
    inside = (place[:, 1] > marks[8, 1]) & (place[:, 1] < marks[17:27, 1].max() + 0.02)
    at = np.flatnonzero(kept[surface.vertex_ids] & inside & (place[:, 2] > 0.01))
    return at[np.unique(np.linspace(0, len(at) - 1, min(_POINTS, len(at))).astype(int))]


def cloud_observations(
    surface: FaceSurface,
    skin: NDArray[np.int64],
    state: State,
    cloud: Cloud,
    at: NDArray[np.int64],
    offset: int,
) -> SpacePoints:
    """The nearest planes of the cloud to the mesh's skin.

    Args:
        surface: the head. skin: vertices of it. state: of the frames `at`, in the world.
        cloud: points of all frames. at: frame numbers. offset: where the surface begins in the
            point model.

    Returns:
        Point-to-plane observations.
    """
    from scipy.spatial import cKDTree

    t, n = len(at), len(skin)
    target, normal = np.zeros((t, n, 3)), np.zeros((t, n, 3))
    weight = np.zeros((t, n))
    for i, frame in enumerate(at):
        own = slice(int(cloud.start[frame]), int(cloud.start[frame + 1]))
        points = cloud.points[own]
        if len(points) < 3:
            continue
        step = -(-len(points) // _MOST_POINTS)
        points, normals = points[::step], cloud.normals[own][::step]
        trust = cloud.confidence[own][::step]
        vertices = surface.vertices(state, i)
        outward = _normals(vertices, surface.faces)[skin]
        distance, near = cKDTree(points).query(vertices[skin], distance_upper_bound=_REACH_M)
        known = np.isfinite(distance)
        near = np.where(known, near, 0)
        target[i], normal[i] = points[near], normals[near]
        agree = (normals[near] * outward).sum(1)
        weight[i] = _WEIGHT * trust[near] * (known & (agree > _LEAST_AGREEMENT))
    index = np.tile(offset + skin, (t, 1))
    return SpacePoints(index, target, weight, np.full(t, _SIGMA_M), normal)


def _normals(vertices: Array, faces: NDArray[np.int64]) -> Array:
    corners = vertices[faces]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    out = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(out, faces[:, corner], face)
    return out / (np.linalg.norm(out, axis=1, keepdims=True) + 1e-20)
