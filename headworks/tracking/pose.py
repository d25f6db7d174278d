"""Splitting a head's pose into the torso's (root) and the neck's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from headworks.tracking import rotations
from headworks.tracking.torso import TorsoMotion

Array = NDArray[np.float64]
FOLLOW_YAW, FOLLOW_PITCH = 0.7, 0.4
"""How much of the head's usual turn the torso is taken to share (it is not seen itself)."""


@dataclass(frozen=True)
class PoseSplit:
    """Root and neck of every frame; together they are the head's pose exactly.

    Attributes:
        rotation, translation, neck, neck_translation: [T, 3] as in `HeadPose`.
    """

    rotation: Array
    translation: Array
    neck: Array
    neck_translation: Array


def world_view(translation: Array) -> Array:
    """World-to-camera [4, 4]: the world's axes are those of a head that faces the camera.

    The camera stands on the z axis at the median distance of the heads, so that root translations
    stay small and rotations stay away from half a turn.

    Args:
        translation: [T, 3] heads in the camera, metres.
    """
    view = np.diag([1.0, -1.0, -1.0, 1.0])
    view[2, 3] = np.median(translation[:, 2])
    return view


def torso_orientation(head_rotation: Array) -> Array:
    """Rotation [3, 3] of an upright torso under heads [T, 3, 3] (world)."""
    usual = rotations.mean(head_rotation)
    yaw, pitch, _ = Rotation.from_matrix(usual).as_euler("YXZ")
    return Rotation.from_euler("YXZ", [FOLLOW_YAW * yaw, FOLLOW_PITCH * pitch, 0.0]).as_matrix()


def split_pose(
    head_rotation: Array,
    head_translation: Array,
    neck_joint: Array,
    root_rotation: Array,
    root_motion: Array,
    offset: tuple[float, float] = (0.0, 0.0),
) -> PoseSplit:
    """Root and neck such that the head stands exactly where it was seen.

    The neck turns about its joint; its translation is zero on average over the frames, but for the
    torso's offset.

    Args:
        head_rotation: [T, 3, 3], head_translation: [T, 3], head to world. neck_joint: [3] rest.
        root_rotation: [T, 3, 3]. root_motion: [T, 3] how the root moves, up to a constant.
        offset: metres (world x, y) by which the torso stands elsewhere than the neck has it.
    """
    neck = np.swapaxes(root_rotation, 1, 2) @ head_rotation
    lever = neck_joint - neck @ neck_joint  # where the turn about the joint puts the origin
    carried = np.einsum("txy,ty->tx", root_rotation, lever)
    base = (head_translation - root_motion - carried).mean(0)
    translation = base + root_motion + np.array([*offset, 0.0])
    shift = np.einsum("tyx,ty->tx", root_rotation, head_translation - translation) - lever
    return PoseSplit(rotations.log(root_rotation), translation, rotations.log(neck), shift)


def root_from_motion(
    motion: TorsoMotion, orientation: Array, focal: float, depth: float, principal: Array
) -> tuple[Array, Array]:
    """The torso's image motion as motion of the root in a world that faces the camera.

    Args:
        motion: image similarity. orientation: [3, 3] root at the reference. focal: pixels.
        depth: distance of the torso, metres. principal: [2] pixels.

    Returns:
        root rotation [T, 3, 3] and translation [T, 3] up to a constant, world axes.
    """
    scale = np.exp(motion.log_scale)
    away = depth / scale  # seen larger = nearer
    start = (motion.centre - principal) / focal * depth
    place = (motion.centre + motion.shift - principal) / focal * away[:, None]
    moved = np.concatenate([place - start, (away - depth)[:, None]], 1) * [1, -1, -1]
    turn = np.zeros((len(scale), 3))
    turn[:, 2] = -motion.angle  # image y points down, the world's up
    spin = rotations.exp(turn)
    # The similarity turns about the torso's centre, the root about its own origin.
    pivot = np.array([start[0], -start[1], 0.0])
    return spin @ orientation, moved + pivot - spin @ pivot
