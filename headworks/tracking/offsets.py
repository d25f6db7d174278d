"""Where a detector puts landmarks on one person, against where the head model has them.

A detector errs alike in all pictures of a person: its brow lies a little higher, its chin a little
lower. Taken as noise, hundreds of pictures would make such an error certain. So each landmark gets
an offset in the head's frame that all pictures share, and shape is left to what sees it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headworks.tracking.contour import SLIDING
from headworks.tracking.landmark_fit import LandmarkRig
from headworks.tracking.texture import FaceSurface

OFFSET_M = 0.002
"""Standard deviation of a landmark's offset."""

BROW_OFFSET_M = 0.005
"""Of the brows', whose line detectors and models draw most differently."""

OFFSET_PRIOR = 25.0
"""Weight of an offset's prior in the whole fit: few errors, however many pictures show them."""

OFFSET = np.setdiff1d(np.arange(68), SLIDING)
"""Landmarks that have one; the others slide anyway."""


def with_offsets(rig: LandmarkRig, surface: FaceSurface) -> tuple[LandmarkRig, FaceSurface, int]:
    """Landmarks and surface under an identity that ends with the offsets, and how many they are.

    The offsets are coefficients of standard deviation 1, three (x, y, z) per landmark of `OFFSET`.
    """
    count = 3 * len(OFFSET)
    modes = np.zeros((len(rig.model), 3, count))
    for place, landmark in enumerate(OFFSET):
        modes[landmark, :, 3 * place : 3 * place + 3] = _sigma(landmark) * np.eye(3)
    still = np.zeros((len(surface.model), 3, count))
    return (
        replace(rig, model=rig.model.with_modes(modes)),
        replace(surface, model=surface.model.with_modes(still)),
        count,
    )


def _sigma(landmark: int) -> float:
    return BROW_OFFSET_M if 17 <= landmark < 27 else OFFSET_M
