"""Pinhole cameras: OpenCV axes (x right, y down, z forward), pixel centres at +0.5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Camera:
    """One pinhole view.

    Attributes:
        viewmat: world-to-camera, float64 [4, 4], metres.
        K: intrinsics, float64 [3, 3], pixels of the image of size (width, height).
        width: image width in pixels.
        height: image height in pixels.
    """

    viewmat: NDArray[np.float64]
    K: NDArray[np.float64]
    width: int
    height: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "viewmat", np.asarray(self.viewmat, np.float64))
        object.__setattr__(self, "K", np.asarray(self.K, np.float64))
        if self.viewmat.shape != (4, 4) or self.K.shape != (3, 3):
            raise ValueError(
                f"viewmat must be [4, 4] and K [3, 3], got {self.viewmat.shape} and {self.K.shape}"
            )
        if not (np.isfinite(self.viewmat).all() and np.isfinite(self.K).all()):
            raise ValueError("viewmat or K holds a non-finite value")

    @property
    def centre(self) -> NDArray[np.float64]:
        """Camera centre in the world, float64 [3], metres."""
        rotation, translation = self.viewmat[:3, :3], self.viewmat[:3, 3]
        return -rotation.T @ translation

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Project world points.

        Args:
            points: [..., 3] metres.

        Returns:
            [..., 3]: pixel x, pixel y, depth z in metres (negative behind the camera).
        """
        cam = np.asarray(points, np.float64) @ self.viewmat[:3, :3].T + self.viewmat[:3, 3]
        pix = cam @ self.K.T
        return np.concatenate([pix[..., :2] / pix[..., 2:], cam[..., 2:]], -1)

    def resized(self, width: int, height: int) -> Camera:
        """The same view on an image of another size (pixel centres at +0.5 on both)."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return Camera(self.viewmat, scale @ self.K, width, height)


def intrinsics(focal_px: float, width: int, height: int) -> NDArray[np.float64]:
    """K with square pixels and the principal point at the image centre, float64 [3, 3]."""
    return np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]])


def look_at(
    eye: NDArray[np.floating],
    target: NDArray[np.floating],
    up: tuple[float, float, float] = (0, 1, 0),
) -> NDArray[np.float64]:
    """World-to-camera matrix of a camera at `eye` that looks at `target`.

    Args:
        eye: [3] metres. target: [3] metres. up: world direction that points up in the image.

    Returns:
        float64 [4, 4], OpenCV axes.
    """
    eye = np.asarray(eye, np.float64)
    forward = np.asarray(target, np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, np.asarray(up, np.float64))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    rotation = np.stack([right, down, forward])
    viewmat = np.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ eye
    return viewmat


def orbit(
    azimuth: float,
    elevation: float,
    distance: float,
    target: NDArray[np.floating] | tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> NDArray[np.float64]:
    """View matrix of a camera on a sphere around `target`.

    Args:
        azimuth: radians; 0 sees the face (+z), positive moves to the subject's left (+x).
        elevation: radians; positive looks down from above.
        distance: metres from the target.
        target: [3] metres, in the canonical head frame.

    Returns:
        float64 [4, 4].
    """
    direction = np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )
    target = np.asarray(target, np.float64)
    return look_at(target + distance * direction, target)
