"""MobileNetV2 as a pyramid of features, named as in torchvision's checkpoints."""

from __future__ import annotations

from torch import Tensor, nn

STEM = 32
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 1),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks, stride. The stride of the stage of 160 channels is replaced by
dilation, so that the features end at 1/16 instead of 1/32."""
DILATED_FROM = 15
TAPS = (1, 3, 6, 17)
"""Which of `features` give f1 (1/2, 16 channels), f2 (1/4, 24), f3 (1/8, 32), f4 (1/16, 320)."""


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    padding = (kernel - 1) // 2 * dilation
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project without activation."""

    def __init__(
        self, inputs: int, outputs: int, expansion: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        parts: list[nn.Module] = [_conv(inputs, inner, 1)] if expansion != 1 else []
        parts += [
            _conv(inner, inner, 3, stride, dilation, inner),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*parts)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """Image [B, C, H, W] -> f1, f2, f3, f4.

    Args:
        in_channels: C.

    Source: Sandler et al., MobileNetV2, 2018, table 2, without the last 1x1 convolution.
    """

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        parts: list[nn.Module] = [_conv(in_channels, STEM, 3, 2)]
        channels = STEM
        for expansion, out, count, stride in STAGES:
            for i in range(count):
                dilation = 2 if len(parts) >= DILATED_FROM else 1
                step = stride if i == 0 else 1
                parts.append(InvertedResidual(channels, out, expansion, step, dilation))
                channels = out
        self.features = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        taps = []
        for i, part in enumerate(self.features):
            x = part(x)
            if i in TAPS:
                taps.append(x)
        return tuple(taps)
