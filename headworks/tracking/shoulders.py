"""Where the torso stands under the head, and how broad it is, from the matte below the chin.

Landmarks say nothing of it, and clothes hide the neck: the model's torso is placed where it covers
the matte best, so that what is bound to it lies on the person.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.heads.base import HeadModel, HeadPose
from headworks.mesh import rasterize_mesh
from headworks.tracking.silhouette import intersection_over_union

Array = NDArray[np.float64]
_SIDE = 96  # compared at this width: shoulders are large
_FRAMES = 4
_MODE_MOTION = 0.15  # a mode of the torso moves the head by less than this share
_FIRST_MOVE_M, _FIRST_MODE = 0.02, 1.0
_HALVINGS = 3
# The neck must not fold: it shortens by the rise over its length of some eight centimetres.
_MOST_MOVE_M, _MOST_MODE = 0.04, 2.5
_PENALTY_MOVE, _PENALTY_MODE = 4.0, 0.002  # IoU per metre^2 and per sigma^2
_LEAST_TORSO = 0.02  # share of the picture that shows torso, below which it is left as it is


def torso_modes(head: HeadModel) -> NDArray[np.int64]:
    """Identity modes that shape neck and torso and leave the head as it is."""
    weights = head.skin_weights.numpy()
    motion = np.square(head.identity_basis.numpy()).sum(2)
    if not (weights[:, 0] > 0.5).any():
        return np.zeros(0, np.int64)  # a model that ends at the neck
    on_torso = np.sqrt(motion[:, weights[:, 0] > 0.5].mean(1))
    on_head = np.sqrt(motion[:, weights[:, 0] < 0.05].mean(1))
    return np.flatnonzero(on_head < _MODE_MOTION * on_torso)


def fit_shoulders(
    head: HeadModel,
    identity: Array,
    pose_of: Callable[[Array, tuple[float, float]], HeadPose],
    viewmat: Array,
    Ks: Array,
    alpha: NDArray[np.uint8],
    chin: Array,
    frames: NDArray[np.int64],
) -> tuple[Array, tuple[float, float]]:
    """Identity with torso modes set, and how far the torso is moved.

    Args:
        head: the model. identity: [Ki]. pose_of: pose of all frames for an identity and an offset.
        viewmat: [4, 4]. Ks: [T, 3, 3]. alpha: [T, H, W]. chin: [T] row below which torso is.
        frames: candidates to compare in.

    Returns:
        identity [Ki], offset (x, y) in metres. As given (and 0) where hardly any torso is seen.
    """
    h, w = alpha.shape[1:3]
    some = frames[np.unique(np.linspace(0, len(frames) - 1, _FRAMES).astype(int))]
    below = [(np.arange(h)[:, None] > chin[t]) & np.ones((1, w), bool) for t in some]
    shown = np.mean([(b & (alpha[t] > 127)).mean() for b, t in zip(below, some)])
    if shown < _LEAST_TORSO:
        return identity, (0.0, 0.0)
    modes = torso_modes(head)
    lower = head.region_faces("torso", "neck", "skin", "scalp").numpy()
    corners = head.faces.numpy()[lower]
    used, faces = np.unique(corners, return_inverse=True)
    few, faces = head.restricted(torch.from_numpy(used)), faces.reshape(-1, 3)
    step = max(1, w // _SIDE)
    mattes = [alpha[t, ::step, ::step] for t in some]
    masks = [b[::step, ::step] for b in below]
    neutral = torch.zeros(len(some), len(head.expression_names))

    def score(x: Array) -> float:
        shape = identity.copy()
        shape[modes] = x[2:]
        pose = pose_of(shape, (float(x[0]), float(x[1])))[torch.from_numpy(some)]
        coefficients = torch.from_numpy(shape).float()[None].expand(len(some), -1)
        vertices = few.vertices(coefficients, neutral, pose).numpy()
        total = 0.0
        for i, t in enumerate(some):
            camera = Camera(viewmat, Ks[t], w, h).resized(*mattes[i].shape[::-1])
            covered = rasterize_mesh(vertices[i], faces, camera).face_ids >= 0
            inside = np.where(masks[i], mattes[i], 0).astype(np.uint8)
            iou = intersection_over_union(covered & masks[i], inside)
            total += iou if np.isfinite(iou) else 0.0
        penalty = _PENALTY_MOVE * (x[:2] ** 2).sum() + _PENALTY_MODE * (x[2:] ** 2).sum()
        return total / len(some) - float(penalty)

    # Compass search: few unknowns, no gradient through a silhouette.
    x = np.concatenate([[0.0, 0.0], identity[modes]])
    bound = np.concatenate([[_MOST_MOVE_M] * 2, np.full(len(modes), _MOST_MODE)])
    size = np.concatenate([[_FIRST_MOVE_M] * 2, np.full(len(modes), _FIRST_MODE)])
    best = score(x)
    for _ in range(_HALVINGS):
        improved = True
        while improved:
            improved = False
            for axis in range(len(x)):
                for sign in (1.0, -1.0):
                    trial = x.copy()
                    trial[axis] = np.clip(
                        trial[axis] + sign * size[axis], -bound[axis], bound[axis]
                    )
                    value = score(trial) if trial[axis] != x[axis] else -np.inf
                    if value > best + 1e-4:
                        x, best, improved = trial, value, True
        size = size / 2
    shaped = identity.copy()
    shaped[modes] = x[2:]
    return shaped, (float(x[0]), float(x[1]))
