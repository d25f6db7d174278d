"""`Actor`: an avatar with its motions; four actors mixed into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars import Avatar, BoundAvatar
from headworks.avatars.binding import LocalGaussians
from headworks.web.controls import make_controls, make_poses
from headworks.web.motion import POSE_SIZE
from headworks.web.motion import Sequence as Motion

Row = NDArray[np.float32]
Key = tuple[str, str]
"""Group and label of a control."""


@dataclass(frozen=True)
class Actor:
    """One avatar, and what it can do.

    Attributes:
        name: for the panel. avatar: who. resting: driving row [Ke + 21] at rest.
        motions: by name; rows of the avatar's own head model.
    """

    name: str
    avatar: Avatar
    resting: Row
    motions: Mapping[str, Motion] = field(default_factory=dict)

    @cached_property
    def controls(self) -> dict[Key, dict[str, Any]]:
        """What sliders move, as `headworks.web.controls` makes them."""
        return {(c["group"], c["label"]): c for c in make_controls(self.avatar.head)}

    @cached_property
    def poses(self) -> dict[str, Row]:
        """Named expressions as changes of a driving row."""
        out = {}
        for pose in make_poses(self.avatar.head):
            row = np.zeros_like(self.resting)
            for index, value in pose["values"]:
                row[index] = value
            out[pose["label"]] = row
        return out

    def moved(self, row: Row, values: Mapping[Key, float]) -> Row:
        """A driving row with sliders added; activations stay within [0, 1].

        Args:
            row: [Ke + 21]. values: of controls; those that this head lacks are passed over.
        """
        out = row.copy()
        for key, value in values.items():
            for index, factor, low, high in self.controls.get(key, {"parts": ()})["parts"]:
                out[index] += min(high, max(low, factor * value))
        shares = ~np.array(self.avatar.head.signed(), bool)
        activations = out[:-POSE_SIZE]
        activations[shares] = np.clip(activations[shares], 0, 1)
        return out

    def frame(self, motion: str, seconds: float) -> Row:
        """A motion at a time, between its frames; it starts again at its end."""
        played = self.motions[motion]
        at = (seconds * played.fps) % max(len(played.rows) - 1, 1)
        first = int(at)
        last = min(first + 1, len(played.rows) - 1)
        part = np.float32(at - first)
        row: Row = played.rows[first] * (1 - part) + played.rows[last] * part
        return row


def corner_weights(x: float, y: float) -> tuple[float, float, float, float]:
    """Bilinear weights of the corners lower left, lower right, upper left, upper right."""
    return (1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y


def can_mix(avatars: Sequence[Avatar]) -> bool:
    """Whether all are bound Gaussians on the same triangles of the same head model."""
    bound = [a for a in avatars if isinstance(a, BoundAvatar)]
    first = bound[0] if bound else None
    return first is not None and len(bound) == len(avatars) and all(
        a.head.digest == first.head.digest
        and torch.equal(a.binding.faces, first.binding.faces)
        and torch.equal(a.binding.bary, first.binding.bary)
        for a in bound
    )  # fmt: skip


def mixed(avatars: Sequence[BoundAvatar], weights: Sequence[float]) -> BoundAvatar:
    """A person between others: identities and raw Gaussians, averaged.

    Args:
        avatars: with one binding (`can_mix`). weights: sum to 1.
    """
    first = avatars[0]
    used = [(a, w) for a, w in zip(avatars, weights, strict=True) if w > 0]

    def mean(values: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([w * v for v, (_, w) in zip(values, used, strict=True)]).sum(0)

    quats = [torch.nn.functional.normalize(a.local.quats.detach(), dim=-1) for a, _ in used]
    # q and -q are one rotation: all on the side of the first, or they would cancel.
    quats = [q * torch.sign((q * quats[0]).sum(-1, keepdim=True) + 1e-12) for q in quats]
    local = LocalGaussians(
        *(
            mean(quats if name == "quats" else [getattr(a.local, name).detach() for a, _ in used])
            for name in LocalGaussians._fields
        )
    )
    identity = mean([a.identity for a, _ in used])
    return BoundAvatar(first.head, identity, local, first.binding, first.method, first.setting)
