"""A patterned ball before a rig of cameras: pictures whose every surface point is known exactly."""

from __future__ import annotations

import numpy as np

from headworks.cameras import Camera, intrinsics, orbit

RADIUS = 0.09
DISTANCE = 1.0
_SAMPLES = 3


def rig(count: int, side: int, span: float = 1.4) -> list[Camera]:
    """Cameras on an arc at alternating heights; the ball fills about 70 % of the picture."""
    K = intrinsics(0.35 * side * DISTANCE / RADIUS, side, side)
    azimuths = np.linspace(-span / 2, span / 2, count)
    heights = np.resize([0.22, -0.22], count)
    return [Camera(orbit(a, e, DISTANCE), K, side, side) for a, e in zip(azimuths, heights)]


def pattern(points: np.ndarray, seed: int) -> np.ndarray:
    """Spots of several sizes, fixed to the surface: [..., 3] -> [...] in [0, 1]."""
    rng = np.random.default_rng(seed)
    value = np.zeros(points.shape[:-1])
    for wavelength, strength in ((0.05, 1.0), (0.025, 0.8), (0.014, 0.6)):
        for _ in range(6):
            wave = rng.standard_normal(3)
            wave *= 2 * np.pi / (wavelength * np.linalg.norm(wave))
            value += strength * np.sin(points @ wave + rng.uniform(0, 2 * np.pi))
    return 0.5 + 0.5 * np.tanh(0.6 * value)


def picture(camera: Camera, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What a camera sees: rgb uint8 [H, W, 3] over white, alpha uint8 [H, W]."""
    n = _SAMPLES
    y, x = np.mgrid[: camera.height * n, : camera.width * n]
    pixel = np.stack([(x + 0.5) / n, (y + 0.5) / n, np.ones(x.shape)], -1)
    ray = pixel @ np.linalg.inv(camera.K).T @ camera.viewmat[:3, :3]
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    towards = ray @ camera.centre
    root = towards**2 - camera.centre @ camera.centre + RADIUS**2
    hit = root > 0
    surface = camera.centre + (-towards - np.sqrt(np.maximum(root, 0)))[..., None] * ray
    grey = np.where(hit, pattern(surface, seed), 1.0)
    tint = np.stack([grey, 0.8 * grey + 0.1, 0.9 * grey], -1)
    rgb = np.where(hit[..., None], tint, 1.0)
    shape = (camera.height, n, camera.width, n)
    rgb = rgb.reshape(*shape, 3).mean((1, 3))
    alpha = hit.reshape(shape).mean((1, 3))
    return np.rint(255 * rgb).astype(np.uint8), np.rint(255 * alpha).astype(np.uint8)


def pictures(cameras: list[Camera], times: int) -> tuple[np.ndarray, np.ndarray]:
    """Another pattern at each time: rgb uint8 [T, C, H, W, 3], alpha uint8 [T, C, H, W]."""
    seen = [[picture(camera, t) for camera in cameras] for t in range(times)]
    return (
        np.stack([np.stack([rgb for rgb, _ in row]) for row in seen]),
        np.stack([np.stack([alpha for _, alpha in row]) for row in seen]),
    )
