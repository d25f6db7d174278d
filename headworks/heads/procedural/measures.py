"""Published measures of adult heads, by sex, and how they are taken on the mesh.

Sources:
    [Z] Zhuang & Bradtmiller, Head-and-face anthropometric survey of U.S. respirator users,
        J. Occup. Environ. Hyg. 2(11):567-576, 2005: 2542 men and 1455 women of four groups,
        18 to 66 years old; the summary statistics by sex.
    [F] Farkas (ed.), Anthropometry of the Head and Face, 2nd ed., Raven Press, 1994: young adult
        North Americans of European descent; the norms by sex.
The numbers were not copied from the tables when this file was written and may differ from them in
the last digit; `benchmarks/people.py` does not depend on that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural import anatomy
from headworks.heads.procedural.assembly import Assembly
from headworks.heads.procedural.embedding import closest
from headworks.heads.procedural.parttypes import Points

Array = NDArray[np.float64]
Triple = tuple[float, float, float]


class Measure(NamedTuple):
    """A distance on the head.

    Attributes:
        male, female: (mean, standard deviation) in mm.
        start, end: the points on the mean head between which it is taken, mm.
    """

    male: tuple[float, float]
    female: tuple[float, float]
    start: Triple
    end: Triple


def _breadth(
    male: tuple[float, float], female: tuple[float, float], x: float, y: float, z: float
) -> Measure:
    return Measure(male, female, (-x, y, z), (x, y, z))


_SELLION: Triple = (0.0, 27.0, 94.5)
_SUBNASALE: Triple = (0.0, -23.6, 104.3)
_EN, _EX = anatomy.ENDOCANTHION, anatomy.EXOCANTHION
_FISSURE = 0.5 * (_EN + _EX)

# The distance of the pupils is left out: it follows from that of the inner canthi and the length
# of the fissures, and lids drawn apart from their eyeballs would not cover them.
MEASURES: dict[str, Measure] = {
    # [Z]
    "head_breadth": _breadth((153.0, 6.0), (146.8, 5.6), 75.5, 54.0, -8.0),
    "head_length": Measure((197.3, 7.4), (187.5, 7.2), (0, 44, 99.6), (0, 36, -99)),
    "min_frontal_breadth": _breadth((105.5, 5.7), (102.9, 5.4), 52.0, 46.0, 76.0),
    "bizygomatic": _breadth((143.5, 6.9), (135.1, 6.5), 67.5, 0.0, 20.0),
    "bigonial": _breadth((120.4, 10.4), (110.1, 8.9), 53.0, -58.0, 14.0),
    "face_length": Measure((122.7, 7.0), (113.4, 6.1), _SELLION, (0, -91, 80)),
    "nose_length": Measure((52.0, 4.1), (48.2, 3.8), _SELLION, _SUBNASALE),
    "nose_breadth": _breadth((36.6, 4.1), (33.2, 3.9), 17.6, -15.0, 98.6),
    "nose_protrusion": Measure((21.1, 2.7), (19.8, 2.7), _SUBNASALE, (0, -13, 117.8)),
    "nasal_root_breadth": _breadth((16.6, 2.3), (16.3, 2.0), 8.5, 19.0, 91.2),
    # [F]
    "intercanthal": _breadth((33.3, 2.7), (31.8, 2.3), *_EN),
    "eye_fissure_length": Measure((31.3, 1.2), (30.7, 1.2), tuple(_EN), tuple(_EX)),
    "eye_fissure_height": Measure(
        (10.8, 0.9), (10.9, 1.2), (_FISSURE[0], 27.6, 85.0), (_FISSURE[0], 16.8, 85.0)
    ),
    "mouth_width": _breadth((54.5, 3.0), (50.2, 3.5), anatomy.MOUTH_HALF_WIDTH, -42.0, 91.5),
    "upper_lip_height": Measure((22.3, 2.1), (20.1, 2.0), _SUBNASALE, (0, -42, 103.2)),
}  # fmt: skip
_COMMON = 0.22
"""Correlation of two measures of one head: large people are large all over."""


def statistics() -> tuple[Array, Array, Array]:
    """Means and deviations [2 (male, female), M] mm, and correlations [M, M]."""
    rows = list(MEASURES.values())
    both = np.array([[m.male for m in rows], [m.female for m in rows]])
    correlation = np.full((len(rows), len(rows)), _COMMON)
    np.fill_diagonal(correlation, 1.0)
    return both[..., 0], both[..., 1], correlation


def measured(head: Assembly, modes: Points) -> tuple[Array, Array]:
    """Measures of the mean head, and how controls change them.

    Args:
        head: the mean. modes: [K, V, 3] mm per unit of each control.

    Returns:
        values [M] mm, and their derivatives [M, K].
    """
    values, slopes = [], []
    for measure in MEASURES.values():
        face, bary = closest(head, np.array([measure.start, measure.end], np.float64))
        corners = head.faces[face]
        ends = (head.points[corners] * bary[..., None]).sum(1)
        moved = (modes[:, corners] * bary[..., None]).sum(2)
        gap = ends[1] - ends[0]
        length = np.sqrt((gap**2).sum())
        values.append(length)
        slopes.append(((moved[:, 1] - moved[:, 0]) * (gap / length)).sum(1))
    return np.array(values), np.array(slopes)
