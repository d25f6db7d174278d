"""Mattes without weights: graph cut between two colour models, then alpha from both colours.

The camera of a clip stands still, so its background is one picture seen in pieces: wherever it is
ever uncovered it is known, elsewhere it is continued smoothly. Alpha at the edge of the head is
then how far a pixel's colour lies on the way from background to foreground.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from headworks.images import to_float, to_uint8
from headworks.landmarks.faces import steady_boxes
from headworks.matting.plate import background_plate, disc, plate_distance

NAME = "plain"

_KEYFRAMES = 6
_PLATE_FRAMES = 32
_ITERATIONS = 5
# CIELAB distances from the background plate: further than the first a pixel may be the person,
# nearer than the second, and joined to the background, it is not.
_UNLIKE_PLATE = 12.0
_LIKE_PLATE = 5.0
# Width of the strip along the border that shows background, of the frame's.
_STRIP = 0.06
# Widths in units of the face box's side.
_EDGE_INSIDE = 0.035
_EDGE_OUTSIDE = 0.08
_LOCAL_COLOUR = 0.05
# Square of the colour distance (RGB in [0, 1]) at which the projection is trusted by half, and
# the positions on the line taken for pure background and pure foreground.
_NOISE = 0.005
_LEVELS = (0.08, 0.95)
# For the graph cut: the mask alone says where the person may be.
_NO_RECTANGLE = (0, 0, 0, 0)


def head_prior(height: int, width: int, box: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Where a head and shoulders can be, from the face box alone.

    Args:
        height: rows. width: columns. box: x0, y0, x1, y1 of the face in pixels.

    Returns:
        uint8 [H, W] of OpenCV's GC_BGD, GC_FGD, GC_PR_BGD, GC_PR_FGD.
    """
    import cv2

    x0, y0, x1, y1 = (float(v) for v in box)
    side = (x1 - x0 + y1 - y0) / 2
    cx, cy, chin = (x0 + x1) / 2, (y0 + y1) / 2, (y0 + y1) / 2 + 0.5 * side
    y, x = np.mgrid[:height, :width] + 0.5

    def inside(across: float, down: float, shift: float) -> NDArray[np.bool_]:
        u, v = (x - cx) / (across * side), (y - cy - shift * side) / (down * side)
        return u**2 + v**2 < 1

    mask = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    mask[inside(0.6, 0.75, -0.1)] = cv2.GC_PR_FGD
    # Hair may stand out far; only a strip along the border is taken for granted.
    strip = (y < _STRIP * height) | (np.abs(x - width / 2) > (0.5 - _STRIP) * width)
    mask[strip & ~inside(1.0, 1.15, -0.2) & (y < cy + 0.3 * side)] = cv2.GC_BGD
    mask[inside(0.28, 0.42, 0.02)] = cv2.GC_FGD
    mask[(y > chin) & (np.abs(x - cx) < 0.15 * side)] = cv2.GC_FGD
    return mask


def estimate(
    frames: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    progress: Callable[[float], None] | None = None,
) -> NDArray[np.uint8]:
    """Alpha of one person before a still background.

    Args:
        frames: uint8 [T, H, W, 3] of one camera that does not move.
        boxes: face boxes [T, 4], NaN where not known, at least one known.
        progress: called with the fraction done.

    Returns:
        uint8 [T, H, W].

    Source: Rother et al., GrabCut, 2004, for the cut; alpha by projection on the line between
        local foreground and background colour (Chuang et al., A Bayesian Approach to Digital
        Matting, 2001, in its simplest form).
    """
    import cv2

    times, height, width = frames.shape[:3]
    boxes = steady_boxes(boxes)
    sides = (boxes[:, 2] - boxes[:, 0] + boxes[:, 3] - boxes[:, 1]) / 2
    side = float(np.median(sides))
    priors = np.stack([head_prior(height, width, box) for box in boxes])
    keys = np.unique(np.linspace(0, times - 1, _PLATE_FRAMES).astype(int))

    # First what surely is background, then what the colour models say.
    margin = _EDGE_OUTSIDE * side
    plate = background_plate(frames[keys], priors[keys] != cv2.GC_BGD, margin)
    models = _colour_models(frames, priors, plate)
    seen = [_cut(frames[k], priors[k], models, plate, boxes[k]) for k in keys]
    plate = background_plate(frames[keys], np.stack(seen), margin)
    alphas = np.empty((times, height, width), np.uint8)
    for t in range(times):
        mask = _cut(frames[t], priors[t], models, plate, boxes[t])
        alphas[t] = to_uint8(refine(frames[t], mask, plate, side))
        if progress is not None:
            progress((t + 1) / times)
    return alphas


def _lab(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2Lab), np.uint8)


