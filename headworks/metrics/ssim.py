"""Structural similarity in torch: the reported form, the training form and the multi-scale form.

All of them use an 11-tap Gaussian window of sigma 1.5 and biased covariances. `ssim` counts only
positions where the whole window lies inside the image; `ssim_3dgs` pads with zeros as the losses of
the Gaussian-splatting papers do, and so reads a little higher on frames with a plain border.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 11
SIGMA = 1.5
_WEIGHTS = [math.exp(-((i - WINDOW // 2) ** 2) / (2 * SIGMA**2)) for i in range(WINDOW)]
TAPS = tuple(weight / sum(_WEIGHTS) for weight in _WEIGHTS)
"""The window along one axis; sums to 1."""
C1 = 0.01**2
C2 = 0.03**2
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first (Wang, Simoncelli and Bovik 2003, section 3.2)."""
MS_MIN_SIDE = (WINDOW - 1) * 2 ** (len(MS_WEIGHTS) - 1)
"""MS-SSIM needs images whose shorter side is larger than this."""


def ssim(pred: Tensor, target: Tensor) -> Tensor:
    """Mean SSIM over channels and over positions whose window lies inside the image.

    Args:
        pred: [B, 3, H, W] in [0, 1], H and W at least 11. target: the same shape.

    Returns:
        [] mean over the batch; differentiable once in both arguments.

    Source: Wang, Bovik, Sheikh and Simoncelli 2004, section III.
    """
    return ssim_map(pred, target).mean()


def ssim_3dgs(pred: Tensor, target: Tensor) -> Tensor:
    """SSIM with zero padding, averaged over the full frame: the training loss of 3DGS.

    Args:
        pred: [B, 3, H, W] in [0, 1]. target: the same shape.

    Returns:
        [] mean over the batch; differentiable once in both arguments.

    Source: Kerbl et al. 2023, 3D Gaussian Splatting, section 5 (D-SSIM term).
    """
    if _fusible(pred, target):
        from headworks.metrics.ssim_fused import fused_ssim

        return torch.stack(
            [
                fused_ssim(*pair)
                for pair in zip(pred.permute(0, 2, 3, 1), target.permute(0, 2, 3, 1))
            ]
        ).mean()
    return ssim_map(pred, target, padding=WINDOW // 2).mean()


def _fusible(pred: Tensor, target: Tensor) -> bool:
    """Whether the fast path serves: single precision on the CPU, no gradient to the target."""
    plain = all(x.device.type == "cpu" and x.dtype == torch.float32 for x in (pred, target))
    square = pred.shape == target.shape and pred.ndim == 4 and min(pred.shape[-2:]) >= WINDOW
    return plain and square and not target.requires_grad


def ssim_map(pred: Tensor, target: Tensor, padding: int = 0) -> Tensor:
    """SSIM of every window.

    Args:
        pred: [B, C, H, W] in [0, 1]. target: the same shape. padding: zeros around both images.

    Returns:
        [B, C, H + 2 * padding - 10, W + 2 * padding - 10] in [-1, 1].
    """
    luminance, structure = _terms(pred, target, padding)
    return luminance * structure


def ms_ssim(pred: Tensor, target: Tensor) -> Tensor:
    """Multi-scale SSIM over five octaves.

    Args:
        pred: [B, C, H, W] in [0, 1], shorter side above 160 pixels. target: the same shape.

    Returns:
        [] mean over channels and batch.

    Raises:
        ValueError: for smaller images.

    Source: Wang, Simoncelli and Bovik 2003, equation 7.
    """
    if min(pred.shape[-2:]) <= MS_MIN_SIDE:
        raise ValueError(f"MS-SSIM needs sides above {MS_MIN_SIDE}, got {tuple(pred.shape[-2:])}")
    product = torch.ones(pred.shape[:2], dtype=pred.dtype, device=pred.device)
    for scale, weight in enumerate(MS_WEIGHTS):
        luminance, structure = _terms(pred, target, 0)
        last = scale == len(MS_WEIGHTS) - 1
        term = (luminance * structure if last else structure).mean((-2, -1))
        product = product * term.clamp_min(0) ** weight
        if not last:
            # An odd side is padded by one on both ends, the padding counting as black.
            pads = [side % 2 for side in pred.shape[-2:]]
            pred, target = (functional.avg_pool2d(x, 2, padding=pads) for x in (pred, target))
    return product.mean()


def _terms(pred: Tensor, target: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure terms of every window."""
    if pred.shape != target.shape or pred.ndim != 4:
        raise ValueError(f"expected two [B, C, H, W], got {pred.shape} and {target.shape}")
    # One blur per image, so that the constant one costs no backward pass.
    x, xx, xy = _blur(torch.cat([pred, pred * pred, pred * target], 1), padding).chunk(3, 1)
    y, yy = _blur(torch.cat([target, target * target], 1), padding).chunk(2, 1)
    luminance = (2 * x * y + C1) / (x * x + y * y + C1)
    structure = (2 * (xy - x * y) + C2) / ((xx - x * x) + (yy - y * y) + C2)
    return luminance, structure


def _blur(image: Tensor, padding: int) -> Tensor:
    return _GaussianBlur.apply(image, padding)


class _GaussianBlur(torch.autograd.Function):
    """Separable window as sums of shifted images: several times faster on a CPU than convolution.

    The window is symmetric, so the adjoint is the same blur with the complementary padding.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, padding: int) -> Tensor:
        ctx.padding = padding
        return _window_sums(image, padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _window_sums(gradient, WINDOW - 1 - ctx.padding), None


def _window_sums(image: Tensor, padding: int) -> Tensor:
    image = functional.pad(image, (padding,) * 4)
    height, width = image.shape[-2:]
    if min(height, width) < WINDOW:
        raise ValueError(f"SSIM needs sides of at least {WINDOW} pixels")
    if image.device.type != "cpu":
        return _blurred(image)
    # One plane after the other stays in the cache.
    planes = [_blurred(plane) for plane in image.flatten(0, 1)]
    return torch.stack(planes).unflatten(0, image.shape[:2])


def _blurred(image: Tensor) -> Tensor:
    for axis in (-1, -2):
        length = image.shape[axis] - WINDOW + 1
        total = image.narrow(axis, 0, length) * TAPS[0]
        for offset in range(1, WINDOW):
            total.add_(image.narrow(axis, offset, length), alpha=TAPS[offset])
        image = total
    return image
