"""The background behind a person: one picture per still camera, seen in pieces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.images import to_float


def background_plate(
    frames: NDArray[np.uint8], masks: NDArray[np.bool_], margin: float
) -> NDArray[np.float32]:
    """What stands behind the person: the median where it is uncovered, smooth elsewhere.

    Args:
        frames: uint8 [T, H, W, 3]. masks: person, bool [T, H, W]. margin: widens the masks, pixels.

    Returns:
        float32 [H, W, 3] in [0, 1].
    """
    import cv2

    around = disc(margin)
    stack = to_float(frames)
    for image, mask in zip(stack, masks):
        image[cv2.dilate(mask.astype(np.uint8), around) > 0] = np.nan
    seen = np.asarray(np.isfinite(stack[..., 0]).any(0))
    plate = np.zeros(frames.shape[1:], np.float32)
    plate[seen] = np.nanmedian(stack[:, seen], 0)
    return fill(plate, seen)


def fill(image: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Continue an image smoothly into unknown pixels, from coarse to fine.

    Args:
        image: float32 [H, W, C]. known: bool [H, W].

    Returns:
        float32 [H, W, C], unchanged where known.

    Source: Gortler et al., The Lumigraph, 1996 (pull-push).
    """
    import cv2

    if known.all() or min(known.shape) < 2:
        return image
    height, width = known.shape
    weight = known.astype(np.float32)
    half = ((width + 1) // 2, (height + 1) // 2)
    small_weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    small = cv2.resize(image * weight[..., None], half, interpolation=cv2.INTER_AREA)
    small = small.reshape(half[1], half[0], -1)
    small_known = small_weight > 0
    small = np.where(small_known[..., None], small / np.maximum(small_weight, 1e-6)[..., None], 0)
    coarse = fill(small.astype(np.float32), small_known)
    up = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(known[..., None], image, up.reshape(image.shape))


def plate_distance(frame: NDArray[np.uint8], plate: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much each pixel differs from the background, CIELAB units (about 2 is just visible).

    Args:
        frame: uint8 [H, W, 3]. plate: float32 [H, W, 3] in [0, 1].

    Returns:
        float32 [H, W].
    """
    import cv2

    image = cv2.cvtColor(to_float(frame), cv2.COLOR_RGB2Lab)
    return np.linalg.norm(image - cv2.cvtColor(plate, cv2.COLOR_RGB2Lab), axis=-1)


def disc(radius: float) -> NDArray[np.uint8]:
    """A round structuring element of at least one pixel around its centre."""
    import cv2

    r = max(1, round(radius))
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))
    return np.asarray(element, np.uint8)
