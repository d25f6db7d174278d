"""Expressions of one head model as those of another.

What both name alike is taken over; what the target splits into left and right (ICT-FaceKit's
`browInnerUp`) moves both; what it does not name (FLAME, Basel) is the least-squares mixture of its
own shapes that moves the dense landmarks likewise. A mouth that opens by a joint opens by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.heads.base import JOINTS, HeadModel, HeadPose

Array = NDArray[np.float64]
_CHIN = 8
_RIDGE = 0.02
"""Damping of the mixture: coefficients cost as much as two hundredths of the shapes' size."""

_MOST = 3.0


@dataclass(frozen=True)
class Retargeting:
    """How the source's expressions move the target.

    Attributes:
        weights: [Ks, Kt]. jaw: [Ks] radians that an activation of 1 turns the target's jaw joint.
        unexplained: [Ks], share of each expression's motion that the target cannot make; 0 where
            it was taken over by name.
    """

    weights: Tensor
    jaw: Tensor
    unexplained: NDArray[np.float64]

    def __call__(
        self, expression: Tensor, pose: HeadPose, signed: tuple[bool, ...]
    ) -> tuple[Tensor, HeadPose]:
        """Expression and pose for the target.

        Args:
            expression: [T, Ks]. pose: batch of T. signed: `HeadModel.signed()` of the target.

        Returns:
            [T, Kt] within the target's bounds, and the pose with the jaw turned.
        """
        mixed = expression @ self.weights
        both = torch.tensor(signed, dtype=torch.bool)
        low, high = torch.where(both, -_MOST, 0.0), torch.where(both, _MOST, 1.0)
        turn = torch.nn.functional.pad((expression @ self.jaw)[:, None], (0, 2))
        return torch.minimum(torch.maximum(mixed, low), high), replace(pose, jaw=pose.jaw + turn)


@lru_cache(maxsize=4)
def retargeting(source: HeadModel, target: HeadModel) -> Retargeting:
    """How to show one head's expressions on another; both with dense landmarks.

    Args:
        source: whose expressions are given. target: who shall show them.
    """
    ks, kt = len(source.expression_names), len(target.expression_names)
    weights, jaw = np.zeros((ks, kt)), np.zeros(ks)
    unexplained = np.zeros(ks)
    names = target.expression_names
    loose = []
    for k, name in enumerate(source.expression_names):
        sides = [name] if name in names else [f"{name}Left", f"{name}Right"]
        known = [n for n in sides if n in names]
        for found in known:
            weights[k, names.index(found)] = 1.0
        if not known:
            loose.append(k)
    if not loose:
        return _made(weights, jaw, unexplained)
    shared = [n for n in source.dense_names if n in target.dense_names]
    wanted = _moves(source, shared, loose)
    free = np.flatnonzero(target.signed())
    shapes = _moves(target, shared, free.tolist())
    # The target may be larger: a mouth opens by its own measure.
    scale = _height(target) / _height(source)
    wanted = wanted * scale
    before = np.linalg.norm(wanted, axis=(1, 2))
    if "jawOpen" not in names and float(target.skin_weights[:, JOINTS.index("jaw")].max()) > 0:
        for row, k in enumerate(loose):
            if source.expression_names[k] == "jawOpen":
                jaw[k] = _jaw_angle(source, target, k, scale)
                wanted[row] -= _turned(target, shared, jaw[k])
    if len(free):
        columns = shapes.reshape(len(free), -1).T
        size = np.linalg.norm(columns, axis=0).mean()
        damped = np.concatenate([columns, _RIDGE * size * np.eye(len(free)) * np.sqrt(len(free))])
        rows = np.concatenate([wanted.reshape(len(loose), -1).T, np.zeros((len(free), len(loose)))])
        mixture = np.linalg.lstsq(damped, rows, rcond=None)[0].T
        weights[np.asarray(loose)[:, None], free] = mixture
        wanted = wanted - (mixture @ columns.T).reshape(wanted.shape)
    unexplained[loose] = np.linalg.norm(wanted, axis=(1, 2)) / np.maximum(before, 1e-12)
    return _made(weights, jaw, unexplained)


def _made(weights: Array, jaw: Array, unexplained: Array) -> Retargeting:
    return Retargeting(
        torch.from_numpy(weights.astype(np.float32)), torch.from_numpy(jaw.astype(np.float32)),
        unexplained,
    )  # fmt: skip


def _dense(head: HeadModel, names: list[str], shapes: Tensor) -> Array:
    """Dense points [K, D, 3] of vertices or displacements [K, V, 3]."""
    index = [head.dense_names.index(n) for n in names]
    return head.dense_landmarks(shapes)[:, index].double().numpy()


def _moves(head: HeadModel, names: list[str], which: list[int]) -> Array:
    return _dense(head, names, head.expression_basis[which])


def _height(head: HeadModel) -> float:
    marks = head.landmarks(head.template[None])[0]
    return float((marks[27] - marks[_CHIN]).norm())


def _jaw_angle(source: HeadModel, target: HeadModel, k: int, scale: float) -> float:
    """Turn of the jaw joint that moves the target's chin as far as the shape moves the source's."""
    moved = source.landmarks(source.expression_basis[k][None])[0, _CHIN]
    arm = target.landmarks(target.template[None])[0, _CHIN] - target.joints[JOINTS.index("jaw")]
    reach = float(arm[1:].norm())
    return 2 * float(np.arcsin(np.clip(scale * float(moved.norm()) / (2 * reach), 0, 0.5)))


def _turned(head: HeadModel, names: list[str], angle: float) -> Array:
    pose = HeadPose.zeros(1)
    pose.jaw[0, 0] = angle
    identity = torch.zeros(1, len(head.identity_basis))
    expression = torch.zeros(1, len(head.expression_names))
    open_ = head.vertices(identity, expression, pose)
    return (_dense(head, names, open_) - _dense(head, names, head.template[None]))[0]
