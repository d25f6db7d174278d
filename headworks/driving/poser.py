"""`Poser`: a bound avatar posed frame after frame, a few milliseconds each.

What does not change from frame to frame is computed once: the identity's shape, its part in the
correctives, the local Gaussians' activations. Without gradients; `BoundAvatar.gaussians` is the
reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.avatars.avatar import BoundAvatar
from headworks.avatars.binding import LocalGaussians
from headworks.driving.kernels import carry, shape_and_skin
from headworks.gaussians import Gaussians
from headworks.geometry import axis_angle_to_matrix
from headworks.heads.base import HeadModel, HeadPose
from headworks.splat.cpu.threads import n_threads, run

MAX_LOG_SCALE = 4.0  # as `place` clamps
Floats = NDArray[np.float32]


class _Moment(NamedTuple):
    """A frame's coefficients [K] of `Shape.basis`, joint rotations [5, 3, 3], offsets [5, 3]."""

    coefficients: Floats
    rotations: Floats
    offsets: Floats


class Shape:
    """A head model with one identity: expressions and poses in, vertices out.

    Args:
        head: the model. identity: [Ki].

    Attributes:
        head: the model. pairs: how many correctives depend on two expressions.
    """

    def __init__(self, head: HeadModel, identity: Tensor) -> None:
        self.head, self._identity = head, identity
        people, expressions = len(identity), len(head.expression_names)
        base = head.rest_vertices(identity[None], torch.zeros(1, expressions))[0]
        basis = head.expression_basis.clone()
        both: list[tuple[int, int]] = []
        extra: list[Tensor] = []
        if head.corrective_terms is not None and head.corrective_basis is not None:
            for (i, j), shape in zip(head.corrective_terms.tolist(), head.corrective_basis):
                low, high = min(i, j), max(i, j)
                if low >= people:
                    both.append((low - people, high - people))
                    extra.append(shape)
                elif high >= people:  # linear in the expression, now that the identity is fixed
                    basis[high - people] += identity[low] * shape
        self._pairs = torch.tensor(both, dtype=torch.long).reshape(-1, 2)
        rows = [basis, *([torch.stack(extra)] if extra else [])]
        if head.pose_basis is not None:
            rows.append(head.pose_basis)
        self._basis = torch.cat(rows).flatten(1).contiguous().numpy()
        self._reach = _reach(self._basis)
        self._base = base.flatten().contiguous().numpy()
        self._expressions, self.pairs = expressions, len(both)
        self._weights = np.ascontiguousarray(head.skin_weights.numpy())

    @property
    def neutral(self) -> Floats:
        """Vertices [V, 3] of the neutral face, canonical frame."""
        return self._base.reshape(-1, 3)

    @property
    def morphs(self) -> Floats:
        """How each expression moves them, [Ke, V, 3], as far as it does so alone."""
        return self._basis[: self._expressions].reshape(self._expressions, -1, 3)

    @torch.no_grad()
    def moments(self, expression: Tensor, pose: HeadPose) -> Iterator[_Moment]:
        """What each frame of a batch needs: expression [T, Ke], pose of T."""
        count = len(expression)
        identity = self._identity[None].expand(count, -1)
        rotations, offsets = self.head.joint_transforms(identity, pose, expression)
        rows = [expression, expression[:, self._pairs].prod(2)]
        if self.head.pose_basis is not None:
            angles = torch.stack([pose.neck, pose.jaw, *pose.eyes.unbind(1)], 1)
            rows.append((axis_angle_to_matrix(angles) - torch.eye(3)).flatten(1))
        values = torch.cat(rows, 1).numpy()
        for moment in zip(values, rotations.numpy(), offsets.numpy()):
            yield _Moment(*moment)

    def posed(self, moment: _Moment) -> Floats:
        """Vertices [V, 3] of one frame, metres, world."""
        out = np.empty((len(self._weights), 3), np.float32)
        rotations, offsets = (np.ascontiguousarray(x) for x in moment[1:])
        run(
            shape_and_skin, n_threads(), self._base, self._basis, self._reach, moment.coefficients,
            self._weights, rotations, offsets, out,
        )  # fmt: skip
        return out


def _reach(basis: Floats) -> NDArray[np.int64]:
    """First and end [K, 2] of what is not zero in each row [K, n]: most shapes move few places."""
    out = np.zeros((len(basis), 2), np.int64)
    for k, row in enumerate(basis):
        moved = np.flatnonzero(row)
        if len(moved):
            out[k] = moved[0], moved[-1] + 1
    return out


class Poser:
    """An avatar made ready for many frames.

    Args:
        avatar: who. Its Gaussians keep their order.
    """

    def __init__(self, avatar: BoundAvatar) -> None:
        self._shape = Shape(avatar.head, avatar.identity)
        order = avatar.binding.faces.argsort(stable=True)
        local = LocalGaussians(*(x[order] for x in avatar.local.detach()))
        corners = avatar.head.faces[avatar.binding.faces[order]]
        self._order = order.to(torch.int32).numpy()
        self._corners = np.ascontiguousarray(corners.numpy(), np.int32)
        self._bary = avatar.binding.bary[order].contiguous().numpy()
        self._means = local.means.contiguous().numpy()
        self._quats = torch.nn.functional.normalize(local.quats, dim=-1).contiguous().numpy()
        self._scales = local.log_scales.clamp(max=MAX_LOG_SCALE).exp().contiguous().numpy()
        raw = avatar.local.detach()
        self._opacities, self._colors = torch.sigmoid(raw.opacities), torch.sigmoid(raw.colors)

    def frames(self, expression: Tensor, pose: HeadPose) -> Iterator[Gaussians]:
        """World Gaussians of every frame: expression [T, Ke], pose of T."""
        for moment in self._shape.moments(expression, pose):
            vertices = self._shape.posed(moment)
            means, quats, scales = (
                np.empty_like(x) for x in (self._means, self._quats, self._scales)
            )
            run(
                carry, n_threads(), vertices, self._corners, self._order, self._bary, self._means,
                self._quats, self._scales, means, quats, scales,
            )  # fmt: skip
            yield Gaussians(
                torch.from_numpy(means), torch.from_numpy(quats), torch.from_numpy(scales),
                self._opacities, self._colors,
            )  # fmt: skip
