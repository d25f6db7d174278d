"""Image losses and regularisers that the avatar methods share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headworks.avatars.binding import LocalGaussians

LAMBDA_SSIM = 0.2  # 3D Gaussian Splatting; GASP equation (5) does not publish its weights
PRIOR_WEIGHTS = (5.0, 5.0, 1.0, 1.0, 1.0)  # means, log_scales, quats, colors, opacities
"""Shape is held more than colour: a person's colours are seldom those of synthetic people."""


@dataclass(frozen=True)
class ImageLoss:
    """lambda_1 L1 + lambda_ssim (1 - SSIM) + lambda_alpha |A - A'| + lambda_p perceptual.

    Attributes:
        l1, ssim, alpha, perceptual: the weights. distance: perceptual distance of two images
            [1, 3, H, W] in [0, 1]: LPIPS, or its substitute (`headworks.metrics.perceptual`).

    Source: GASP equation (5); 3D Gaussian Splatting equation (7) for the first two weights.
    """

    l1: float = 1 - LAMBDA_SSIM
    ssim: float = LAMBDA_SSIM
    alpha: float = 0.1
    perceptual: float = 0.0
    distance: Callable[[Tensor, Tensor], Tensor] | None = None

    def __call__(
        self,
        pred: Tensor,
        pred_alpha: Tensor,
        target: Tensor,
        alpha: Tensor,
        weight: Tensor | None = None,
    ) -> Tensor:
        """The loss of one picture.

        Args:
            pred, target: [H, W, 3] in [0, 1]. pred_alpha, alpha: [H, W].
            weight: [H, W] of the L1 term, mean about 1.
        """
        loss = image_loss(pred, target, weight, self.l1, self.ssim)
        loss = loss + self.alpha * (pred_alpha - alpha).abs().mean()
        if self.perceptual and self.distance is not None:
            images = (x.permute(2, 0, 1)[None] for x in (pred, target))
            loss = loss + self.perceptual * self.distance(*images)
        return loss


def image_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    lambda_l1: float = 1 - LAMBDA_SSIM,
    lambda_ssim: float = LAMBDA_SSIM,
) -> Tensor:
    """0.8 L1 + 0.2 (1 - SSIM), if not told otherwise.

    Args:
        pred, target: [H, W, 3] in [0, 1]. weight: [H, W] of the L1 term, mean about 1.

    Source: 3D Gaussian Splatting equation (7).
    """
    from headworks.metrics.ssim import ssim_3dgs

    difference = (pred - target).abs()
    l1 = difference.mean() if weight is None else (difference * weight[..., None]).mean()
    if not lambda_ssim:
        return lambda_l1 * l1
    ssim = ssim_3dgs(pred.permute(2, 0, 1)[None], target.permute(2, 0, 1)[None])
    return lambda_l1 * l1 + lambda_ssim * (1 - ssim)


def geometry_regulariser(
    local: LocalGaussians,
    displacement_weight: Tensor,
    scale_limit: Tensor,
    lambda_mean: float,
    lambda_scale: float,
) -> Tensor:
    """Keep Gaussians near their triangle and not much larger than their texel.

    Args:
        local: raw Gaussians [N, .], or of several people [B, N, .].
        displacement_weight: [N], see `headworks.avatars.gasp.training.displacement_weights`.
        scale_limit: [N, 1] log scale from which on size costs.

    Source: GASP equation (6); the hinge leaves texel-sized Gaussians free.
    """
    displacement = (displacement_weight * local.means.square().sum(-1)).mean()
    excess = torch.relu(local.log_scales - scale_limit).square().sum(-1).mean()
    return lambda_mean * displacement + lambda_scale * excess


def prior_distance(
    local: LocalGaussians, anchor: LocalGaussians, weights: Sequence[float] = PRIOR_WEIGHTS
) -> Tensor:
    """Weighted mean squared distance to the anchor, summed over the attributes (GASP L_prior)."""
    return torch.stack(
        [weight * (a - b).square().mean() for weight, a, b in zip(weights, local, anchor)]
    ).sum()
