"""The skin of head and upper neck as a radial function over directions."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural import linear
from headworks.heads.procedural.anatomy import control_points

Points = NDArray[np.float64]

_SMOOTHING = 2e-6
"""How far the surface may miss its points in favour of smoothness (weight on the diagonal)."""


@numba.njit(cache=True)
def _system(rays: Points, smoothing: float) -> Points:
    """Matrix of the cubic radial basis and its linear part, [N + 4, N + 4]."""
    count = len(rays)
    a = np.zeros((count + 4, count + 4))
    for i in range(count):
        for j in range(count):
            gap = 0.0
            for d in range(3):
                gap += (rays[i, d] - rays[j, d]) ** 2
            a[i, j] = gap * np.sqrt(gap)
        a[i, i] += smoothing
        a[i, count] = a[count, i] = 1.0
        for d in range(3):
            a[i, count + 1 + d] = a[count + 1 + d, i] = rays[i, d]
    return a


@numba.njit(cache=True)
def _evaluate(directions: Points, rays: Points, weights: Points, out: Points) -> None:
    count = len(rays)
    for i in range(len(directions)):
        total = weights[count]
        for d in range(3):
            total += weights[count + 1 + d] * directions[i, d]
        for j in range(count):
            gap = 0.0
            for d in range(3):
                gap += (directions[i, d] - rays[j, d]) ** 2
            total += weights[j] * gap * np.sqrt(gap)
        out[i] = total


class SkinSurface:
    """Star-shaped surface x = r(d) d through given points and their mirror images.

    A cubic radial basis interpolates r over unit directions, so there is no pole and no seam.
    """

    def __init__(self, points: Points | None = None, smoothing: float = _SMOOTHING) -> None:
        half = control_points() if points is None else points
        mirrored = half[half[:, 0] > 1e-9] * [-1, 1, 1]
        both = np.concatenate([half, mirrored])
        radius = np.linalg.norm(both, axis=1)
        self._rays = both / radius[:, None]
        right = np.append(radius, np.zeros(4))[:, None]
        self._weights = linear.solve(_system(self._rays, smoothing), right)[:, 0]

    def radius(self, directions: Points) -> Points:
        """[N, 3] unit directions -> [N] mm."""
        out = np.empty(len(directions))
        _evaluate(np.ascontiguousarray(directions, np.float64), self._rays, self._weights, out)
        return out

    def points(self, directions: Points) -> Points:
        """[N, 3] unit directions -> [N, 3] mm on the skin."""
        return directions * self.radius(directions)[:, None]

    def side(self, yz: Points) -> Points:
        """How far the skin reaches to the left at given y, z near the ear, [N, 2] -> [N] mm."""
        x = np.full(len(yz), 68.0)
        for _ in range(30):
            point = np.column_stack([x, yz])
            distance = np.linalg.norm(point, axis=1)
            x = x + 0.8 * (self.radius(point / distance[:, None]) - distance)
        return x

    def front(self, xy: Points) -> Points:
        """The foremost skin point at given x, y (face only), [N, 2] -> [N, 3] mm."""
        high = np.full(len(xy), 132.0)
        low = high.copy()
        open_still = np.ones(len(xy), bool)
        # Down in steps until inside, then halve: overhangs have more than one crossing.
        while open_still.any() and low.min() > 0:
            high = np.where(open_still, low, high)
            low = np.where(open_still, low - 2.0, low)
            open_still = open_still & ~self._inside(np.column_stack([xy, low]))
        for _ in range(36):
            middle = (low + high) / 2
            inside = self._inside(np.column_stack([xy, middle]))
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        return np.column_stack([xy, (low + high) / 2])

    def _inside(self, points: Points) -> NDArray[np.bool_]:
        distance = np.linalg.norm(points, axis=1)
        return distance < self.radius(points / distance[:, None])
