"""FLIP: the perceptual difference that one sees when two images alternate; needs no weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.metrics.pixel import Image, checked

PIXELS_PER_DEGREE = 67.02
"""A 0.7 m wide 3840-pixel screen seen from 0.7 m: FLIP's default, kept fixed."""


def flip_map(
    pred: Image, target: Image, pixels_per_degree: float = PIXELS_PER_DEGREE
) -> NDArray[np.float32]:
    """FLIP error of every pixel.

    Args:
        pred: sRGB [H, W, 3] in [0, 1]. target: the reference, same shape.
        pixels_per_degree: of the viewer's eye.

    Returns:
        float32 [H, W] in [0, 1]; 0 where no difference is seen.

    Raises:
        ValueError: for non-finite pixels.

    Source: Andersson et al. 2020, FLIP: A Difference Evaluator for Alternating Images.
    """
    import flip_evaluator

    pred, target = checked(pred, target)
    # The package's own default for pixels per degree is unrounded; leave it to the package.
    parameters = {} if pixels_per_degree == PIXELS_PER_DEGREE else {"ppd": pixels_per_degree}
    errors, _, _ = flip_evaluator.evaluate(
        np.ascontiguousarray(target, np.float32),
        np.ascontiguousarray(pred, np.float32),
        "LDR",
        inputsRGB=True,
        applyMagma=False,
        computeMeanError=True,
        parameters=parameters,
    )
    return np.asarray(errors, np.float32)[..., 0]
