"""Convolution, batch normalisation, activation: in two and three dimensions."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Unit2d(nn.Module):
    """Convolution 3x3, normalisation, rectifier; halves the size where `down`."""

    def __init__(self, inputs: int, outputs: int, down: bool = False, leak: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.down, self.leak = down, leak

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm(self.conv(x)), self.leak)
        return F.avg_pool2d(x, 2) if self.down else x


class Down3d(nn.Module):
    """Convolution, normalisation, rectifier; halves height and width, not depth."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool3d(F.relu(self.norm(self.conv(x))), (1, 2, 2))


class Up3d(nn.Module):
    """Doubles height and width, not depth; convolution, normalisation, rectifier."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest")
        return F.relu(self.norm(self.conv(x)))


class Residual3d(nn.Module):
    """x plus two convolutions, each after normalisation and rectifier."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(channels)
        self.norm2 = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(y)))


class Encoder(nn.Module):
    """Volumes of falling size, the input first."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList(Down3d(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        out = [x]
        for block in self.down_blocks:
            out.append(block(out[-1]))
        return out


class Decoder(nn.Module):
    """Back to full size, joined with the encoder's volume of each size."""

    def __init__(self, skips: list[int], widths: list[int]) -> None:
        """skips: channels of the encoder's volumes. widths: after each doubling, deepest first."""
        super().__init__()
        inputs = [skips[-1], *(w + s for w, s in zip(widths[:-1], skips[-2:0:-1]))]
        self.up_blocks = nn.ModuleList(Up3d(a, b) for a, b in zip(inputs, widths))
        self.channels = widths[-1] + skips[0]
        self.conv = nn.Conv3d(self.channels, self.channels, 3, padding=1)
        self.norm = nn.BatchNorm3d(self.channels)

    def forward(self, volumes: list[Tensor]) -> Tensor:
        x = volumes[-1]
        for block, skip in zip(self.up_blocks, volumes[-2::-1]):
            x = torch.cat([block(x), skip], 1)
        return F.relu(self.norm(self.conv(x)))


class Hourglass(nn.Module):
    """Down and up again with shortcuts.

    Args:
        inputs: channels. width, most: channels double from `width` up to `most`. blocks: halvings.
    """

    def __init__(self, inputs: int, width: int, most: int, blocks: int) -> None:
        super().__init__()
        widths = [min(most, width * 2**i) for i in range(blocks + 1)]
        self.encoder = Encoder([inputs, *widths[1:]])
        self.decoder = Decoder([inputs, *widths[1:]], widths[-2::-1])
        self.channels = self.decoder.channels

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))
