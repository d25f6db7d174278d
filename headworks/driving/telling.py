"""The moment of a capture that tells most about what a face does, and its portrait."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.cameras import Camera
from headworks.driving.performance import Performance, Rest
from headworks.heads.base import HeadModel, HeadPose
from headworks.pictures import PORTRAIT_ROOM
from headworks.tracks import Tracking

FRAMES = 120
"""At most so many times are looked at, evenly spaced."""
MOST_AWAY = np.deg2rad(35)
"""A face that looks further away from the camera hides what it does."""
TRUSTED = 0.5
"""Least weight of a frame, where the tracker rated any frame that high."""


def telling_time(head: HeadModel, tracking: Tracking, rest: Rest) -> int:
    """The time at which the face is furthest from its resting state while it can be seen.

    Args:
        head: the tracking's. rest: how the person usually is, and the camera that looks.

    Returns:
        Index of a tracked time: that of the largest root-mean-square shift of the 68 landmarks by
        expression and jaw, among the trusted ones at most `MOST_AWAY` from the camera; where there
        is none, the one that looks at the camera most.
    """
    valid = np.flatnonzero(tracking.valid)
    weights = tracking.weights[valid]
    if (weights >= TRUSTED).any():
        valid = valid[weights >= TRUSTED]
    valid = valid[np.unique(np.rint(np.linspace(0, len(valid) - 1, FRAMES)).astype(int))]
    rows = torch.from_numpy(valid)
    some = Performance(
        head, tracking.identity, tracking.expression[rows], tracking.pose[rows], 1.0, ""
    )
    forward = some.head_motion()[0][:, :, 2].double().numpy()
    towards = -forward @ rest.camera.viewmat[2, :3]
    seen = towards >= np.cos(MOST_AWAY)
    if not seen.any():
        return int(valid[np.argmax(towards)])
    effort = _shift(some, rest).numpy()
    return int(valid[np.argmax(np.where(seen, effort, -1.0))])


def _shift(some: Performance, rest: Rest) -> Tensor:
    """Root-mean-square shift [T] of the landmarks from the resting face, metres."""

    def landmarks(expression: Tensor, jaw: Tensor) -> Tensor:
        pose = replace(HeadPose.zeros(len(expression)), jaw=jaw)
        identity = some.identity[None].expand(len(expression), -1)
        return some.head.landmarks(some.head.vertices(identity, expression, pose))

    with torch.no_grad():
        moved = landmarks(some.expression, some.pose.jaw)
        still = landmarks(rest.expression[None], rest.jaw[None])
    return (moved - still).square().sum(-1).mean(-1).sqrt()


def portrait(
    rgb: NDArray[np.float32],
    alpha: NDArray[np.float32],
    vertices: NDArray[np.float32],
    camera: Camera,
    side: int,
) -> NDArray[np.uint8]:
    """A square picture of a filmed head over white, framed as portraits of avatars are.

    Args:
        rgb: [H, W, 3] and alpha: [H, W] of the frame. vertices: [V, 3] of the head without torso,
            world. camera: the frame's. side: pixels.

    Returns:
        uint8 [side, side, 3].
    """
    import cv2

    points = camera.project(vertices)[:, :2]
    low, high = points.min(0), points.max(0)
    half = PORTRAIT_ROOM * float(high[1] - low[1]) / 2
    x, y = (low + high) / 2
    scale = side / (2 * half)
    # Pixel centres lie at +0.5 on both sides.
    placed = np.array(
        [
            [scale, 0, side / 2 - scale * x + 0.5 * scale - 0.5],
            [0, scale, side / 2 - scale * y + 0.5 * scale - 0.5],
        ]
    )
    over = (rgb * alpha[..., None] + 1 - alpha[..., None]).astype(np.float32)
    if scale < 1:
        # Without this, thinned-out rows and columns shimmer.
        over = np.asarray(cv2.GaussianBlur(over, (0, 0), 0.4 / scale), np.float32)
    out = cv2.warpAffine(
        over, placed, (side, side), flags=cv2.INTER_LINEAR, borderValue=(1.0, 1.0, 1.0)
    )
    return np.rint(np.clip(out, 0, 1) * 255).astype(np.uint8)
