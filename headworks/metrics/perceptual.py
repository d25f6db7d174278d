"""Perceptual distances for training: LPIPS where its weights are at hand, else a substitute."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from headworks.metrics.ssim import MS_WEIGHTS, WINDOW, _terms

SUBSTITUTE = "gradient+ms-ssim substitute"
"""What manifests call the distance that needs no weights; it is not LPIPS."""
OCTAVES = 3


class PerceptualDistance(Protocol):
    """A differentiable distance of two images [B, 3, H, W] in [0, 1], with a name."""

    name: str

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor:
        """The mean distance, []."""

    def to(self, device: torch.device) -> PerceptualDistance:
        """The same distance on another device."""


def substitute() -> PerceptualDistance:
    """The distance that needs no weights."""
    return GradientStructure()


class GradientStructure(nn.Module):
    """Gradient differences over three octaves plus 1 - MS-SSIM of the coarser scales.

    The finest scale of SSIM is left to the image loss, which has it already.
    """

    name = SUBSTITUTE

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The mean distance, [].

        Args:
            pred, target: [B, 3, H, W] in [0, 1], sides of 16 pixels or more.
        """
        return gradient_distance(pred, target) + 1 - coarse_ssim(pred, target)


def gradient_distance(pred: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels' differences, averaged over octaves."""
    difference = pred - target  # gradients are linear: one pyramid of the difference is enough
    total = pred.new_zeros(())
    for octave in range(OCTAVES):
        if octave:
            difference = functional.avg_pool2d(difference, 2)
        along = difference[..., :, 1:] - difference[..., :, :-1]
        down = difference[..., 1:, :] - difference[..., :-1, :]
        total = total + along.abs().mean() + down.abs().mean()
    return total / OCTAVES


def coarse_ssim(pred: Tensor, target: Tensor) -> Tensor:
    """MS-SSIM from the second scale on, over as many scales as fit, weights summing to 1."""
    weights = []
    side = min(pred.shape[-2:])
    for weight in MS_WEIGHTS[1:]:
        side //= 2
        if side >= WINDOW:
            weights.append(weight)
    product = torch.ones(pred.shape[:2], dtype=pred.dtype, device=pred.device)
    for scale, weight in enumerate(weights):
        pred, target = functional.avg_pool2d(pred, 2), functional.avg_pool2d(target, 2)
        luminance, structure = _terms(pred, target, 0)
        last = scale == len(weights) - 1
        term = (luminance * structure if last else structure).mean((-2, -1))
        product = product * term.clamp_min(1e-4) ** (weight / sum(weights))
    return product.mean()
