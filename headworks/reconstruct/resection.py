"""Cameras that share too few features with the others, placed by landmarks of the face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.landmarks.triangulate import TOLERANCE, triangulate_landmarks

# The outline of the jaw slides from view to view: it places nothing.
_FIXED = slice(17, 68)
_LEAST = 12


def place_by_landmarks(
    landmarks: NDArray[np.floating], cameras: Sequence[Camera | None], c: int, guess: Camera
) -> Camera | None:
    """The pose of one camera from landmarks that the placed ones see in space.

    Args:
        landmarks: [T, C, 68, 3] working pixels and confidence, NaN where not found.
        cameras: of all views, None where not placed. c: which to place.
        guess: its lens and size; its pose does not count.

    Returns:
        The camera, or None where fewer than twelve landmarks agree on a place.

    Source: Lepetit et al., EPnP, 2009, inside RANSAC, then Levenberg-Marquardt (OpenCV).
    """
    import cv2

    placed = [i for i, camera in enumerate(cameras) if camera is not None]
    looked = [camera for camera in cameras if camera is not None]
    if len(placed) < 2:
        return None
    space = triangulate_landmarks(landmarks[:, placed], looked)
    points = space.points[:, _FIXED].reshape(-1, 3).astype(np.float64)
    seen = np.asarray(landmarks[:, c, _FIXED], np.float64).reshape(-1, 3)
    good = np.isfinite(points).all(1) & np.isfinite(seen).all(1) & (seen[:, 2] > 0)
    if good.sum() < _LEAST:
        return None
    points, pixels = points[good], np.ascontiguousarray(seen[good, :2])
    # A world of unknown scale: OpenCV's thresholds like distances of about one.
    middle, size = points.mean(0), float(np.linalg.norm(points.std(0)))
    local = np.ascontiguousarray((points - middle) / size)
    cv2.setRNGSeed(0)
    found, turn, move, inliers = cv2.solvePnPRansac(
        local, pixels, guess.K, None, iterationsCount=1000,
        reprojectionError=TOLERANCE * max(guess.width, guess.height), flags=cv2.SOLVEPNP_EPNP,
    )  # fmt: skip
    if not found or inliers is None or len(inliers) < max(_LEAST, 0.5 * len(local)):
        return None
    kept = inliers.ravel()
    turn, move = cv2.solvePnPRefineLM(local[kept], pixels[kept], guess.K, None, turn, move)
    viewmat = np.eye(4)
    viewmat[:3, :3] = cv2.Rodrigues(turn)[0]
    viewmat[:3, 3] = size * move.ravel() - viewmat[:3, :3] @ middle
    if viewmat[2, :3] @ middle + viewmat[2, 3] <= 0:
        return None
    return Camera(viewmat, guess.K, guess.width, guess.height)
