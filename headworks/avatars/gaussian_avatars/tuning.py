"""Expression, pose and translation of the training times, refined together with the Gaussians."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.heads.base import HeadModel, HeadPose
from headworks.tracks import POSE_FIELDS, Tracking

RATES = {
    "expression": 1e-3,
    "rotation": 1e-5, "neck": 1e-5, "jaw": 1e-5, "eyes": 1e-5,
    "translation": 1e-6,
}  # fmt: skip
"""Adam rates of GaussianAvatars' arguments/__init__.py (FLAME's expressions have spread 1)."""


@dataclass(frozen=True)
class Tuned:
    """Refined coefficients of some times.

    Attributes:
        times: int64 [M], ascending. expression: [M, Ke]. pose: batch of M.
    """

    times: NDArray[np.int64]
    expression: Tensor
    pose: HeadPose

    @staticmethod
    def start(tracking: Tracking, times: NDArray[np.int64]) -> Tuned:
        """As tracked, ready to be refined."""
        unique = np.unique(times)
        index = torch.from_numpy(unique)
        pose = {name: getattr(tracking.pose, name)[index].clone() for name in POSE_FIELDS}
        tuned = Tuned(unique, tracking.expression[index].clone(), HeadPose(**pose))
        for name in RATES:
            tuned.tensor(name).requires_grad_(True)
        return tuned

    def tensor(self, name: str) -> Tensor:
        """[M, ...] of one kind of coefficient."""
        return self.expression if name == "expression" else getattr(self.pose, name)

    def tensors(self) -> dict[str, Tensor]:
        """All coefficients by name, without gradient."""
        return {n: self.tensor(n).detach() for n in ("expression", *POSE_FIELDS)}

    @staticmethod
    def of(times: NDArray[np.int64], tensors: dict[str, Tensor]) -> Tuned:
        """From `times` and what `tensors` gave."""
        pose = HeadPose(**{name: tensors[name] for name in POSE_FIELDS})
        return Tuned(times, tensors["expression"], pose)

    def row(self, time: int) -> int | None:
        """Where a time stands; None where it was not refined."""
        place = int(np.searchsorted(self.times, time))
        return place if place < len(self.times) and self.times[place] == time else None

    def at(self, row: int) -> tuple[Tensor, HeadPose]:
        """Expression [Ke] and pose (batch of 1) of a row."""
        return self.expression[row], self.pose[row : row + 1]

    def vertices(self, head: HeadModel, identity: Tensor, row: int) -> Tensor:
        """Posed mesh [V, 3] of a row, differentiable in the coefficients."""
        expression, pose = self.at(row)
        return head.vertices(identity[None], expression[None], pose)[0]

    def detach(self) -> Tuned:
        """The same values, cut from the graph."""
        return replace(
            self,
            expression=self.expression.detach(),
            pose=HeadPose(**{name: getattr(self.pose, name).detach() for name in POSE_FIELDS}),
        )
