"""What a calibrated rig saw of one head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.tracking.terms import Lens

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cloud:
    """Points of a surface in space, of all frames one after another.

    Attributes:
        points: [N, 3] metres. normals: [N, 3] unit. confidence: [N] in [0, 1].
        start: int [T+1], frame t has points start[t]:start[t+1].
    """

    points: Array
    normals: Array
    confidence: Array
    start: NDArray[np.int64]


@dataclass(frozen=True)
class RigView:
    """Several known cameras.

    Pictures are asked for camera by camera, so that a long recording by many never sits in memory.

    Attributes:
        viewmats: [C, 4, 4] world to camera. Ks: [T, C, 3, 3] working pixels.
        rgb, alpha: camera -> uint8 [T, H, W, 3], uint8 [T, H, W]. size: (width, height).
        landmarks: [T, C, 68, 3] pixels, confidence; NaN where not found.
        linked: bool [T-1]. rate: frames per second.
        space: [T, 68, 4] triangulated landmarks in the world and confidence, or None.
        cloud: points of a reconstruction, or None.
    """

    viewmats: Array
    Ks: Array
    rgb: Callable[[int], NDArray[np.uint8]]
    alpha: Callable[[int], NDArray[np.uint8]]
    size: tuple[int, int]
    landmarks: Array
    linked: NDArray[np.bool_]
    rate: float
    space: Array | None = None
    cloud: Cloud | None = None

    def __len__(self) -> int:
        return len(self.landmarks)

    @property
    def cameras(self) -> int:
        """C."""
        return len(self.viewmats)

    def lens(self, c: int) -> Lens:
        """Camera c with its mean focal length; pictures are brought to it by `centred`."""
        return Lens(
            self.viewmats[c, :3, :3], self.viewmats[c, :3, 3], float(self.Ks[:, c, 0, 0].mean())
        )

    def lens_camera(self, c: int) -> Camera:
        """The lens as a camera whose pixels are those of `centred`."""
        lens = self.lens(c)
        return Camera(self.viewmats[c], np.diag([lens.focal, lens.focal, 1.0]), *self.size)

    def centred(self, c: int, pixels: Array) -> Array:
        """[T, N, 2] pixels of camera c as its lens would have them about the principal point."""
        K = self.Ks[:, c]
        focal = K[:, [0, 1], [0, 1]][:, None]
        return (pixels - K[:, None, :2, 2]) / focal * self.lens(c).focal

    def magnification(self, c: int) -> Array:
        """[T] pixels of camera c per pixel of its lens."""
        return self.Ks[:, c, 0, 0] / self.lens(c).focal
