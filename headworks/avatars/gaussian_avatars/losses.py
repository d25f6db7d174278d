"""What holds Gaussians near their face and small: the losses of GaussianAvatars section 3.3."""

from __future__ import annotations

import torch
from torch import Tensor

POSITION_THRESHOLD = 1.0
"""Face sizes that a Gaussian may lie from its face's centroid."""
SCALE_THRESHOLD = 0.6
"""Local scale up to which a Gaussian is free."""


def position_loss(means: Tensor, visible: Tensor) -> Tensor:
    """Mean over visible Gaussians of relu(|mu| - 1).

    Args:
        means: [N, 3] local. visible: bool [N].

    Source: GaussianAvatars train.py.
    """
    if not visible.any():
        return means.sum() * 0
    length = means[visible].square().sum(-1).clamp_min(1e-20).sqrt()
    return torch.relu(length - POSITION_THRESHOLD).mean()


def scale_loss(log_scales: Tensor, visible: Tensor) -> Tensor:
    """Mean over visible Gaussians of the length of relu(exp(sigma) - 0.6).

    Args:
        log_scales: [N, 3] local. visible: bool [N].

    Source: GaussianAvatars train.py.
    """
    if not visible.any():
        return log_scales.sum() * 0
    excess = torch.relu(log_scales[visible].exp() - SCALE_THRESHOLD)
    return excess.square().sum(-1).clamp_min(1e-20).sqrt().mean()
