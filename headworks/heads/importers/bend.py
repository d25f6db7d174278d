"""The procedural head bent onto a foreign one: where its landmarks, joints and regions go.

Foreign models know neither our origin nor our regions, and some not even landmarks. The procedural
head is laid over them: by landmarks where there are any, else by the tip of the nose, then nearer
and nearer by closest points, with a bending that starts stiff and ends supple.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from headworks.geometry import similarity_align, vertex_normals
from headworks.headfiles import HeadFileError
from headworks.heads.base import HeadModel

Array = NDArray[np.float64]
_GUIDES = 700
"""Points of the procedural skin that are drawn to the foreign surface."""

_STIFFNESS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
_REACH_M = (0.03, 0.025, 0.02, 0.015, 0.012, 0.01)
_FACING = 0.5  # cosine between normals of points that may meet
_RIGID_ROUNDS = 30
_LANDMARKS = np.array([8, *range(17, 68)])
"""The jaw's landmarks slide along the outline: only the chin says the same on all heads."""


@dataclass(frozen=True)
class Bend:
    """A smooth map of space between the procedural head and a foreign one, both in metres.

    Attributes:
        ours: [N, 3] guide points on the procedural head. theirs: [N, 3] where they lie on the
            foreign one. smoothing: of the interpolation.
        gap: median distance of the guides to the foreign surface, metres.
    """

    ours: Array
    theirs: Array
    smoothing: float
    gap: float

    def to_theirs(self, points: Array) -> Array:
        """Points [M, 3] about the procedural head -> about the foreign one."""
        return _bent(self.ours, self.theirs, self.smoothing)(points)

    def to_ours(self, points: Array) -> Array:
        """Points [M, 3] about the foreign head -> about the procedural one."""
        return _bent(self.theirs, self.ours, self.smoothing)(points)


def bend_onto(
    ours: HeadModel, vertices: Array, faces: NDArray[np.int64], marks: dict[int, Array]
) -> Bend:
    """Lay the procedural head over a foreign one.

    Args:
        ours: the procedural head. vertices: [V, 3] metres, +x to the subject's left, +y up, +z out
            of the face, any origin. faces: [F, 3]. marks: iBUG landmarks that are known -> [3].

    Raises:
        HeadFileError: when no face is found.
    """
    own = ours.landmarks(ours.template[None])[0].double().numpy()
    guides, guide_normals = _guides(ours)
    fixed = [i for i in _LANDMARKS.tolist() if i in marks]
    if len(fixed) >= 4:
        source, target = own[fixed], np.stack([marks[i] for i in fixed])
    else:
        fixed = []
        tip = _nose_tip(vertices)
        source, target = own[30:31], tip[None]
    scale, rotation, shift = _similarity(source, target)

    def moved(points: Array) -> Array:
        return scale * points @ rotation.T + shift

    normals = _normals(vertices, faces)
    tree = cKDTree(vertices)
    face = np.linalg.norm(guides - own[30], axis=1) < 0.085
    for _ in range(_RIGID_ROUNDS):
        at, ok = _meet(moved(guides), guide_normals @ rotation.T, tree, normals, 0.04)
        use = ok
        if use.sum() < 20:
            raise HeadFileError(
                f"no face found about {np.round(target[0], 3).tolist()} (metres): are the "
                "model's units and axes the official ones?"
            )
        scale, rotation, shift = _similarity(guides[use], vertices[at[use]])
    anchors = own[fixed].reshape(-1, 3)
    anchor_targets = np.array([marks[i] for i in fixed], np.float64).reshape(-1, 3)
    a, b = np.concatenate([anchors, guides]), np.concatenate([moved(anchors), moved(guides)])
    b[: len(anchors)] = anchor_targets
    smoothing = _STIFFNESS[0]
    for smoothing, reach in zip(_STIFFNESS, _REACH_M, strict=True):
        for _ in range(3):
            bend = _bent(a, b, smoothing)
            here = bend(guides)
            turned = bend(guides + 1e-3 * guide_normals) - here
            turned /= np.linalg.norm(turned, axis=1, keepdims=True) + 1e-12
            at, ok = _meet(here, turned, tree, normals, reach)
            # Slide on the tangent plane: a vertex's own place must not pull sideways.
            pull = ((vertices[at] - here) * normals[at]).sum(1, keepdims=True) * normals[at]
            a = np.concatenate([anchors, guides[ok]])
            b = np.concatenate([anchor_targets, here[ok] + pull[ok]])
            if len(a) < 50:
                raise HeadFileError("the model's surface does not look like a head's")
    bend = _bent(a, b, smoothing)
    gap = float(np.median(tree.query(bend(guides[face]))[0]))
    return Bend(a, b, smoothing, gap)


