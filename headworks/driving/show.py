"""Frames of a driven avatar: posed, seen, put over a background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars.avatar import Avatar, BoundAvatar, picture_of
from headworks.cameras import Camera
from headworks.driving.performance import Performance
from headworks.driving.poser import Poser
from headworks.images import to_uint8

_CHUNK = 32
_BLACK = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Shown:
    """One frame, colours multiplied with alpha.

    Attributes:
        premultiplied: [H, W, 3] in [0, 1]. alpha: [H, W] in [0, 1].
    """

    premultiplied: NDArray[np.float32]
    alpha: NDArray[np.float32]

    def over(self, background: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Over a colour [3] or a picture [H, W, 3]: uint8 [H, W, 3]."""
        return to_uint8(self.premultiplied + (1 - self.alpha[..., None]) * background)

    def rgba(self) -> NDArray[np.uint8]:
        """Straight alpha: uint8 [H, W, 4]; colours are 0 where nothing is."""
        alpha = to_uint8(self.alpha)
        # Divided by what is stored, so that colours come back whole when they are multiplied.
        straight = self.premultiplied / np.maximum(alpha[..., None] / 255, 1 / 255)
        straight = np.where(alpha[..., None] > 0, straight, 0)
        return np.concatenate([to_uint8(straight), alpha[..., None]], -1)


def shown(avatar: Avatar, performance: Performance, cameras: Sequence[Camera]) -> Iterator[Shown]:
    """Frames of a performance.

    Args:
        avatar: who. performance: what, in the avatar's coefficients and world; a single frame is
            held. cameras: one per frame shown; where there are more than the performance has
            frames, its last frame is held.
    """
    last = len(performance) - 1
    poser = Poser(avatar) if type(avatar) is BoundAvatar else None
    for start in range(0, len(cameras), _CHUNK):
        some = cameras[start : start + _CHUNK]
        rows = torch.tensor([min(start + k, last) for k in range(len(some))])
        expression, pose = performance.expression[rows], performance.pose[rows]
        if poser is not None:
            for camera, gaussians in zip(some, poser.frames(expression, pose), strict=True):
                yield Shown(*picture_of(gaussians, camera, _BLACK))
        else:
            for k, camera in enumerate(some):
                yield Shown(*avatar.render(expression[k], pose[k : k + 1], camera, _BLACK))
