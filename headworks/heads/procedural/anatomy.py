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
ENDOCANTHION = np.array([16.8, 19.8, 80.0])
EXOCANTHION = np.array([45.3, 22.8, 74.0])
MOUTH_HALF_WIDTH = 26.0
MOUTH_Y = -42.0
JAW_JOINT = np.array([0.0, -3.0, 12.0])
NECK_JOINT = np.array([0.0, -70.0, -15.0])
NECK_AXIS_Z = -10.0

_MIDLINE = """
0 127 -8   0 124 26   0 113 59   0 96 82   0 78 93.5   0 60 98  0 46 99.8   0 38 98.6
0 32 95.8  0 26 94.2  0 20 96    0 12 101  0 3 107.6   0 -4 113 0 -9 116.6 0 -13 117.8
0 -16.5 116.4 0 -19.5 112.4 0 -21.8 107.8 0 -23.6 104.3 0 -28 103.4 0 -32 105.2
0 -35 106.8 0 -38.5 107.6 0 -42 103.2 0 -45.5 106.2 0 -48.5 105 0 -51.5 102 0 -55 98
0 -58 96.8 0 -63 97.6 0 -70 99.6 0 -77 98.6 0 -83 95 0 -88 88.5 0 -91 80 0 -92.5 68
0 -94 56 0 -98 47 0 -110 44 0 -122 45 0 125 -34 0 95 -80 0 65 -96 0 35 -99 0 8 -93
0 -14 -84 0 -36 -72 0 -58 -63 0 -75 -61
"""

# Rows that are sampled along a smooth curve, so that no ripple arises between their points.
_CURVES = (
    # brow ridge
    "0 43 99.6 9 42 99 20 43.5 97.9 31 44.5 94.2 42 44 87 52 42 76 60 40.5 62.5 67 40 46 "
    "71.5 40 25",
    # lower edge of the brow
    "0 34.5 97 7 34 96.2 15 36 95.6 24 37.8 94.4 34 38.8 91.2 44 38 84 51.5 34.5 74 58 29 63",
    # cheek from the ala to the zygomatic arch
    "22 -6 88.4 29 -6 87.6 38 -5 84.2 47 -4 77.5 55 -2 68 62 0 53 66.5 1 36 68.5 1 20",
    # under the orbit
    "15.5 5 88.6 22 2.5 87 30 1.5 85.6 38 1.8 82 46 4 76.2 54 9 66 60 14 54",
)

# A closed curve around the left eye where lids meet orbit.
_ORBIT = (
    "13 22 85 17.5 31 88.2 30 35 88.8 43 33.6 82.2 50.5 28.5 71.8 52.8 21.5 67 46.5 12.8 75 "
    "33.5 9 83 21.5 11 84.8 14.5 15.5 86.2"
)

_FACE = """
58 20 60  13.5 10 88.4
4.5 19 95.2 8.5 19 91.2  4.8 9 102  9.5 9 95.3  14.5 6.5 89.4
5.5 -1 109.2 10.5 -1 102  14.8 -2 95.2
6 -8 114.2    10.5 -8.5 108.8  14.2 -8.5 102.8  17 -9 96.6  20.5 -9 90.4
5.8 -13.5 115.2 10.8 -14 110  14.8 -14.2 104.2  17.6 -15 98.6  20 -15.5 92
5 -18 112.4   9.5 -19 108.4  13.8 -19.6 103.2  16.6 -19.8 97.6
3.5 -21.6 107.8 8.5 -21.8 105  13 -22 100.8 18.5 -22 93.5
24 -15 90   30 -17 88  40 -17 81.8  50 -17 71  58 -16 55  62.5 -16 38  64.5 -15 20
5 -29 103.9 11 -29 102  18 -29 97.8  26 -29 91.5  35 -30 84.7  45 -31 73.8  53 -31 58
58.5 -31 38  60.5 -30 18
5.5 -33.4 106.3  12 -35.3 103.8  19 -38.3 98.6
6 -38 107.3  13 -39.4 103.9  20 -41 97.2
6.5 -42.2 103.2  13 -42.1 100.6  20 -42.1 96  26 -42.3 91
6 -45.6 106  13 -45.2 103.1  20 -44 96.8
6.5 -51 101.8  13 -49.4 99.6  20 -46.4 95.4
31 -42 87.5  37 -43 81.4  45 -45 70.2  51.5 -46 54.5  55.5 -46 37  57 -45 20
8 -56.5 97  16 -55 94.6  24 -53 89.6  33 -55 81.3
9 -63 96.8  18 -64 91.8  27 -66 83  36 -66 71.5  44 -65 57  50 -62 40  52.5 -60 22
9 -71 98  17 -73 92.8  25 -76 83.4
9 -80 94.8  17 -82 88  25 -83 78.5
10 -88 86  20 -87 77.5  30 -83.5 66.5  38 -79 54  45 -73 40  50 -66 24  53 -58 12
12 -91.5 68  25 -88 55  34 -85 42  42 -81 25  14 -96 48  28 -95 37  40 -90 18
50 -76 2  53 -84 -10
69.5 10 6  67.5 -2 6  64.5 -14 6  61 -30 4  57 -46 2
66 -8 -14  64 -5 -26  60 -30 -18  56 -52 -16  54 -68 -14
44 -45 -44  52 -20 -48  26 -45 -63  46 -72 -34  27 -70 -56
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
    for y, breadth, front, back, power in (
        (119, 41, 49, -57, 2.1),
        (107, 57.5, 70, -73, 2.2),
        (88, 68, 89, -85, 2.35),
        (70, 74, 96.5, -94, 2.45),
        (54, 75.5, 99, -98, 2.5),
        (36, 74, 97, -99, 2.4),
        (12, 71, 90, -94, 2.3),
    ):
        for degrees in np.arange(15, 180, 15):
            if (y < 50 and degrees < 88) or (y < 30 and degrees < 100):
                continue
            angle = np.radians(degrees)
            c, s = np.cos(angle), np.sin(angle)
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
        rise = 6.3 * np.sin(np.pi * t) ** 0.8 * (1 + 0.12 * np.cos(np.pi * t))
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
