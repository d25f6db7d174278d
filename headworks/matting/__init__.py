"""Mattes: how much of each pixel is the person. One interface, several backends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headworks.errors import CaptureError, WeightsError
from headworks.matting import background_matting, colour_key, plain, rembg_session, rvm

BACKENDS = (
    background_matting.NAME,
    rvm.NAME,
    rembg_session.NAME,
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
    if plates:
        variant = _at_hand(lambda: background_matting.weights_path(weights)[0])
        if variant:
            why = f"clean backgrounds and the weights of BackgroundMattingV2 ({variant})"
            return background_matting.NAME, f"{why} are at hand"
    clip = any(len(frames) > 1 for frames in sequences)
    video = _at_hand(lambda: rvm.weights_path(weights)[0])
    still = _at_hand(lambda: rembg_session.weights_path()[0])
    if video and (clip or not still):
        what = "a clip" if clip else "single photos, no weights of rembg"
        return rvm.NAME, f"{what}, and the weights of RobustVideoMatting ({video}) are at hand"
    if still:
        return rembg_session.NAME, f"the weights of {still} are at hand"
    absent = "no weights of RobustVideoMatting or rembg"
    if all(colour_key.screen_colour(frames) is not None for frames in sequences):
        return colour_key.NAME, f"{absent}, and the border is one saturated colour"
    return plain.NAME, f"{absent}, and the border is not one saturated colour"


def _at_hand(find: Callable[[], str]) -> str | None:
    try:
        return find()
    except WeightsError:
        return None


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
    if backend == background_matting.NAME:
        if plate is None:
            raise CaptureError(
                "background_matting needs a clean picture of each camera's background; set "
                "`matting.backend` to auto"
            )
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


def weights_digest(backend: str, weights: Path | None = None) -> str | None:
    """SHA-256 of the backend's weights, hexadecimal; None where it has none."""
    finders: dict[str, Callable[[], tuple[str, Path]]] = {
        background_matting.NAME: lambda: background_matting.weights_path(weights),
        rvm.NAME: lambda: rvm.weights_path(weights),
        rembg_session.NAME: rembg_session.weights_path,
    }
    if backend not in finders:
        return None
    with finders[backend]()[1].open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
