"""The skin of head and upper neck as a radial function over directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from headworks.heads.procedural.anatomy import control_points

Points = NDArray[np.float64]

CENTRE = np.array([0.0, 0.0, 0.0])


class SkinSurface:
    """Star-shaped surface x = CENTRE + r(d) d through given points and their mirror images.

    A cubic radial basis interpolates r over unit directions, so there is no pole and no seam.
    """

    def __init__(self, points: Points | None = None, smoothing: float = 2e-6) -> None:
        half = control_points() if points is None else points
        mirrored = half[half[:, 0] > 1e-9] * [-1, 1, 1]
        both = np.concatenate([half, mirrored]) - CENTRE
        radius = np.linalg.norm(both, axis=1)
        self._spline = RBFInterpolator(
            both / radius[:, None], radius, kernel="cubic", smoothing=smoothing
        )

    def radius(self, directions: Points) -> Points:
        """[N, 3] unit directions -> [N] mm."""
        return self._spline(directions)

    def points(self, directions: Points) -> Points:
        """[N, 3] unit directions -> [N, 3] mm on the skin."""
        return CENTRE + directions * self.radius(directions)[:, None]

    def side(self, yz: Points) -> Points:
        """How far the skin reaches to the left at given y, z near the ear, [N, 2] -> [N] mm."""
        x = np.full(len(yz), 68.0)
        for _ in range(30):
            point = np.column_stack([x, yz])
            distance = np.linalg.norm(point, axis=1)
            x = x + 0.8 * (self.radius(point / distance[:, None]) - distance)
        return x

    def front(self, xy: Points, guess: Points | float = 85.0) -> Points:
        """The skin point in front at given x, y (face only), [N, 2] -> [N, 3] mm."""
        z = np.broadcast_to(np.asarray(guess, np.float64), len(xy)).copy()
        for _ in range(25):
            point = np.column_stack([xy, z])
            ray = point / np.linalg.norm(point, axis=1, keepdims=True)
            hit = ray * self.radius(ray)[:, None]
            # Move along z by how much the ray through the current point over- or undershoots.
            z += (
                0.8
                * (np.linalg.norm(hit, axis=1) - np.linalg.norm(point, axis=1))
                / np.maximum(ray[:, 2], 0.35)
            )
        return np.column_stack([xy, z])
