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

EYE_CENTRE = np.array([31.5, 21.5, 72.5])
EYE_RADIUS = 12.0
LID_RADIUS = 12.9
"""Radius on which the lids slide over the eyeball, mm."""
ENDOCANTHION = np.array([16.8, 19.8, 80.0])
EXOCANTHION = np.array([45.3, 22.8, 74.0])
MOUTH_HALF_WIDTH = 26.0
MOUTH_Y = -42.0
JAW_JOINT = np.array([0.0, -3.0, 12.0])
NECK_JOINT = np.array([0.0, -70.0, -15.0])
NECK_AXIS_Z = -10.0

_MIDLINE = """
0 128 -8   0 125 28   0 113 62   0 96 83   0 78 94   0 60 98.5  0 46 100  0 38 98.8
0 32 95.8  0 26 94.2  0 20 96    0 12 101  0 3 108   0 -4 113.8 0 -9 117.6 0 -13 119
0 -16.5 117.6 0 -19.5 113 0 -21.8 108 0 -23.6 104.3 0 -28 103.4 0 -32 105.2
0 -35 106.8 0 -38.5 107.6 0 -42 103.2 0 -45.5 106.2 0 -48.5 105 0 -51.5 102 0 -55 98
0 -58 96.8 0 -63 97.6 0 -70 99.6 0 -77 98.6 0 -83 95 0 -88 88.5 0 -91 80 0 -92.5 68
0 -94 56 0 -98 47 0 -110 44 0 -122 45 0 118 -50 0 95 -80 0 65 -96 0 35 -99 0 8 -93
0 -14 -84 0 -40 -73 0 -65 -69
"""

_FACE = """
10 42 99.2  20 43 97.8  31 44 93.5  42 43 86  52 41 75  58 40 63  64 42 45  69 42 25
12 36 96.6  23 37.5 95.4  34 39 91  44 38.5 84  51 34 73.5
9 28 90.5   13 27 86.5  19 30.5 86  31 34.2 87.6  42 33 81   49 28.5 71.5
55 28 65.5  58 20 60  51 22 68.5
11 20 87.5  13 13 87.6  20 11.5 84.5  31 9.5 84.2  42 12 78.5  50 13 70
18 4 87.5   30 2 85.5   43 3 79.5
4.5 19 95.2 8.5 19 90.8  4.8 9 102  9.5 9 95.3  14.5 7 89.2
5.5 -1 109.5 10.5 -1 102.2  14.8 -2 95  20 -3 88.6
6 -8 115    10.5 -8.5 109.2  14.2 -8.5 102.8  17 -9 96.4  20.5 -9 90
5.8 -13.5 116.2 10.8 -14 110.4  14.8 -14.2 104.4  17.6 -15 98.6  20 -15.5 91.8
5 -18 113   9.5 -19 108.8  13.8 -19.6 103.4  16.6 -19.8 97.6
3.5 -21.6 108.2  8.5 -21.8 105  13 -22 100.8 18.5 -22 93.5
26 -6 88.2  34 -6 86.5  44 -4 80.5  54 -2 69.5  62 0 53  66 1 36  68 1 20
24 -15 90   30 -17 88  40 -17 81.5  50 -17 70.5  58 -16 54  62 -16 38  64 -15 20
5 -29 103.9 11 -29 102  18 -29 97.8  26 -29 91.5  35 -30 84.5  45 -31 73.5  53 -31 57.5
58 -31 38  60 -30 18
5.5 -33.4 106.3  12 -35.3 103.8  19 -38.3 98.6
6 -38 107.3  13 -39.4 103.9  20 -41 97.2
6.5 -42.2 103.2  13 -42.1 100.6  20 -42.1 96  26 -42.3 91
6 -45.6 106  13 -45.2 103.1  20 -44 96.8
6.5 -51 101.8  13 -49.4 99.6  20 -46.4 95.4
31 -42 87.5  37 -43 81.3  45 -45 70  51.5 -46 54  55.5 -46 37  57 -45 20
8 -56.5 97  16 -55 94.6  24 -53 89.6  33 -55 81.3
9 -63 96.8  18 -64 91.8  27 -66 83  36 -66 71.5  44 -65 57  50 -62 40  52.5 -60 22
9 -71 98  17 -73 92.8  25 -76 83.4
9 -80 94.8  17 -82 88  25 -83 78.5
10 -88 86  20 -87 77.5  30 -83.5 66.5  38 -79 54  45 -73 40  50 -66 24  53 -58 12
12 -91.5 68  25 -88 55  34 -85 42  42 -81 25  14 -96 48  28 -95 37  41 -90 18
51 -76 2  54 -84 -10
69 10 6  67 -2 6  64 -14 6  61 -30 4  57 -46 2
66 -8 -14  64 -5 -26  60 -30 -18  57 -52 -16  55 -68 -14
46 -45 -48  52 -20 -48  28 -45 -67  50 -72 -38  30 -72 -62
"""


def _parse(text: str) -> NDArray[np.float64]:
    return np.array(text.split(), np.float64).reshape(-1, 3)


def _cranium() -> NDArray[np.float64]:
    """Superelliptic sections of the skull: height, half breadth, front and back depth."""
    points = []
    for y, breadth, front, back, power in (
        (117, 36, 55, -52, 2.2),
        (104, 56, 74, -71, 2.25),
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
        rise = 7.6 * np.sin(np.pi * t) ** 0.8 * (1 + 0.12 * np.cos(np.pi * t))
    else:
        rise = -4.7 * np.sin(np.pi * t) ** 0.85 * (1 - 0.18 * np.cos(np.pi * t))
    points = chord.copy()
    points[:, 1] += rise
    return on_lid_sphere(points, LID_RADIUS)


def on_lid_sphere(points: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Move points along z so that none lies inside the lids' sphere; canthi stay where they are."""
    offset = points - EYE_CENTRE
    inside = radius**2 - offset[:, 0] ** 2 - offset[:, 1] ** 2
    front = EYE_CENTRE[2] + np.sqrt(np.maximum(inside, 0))
    return np.stack([points[:, 0], points[:, 1], np.maximum(points[:, 2], front)], 1)


def control_points() -> NDArray[np.float64]:
    """All points of the left half through which the skin passes, [N, 3] mm."""
    lids = np.concatenate([lid_margin("upper", 9), lid_margin("lower", 9)[1:-1]])
    return np.concatenate([_parse(_MIDLINE), _parse(_FACE), _cranium(), lids])
