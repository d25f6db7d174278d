"""The training picture nearest by expression and head pose: pure retrieval, no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.heads.base import HeadModel
from headworks.tracks import Tracking

# Spreads below these are tracking noise, not motion: they must not decide which frame is nearest.
_LEAST_EXPRESSION = 0.02
_LEAST_ANGLE = np.deg2rad(0.5)
_LEAST_SHIFT = 2e-3
_NECK = 1


class HeadStates(NamedTuple):
    """What N pictures show, as seen by their cameras.

    Attributes:
        expression: [N, D] expression, jaw and eyes. rotations: [N, 3, 3] head to camera.
        positions: [N, 3] neck joint in the camera frame, metres.
    """

    expression: NDArray[np.float64]
    rotations: NDArray[np.float64]
    positions: NDArray[np.float64]


@torch.no_grad()
def head_states(head: HeadModel, tracking: Tracking, pairs: list[tuple[int, int]]) -> HeadStates:
    """States of the head in the pictures (t, c) of `pairs`."""
    times = torch.tensor([t for t, _ in pairs], dtype=torch.long)
    views = tracking.viewmats[[c for _, c in pairs]]
    pose = tracking.pose[times]
    identity = tracking.identity[None].expand(len(times), -1)
    rotations, offsets = head.joint_transforms(identity, pose)
    rest = head.joints[_NECK] + torch.einsum(
        "k,kc->c", tracking.identity, head.joint_identity[:, 1]
    )
    in_world = (rotations[:, _NECK] @ rest + offsets[:, _NECK]).double().numpy()
    expression = torch.cat([tracking.expression[times], pose.jaw, pose.eyes.flatten(1)], 1)
    return HeadStates(
        expression.double().numpy(),
        views[:, :3, :3] @ rotations[:, _NECK].double().numpy(),
        np.einsum("nij,nj->ni", views[:, :3, :3], in_world) + views[:, :3, 3],
    )


@dataclass(frozen=True)
class NearestFrame:
    """Retrieval among training pictures; every part of the distance is divided by its spread.

    Attributes:
        states: of the training pictures. expression_std: [D]. angle_spread: radians.
        shift_spread: metres.
    """

    states: HeadStates
    expression_std: NDArray[np.float64]
    angle_spread: float
    shift_spread: float

    @staticmethod
    def of(states: HeadStates) -> NearestFrame:
        """Measure the spreads over the training pictures.

        Raises:
            ValueError: without pictures.
        """
        if not len(states.expression):
            raise ValueError("the nearest frame needs at least one training frame")
        u, _, vt = np.linalg.svd(states.rotations.sum(0))
        mean = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
        angles = geodesic(states.rotations, mean)
        shifts = states.positions - states.positions.mean(0)
        return NearestFrame(
            states,
            np.maximum(states.expression.std(0), _LEAST_EXPRESSION),
            max(float(np.sqrt((angles**2).mean())), _LEAST_ANGLE),
            max(float(np.sqrt((shifts**2).sum(1).mean())), _LEAST_SHIFT),
        )

    def nearest(self, state: HeadStates, exclude: int | None = None) -> int | None:
        """Index of the nearest training picture.

        Args:
            state: of one picture (N = 1). exclude: a training picture that must not be chosen.

        Returns:
            Index into the training pictures; None when nothing is left to choose.
        """
        difference = (self.states.expression - state.expression) / self.expression_std
        angles = geodesic(self.states.rotations, state.rotations[0]) / self.angle_spread
        shifts = np.linalg.norm(self.states.positions - state.positions, axis=1) / self.shift_spread
        distances = (difference**2).mean(1) + angles**2 + shifts**2
        if exclude is not None:
            distances[exclude] = np.inf
        best = int(np.argmin(distances))
        return best if np.isfinite(distances[best]) else None


def geodesic(rotations: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles in radians between rotations [N, 3, 3] and one rotation [3, 3]."""
    traces = np.einsum("nij,ij->n", rotations, other)
    return np.arccos(np.clip((traces - 1) / 2, -1, 1))