def _bent(a: Array, b: Array, smoothing: float):  # type: ignore[no-untyped-def]
    from scipy.interpolate import RBFInterpolator

    # In decimetres, so that the stiffness has a scale of its own.
    spline = RBFInterpolator(10 * a, 10 * (b - a), kernel="linear", smoothing=smoothing, degree=1)
    return lambda points: points + spline(10 * np.asarray(points, np.float64)) / 10


def _similarity(a: Array, b: Array) -> tuple[float, Array, Array]:
    if len(a) < 4:
        return 1.0, np.eye(3), (b - a).mean(0)
    scale, rotation, shift = similarity_align(torch.from_numpy(a), torch.from_numpy(b))
    return float(scale), rotation.numpy(), shift.numpy()


def _normals(vertices: Array, faces: NDArray[np.int64]) -> Array:
    return vertex_normals(torch.from_numpy(vertices), torch.from_numpy(faces)).numpy()


def _guides(ours: HeadModel) -> tuple[Array, Array]:
    """Evenly spread vertices of the skin of face, ears and skull, and their normals."""
    vertices = ours.template.double().numpy()
    faces = ours.faces.numpy()
    skin = np.unique(faces[ours.region_faces("skin", "lips", "eyelids", "ears", "scalp").numpy()])
    normals = _normals(vertices, faces)
    low = ours.landmarks(ours.template[None])[0, 8, 1].item() - 0.03
    assert ours.mirror_vertices is not None
    partner = ours.mirror_vertices.numpy()
    half = skin[(vertices[skin, 1] > low) & (vertices[skin, 0] > -1e-6) & (partner[skin] >= 0)]
    # Farthest points first; the face counts more: there points stand closer.
    chosen = [int(np.abs(vertices[half, 0]).argmin())]
    distance = np.full(len(half), np.inf)
    weight = np.where(vertices[half, 2] > 0.04, 2.0, 1.0)
    while len(chosen) < min(_GUIDES // 2, len(half)):
        gap = np.linalg.norm(vertices[half] - vertices[half[chosen[-1]]], axis=1)
        distance = np.minimum(distance, gap)
        chosen.append(int((distance * weight).argmax()))
    both = np.unique(np.concatenate([half[chosen], partner[half[chosen]]]))
    return vertices[both], normals[both]


def _meet(
    points: Array, point_normals: Array, tree: cKDTree, normals: Array, reach: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Nearest foreign vertices that face the same way, and whether there is one within reach."""
    distance, near = tree.query(points, 8)
    agree = np.einsum("nkc,nc->nk", normals[near], point_normals) > _FACING
    cost = np.where(agree, distance, np.inf)
    best = cost.argmin(1)
    rows = np.arange(len(points))
    return near[rows, best], cost[rows, best] < reach


def _nose_tip(vertices: Array) -> Array:
    """The foremost point near the plane of symmetry in the upper part of a model."""
    middle = np.median(vertices[:, 0])
    width = np.ptp(vertices[:, 0])
    near = np.abs(vertices[:, 0] - middle) < 0.04 * width
    high = vertices[:, 1] > vertices[:, 1].max() - 0.23  # a head's height
    chosen = vertices[near & high]
    if not len(chosen):
        raise HeadFileError("the model has no vertices about its plane of symmetry")
    return chosen[chosen[:, 2].argmax()]
