"""Image losses and regularisers that the avatar methods share."""

from __future__ import annotations

import torch
from torch import Tensor

from headworks.avatars.binding import LocalGaussians

LAMBDA_SSIM = 0.2  # 3D Gaussian Splatting; GASP equation (5) does not publish its weights
PRIOR_WEIGHTS = (5.0, 5.0, 1.0, 1.0, 1.0)  # means, log_scales, quats, colors, opacities
"""Shape is held more than colour: a person's colours are seldom those of synthetic people."""
SCALP_DISPLACEMENT_WEIGHT = 0.01  # GASP equation (6)
INNER_DISPLACEMENT_WEIGHT = 30.0
"""Eyes and teeth stay where they are, or they would show through closed lids and lips."""


def image_loss(pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """0.8 L1 + 0.2 (1 - SSIM).

    Args:
        pred, target: [H, W, 3] in [0, 1]. weight: [H, W] of the L1 term, mean about 1.

    Source: 3D Gaussian Splatting equation (7); GASP equation (5) without LPIPS, for which weights
        must be at hand.
    """
    from headworks.metrics.ssim import ssim_3dgs

    difference = (pred - target).abs()
    l1 = difference.mean() if weight is None else (difference * weight[..., None]).mean()
    ssim = ssim_3dgs(pred.permute(2, 0, 1)[None], target.permute(2, 0, 1)[None])
    return (1 - LAMBDA_SSIM) * l1 + LAMBDA_SSIM * (1 - ssim)


def geometry_regulariser(
    local: LocalGaussians,
    displacement_weight: Tensor,
    scale_limit: Tensor,
    lambda_mean: float,
    lambda_scale: float,
) -> Tensor:
    """Keep Gaussians near their triangle and not much larger than their texel.

    Args:
        displacement_weight: [N], see `headworks.avatars.gasp.prior.displacement_weights`.
        scale_limit: [N, 1] log scale from which on size costs.

    Source: GASP equation (6); the hinge leaves texel-sized Gaussians free.
    """
    displacement = (displacement_weight * local.means.square().sum(-1)).mean()
    excess = torch.relu(local.log_scales - scale_limit).square().sum(-1).mean()
    return lambda_mean * displacement + lambda_scale * excess


def prior_distance(local: LocalGaussians, anchor: LocalGaussians) -> Tensor:
    """Weighted mean squared distance to the anchor, summed over the attributes (GASP L_prior)."""
    return torch.stack(
        [weight * (a - b).square().mean() for weight, a, b in zip(PRIOR_WEIGHTS, local, anchor)]
    ).sum()