def _colour_models(
    frames: NDArray[np.uint8], priors: NDArray[np.uint8], plate: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colour mixtures of background and foreground, learnt on key frames side by side."""
    import cv2

    keys = np.unique(np.linspace(0, len(frames) - 1, _KEYFRAMES).astype(int))
    masks = priors[keys].copy()
    for mask, k in zip(masks, keys):
        unlike = plate_distance(frames[k], plate) > _UNLIKE_PLATE
        mask[(mask == cv2.GC_PR_BGD) & unlike] = cv2.GC_PR_FGD
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    # OpenCV starts its mixtures from random centres of its own generator.
    cv2.setRNGSeed(0)
    cv2.grabCut(
        np.concatenate([_lab(frames[k]) for k in keys], 1),
        np.concatenate(list(masks), 1),
        _NO_RECTANGLE,
        background,
        foreground,
        _ITERATIONS,
        cv2.GC_INIT_WITH_MASK,
    )
    return background, foreground


def _cut(
    frame: NDArray[np.uint8],
    prior: NDArray[np.uint8],
    models: tuple[NDArray[np.float64], NDArray[np.float64]],
    plate: NDArray[np.float32],
    box: NDArray[np.floating],
) -> NDArray[np.bool_]:
    """The person in one frame: bool [H, W]."""
    import cv2

    background, foreground = (m.copy() for m in models)
    mask = prior.copy()
    like = (plate_distance(frame, plate) < _LIKE_PLATE) & (prior != cv2.GC_FGD)
    _, labels = cv2.connectedComponents((like | (prior == cv2.GC_BGD)).astype(np.uint8))
    mask[like & np.isin(labels, np.unique(labels[prior == cv2.GC_BGD]))] = cv2.GC_BGD
    cv2.grabCut(
        _lab(frame), mask, _NO_RECTANGLE, background, foreground, 1, cv2.GC_EVAL_FREEZE_MODEL
    )
    person = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    # One person: what is not joined to the face is background of a similar colour.
    _, labels = cv2.connectedComponents(person, connectivity=4)
    sure = labels[prior == cv2.GC_FGD]
    return close_face(labels == np.bincount(sure).argmax(), box)


def close_face(mask: NDArray[np.bool_], box: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Close gaps inside the face (the white of an eye before a white wall), not beside it.

    Args:
        mask: person, bool [H, W]. box: x0, y0, x1, y1 of the face in pixels.

    Returns:
        bool [H, W].
    """
    import cv2

    count, labels, _, centres = cv2.connectedComponentsWithStats((~mask).astype(np.uint8))
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    middle, side = (box[:2] + box[2:]) / 2, float(np.mean(box[2:] - box[:2]))
    result = mask.copy()
    for label in range(1, count):
        across, down = (centres[label] - middle) / side
        if label not in border and (across / 0.45) ** 2 + (down / 0.6) ** 2 < 1:
            result |= labels == label
    return result


def refine(
    frame: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    plate: NDArray[np.float32],
    side: float,
) -> NDArray[np.float32]:
    """Soft alpha from a hard mask.

    Args:
        frame: uint8 [H, W, 3]. mask: person, bool [H, W]. plate: background, float32 [H, W, 3].
        side: of the face box, pixels.

    Returns:
        float32 [H, W] in [0, 1]; 1 and 0 away from the mask's edge.
    """
    import cv2

    rgb = to_float(frame)
    binary = mask.astype(np.uint8)
    core = cv2.erode(binary, disc(_EDGE_INSIDE * side), borderValue=1) > 0
    outside = cv2.dilate(binary, disc(_EDGE_OUTSIDE * side)) == 0
    sigma = _LOCAL_COLOUR * side

    def nearby(known: NDArray[np.bool_], otherwise: NDArray[np.float32]) -> NDArray[np.float32]:
        weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), sigma)[..., None]
        mean = cv2.GaussianBlur(rgb * known[..., None], (0, 0), sigma)
        return np.where(weight > 1e-3, mean / np.maximum(weight, 1e-3), otherwise)

    soft = np.asarray(cv2.GaussianBlur(binary.astype(np.float32), (0, 0), 0.8), np.float32)
    foreground = nearby(core, rgb)
    alpha = _position(rgb, plate, foreground, soft)
    # Where the background was never uncovered the plate is a guess: outside the mask a pixel that
    # looks like the background beside it is background.
    beside = _position(rgb, nearby(outside, plate), foreground, soft)
    alpha = np.where(mask, alpha, np.minimum(alpha, beside))
    alpha = np.where(core, 1.0, np.where(outside, 0.0, alpha))
    return alpha.astype(np.float32)


def _position(
    rgb: NDArray[np.float32],
    background: NDArray[np.float32],
    foreground: NDArray[np.float32],
    otherwise: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Place of colours from background to foreground in [0, 1]; `otherwise` where both agree."""
    line = foreground - background
    length = (line**2).sum(-1)
    along = ((rgb - background) * line).sum(-1) / np.maximum(length, 1e-6)
    along = np.clip((along - _LEVELS[0]) / (_LEVELS[1] - _LEVELS[0]), 0, 1)
    trust = length / (length + _NOISE)
    return trust * along + (1 - trust) * otherwise
