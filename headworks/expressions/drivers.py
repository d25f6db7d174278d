"""Which frames of a capture drive: training frames, spread over time, seen from the front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headworks.geometry import axis_angle_to_matrix
from headworks.tracks import Tracking

FRONTAL = float(np.deg2rad(40))
"""Largest angle between the face and the camera at which LivePortrait is used (GPHMv2)."""


@dataclass(frozen=True)
class Driver:
    """A frame that drives: time, camera, and the angle between face and camera in radians."""

    t: int
    c: int
    angle: float


def face_angles(tracking: Tracking) -> NDArray[np.float64]:
    """Angle between the face's direction and that to each camera, radians [T, C]."""
    pose = tracking.pose
    turned = axis_angle_to_matrix(pose.rotation) @ axis_angle_to_matrix(pose.neck)
    forward = turned[:, :, 2].double().numpy()
    heads = pose.translation.double().numpy()
    rotations, offsets = tracking.viewmats[:, :3, :3], tracking.viewmats[:, :3, 3]
    centres = -np.einsum("cji,cj->ci", rotations, offsets)
    towards = centres[None] - heads[:, None]
    towards = towards / np.linalg.norm(towards, axis=-1, keepdims=True)
    return np.arccos(np.clip(np.einsum("ti,tci->tc", forward, towards), -1, 1))


def choose_drivers(
    tracking: Tracking,
    pairs: list[tuple[int, int]],
    count: int,
    largest: float = np.inf,
) -> list[Driver]:
    """Frames evenly spread over time, each from the camera that the face looks at most.

    Args:
        tracking: of the capture. pairs: (t, c) that may drive. count: at most so many.
        largest: no frame whose face is turned further away, radians.
    """
    angles = face_angles(tracking)
    best: dict[int, Driver] = {}
    for t, c in sorted(pairs):
        angle = float(angles[t, c])
        if tracking.valid[t] and angle <= largest and (t not in best or angle < best[t].angle):
            best[t] = Driver(t, c, angle)
    ordered = [best[t] for t in sorted(best)]
    if len(ordered) <= count:
        return ordered
    picked = np.unique(np.rint(np.linspace(0, len(ordered) - 1, count)).astype(int))
    return [ordered[i] for i in picked]
