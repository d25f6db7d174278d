"""Groups of the iBUG-68 landmarks and how much each may be trusted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONTOUR = np.arange(17)
EYE_CORNERS = (36, 45)
"""Outer eye corners: their distance is the interocular distance of all reported errors."""

RIGID = np.array([27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45])
"""Landmarks that expressions move least; they start the head's pose."""

OPENINGS = np.array(
    [
        (37, 41), (38, 40), (43, 47), (44, 46),
        (61, 67), (62, 66), (63, 65), (50, 58), (51, 57), (52, 56), (48, 54),
    ]
)  # fmt: skip
"""Pairs whose difference matters more than their places: lids, lips and the mouth's width."""

OPENING_WEIGHTS = np.array([4.0] * 4 + [2.0] * 3 + [0.5] * 3 + [1.0])


def landmark_weights() -> NDArray[np.float64]:
    """[68] weights of squared residuals; the contour is annotated loosely along its own course."""
    weights = np.ones(68)
    weights[CONTOUR] = 0.5
    weights[17:27] = 0.6
    weights[36:48] = 1.5
    return weights
