"""BackgroundMattingV2: alpha from a frame and a clean picture of its background.

Written from the paper and a description of the published checkpoints' names; those load as they
are (`pytorch_resnet50.pth`, `pytorch_mobilenetv2.pth`, `pytorch_resnet101.pth`, under MIT).

Source: Lin et al., Real-Time High-Resolution Background Matting, 2021.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headworks.matting.background_matting.refiner import Refiner, Selection
from headworks.networks.mobilenetv2 import MobileNetV2
from headworks.networks.resnet import ResNet

VARIANTS = ("mobilenetv2", "resnet50", "resnet101")
_HIDDEN = 32
_DILATIONS = (3, 6, 9)
_ASPP = 256


class Output(NamedTuple):
    """What the network says; small: at the backbone's scale.

    Attributes:
        alpha: [B, 1, H, W]. foreground: [B, 3, H, W] in [0, 1].
        alpha_small, error_small: [B, 1, h, w].
        refined: [B, 1, H/4, W/4], 1 where a cell of 4x4 pixels was refined.
    """

    alpha: Tensor
    foreground: Tensor
    alpha_small: Tensor
    error_small: Tensor
    refined: Tensor


class _Pooled(nn.Sequential):
    """The mean of the whole picture, everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        mean = super().forward(x)
        return F.interpolate(mean, x.shape[-2:], mode="bilinear", align_corners=False)


class ASPP(nn.Module):
    """Features gathered at several distances.

    Source: Chen et al., Rethinking Atrous Convolution, 2017; named as in torchvision.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([_unit(inputs, _ASPP, 1)])
        for dilation in _DILATIONS:
            self.convs.append(_unit(inputs, _ASPP, 3, dilation))
        self.convs.append(_Pooled(nn.AdaptiveAvgPool2d(1), *_unit(inputs, _ASPP, 1)))
        self.project = _unit(len(self.convs) * _ASPP, _ASPP, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([conv(x) for conv in self.convs], 1))


def _unit(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = (kernel - 1) // 2 * dilation
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, 1, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Decoder(nn.Module):
    """From the coarsest features to the picture's size.

    Args:
        skips: channels of f3, f2, f1 and the picture. outputs: channels at the end.
    """

    def __init__(self, skips: tuple[int, int, int, int], outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(skips[0] + _ASPP, 128, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(128)
        self.conv2 = nn.Conv2d(skips[1] + 128, 64, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(skips[2] + 64, 48, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(48)
        self.conv4 = nn.Conv2d(skips[3] + 48, outputs, 3, padding=1)

    def forward(self, x: Tensor, skips: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        x = F.relu(self.bn1(self.conv1(_joined(x, skips[0]))))
        x = F.relu(self.bn2(self.conv2(_joined(x, skips[1]))))
        x = F.relu(self.bn3(self.conv3(_joined(x, skips[2]))))
        return self.conv4(_joined(x, skips[3]))


def _joined(x: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([_resized(x, skip.shape[-2:]), skip], 1)


def _resized(x: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


class BackgroundMatting(nn.Module):
    """Coarse mattes from the whole picture, then fine ones where the coarse are in doubt.

    Args:
        variant: backbone, of `VARIANTS`.
    """

    def __init__(self, variant: str = "resnet50") -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"no variant {variant!r}; there are {', '.join(VARIANTS)}")
        mobile = variant == "mobilenetv2"
        self.backbone = MobileNetV2(6) if mobile else ResNet(variant, 6)
        self.aspp = ASPP(320 if mobile else 2048)
        self.decoder = Decoder((32, 24, 16, 6) if mobile else (512, 256, 64, 6), 5 + _HIDDEN)
        self.refiner = Refiner()

    def forward(
        self,
        frame: Tensor,
        background: Tensor,
        scale: float = 0.25,
        selection: Selection = Selection(),  # noqa: B008 (immutable)
    ) -> Output:
        """Matte pictures before their backgrounds.

        Args:
            frame, background: [B, 3, H, W] sRGB in [0, 1]; H and W multiples of 4.
            scale: of what the backbone sees, at most 1/2.
            selection: which cells are refined.

        Raises:
            ValueError: another size or scale.
        """
        height, width = frame.shape[-2:]
        if frame.shape != background.shape or height % 4 or width % 4:
            raise ValueError(
                f"frame {tuple(frame.shape)} and background {tuple(background.shape)} must have "
                "one size, height and width multiples of 4"
            )
        if not 0 < scale <= 0.5:
            raise ValueError(f"scale {scale}: expected a value in (0, 0.5]")
        pair = torch.cat([frame, background], 1)
        small = _resized(pair, (int(height * scale), int(width * scale)))
        f1, f2, f3, f4 = self.backbone(small)
        decoded = self.decoder(self.aspp(f4), (f3, f2, f1, small))
        alpha, residual = decoded[:, :1].clamp(0, 1), decoded[:, 1:4]
        error, hidden = decoded[:, 4:5].clamp(0, 1), decoded[:, 5:].relu()
        fine, refined = self.refiner(pair, alpha, residual, error, hidden, selection)
        foreground = (fine[:, 1:] + frame).clamp(0, 1)
        return Output(fine[:, :1].clamp(0, 1), foreground, alpha, error, refined)


def build(variant: str) -> BackgroundMatting:
    """The network without values, ready for `load_state`."""
    with torch.device("meta"):
        return BackgroundMatting(variant)
