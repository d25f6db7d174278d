"""Mattes before a background that was captured: what differs from it is the person.

No weights and no face box, so that cameras which see the head from the side or from behind are
matted as well. Needs a camera and a light that did not change since the background was taken.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from headworks.errors import CaptureError
from headworks.images import resize, to_float, to_uint8
from headworks.matting.plate import disc, plate_distance

NAME = "plate"

_KEYFRAMES = 6
_ITERATIONS = 3
# CIELAB distances: nearer is background, further is the person; never below these many times the
# usual distance of background from itself (noise, compression).
_LIKE, _UNLIKE = 4.0, 10.0
_NOISES = (2.5, 6.0)
# Widths in shares of the frame's side, whose head takes up some 40 % of it.
_INSIDE = 0.014
_AROUND = 0.15
_LOCAL_COLOUR = 0.02
_GAP = 0.008
# The cut is found in pictures of at most this side, its soft edge in the whole ones.
_CUT_SIDE = 256
# Single hairs stand out by less than the whole colour: shares of the way from the background to the
# person's colour that are background and person for sure.
_LEVELS = (0.1, 0.9)
_NOISE = 0.002
# Square of the colour distance from which on person and background cannot be taken for each other.
_DISTINCT = 0.05
_NO_RECTANGLE = (0, 0, 0, 0)


def estimate(
    frames: NDArray[np.uint8],
    plate: NDArray[np.uint8],
    progress: Callable[[float], None] | None = None,
) -> NDArray[np.uint8]:
    """Alpha of one person before a known background.

    Args:
        frames: uint8 [T, H, W, 3] of a still camera. plate: uint8 [H, W, 3], what it sees without
            the person. progress: called with the fraction done.

    Returns:
        uint8 [T, H, W].

    Raises:
        CaptureError: nothing of the background is seen.

    Source: Rother et al., GrabCut, 2004, for the cut; alpha by projection on the line between
        background and nearby foreground colour, I = alpha F + (1 - alpha) B solved for alpha.
    """
    background = to_float(plate)
    times = len(frames)
    keys = np.unique(np.linspace(0, times - 1, _KEYFRAMES).astype(int))
    height, width = plate.shape[:2]
    factor = min(1.0, _CUT_SIDE / max(height, width))
    small = (round(width * factor), round(height * factor))
    behind = resize(background, *small)
    shrunk = np.stack([resize(frames[k], *small) for k in keys])
    limits = _limits([plate_distance(frame, behind) for frame in shrunk])
    models = _colour_models(shrunk, behind, limits)
    alphas = np.empty(frames.shape[:3], np.uint8)
    for t, frame in enumerate(frames):
        distance = plate_distance(frame, background)
        picture = resize(frame, *small)
        cut = _person(picture, plate_distance(picture, behind), limits, models)
        mask = resize(cut.astype(np.float32), width, height) > 0.5
        alphas[t] = to_uint8(_soft(to_float(frame), background, mask, distance, limits))
        if progress is not None:
            progress((t + 1) / times)
    return alphas


def _limits(distances: list[NDArray[np.float32]]) -> tuple[float, float]:
    """Distances below which a pixel is background and above which it is the person."""
    every = np.concatenate([d[::4, ::4].ravel() for d in distances])
    near = every[every < _UNLIKE]
    noise = float(np.median(near)) if len(near) else 0.0
    return max(_LIKE, _NOISES[0] * noise), max(_UNLIKE, _NOISES[1] * noise)


def _trimap(
    distance: NDArray[np.float32], limits: tuple[float, float]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """OpenCV's four classes, and the rough silhouette: what differs, its holes filled."""
    import cv2

    low, high = limits
    side = min(distance.shape)
    unlike = cv2.medianBlur((distance > high).astype(np.uint8), 3)
    closed = cv2.morphologyEx(unlike, cv2.MORPH_CLOSE, disc(_GAP * side))
    rough = _filled(_largest(closed > 0))
    mask = np.full(distance.shape, cv2.GC_BGD, np.uint8)
    mask[distance > low] = cv2.GC_PR_BGD
    mask[distance > high] = cv2.GC_PR_FGD
    mask[rough & (mask != cv2.GC_PR_FGD)] = cv2.GC_PR_FGD
    sure = rough & (cv2.erode(rough.astype(np.uint8), disc(3 * _GAP * side), borderValue=1) > 0)
    mask[sure] = cv2.GC_FGD
    return mask, rough


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    return np.asarray(labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Holes are the person's, also those open at the bottom, where the person goes on."""
    import cv2

    _, labels = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    border = np.unique(np.concatenate([labels[0], labels[:, 0], labels[:, -1]]))
    return mask | ~np.isin(labels, border)


def _colour_models(
    frames: NDArray[np.uint8], background: NDArray[np.float32], limits: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colour mixtures of background and person, learnt on frames side by side."""
    import cv2

    masks = [_trimap(plate_distance(f, background), limits)[0] for f in frames]
    behind, person = np.zeros((1, 65)), np.zeros((1, 65))
    joined = np.concatenate(masks, 1)
    likely = np.isin(joined, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if not likely.any():
        return behind, person
    if likely.all():
        raise CaptureError(
            "the picture of the empty scene is nowhere like what the camera sees beside the "
            "person: take one with the same camera, place and light, or set `matting.backend` to "
            "plain"
        )
    # OpenCV starts its mixtures from random centres of its own generator.
    cv2.setRNGSeed(0)
    pictures = np.concatenate([cv2.cvtColor(f, cv2.COLOR_RGB2Lab) for f in frames], 1)
    cv2.grabCut(pictures, joined, _NO_RECTANGLE, behind, person, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return behind, person


def _person(
    frame: NDArray[np.uint8],
    distance: NDArray[np.float32],
    limits: tuple[float, float],
    models: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.bool_]:
    """The person in one frame: bool [H, W]."""
    import cv2

    mask, rough = _trimap(distance, limits)
    if not rough.any() or not models[1].any():
        return rough
    behind, person = (m.copy() for m in models)
    picture = cv2.cvtColor(frame, cv2.COLOR_RGB2Lab)
    cv2.grabCut(picture, mask, _NO_RECTANGLE, behind, person, 1, cv2.GC_EVAL_FREEZE_MODEL)
    # What differs strongly is the person whatever its colour; the cut decides on the rest.
    cut = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)) | (rough & (distance > limits[1]))
    return _filled(_largest(cut))


def _soft(
    rgb: NDArray[np.float32],
    background: NDArray[np.float32],
    mask: NDArray[np.bool_],
    distance: NDArray[np.float32],
    limits: tuple[float, float],
) -> NDArray[np.float32]:
    """Alpha [H, W]: how far a pixel's colour is on the way from the background to the person."""
    import cv2

    side = min(mask.shape)
    binary = mask.astype(np.uint8)
    core = cv2.erode(binary, disc(_INSIDE * side), borderValue=1) > 0
    near = cv2.dilate(binary, disc(_AROUND * side)) > 0
    sigma = _LOCAL_COLOUR * side
    weight = cv2.GaussianBlur(core.astype(np.float32), (0, 0), sigma)[..., None]
    wide = cv2.GaussianBlur(core.astype(np.float32), (0, 0), 4 * sigma)[..., None]
    mean = cv2.GaussianBlur(rgb * core[..., None], (0, 0), sigma)
    far = cv2.GaussianBlur(rgb * core[..., None], (0, 0), 4 * sigma)
    colour = np.where(weight > 1e-2, mean / np.maximum(weight, 1e-2), far / np.maximum(wide, 1e-6))
    line = colour - background
    length = (line**2).sum(-1)
    along = ((rgb - background) * line).sum(-1) / np.maximum(length, 1e-6)
    along = np.clip((along - _LEVELS[0]) / (_LEVELS[1] - _LEVELS[0]), 0, 1)
    # Where person and background have one colour the cut is all that is known.
    edge = np.asarray(cv2.GaussianBlur(binary.astype(np.float32), (0, 0), 0.8), np.float32)
    trust = length / (length + _NOISE)
    alpha = trust * along + (1 - trust) * edge
    alpha = np.where(mask, alpha, alpha * np.clip((distance - limits[0]) / limits[0], 0, 1))
    # Inside the silhouette the background is seen again between strands of hair, but not where the
    # person's colours are like it.
    gap = core & (distance < limits[0]) & (length > _DISTINCT)
    return np.where(core & ~gap, 1.0, np.where(near, alpha, 0.0)).astype(np.float32)
