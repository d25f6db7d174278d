"""Fine relief of the skin that a smooth surface through a few points cannot hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from headworks.heads.procedural.parttypes import Points, smoothstep

Triples = tuple[tuple[float, float, float], ...]

# Creases and ridges of the left half: a line over the skin (mm), half width and height in mm.
_LINES: tuple[tuple[Triples, float, float], ...] = (
    # groove around the wing of the nose
    (((12.6, -5.5, 100.5), (16.5, -6.6, 98.2), (20.2, -9.8, 92.6), (21.4, -15, 91.6),
      (20.0, -20.2, 94.2)), 1.7, -1.7),
    # between wing and tip
    (((10.2, -6.0, 110), (12.0, -10.5, 110), (12.6, -16.0, 108.5)), 1.9, -0.8),
    # columns of the philtrum
    (((3.4, -24.0, 105), (4.0, -28.5, 105.2), (5.0, -33.0, 107)), 1.3, 0.7),
    # fold from nose to mouth
    (((22.5, -14, 91), (26.5, -23, 91), (30.5, -33, 89)), 2.4, -0.7),
    # tear trough
    (((16.5, 12.5, 85.5), (21, 7, 87), (28, 3.5, 87)), 2.2, -0.6),
    # muscle from behind the ear to the breastbone
    (((47, -52, -10), (36, -84, 14), (23, -112, 32), (11, -134, 42)), 5.5, 2.2),
)  # fmt: skip
# Bumps: centre, radii, displacement; mirrored unless on the middle.
_BUMPS: tuple[tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]], ...] = (
    ((16.8, -14.2, 100.5), (3.8, 4.2, 5.0), (1.3, -0.2, 0.7)),
    ((4.6, -11.8, 119.5), (3.4, 3.6, 4.0), (0.3, 0.0, 0.7)),
    ((0.0, -28.0, 105.0), (1.9, 5.0, 4.0), (0.0, 0.0, -0.8)),
    ((0.0, -38.2, 108.4), (3.2, 2.6, 4.0), (0.0, -0.2, 0.5)),
    ((6.8, -46.6, 106.6), (5.0, 3.0, 5.0), (0.0, 0.0, 0.5)),
    ((0.0, -108.0, 42.0), (6.5, 8.0, 12.0), (0.0, 0.0, 2.2)),
    ((26.5, -42.2, 91.2), (2.6, 2.6, 5.0), (0.0, 0.0, -0.8)),
)


def relief(points: Points, outward: Points) -> Points:
    """Displacement [N, 3] mm of points of the left half and the middle, on or near the skin.

    Args:
        points: [N, 3] mm. outward: [N, 3] unit directions out of the head.
    """
    amount = np.zeros(len(points))
    for line, width, height in _LINES:
        distance = _to_line(points, np.array(line))
        amount += height * np.exp(-0.5 * (distance / width) ** 2)
    out = amount[:, None] * outward
    for centre, radii, move in _BUMPS:
        for side in (1.0, -1.0) if centre[0] else (1.0,):
            flip = np.array([side, 1.0, 1.0])
            near = (points * flip - np.array(centre)) / np.array(radii)
            out += np.exp(-0.5 * (near**2).sum(1))[:, None] * (np.array(move) * flip)
    # On the middle nothing moves sideways.
    out[:, 0] *= smoothstep(np.abs(points[:, 0]), 0.0, 2.0)
    return out


def _to_line(points: Points, line: Points) -> Points:
    """Distance to a polyline, [N] mm."""
    best = np.full(len(points), np.inf)
    for start, end in pairwise(line):
        way = end - start
        t = np.clip(((points - start) * way).sum(1) / (way * way).sum(), 0, 1)
        gap = points - start - t[:, None] * way
        best = np.minimum(best, np.sqrt((gap * gap).sum(1)))
    return best
