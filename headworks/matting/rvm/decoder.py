"""RobustVideoMatting's decoder: from coarse to fine, with a memory at each scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvGRU(nn.Module):
    """A gated recurrent unit whose products are 3x3 convolutions; output and state are one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ih = nn.Sequential(nn.Conv2d(2 * channels, 2 * channels, 3, padding=1), nn.Sigmoid())
        self.hh = nn.Sequential(nn.Conv2d(2 * channels, channels, 3, padding=1), nn.Tanh())

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        """The state after one frame: x, h [B, C, H, W]."""
        reset, update = self.ih(torch.cat([x, h], 1)).chunk(2, 1)
        candidate = self.hh(torch.cat([x, reset * h], 1))
        return (1 - update) * h + update * candidate

    def forward(self, x: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """States [B, T, C, H, W] after each frame of x [B, T, C, H, W], and the last of them."""
        if h is None:
            h = torch.zeros_like(x[:, 0])
        outputs = []
        for frame in x.unbind(1):
            h = self.step(frame, h)
            outputs.append(h)
        return torch.stack(outputs, 1), h


class _Remembering(nn.Module):
    """Half of the channels pass through a memory."""

    gru: ConvGRU

    def remember(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        passing, kept = x.chunk(2, 2)
        kept, state = self.gru(kept, state)
        return torch.cat([passing, kept], 2), state


class Bottleneck(_Remembering):
    """The coarsest block: memory alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gru = ConvGRU(channels // 2)

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.remember(x, state)


class Upsampling(_Remembering):
    """Twice the size, joined with the features and the picture at that size."""

    def __init__(self, inputs: int, skip: int, picture: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs + skip + picture, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )
        self.gru = ConvGRU(outputs // 2)

    def forward(
        self, x: Tensor, feature: Tensor, picture: Tensor, state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        joined = torch.cat([_twice(x, picture), feature, picture], 2)
        return self.remember(_each(self.conv, joined), state)


class Output(nn.Module):
    """Full size, without memory."""

    def __init__(self, inputs: int, picture: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs + picture, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        return _each(self.conv, torch.cat([_twice(x, picture), picture], 2))


class RecurrentDecoder(nn.Module):
    """f1..f4 and the picture -> 16 channels at the picture's size.

    Args:
        features: channels of f1..f4. widths: channels of decode3, decode2, decode1, decode0.
    """

    def __init__(self, features: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        f1, f2, f3, f4 = features
        w3, w2, w1, w0 = widths
        self.decode4 = Bottleneck(f4)
        self.decode3 = Upsampling(f4, f3, 3, w3)
        self.decode2 = Upsampling(w3, f2, 3, w2)
        self.decode1 = Upsampling(w2, f1, 3, w1)
        self.decode0 = Output(w1, 3, w0)

    def forward(
        self,
        picture: Tensor,
        features: Sequence[Tensor],
        states: Sequence[Tensor | None],
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Decode.

        Args:
            picture: [B, T, 3, H, W]. features: f1..f4 [B, T, C, ., .].
            states: of decode1..decode4, [B, C, ., .] or None.

        Returns:
            [B, T, 16, H, W] and the new states.
        """
        f1, f2, f3, f4 = features
        s1 = _half(picture)
        s2 = _half(s1)
        s3 = _half(s2)
        x, r4 = self.decode4(f4, states[3])
        x, r3 = self.decode3(x, f3, s3, states[2])
        x, r2 = self.decode2(x, f2, s2, states[1])
        x, r1 = self.decode1(x, f1, s1, states[0])
        return self.decode0(x, picture), (r1, r2, r3, r4)


def _each(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer of pictures to every frame of [B, T, C, H, W]."""
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _half(x: Tensor) -> Tensor:
    """Half the size; an odd edge is averaged over the pixels that there are."""
    half = F.avg_pool2d(x.flatten(0, 1), 2, ceil_mode=True, count_include_pad=False)
    return half.unflatten(0, x.shape[:2])


def _twice(x: Tensor, like: Tensor) -> Tensor:
    """Twice the size, cut to the size of another."""
    up = F.interpolate(x.flatten(0, 1), scale_factor=2, mode="bilinear", align_corners=False)
    return up[..., : like.shape[-2], : like.shape[-1]].unflatten(0, x.shape[:2])
