"""RobustVideoMatting: a recurrent network that mattes a person frame by frame.

Written from the paper and a description of the published checkpoints' names; those load as they
are (`rvm_mobilenetv3.pth`, `rvm_resnet50.pth`). The published code and, as far as is said, the
weights are under GPL-3.0: who uses them brings them.

Source: Lin et al., Robust High-Resolution Video Matting with Temporal Guidance, 2022.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headworks.matting.rvm.decoder import RecurrentDecoder
from headworks.matting.rvm.refiner import DeepGuidedFilter
from headworks.networks.mobilenetv3 import MobileNetV3
from headworks.networks.resnet import ResNet

VARIANTS = ("mobilenetv3", "resnet50")
States = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]
FRESH: States = (None, None, None, None)
"""The state before the first frame, and after a cut or a change of size."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Mattes(NamedTuple):
    """Foreground colours [B, T, 3, H, W], alpha [B, T, 1, H, W] and the state for what follows."""

    foreground: Tensor
    alpha: Tensor
    states: States


class LRASPP(nn.Module):
    """The narrow features, weighted by the whole picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.aspp1 = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        self.aspp2 = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, outputs, 1, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.aspp1(x) * self.aspp2(x)


class Projection(nn.Module):
    """One 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class RobustVideoMatting(nn.Module):
    """The whole network.

    Args:
        variant: backbone, of `VARIANTS`.
    """

    def __init__(self, variant: str = "mobilenetv3") -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"no variant {variant!r}; there are {', '.join(VARIANTS)}")
        mobile = variant == "mobilenetv3"
        self.normalised = mobile
        self.backbone = MobileNetV3() if mobile else ResNet("resnet50")
        self.aspp = LRASPP(960, 128) if mobile else LRASPP(2048, 256)
        self.decoder = (
            RecurrentDecoder((16, 24, 40, 128), (80, 40, 32, 16))
            if mobile
            else RecurrentDecoder((64, 256, 512, 256), (128, 64, 32, 16))
        )
        self.project_mat = Projection(16, 4)
        self.project_seg = Projection(16, 1)
        self.refiner = DeepGuidedFilter()

    def features(self, small: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features of single pictures [N, 3, h, w]: f1, f2, f3 and the weighted f4."""
        if self.normalised:
            mean = small.new_tensor(_MEAN).view(3, 1, 1)
            small = (small - mean) / small.new_tensor(_STD).view(3, 1, 1)
        f1, f2, f3, f4 = self.backbone(small)
        return f1, f2, f3, self.aspp(f4)

    def hidden(self, small: Tensor, states: States) -> tuple[Tensor, States]:
        """Decoded features [B, T, 16, h, w] of pictures [B, T, 3, h, w], and the new state."""
        batch, times = small.shape[:2]
        flat = self.features(small.flatten(0, 1))
        return self.decoder(small, [f.unflatten(0, (batch, times)) for f in flat], states)

    def forward(self, frames: Tensor, states: States = FRESH, ratio: float = 1.0) -> Mattes:
        """Matte consecutive frames.

        Args:
            frames: [B, T, 3, H, W] sRGB in [0, 1].
            states: what the call before returned; `FRESH` at the start and after a cut.
            ratio: the network sees frames of this size; below 1 the guided filter brings the
                mattes back to full size.
        """
        small = frames if ratio == 1 else _scaled(frames, ratio)
        hidden, states = self.hidden(small, states)
        batch, times = hidden.shape[:2]
        raw = self.project_mat(hidden.flatten(0, 1))
        if ratio != 1:
            raw = self.refiner(frames.flatten(0, 1), small.flatten(0, 1), raw, hidden.flatten(0, 1))
        raw = raw.unflatten(0, (batch, times))
        foreground = (raw[:, :, :3] + frames).clamp(0, 1)
        return Mattes(foreground, raw[:, :, 3:].clamp(0, 1), states)

    def segment(self, frames: Tensor, states: States = FRESH) -> tuple[Tensor, States]:
        """Logits [B, T, 1, H, W] of the segmentation head (it shares all but its last layer)."""
        hidden, states = self.hidden(frames, states)
        logits = self.project_seg(hidden.flatten(0, 1))
        return logits.unflatten(0, hidden.shape[:2]), states


def _scaled(frames: Tensor, ratio: float) -> Tensor:
    small = F.interpolate(
        frames.flatten(0, 1),
        scale_factor=ratio,
        mode="bilinear",
        align_corners=False,
        recompute_scale_factor=False,
    )
    return small.unflatten(0, frames.shape[:2])


def portrait_ratio(height: int, width: int) -> float:
    """Scale at which the network should see a portrait: its longer side at most 512 pixels."""
    return min(512 / max(height, width), 1.0)


def build(variant: str) -> RobustVideoMatting:
    """The network without values, ready for `load_state`."""
    with torch.device("meta"):
        return RobustVideoMatting(variant)
