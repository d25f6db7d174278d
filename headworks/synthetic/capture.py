"""Rigs, backdrops and whole captures of synthetic people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera, intrinsics, orbit
from headworks.images import to_uint8
from headworks.synthetic.motion import Motion
from headworks.synthetic.noise import noise
from headworks.synthetic.person import Person
from headworks.synthetic.render import pose_person, render_stage

TARGET = (0.0, -0.015, 0.0)
"""What rigs look at: a little below the ears' axis."""


@dataclass(frozen=True)
class Rendered:
    """Frames of a capture and their exact annotations.

    Attributes:
        rgb: uint8 [T, C, H, W, 3]. alpha: uint8 [T, C, H, W].
        landmarks: float32 [T, C, 68, 3]: x, y in pixels, 1 if visible else 0.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


def ring(
    count: int, size: int, distance: float = 1.1, span: float = 2.4, height_m: float = 0.44
) -> list[Camera]:
    """Cameras around the front of the head at alternating heights.

    Args:
        count: how many. size: pixels per side. distance: metres. span: azimuth from the first to
            the last camera, radians. height_m: what the image shows at the target, metres.
    """
    azimuths = np.linspace(-span / 2, span / 2, count) if count > 1 else np.zeros(1)
    elevations = np.resize([0.0, 0.30, -0.12], count)
    K = intrinsics(size * distance / height_m, size, size)
    return [
        Camera(orbit(a, e, distance, TARGET), K, size, size)
        for a, e in zip(azimuths, elevations, strict=True)
    ]


def around(count: int, size: int, distance: float = 1.1, height_m: float = 0.44) -> list[Camera]:
    """Cameras all around, above and a little below: front, sides, back, top.

    Args:
        count: how many. size: pixels per side. distance: metres. height_m: as in `ring`.
    """
    azimuths = np.arange(count) / count * 2 * np.pi
    elevations = np.resize([0.0, 0.5, -0.15, 0.25], count)
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


def room(size: int, seed: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A plain wall with a soft gradient and a light texture, float32 [size, size, 3]."""
    y, x = np.mgrid[0:size, 0:size] / size
    grid = np.stack([x, y, 0 * x], -1)
    tint = rng.uniform(0.50, 0.78) + rng.uniform(-0.07, 0.07, 3)
    slope = rng.uniform(-0.10, 0.10, 2)
    level = 1 + slope[0] * (x - 0.5) + slope[1] * (y - 0.5)
    level = level + 0.035 * noise(grid, 0.16, seed, 3) + 0.012 * noise(grid, 0.008, seed + 1)
    return np.clip(tint * level[..., None], 0, 1).astype(np.float32)


def capture(
    person: Person,
    motion: Motion,
    cameras: list[Camera],
    background: NDArray[np.float32] | tuple[float, float, float],
    supersampling: int = 2,
    sensor_noise: float = 0.0,
    rng: np.random.Generator | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Rendered:
    """Render every time step from every camera.

    Args:
        person: who. motion: what they do. cameras: all of one size.
        background: a colour or a plate [H, W, 3]. supersampling: samples per pixel and axis.
        sensor_noise: standard deviation of noise on the picture. rng: needed for noise.
    """
    t, c = len(motion.expression), len(cameras)
    height, width = cameras[0].height, cameras[0].width
    rgb = np.zeros((t, c, height, width, 3), np.uint8)
    alpha = np.zeros((t, c, height, width), np.uint8)
    landmarks = np.zeros((t, c, 68, 3), np.float32)
    for i in range(t):
        stage = pose_person(person, motion.expression[i], motion.pose[[i]])
        for j, camera in enumerate(cameras):
            picture = render_stage(stage, camera, supersampling)
            image = picture.over(background)
            if sensor_noise and rng is not None:
                image = image + rng.normal(0, sensor_noise, image.shape)
            rgb[i, j] = to_uint8(image)
            alpha[i, j] = to_uint8(picture.alpha)
            landmarks[i, j] = picture.landmarks
        if progress is not None:
            progress((i + 1) / t, f"frame {i + 1} of {t}")
    return Rendered(rgb, alpha, landmarks)


def truth_arrays(
    person: Person, motion: Motion, cameras: list[Camera], rendered: Rendered
) -> dict[str, NDArray[Any]]:
    """The arrays of `truth/truth.zarr` (docs/artifacts.md)."""
    t = len(motion.expression)
    pose = motion.pose
    return {
        "alpha": rendered.alpha,
        "landmarks": rendered.landmarks,
        "identity": person.identity.numpy(),
        "expression": motion.expression.numpy(),
        "rotation": pose.rotation.numpy(),
        "translation": pose.translation.numpy(),
        "neck": pose.neck.numpy(),
        "neck_translation": pose.neck_translation.numpy(),
        "jaw": pose.jaw.numpy(),
        "eyes": pose.eyes.numpy(),
        "viewmats": np.stack([camera.viewmat for camera in cameras]),
        "Ks": np.broadcast_to(np.stack([camera.K for camera in cameras]), (t, len(cameras), 3, 3)),
        "valid": np.ones(t, bool),
    }
