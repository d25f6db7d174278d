"""The mean head as a table of anatomical points (millimetres, subject's left half).

Breadths, heights and depths follow published means of adults, halfway between the sexes:
bizygomatic 134, nasion-gnathion 117, nasion-subnasale 51, intercanthal 33, biocular 90, nose width
35, mouth width 52, head breadth 152, head length 195 mm (Farkas, Anthropometry of the Head and
Face, 2nd ed. 1994). The remaining points were set by eye on shaded renderings.

Frame: origin between the ear canals, x to the subject's left, y up, z out of the face.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

EYE_CENTRE = np.array([31.5, 22.5, 72.5])
EYE_RADIUS = 11.7
LID_RADIUS = 13.1
"""Radius on which the lids slide over the eyeball, mm."""
ENDOCANTHION = np.array([16.3, 19.8, 80.6])
EXOCANTHION = np.array([46.2, 22.9, 73.4])
MOUTH_HALF_WIDTH = 26.0
MOUTH_Y = -42.0
JAW_JOINT = np.array([0.0, -3.0, 12.0])
NECK_JOINT = np.array([0.0, -70.0, -15.0])
NECK_AXIS_Z = -10.0

_MIDLINE = """
0 128 -12  0 125 22   0 114 57   0 97 80   0 78 92.6   0 60 97.4  0 47 98.2   0 39 96.9
0 33 95  0 27.5 94.4  0 21 97.4    0 13 103.4  0 4 111   0 -3 116.6 0 -8.5 120.4 0 -12.5 121.6
0 -16 120.2  0 -19 115.6  0 -21 110.6  0 -22.6 105.6  0 -27 104.8  0 -31 106
0 -34.6 107.6  0 -38.4 108.4  0 -42 104  0 -45.6 107.4  0 -48.6 106.4  0 -52 102.4  0 -55 99
0 -58.5 97.6  0 -64 98.8  0 -70 100.4  0 -77 99.2  0 -83 95.4  0 -88 88.4  0 -91 80  0 -92.5 68
0 -94 56  0 -98.5 46  0 -110 41  0 -122 41  0 126 -38  0 97 -82  0 65 -96  0 35 -99  0 8 -93
0 -14 -84  0 -36 -71  0 -58 -61  0 -75 -58
"""

# Rows that are sampled along a smooth curve, so that no ripple arises between their points.
_CURVES = (
    # brow ridge
    "0 44 97.8 9 43.5 97.1 20 44.8 95.6 31 45.5 92.6 42 45 86.8 52 42.5 77.6 60 40.5 65 67 40 48 "
    "71.5 40 27",
    # lower edge of the brow
    "0 34.5 95.4 7 34.5 93.8 15 36 91 24 38.6 91.2 34 39.6 89.8 44 38.6 84 51.5 35 75.4 58 29 65",
    # cheek from the ala to the zygomatic arch
    "22.5 -6 89.4 29 -6 88.8 38 -5 86 47 -4 80.4 55 -2 72 62 0 59.5 67.2 1 42 69.6 1 23",
    # under the orbit
    "15.5 5 89.6 22 2.5 87.6 30 1.5 86.4 38 1.8 83.6 46 4 79 54 9 70 61 14 58",
)

# A closed curve around the left eye where lids meet orbit.
_ORBIT = (
    "12.8 22 84.8 17.5 31 86 30 35.4 87.5 43 33.8 82.6 51 28.5 73.8 53.6 21.5 70 47 12.8 77 "
    "33.5 9 83.4 21.5 11 85 14.2 15.5 86.4"
)

_FACE = """
59 20 63  13.5 10 89.4
4.4 19 96.8 8.3 19 92  4.8 9 104.4  9.4 9 97.4  14.4 6.5 90.2
5.4 -1 113 10.2 -1 104.6  14.6 -2 96.4
6 -8 118.4    10.4 -8.5 111.8  14.2 -8.5 104.4  17.2 -9 97.4  20.6 -9 91.4
5.8 -13.5 118.8 10.8 -14 112.8  14.9 -14.2 106  17.9 -15 99.4  20.4 -15.5 92.8
5 -18 115.6   9.5 -18.8 110.8  13.9 -19.4 104.8  17 -19.6 98.8
3.4 -20.8 110.8 8.5 -21.2 107.4  13 -21.6 102.4  18.5 -22 94.6
24 -15 91   30 -17 89.2  40 -17 84   50 -17 75.4  58.5 -16 62  64.5 -16 43.5  66.5 -15 22
5 -28.4 105.2  11 -28.6 103  18 -29 98.8  26 -29 92.6  35 -30 86.2  45 -31 76.8  53.5 -31 63
60 -31 44.5  62 -30 20
5.5 -32.8 107 12 -35 104.6  19 -38 99.4
6 -38 108.2  13 -39.2 104.9  20 -40.8 98
6.5 -42.2 104  13 -42.1 101.4  20 -42.1 96.8  26 -42.3 91.4
6 -45.6 107.2  13 -45.2 104.4  20 -44 97.8
6.5 -51.4 102.4  13 -49.8 100.2  20 -46.6 96
31 -42 88  37 -43 82.8  45 -45 73  52.4 -46 59.4  57.4 -46 41  59 -45 20
8 -56.5 97.8  16 -55 95.2  24 -53 90.4  33 -55 82.4
9 -63 98  18 -64 93.2  27 -66 84.8  36 -66 74.4  44 -65 61.4  51 -62 43  54.5 -59.5 22
9 -71 99.8  17 -73 93.6  25 -76 83.4
9 -80 95  17 -81.5 86.5  25 -81.5 75.5
10 -88 85.6  20 -86.6 76.5  29 -81.4 65.5  38 -77.8 54  45 -71.8 40.5  51 -65 25  53.5 -57 12
12 -91.8 67  25 -88.4 54  34 -85 41  42 -81 25  14 -97.4 45  28 -97 34  39 -92 14
47 -78 1  49 -88 -12
71 10 7  69.2 -2 7  66.2 -14 7  62 -30 5  57.5 -46 2
67 -8 -14  64 -5 -26  59.5 -30 -18  53.5 -52 -16  50 -68 -15
43 -45 -46  52 -20 -48  26 -45 -63  42 -72 -34  26 -70 -54
"""


def _along(curve: str, count: int, closed: bool = False) -> NDArray[np.float64]:
    """Points at equal chord length along a smooth curve through the given ones."""
    knots = _parse(curve)
    if closed:
        knots = np.concatenate([knots, knots[:1]])
    at = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    spline = CubicSpline(at, knots, bc_type="periodic" if closed else "natural")
    return spline(np.linspace(0, at[-1], count, endpoint=not closed))


def _parse(text: str) -> NDArray[np.float64]:
    return np.array(text.split(), np.float64).reshape(-1, 3)


def _cranium() -> NDArray[np.float64]:
    """Superelliptic sections of the skull: height, half breadth, front and back depth."""
    points = []
    for y, breadth, front, back, front_power, back_power in (
        (120, 35, 42, -58, 2.05, 2.0),
        (108, 53.5, 67, -75, 2.1, 2.1),
        (89, 67, 87, -86, 2.2, 2.2),
        (70, 74, 95.8, -94, 2.3, 2.3),
        (54, 75.5, 98.6, -98, 2.35, 2.3),
        (36, 74, 97, -99, 2.4, 2.3),
        (12, 71, 90, -94, 2.3, 2.2),
    ):
        for degrees in np.arange(15, 180, 15):
            if (y < 50 and degrees < 88) or (y < 30 and degrees < 100):
                continue
            angle = np.radians(degrees)
            c, s = np.cos(angle), np.sin(angle)
            power = front_power if c > 0 else back_power
            x = breadth * abs(s) ** (2 / power)
            depth = front if c > 0 else -back
            z = np.sign(c) * depth * abs(c) ** (2 / power)
            points.append((x, y, z))
    return np.array(points)


def lid_margin(side: str, count: int) -> NDArray[np.float64]:
    """Points of one lid margin from the inner to the outer canthus, both included.

    Args:
        side: "upper" or "lower". count: how many.

    Returns:
        [count, 3] mm, on the sphere of the lids except near the inner canthus.
    """
    t = np.linspace(0, 1, count)
    chord = ENDOCANTHION[None] * (1 - t[:, None]) + EXOCANTHION[None] * t[:, None]
    if side == "upper":
        rise = 5.6 * np.sin(np.pi * t) ** 0.8 * (1 + 0.12 * np.cos(np.pi * t))
    else:
        rise = -4.5 * np.sin(np.pi * t) ** 0.85 * (1 - 0.18 * np.cos(np.pi * t))
    points = chord.copy()
    points[:, 1] += rise
    return on_lid_sphere(points, LID_RADIUS)


def on_lid_sphere(points: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Move points along z so that none lies inside the lids' sphere; canthi stay where they are.

    Args:
        points: [N, 3] mm. radius: of the sphere, mm.

    Returns:
        [N, 3] mm.
    """
    offset = points - EYE_CENTRE
    inside = radius**2 - offset[:, 0] ** 2 - offset[:, 1] ** 2
    front = EYE_CENTRE[2] + np.sqrt(np.maximum(inside, 0))
    return np.stack([points[:, 0], points[:, 1], np.maximum(points[:, 2], front)], 1)


def control_points() -> NDArray[np.float64]:
    """All points of the left half through which the skin passes, [N, 3] mm."""
    upper, lower = lid_margin("upper", 11), lid_margin("lower", 11)[1:-1]
    rows = [_along(curve, 14) for curve in _CURVES]
    orbit = _along(_ORBIT, 22, closed=True)
    everything = [_parse(_MIDLINE), _parse(_FACE), _cranium(), *rows, orbit, upper, lower]
    points = np.concatenate(everything)
    return points[(np.abs(points[:, 0]) < 1e-9) | (points[:, 0] > 2)]
