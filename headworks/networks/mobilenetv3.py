"""MobileNetV3-Large as a pyramid of features, named as in torchvision's checkpoints."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

_EPS, _MOMENTUM = 1e-3, 0.01


class Bottleneck(NamedTuple):
    """One row of the paper's table: channels, kernel, squeeze, activation, stride, dilation."""

    inner: int
    out: int
    kernel: int
    squeeze: bool
    hard_swish: bool
    stride: int
    dilation: int = 1


STEM = 16
BLOCKS = (
    Bottleneck(16, 16, 3, False, False, 1),
    Bottleneck(64, 24, 3, False, False, 2),
    Bottleneck(72, 24, 3, False, False, 1),
    Bottleneck(72, 40, 5, True, False, 2),
    Bottleneck(120, 40, 5, True, False, 1),
    Bottleneck(120, 40, 5, True, False, 1),
    Bottleneck(240, 80, 3, False, True, 2),
    Bottleneck(200, 80, 3, False, True, 1),
    Bottleneck(184, 80, 3, False, True, 1),
    Bottleneck(184, 80, 3, False, True, 1),
    Bottleneck(480, 112, 3, True, True, 1),
    Bottleneck(672, 112, 3, True, True, 1),
    # The stride of the last stage is replaced by dilation: features at 1/16 instead of 1/32.
    Bottleneck(672, 160, 5, True, True, 1, 2),
    Bottleneck(960, 160, 5, True, True, 1, 2),
    Bottleneck(960, 160, 5, True, True, 1, 2),
)
LAST = 960
TAPS = (1, 3, 6, 16)
"""Which of `features` give f1 (1/2, 16 channels), f2 (1/4, 24), f3 (1/8, 40), f4 (1/16, 960)."""


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1,
    activation: type[nn.Module] | None = None,
) -> nn.Sequential:  # fmt: skip
    parts: list[nn.Module] = [
        nn.Conv2d(
            inputs, outputs, kernel, stride, (kernel - 1) // 2 * dilation, dilation, groups,
            bias=False,
        ),
        nn.BatchNorm2d(outputs, _EPS, _MOMENTUM),
    ]  # fmt: skip
    return nn.Sequential(*parts, *([activation()] if activation else []))


def _multiple_of_8(value: float) -> int:
    """The nearest multiple of 8, not below 90 % of the value."""
    nearest = max(8, int(value + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * value else nearest


class SqueezeExcitation(nn.Module):
    """Channel weights from the global mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _multiple_of_8(channels / 4)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = F.adaptive_avg_pool2d(x, 1)
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(mean))))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, weigh channels, project."""

    def __init__(self, inputs: int, row: Bottleneck) -> None:
        super().__init__()
        activation = nn.Hardswish if row.hard_swish else nn.ReLU
        parts: list[nn.Module] = []
        if row.inner != inputs:
            parts.append(_conv(inputs, row.inner, 1, activation=activation))
        parts.append(
            _conv(row.inner, row.inner, row.kernel, row.stride, row.dilation, row.inner, activation)
        )
        if row.squeeze:
            parts.append(SqueezeExcitation(row.inner))
        parts.append(_conv(row.inner, row.out, 1))
        self.block = nn.Sequential(*parts)
        # Where dilation stands for a stride there is no shortcut either.
        self.shortcut = row.stride == 1 and inputs == row.out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.shortcut else self.block(x)


class MobileNetV3(nn.Module):
    """Image [B, 3, H, W] (normalised as for ImageNet) -> f1, f2, f3, f4.

    Source: Howard et al., Searching for MobileNetV3, 2019, table 1.
    """

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [_conv(3, STEM, 3, 2, activation=nn.Hardswish)]
        channels = STEM
        for row in BLOCKS:
            parts.append(InvertedResidual(channels, row))
            channels = row.out
        parts.append(_conv(channels, LAST, 1, activation=nn.Hardswish))
        self.features = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        taps = []
        for i, part in enumerate(self.features):
            x = part(x)
            if i in TAPS:
                taps.append(x)
        return tuple(taps)
