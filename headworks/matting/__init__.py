"""Mattes: how much of each pixel is the person. One interface, several backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headworks.errors import CaptureError, WeightsError
from headworks.matting import (
    background_matting,
    colour_key,
    plain,
    plate_difference,
    rembg_session,
    rvm,
)
from headworks.networks.files import file_digest

BACKENDS = (
    background_matting.NAME,
    rvm.NAME,
    rembg_session.NAME,
    plate_difference.NAME,
    colour_key.NAME,
    plain.NAME,
)


def choose_backend(
    sequences: Sequence[NDArray[np.uint8]], weights: Path | None = None, plates: bool = False
) -> tuple[str, str]:
    """The best backend for a capture with what is at hand.

    Args:
        sequences: frames of each sequence, uint8 [T, H, W, 3].
        weights: folder of checkpoints, or None. plates: every camera's clean background is known.

    Returns:
        Name of the backend, and why.
    """
    found = weights_at_hand(weights)
    plate, video, still = (found[m.NAME] for m in (background_matting, rvm, rembg_session))
    clip = any(len(frames) > 1 for frames in sequences)
    if plates and plate:
        return background_matting.NAME, f"clean backgrounds and {plate.name} are at hand"
    if video and clip:
        return rvm.NAME, f"a clip, and {video.name} is at hand"
    if still:
        return rembg_session.NAME, f"the weights of {still.stem} are at hand"
    if video:
        return rvm.NAME, f"no weights of rembg for single photos, and {video.name} is at hand"
    absent = "no weights of RobustVideoMatting or rembg"
    if all(colour_key.screen_colour(frames) is not None for frames in sequences):
        return colour_key.NAME, f"{absent}, and the border is one saturated colour"
    if plates:
        return plate_difference.NAME, f"{absent}, and clean backgrounds are at hand"
    return plain.NAME, f"{absent}, and the border is not one saturated colour"


def estimate_alpha(
    frames: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    backend: str,
    progress: Callable[[float], None] | None = None,
    weights: Path | None = None,
    plate: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Straight alpha of one person in the frames of one sequence and still camera.

    Args:
        frames: uint8 [T, H, W, 3], in order of time.
        boxes: face boxes [T, 4] x0, y0, x1, y1, NaN where not known.
        backend: one of `BACKENDS`.
        progress: called with the fraction done.
        weights: folder of checkpoints, for the networks.
        plate: the camera's clean background, uint8 [H, W, 3], where known.

    Returns:
        uint8 [T, H, W].

    Raises:
        CaptureError: the backend cannot work on these frames.
        WeightsError: the backend's weights are absent.
    """
    if backend in (background_matting.NAME, plate_difference.NAME):
        if plate is None:
            raise CaptureError(
                f"{backend} needs a clean picture of each camera's background; set "
                "`matting.backend` to auto"
            )
        if backend == plate_difference.NAME:
            return plate_difference.estimate(frames, plate, progress)
        return background_matting.estimate(frames, plate, weights, progress)
    if backend == rvm.NAME:
        return rvm.estimate(frames, weights, progress)
    if backend == rembg_session.NAME:
        return rembg_session.estimate(frames, progress)
    if backend == colour_key.NAME:
        if colour_key.screen_colour(frames) is None:
            raise CaptureError(
                "colour_key needs a background of one saturated colour along the top and the upper "
                "sides of the frames; set `matting.backend` to auto"
            )
        return colour_key.estimate(frames, progress)
    if backend == plain.NAME:
        if not np.isfinite(boxes).all(-1).any():
            raise CaptureError(
                "the plain matting backend needs a face box in at least one frame of each camera"
            )
        return plain.estimate(frames, boxes, progress)
    raise ValueError(f"no matting backend {backend!r}; there are {', '.join(BACKENDS)}")


def weights_at_hand(weights: Path | None = None) -> dict[str, Path | None]:
    """The checkpoint that each network would use, None where it has none.

    Args:
        weights: folder of checkpoints, or None.
    """
    finders: dict[str, Callable[[], tuple[str, Path]]] = {
        background_matting.NAME: lambda: background_matting.weights_path(weights),
        rvm.NAME: lambda: rvm.weights_path(weights),
        rembg_session.NAME: rembg_session.weights_path,
    }
    return {name: _at_hand(find) for name, find in finders.items()}


def _at_hand(find: Callable[[], tuple[str, Path]]) -> Path | None:
    try:
        return find()[1]
    except WeightsError:
        return None


def weights_digest(backend: str, weights: Path | None = None) -> str | None:
    """SHA-256 of the backend's weights, hexadecimal; None where it has none."""
    path = weights_at_hand(weights).get(backend)
    return None if path is None else file_digest(path)


def matte_quality(alpha: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How far each matte can be trusted, from the matte alone.

    The product of decidedness (few half-transparent pixels against the area of the person) and, in
    a sequence, steadiness (overlap with the more alike of the two neighbours).

    Args:
        alpha: uint8 [T, H, W] of one sequence and camera, in order of time.

    Returns:
        float32 [T] in [0, 1]; 0 where the matte is empty.
    """
    share = alpha.astype(np.float32) / 255
    area = share.sum((1, 2))
    doubt = (4 * share * (1 - share)).sum((1, 2))
    decided = np.where(area > 0, np.clip(1 - doubt / np.maximum(area, 1e-6), 0, 1), 0)
    if len(alpha) < 2:
        return decided.astype(np.float32)
    hard = alpha >= 128
    both = (hard[1:] & hard[:-1]).sum((1, 2))
    either = (hard[1:] | hard[:-1]).sum((1, 2))
    overlap = np.where(either > 0, both / np.maximum(either, 1), 0)
    steady = np.maximum(np.r_[0, overlap], np.r_[overlap, 0])
    return (decided * steady).astype(np.float32)
