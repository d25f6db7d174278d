"""Pixel metrics on NumPy images: PSNR, alpha errors, flicker, and the SSIM family by name.

Images are float [H, W, 3] in [0, 1] after the protocol's clipping, quantisation and compositing
(`headworks.metrics.protocol`). A NaN raises: a broken pixel must not average away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

PSNR_CAP = 100.0
"""Value reported for identical images, dB."""
ALPHA_THRESHOLD = 0.5
"""Where a soft alpha counts as foreground."""
SSIM_EDGE = 5
"""Pixels at each border that no SSIM window is centred on."""

Image = NDArray[np.floating]
Mask = NDArray[np.bool_]


def checked(pred: Image, target: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both images as float64, once they are comparable.

    Raises:
        ValueError: when shapes differ or a value is not finite.
    """
    first, second = np.asarray(pred, np.float64), np.asarray(target, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"images of different shapes: {first.shape} and {second.shape}")
    for name, image in (("prediction", first), ("target", second)):
        bad = int((~np.isfinite(image)).sum())
        if bad:
            raise ValueError(f"the {name} holds {bad} non-finite values")
    return first, second


def psnr(pred: Image, target: Image, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio of one image, dB.

    Args:
        pred: [H, W, 3] in [0, 1]. target: the same shape.
        mask: bool [H, W]; only these pixels count. None: every pixel.

    Returns:
        dB, at most `PSNR_CAP` (identical pixels).

    Raises:
        ValueError: for non-finite pixels or an empty mask.
    """
    pred, target = checked(pred, target)
    squared = (pred - target) ** 2
    mse = masked_mean(squared.mean(-1), mask)
    return PSNR_CAP if mse == 0 else min(PSNR_CAP, float(-10 * np.log10(mse)))


def masked_mean(values: NDArray[np.floating], mask: Mask | None) -> float:
    """Mean of a map [H, W], over a bool mask [H, W] if there is one.

    Raises:
        ValueError: for an empty mask.
    """
    if mask is None:
        return float(values.mean(dtype=np.float64))
    if not mask.any():
        raise ValueError("the mask holds no pixel")
    return float(values[mask].mean(dtype=np.float64))


def ssim(pred: Image, target: Image, mask: Mask | None = None) -> float:
    """SSIM (11-tap Gaussian window, valid region) of one image; see `headworks.metrics.ssim`.

    Args:
        pred: [H, W, 3] in [0, 1]. target: the same shape.
        mask: bool [H, W]; windows centred on these pixels count (those wholly inside the image).
    """
    return ssim_mean(ssim_map(pred, target), mask)


def ssim_map(pred: Image, target: Image) -> NDArray[np.float32]:
    """SSIM of every window inside the image, mean over channels: float32 [H - 10, W - 10].

    Single precision: about 1e-7 from double precision, at a third of its time.
    """
    from headworks.metrics import ssim as torch_ssim

    return np.asarray(torch_ssim.ssim_map(*_tensors(pred, target))[0].mean(0).numpy())


def ssim_mean(values: NDArray[np.float32], mask: Mask | None = None) -> float:
    """Mean of an `ssim_map`, over the windows centred on a mask [H, W] if there is one."""
    edge = SSIM_EDGE
    return masked_mean(values, None if mask is None else mask[edge:-edge, edge:-edge])


def ssim_3dgs(pred: Image, target: Image) -> float:
    """SSIM as the 3DGS losses compute it (zero padding), for comparison with their tables."""
    from headworks.metrics import ssim as torch_ssim

    return float(torch_ssim.ssim_3dgs(*_tensors(pred, target)))


def ms_ssim(pred: Image, target: Image) -> float:
    """Multi-scale SSIM of one image.

    Raises:
        ValueError: when the shorter side is 160 pixels or less.
    """
    from headworks.metrics import ssim as torch_ssim

    return float(torch_ssim.ms_ssim(*_tensors(pred, target)))


def _tensors(pred: Image, target: Image) -> tuple[Tensor, Tensor]:
    import torch

    first, second = (
        torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1), np.float32))[None]
        for x in checked(pred, target)
    )
    return first, second


def alpha_mae(pred: Image, target: Image) -> float:
    """Mean absolute difference of two mattes [H, W] in [0, 1]."""
    pred, target = checked(pred, target)
    return float(np.abs(pred - target).mean())


def alpha_iou(pred: Image, target: Image) -> float:
    """Intersection over union of two mattes [H, W] at threshold 0.5; 1 when both are empty."""
    pred, target = checked(pred, target)
    a, b = pred > ALPHA_THRESHOLD, target > ALPHA_THRESHOLD
    union = int((a | b).sum())
    return 1.0 if union == 0 else float((a & b).sum() / union)


def flicker(preds: Sequence[Image], targets: Sequence[Image], masks: Sequence[Mask]) -> float:
    """How much the prediction changes from frame to frame beyond what the target does.

    Args:
        preds: T consecutive images [H, W, 3]. targets: the same. masks: T bool [H, W] foregrounds.

    Returns:
        Mean over frames of the mean absolute difference of temporal differences, in [0, 2].

    Raises:
        ValueError: for fewer than two frames.
    """
    if len(preds) < 2:
        raise ValueError("flicker needs at least two consecutive frames")
    values = []
    for t in range(1, len(preds)):
        now, truth_now = checked(preds[t], targets[t])
        before, truth_before = checked(preds[t - 1], targets[t - 1])
        error = np.abs((now - before) - (truth_now - truth_before)).mean(-1)
        values.append(masked_mean(error, masks[t] | masks[t - 1]))
    return float(np.mean(values))
