"""What every image metric is computed from: quantisation, background, scopes, and named scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headworks.images import composite, to_float, to_uint8
from headworks.metrics import pixel
from headworks.metrics.pixel import ALPHA_THRESHOLD, Mask
from headworks.metrics.ssim import MS_MIN_SIDE

Scope = Literal["full", "fg", "face"]
SCOPES: tuple[Scope, ...] = ("full", "fg", "face")
FACE_DILATION = 0.05
"""The face hull grows by this fraction of its height."""


@dataclass(frozen=True)
class Protocol:
    """How images were prepared before they were compared; its name goes with every number.

    Attributes:
        side: (width, height) in pixels. background: name of the constant colour.
        frames: which frames: "held_out_frames", "held_out_cameras" or "train_view".
        bits: quantisation of both images. alpha: where the target's alpha comes from.
        colours: the target's in half-covered pixels: "own", the frame's background taken out.
    """

    side: tuple[int, int]
    frames: str
    alpha: str
    background: str = "white"
    bits: int = 8
    colours: str = "own"

    @property
    def name(self) -> str:
        """E.g. `held_out_frames-256x256-white-8bit-matte`."""
        w, h = self.side
        return f"{self.frames}-{w}x{h}-{self.background}-{self.bits}bit-{self.alpha}"

    def describe(self) -> dict[str, Any]:
        """JSON values of every choice."""
        return {**asdict(self), "side": list(self.side)}


@dataclass(frozen=True)
class Score:
    """One number, or the reason why there is none.

    Attributes:
        metric: name. scope: which pixels. value: None where it could not be computed.
        reason: why there is no value, or what happened (a failure that was scored).
    """

    metric: str
    scope: Scope
    value: float | None
    reason: str | None = None


def displayed(
    rgb: NDArray[np.floating],
    alpha: NDArray[np.floating] | None = None,
    background: tuple[float, float, float] = (1, 1, 1),
) -> NDArray[np.float32]:
    """An image as it is compared: over the background, clipped, rounded to 8 bit.

    Args:
        rgb: [H, W, 3] in [0, 1]. alpha: [H, W] straight, or None when already composited.

    Returns:
        float32 [H, W, 3], multiples of 1/255.

    Raises:
        ValueError: for non-finite values (rounding would hide them).
    """
    if alpha is not None:
        rgb = composite(rgb, alpha, background)
    if not np.isfinite(rgb).all():
        raise ValueError("the image holds non-finite values")
    return to_float(to_uint8(rgb))


def foreground_mask(alpha: NDArray[np.floating]) -> Mask:
    """Pixels of the target's foreground: bool [H, W]."""
    return np.asarray(alpha) > ALPHA_THRESHOLD


def face_mask(landmarks: NDArray[np.floating], width: int, height: int) -> Mask | None:
    """Convex hull of the 68 landmarks, grown by 5 % of its height.

    Args:
        landmarks: [68, >= 2] pixels, centres at +0.5; NaN where not found.

    Returns:
        bool [H, W], or None without landmarks.
    """
    import cv2

    points = np.asarray(landmarks, np.float64)[:, :2]
    if not np.isfinite(points).all():
        return None
    # cv2 puts pixel centres at integers.
    hull = cv2.convexHull(np.rint(points - 0.5).astype(np.int32))
    mask: NDArray[Any] = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, hull, 1)
    radius = round(FACE_DILATION * float(np.ptp(points[:, 1])))
    if radius > 0:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        mask = cv2.dilate(mask, disc)
    return mask.astype(bool) if mask.any() else None


def image_scores(
    pred: NDArray[np.floating],
    target: NDArray[np.floating],
    masks: dict[Scope, Mask | None],
    metrics: Iterable[str] = ("psnr", "ssim", "ms_ssim", "flip"),
) -> list[Score]:
    """All asked image metrics of one frame in all scopes in which they are defined.

    Args:
        pred: [H, W, 3] in [0, 1], as `displayed`. target: the same shape.
        masks: bool [H, W] for "fg" and "face"; None or empty: no such pixels in this frame.
        metrics: names among psnr, ssim, ssim_3dgs, ms_ssim, flip.

    Raises:
        ValueError: for non-finite pixels or an unknown metric.
    """
    from headworks.metrics.flip import flip_map

    scores: list[Score] = []
    small = min(target.shape[:2]) <= MS_MIN_SIDE
    for metric in metrics:
        if metric == "ms_ssim":
            value = None if small else pixel.ms_ssim(pred, target)
            reason = f"shorter side is {MS_MIN_SIDE} pixels or less" if small else None
            scores.append(Score(metric, "full", value, reason))
            continue
        if metric == "ssim_3dgs":
            scores.append(Score(metric, "full", pixel.ssim_3dgs(pred, target)))
            continue
        mean: Callable[[Mask | None], float]
        if metric == "flip":
            mean = partial(pixel.masked_mean, flip_map(pred, target))
        elif metric == "ssim":
            mean = partial(pixel.ssim_mean, pixel.ssim_map(pred, target))
        elif metric == "psnr":
            mean = partial(pixel.psnr, pred, target)
        else:
            raise ValueError(f"no image metric {metric!r}")
        for scope in SCOPES:
            mask = None if scope == "full" else masks.get(scope)
            if scope != "full" and (mask is None or not mask.any()):
                why = "no landmarks in this frame" if scope == "face" else "no foreground"
                scores.append(Score(metric, scope, None, why))
            else:
                scores.append(Score(metric, scope, mean(mask)))
    return scores


def identity_score(pred: NDArray[np.floating], target: NDArray[np.floating]) -> Score:
    """FD of one frame.

    A prediction without a detectable face scores 1.0; a target without one gives no value.

    Args:
        pred: [H, W, 3] in [0, 1], as `displayed`. target: the same shape.
    """
    from headworks.errors import WeightsError
    from headworks.metrics import identity

    try:
        truth = identity.face_encoding(to_uint8(target))
        if truth is None:
            return Score("fd", "full", None, "no face detected in the ground truth")
        guess = identity.face_encoding(to_uint8(pred))
    except WeightsError as error:
        return Score("fd", "full", None, str(error))
    if guess is None:
        missing = identity.MISSING_FACE_DISTANCE
        return Score("fd", "full", missing, "failed: no face detected in the prediction")
    return Score("fd", "full", identity.face_distance(guess, truth))
