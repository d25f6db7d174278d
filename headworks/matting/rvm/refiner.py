"""The deep guided filter: mattes of a small picture brought to the full size along its edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_GUIDE = 4
_HIDDEN = 16


class DeepGuidedFilter(nn.Module):
    """Locally, the matte is a linear function of the picture; a small network says which.

    Source: Wu et al., Fast End-to-End Trainable Guided Filter, 2018; Lin et al. 2022, section 3.3.
    """

    def __init__(self) -> None:
        super().__init__()
        # Starts as the mean over 3x3 pixels; the checkpoint carries what training made of it.
        self.box_filter = nn.Conv2d(_GUIDE, _GUIDE, 3, padding=1, groups=_GUIDE, bias=False)
        nn.init.constant_(self.box_filter.weight, 1 / 9)
        self.conv = nn.Sequential(
            nn.Conv2d(2 * _GUIDE + _HIDDEN, _HIDDEN, 1, bias=False),
            nn.BatchNorm2d(_HIDDEN),
            nn.ReLU(),
            nn.Conv2d(_HIDDEN, _HIDDEN, 1, bias=False),
            nn.BatchNorm2d(_HIDDEN),
            nn.ReLU(),
            nn.Conv2d(_HIDDEN, _GUIDE, 1),
        )

    def forward(self, full: Tensor, small: Tensor, raw: Tensor, hidden: Tensor) -> Tensor:
        """The raw outputs at full size.

        Args:
            full: [N, 3, H, W] picture. small: [N, 3, h, w] the same, small.
            raw: [N, 4, h, w] foreground residual and alpha. hidden: [N, 16, h, w].

        Returns:
            [N, 4, H, W].
        """
        x, guide = _with_grey(small), _with_grey(full)
        mean_x, mean_y = self.box_filter(x), self.box_filter(raw)
        covariance = self.box_filter(x * raw) - mean_x * mean_y
        variance = self.box_filter(x * x) - mean_x * mean_x
        slope = self.conv(torch.cat([covariance, variance, hidden], 1))
        offset = mean_y - slope * mean_x
        size = full.shape[-2:]
        slope, offset = (
            F.interpolate(t, size, mode="bilinear", align_corners=False) for t in (slope, offset)
        )
        return slope * guide + offset


def _with_grey(picture: Tensor) -> Tensor:
    return torch.cat([picture, picture.mean(1, keepdim=True)], 1)
