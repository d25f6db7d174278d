"""Mattes without weights: graph cut between two colour models, then alpha from both colours.

The camera of a clip stands still, so its background is one picture seen in pieces: wherever it is
ever uncovered it is known, elsewhere it is continued smoothly. Alpha at the edge of the head is
then how far a pixel's colour lies on the way from background to foreground.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

NAME = "plain"

_KEYFRAMES = 6
_PLATE_FRAMES = 40
_ITERATIONS = 5
# Widths in units of the face box's side.
_EDGE_INSIDE = 0.035
_EDGE_OUTSIDE = 0.06
_LOCAL_COLOUR = 0.05
# Colour noise of a compressed 8-bit frame, relative to 1: colours closer than this tell nothing.
_NOISE = 0.05


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

    below = y > chin
    mask = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    mask[inside(0.66, 0.85, -0.17)] = cv2.GC_PR_FGD
    mask[below & (np.abs(x - cx) < 0.5 * side + (y - chin) * 2.0)] = cv2.GC_PR_FGD
    mask[~inside(1.0, 1.15, -0.2) & (y < cy + 0.3 * side)] = cv2.GC_BGD
    mask[inside(0.38, 0.48, 0.02)] = cv2.GC_FGD
    mask[below & (np.abs(x - cx) < 0.25 * side)] = cv2.GC_FGD
    return mask


def estimate(
    frames: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    progress: Callable[[float], None] | None = None,
) -> NDArray[np.uint8]:
    """Alpha of one person before a still background.

    Args:
        frames: uint8 [T, H, W, 3] of one camera that does not move.
        boxes: face boxes [T, 4], finite.
        progress: called with the fraction done.

    Returns:
        uint8 [T, H, W].

    Source: Rother et al., GrabCut, 2004, for the cut; alpha by projection on the line between
        local foreground and background colour (Chuang et al., A Bayesian Approach to Digital
        Matting, 2001, in its simplest form).
    """
    times, height, width = frames.shape[:3]
    priors = [head_prior(height, width, box) for box in boxes]
    models = _colour_models(frames, priors)
    masks = np.empty((times, height, width), bool)
    for t in range(times):
        masks[t] = _cut(frames[t], priors[t], models)
        if progress is not None:
            progress(0.5 * (t + 1) / times)
    sides = (boxes[:, 2] - boxes[:, 0] + boxes[:, 3] - boxes[:, 1]) / 2
    side = float(np.median(sides))
    plate = background_plate(frames, masks, side)
    alphas = np.empty((times, height, width), np.uint8)
    for t in range(times):
        alpha = refine(frames[t], masks[t], plate, side)
        alphas[t] = np.rint(alpha * 255).astype(np.uint8)
        if progress is not None:
            progress(0.5 + 0.5 * (t + 1) / times)
    return alphas


def _lab(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    return cv2.cvtColor(frame, cv2.COLOR_RGB2Lab)


def _colour_models(
    frames: NDArray[np.uint8], priors: list[NDArray[np.uint8]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colour mixtures of background and foreground, learnt on key frames side by side."""
    import cv2

    keys = np.unique(np.linspace(0, len(frames) - 1, _KEYFRAMES).astype(int))
    picture = np.concatenate([_lab(frames[k]) for k in keys], 1)
    mask = np.concatenate([priors[k] for k in keys], 1)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    # OpenCV starts its mixtures from random centres of its own generator.
    cv2.setRNGSeed(0)
    cv2.grabCut(picture, mask, None, background, foreground, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return background, foreground


def _cut(
    frame: NDArray[np.uint8],
    prior: NDArray[np.uint8],
    models: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.bool_]:
    import cv2

    background, foreground = (m.copy() for m in models)
    mask = prior.copy()
    cv2.grabCut(_lab(frame), mask, None, background, foreground, 1, cv2.GC_EVAL_FREEZE_MODEL)
    person = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    # One person: what is not joined to the face is background of a similar colour.
    _, labels = cv2.connectedComponents(person, connectivity=4)
    sure = labels[prior == cv2.GC_FGD]
    joined = np.bincount(sure).argmax() if sure.size else 0
    return labels == joined


def background_plate(
    frames: NDArray[np.uint8], masks: NDArray[np.bool_], side: float
) -> NDArray[np.float32]:
    """What stands behind the person: the median where it is uncovered, smooth elsewhere.

    Args:
        frames: uint8 [T, H, W, 3]. masks: person, bool [T, H, W]. side: of the face box, pixels.

    Returns:
        float32 [H, W, 3] in [0, 1].
    """
    import cv2

    keys = np.unique(np.linspace(0, len(frames) - 1, _PLATE_FRAMES).astype(int))
    margin = _disc(_EDGE_OUTSIDE * side)
    stack = frames[keys].astype(np.float32) / 255
    for n, k in enumerate(keys):
        stack[n][cv2.dilate(masks[k].astype(np.uint8), margin) > 0] = np.nan
    seen = np.isfinite(stack[..., 0]).any(0)
    plate = np.zeros(frames.shape[1:], np.float32)
    plate[seen] = np.nanmedian(stack[:, seen], 0)
    return fill(plate, seen)


def fill(image: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Continue an image smoothly into unknown pixels, from coarse to fine.

    Args:
        image: float32 [H, W, 3]. known: bool [H, W].

    Returns:
        float32 [H, W, 3], unchanged where known.

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
    small_known = small_weight > 0
    small = np.where(small_known[..., None], small / np.maximum(small_weight, 1e-6)[..., None], 0)
    coarse = fill(small.astype(np.float32), small_known)
    up = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(known[..., None], image, up)


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

    rgb = frame.astype(np.float32) / 255
    binary = mask.astype(np.uint8)
    core = cv2.erode(binary, _disc(_EDGE_INSIDE * side), borderValue=1) > 0
    outside = cv2.dilate(binary, _disc(_EDGE_OUTSIDE * side)) == 0
    sigma = _LOCAL_COLOUR * side

    weight = cv2.GaussianBlur(core.astype(np.float32), (0, 0), sigma)[..., None]
    near = cv2.GaussianBlur(rgb * core[..., None], (0, 0), sigma)
    foreground = np.where(weight > 1e-3, near / np.maximum(weight, 1e-3), rgb)

    line = foreground - plate
    length = (line**2).sum(-1)
    along = ((rgb - plate) * line).sum(-1) / np.maximum(length, 1e-6)
    soft = cv2.GaussianBlur(binary.astype(np.float32), (0, 0), 0.8)
    trust = length / (length + _NOISE)
    alpha = trust * np.clip(along, 0, 1) + (1 - trust) * soft
    alpha = np.where(core, 1.0, np.where(outside, 0.0, alpha))
    return np.clip(alpha, 0, 1).astype(np.float32)


def _disc(radius: float) -> NDArray[np.uint8]:
    import cv2

    r = max(1, round(radius))
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))
