"""What drives a page: expression and pose as one row of numbers, and sequences of such rows."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.driving.performance import frontal_camera, performance_of, tracked_rest
from headworks.driving.transfer import brought_home
from headworks.heads.base import HeadModel, HeadPose
from headworks.tracks import Tracking

Array = NDArray[np.float32]
POSE_SIZE = 21
"""rotation, translation, neck, neck_translation, jaw (3 each), eyes (6): `HeadPose` in a row."""


@dataclass(frozen=True)
class Sequence:
    """A motion to play.

    Attributes:
        name: what it is, for the reader. fps: rows per second.
        rows: float32 [T, Ke + 21], expression and then the pose (`pack`).
    """

    name: str
    fps: float
    rows: Array


def pack(expression: Tensor, pose: HeadPose) -> Array:
    """Expressions [T, Ke] and a pose (batch of T) as rows, float32 [T, Ke + 21]."""
    parts = [getattr(pose, f.name).reshape(len(expression), -1) for f in fields(HeadPose)]
    return np.ascontiguousarray(torch.cat([expression, *parts], 1).float().numpy())


def unpack(rows: Array) -> tuple[Tensor, HeadPose]:
    """The inverse of `pack`: expressions [T, Ke] and a pose (batch of T)."""
    expression, pose = np.split(np.asarray(rows, np.float32), [rows.shape[1] - POSE_SIZE], 1)
    parts = [
        torch.from_numpy(np.ascontiguousarray(p)) for p in np.split(pose, [3, 6, 9, 12, 15], 1)
    ]
    return (
        torch.from_numpy(np.ascontiguousarray(expression)),
        HeadPose(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5].reshape(-1, 2, 3)),
    )


def resting_row(head: HeadModel, tracking: Tracking | None = None) -> Array:
    """Neutral expression, head in its canonical place; the torso where a tracking has seen it.

    Returns:
        float32 [Ke + 21].
    """
    pose = HeadPose.zeros(1) if tracking is None else tracking.upright_pose(head)
    row: Array = pack(torch.zeros(1, len(head.expression_names)), pose)[0]
    return row


def tracked_sequence(
    head: HeadModel,
    tracking: Tracking,
    times: Rows[int] | NDArray[np.integer],
    fps: float,
    name: str,
) -> Sequence:
    """A tracked motion, moved as a whole to the canonical place (`driving.transfer.brought_home`).

    Args:
        times: indices into the tracking, in order; one that was not tracked repeats the one
            before. fps: of the sequence.

    Raises:
        ValueError: when no time is given.
    """
    if not len(times):
        raise ValueError("a sequence needs at least one time")
    performance = performance_of(head, tracking, fps, name).part(np.asarray(times, np.int64))
    rest = tracked_rest(head, tracking, (1, 1), frontal_camera(head, tracking))
    moved = brought_home(performance, rest)
    return Sequence(name, fps, pack(moved.expression, moved.pose))


def sweep(resting: Array, poses: Rows[Array], fps: float = 25.0, seconds: float = 1.6) -> Sequence:
    """A motion for an avatar that was never filmed: each row comes and goes, the head sways.

    Args:
        resting: [Ke + 21]. poses: rows [Ke + 21] to visit. seconds: per row.
    """
    count = max(2, round(seconds * fps))
    swell = np.sin(np.pi * np.arange(count) / count) ** 1.4
    rows = np.concatenate(
        [resting + swell[:, None] * (row - resting) for row in poses]
        or [np.repeat(resting[None], count, 0)]
    )
    phase = 2 * np.pi * np.arange(len(rows)) / len(rows)
    neck = rows.shape[1] - POSE_SIZE + 6
    rows[:, neck] += 0.05 * np.sin(3 * phase)
    rows[:, neck + 1] += 0.22 * np.sin(2 * phase)
    return Sequence("every expression in turn", fps, rows.astype(np.float32))
