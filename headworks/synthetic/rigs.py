"""Where cameras stand around synthetic people."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.cameras import Camera, intrinsics, orbit
from headworks.formats.nersemble import CORNERS, FULL_SIZE, SERIALS
from headworks.geometry import matrix_to_axis_angle
from headworks.heads import HeadPose
from headworks.synthetic.motion import Motion

TARGET = (0.0, -0.015, 0.0)
"""What rigs look at: a little below the ears' axis."""
DISTANCE, HEIGHT_M = 1.1, 0.44
"""Metres from the target, and what an image shows there from its upper to its lower edge."""

NERSEMBLE_ARC, NERSEMBLE_RISE = np.radians(93.0), np.radians(32.0)
"""Arc over which the 16 cameras stand, and between their rows (NeRSemble, section 3)."""
HEMISPHERE = (np.radians(-20.0), np.radians(45.0))
"""Elevations of GASP's synthetic images; their azimuths go all around."""


def ring(
    count: int, size: int, distance: float = DISTANCE, span: float = 2.4,
    height_m: float = HEIGHT_M,
) -> list[Camera]:  # fmt: skip
    """Cameras around the front of the head at alternating heights.

    Args:
        count: how many. size: pixels per side. distance: metres. span: azimuth from the first to
            the last camera, radians. height_m: what the image shows at the target, metres.
    """
    azimuths = np.linspace(-span / 2, span / 2, count) if count > 1 else np.zeros(1)
    elevations = np.resize([0.0, 0.30, -0.12], count)
    return _square(azimuths, elevations, size, distance, height_m)


def around(
    count: int, size: int, distance: float = DISTANCE, height_m: float = HEIGHT_M
) -> list[Camera]:
    """Cameras all around, above and a little below: front, sides, back, top.

    Args:
        count: how many. size: pixels per side. distance: metres. height_m: as in `ring`.
    """
    azimuths = np.arange(count) / count * 2 * np.pi
    elevations = np.resize([0.0, 0.5, -0.15, 0.25], count)
    return _square(azimuths, elevations, size, distance, height_m)


def _square(
    azimuths: NDArray[np.float64], elevations: NDArray[np.float64], size: int, distance: float,
    height_m: float,
) -> list[Camera]:  # fmt: skip
    K = intrinsics(size * distance / height_m, size, size)
    return [
        Camera(orbit(a, e, distance, TARGET), K, size, size)
        for a, e in zip(azimuths, elevations, strict=True)
    ]


def held_out(count: int, wanted: int) -> list[int]:
    """Indices of the held-out cameras: evenly spread over the ring, never its middle only.

    Args:
        count: cameras on the ring. wanted: how many of them to hold out, less than `count`.
    """
    if not wanted:
        return []
    return sorted({int(i) for i in np.floor((np.arange(wanted) + 0.5) * count / wanted)})


def nersemble_rig(
    width: int, distance: float = DISTANCE, width_m: float = 0.42
) -> dict[str, Camera]:
    """16 cameras as NeRSemble's: eight columns and two rows, portrait images, by serial.

    Args:
        width: of the images, pixels; they are 3208 / 2200 times as high.
        distance: metres. width_m: what an image shows across at the target, metres.
    """
    height = round(width * FULL_SIZE[1] / FULL_SIZE[0])
    height += height % 2
    K = intrinsics(width * distance / width_m, width, height)
    cameras = {}
    for i, serial in enumerate(SERIALS):
        column, lower = divmod(i, 2)
        azimuth = NERSEMBLE_ARC * (0.5 - column / 7)
        elevation = NERSEMBLE_RISE * (-0.5 if lower else 0.5)
        cameras[serial] = Camera(orbit(azimuth, elevation, distance, TARGET), K, width, height)
    return cameras


def squared(camera: Camera) -> tuple[Camera, int]:
    """The middle square of a portrait camera, and the row at which it begins."""
    top = (camera.height - camera.width) // 2
    K = camera.K.copy()
    K[1, 2] -= top
    return Camera(camera.viewmat, K, camera.width, camera.width), top


def nersemble_held_out() -> list[int]:
    """Indices of NeRSemble's four most extreme cameras."""
    return [SERIALS.index(serial) for serial in CORNERS]


def seen_from_everywhere(motion: Motion, rng: np.random.Generator) -> Motion:
    """A motion whose every step is seen from another place of GASP's hemisphere by ONE camera.

    The camera of `ring(1, ...)` stays; the person is turned in front of it as if it had moved.
    Under uniform light the picture is the same. Azimuths are stratified over the full circle.

    Args:
        motion: T steps with the root at rest. rng: of the views.

    Raises:
        ValueError: the motion moves the root itself.

    Source: GASP (CVPR 2025), its synthetic data.
    """
    pose = motion.pose
    if pose.rotation.abs().max() > 0 or pose.translation.abs().max() > 0:
        raise ValueError("the root must be at rest: it is what the views turn")
    count = len(motion.expression)
    shares = rng.permutation((np.arange(count) + rng.uniform(0, 1, count)) / count)
    azimuths = (2 * shares - 1) * np.pi
    elevations = rng.uniform(*HEMISPHERE, count)
    here = np.linalg.inv(orbit(0.0, 0.0, DISTANCE, TARGET))
    moves = [here @ orbit(a, e, DISTANCE, TARGET) for a, e in zip(azimuths, elevations)]
    turned = torch.from_numpy(np.stack(moves))
    rotation = matrix_to_axis_angle(turned[:, :3, :3]).float()
    translation = turned[:, :3, 3].float()
    fixed = HeadPose(rotation, translation, pose.neck, pose.neck_translation, pose.jaw, pose.eyes)
    return Motion(motion.expression, fixed, motion.names)
