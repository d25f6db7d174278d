"""G: the picture from warped features, by normalisations that the features themselves modulate."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headworks.errors import WeightsError
from headworks.expressions.liveportrait.config import Config

_SLOPE = 0.2
_SPECTRAL = ("weight_orig", "weight_u", "weight_v")


class Spade(nn.Module):
    """Instance normalisation whose scale and shift come from a map.

    Source: Park et al., Semantic Image Synthesis with Spatially-Adaptive Normalization, 2019.
    """

    def __init__(self, channels: int, condition: int, shared: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(condition, shared, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(shared, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(shared, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shared = self.mlp_shared(F.interpolate(condition, x.shape[-2:], mode="nearest"))
        return F.instance_norm(x) * (1 + self.mlp_gamma(shared)) + self.mlp_beta(shared)


class SpadeResidual(nn.Module):
    """Two modulated convolutions and a shortcut, itself learned where the channels change."""

    def __init__(self, inputs: int, outputs: int, condition: int, shared: int) -> None:
        super().__init__()
        inner = min(inputs, outputs)
        self.conv_0 = nn.Conv2d(inputs, inner, 3, padding=1)
        self.conv_1 = nn.Conv2d(inner, outputs, 3, padding=1)
        self.norm_0 = Spade(inputs, condition, shared)
        self.norm_1 = Spade(inner, condition, shared)
        self.learned = inputs != outputs
        if self.learned:
            self.conv_s = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.norm_s = Spade(inputs, condition, shared)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.conv_0(F.leaky_relu(self.norm_0(x, condition), _SLOPE))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, condition), _SLOPE))
        return (self.conv_s(self.norm_s(x, condition)) if self.learned else x) + y


class Generator(nn.Module):
    """Warped features [B, warped, S, S] -> picture [B, 3, 8 S, 8 S] in [0, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        condition, wide = config.warped, 2 * config.warped
        self.fc = nn.Conv2d(condition, wide, 3, padding=1)
        self.middle = config.middle
        for i in range(config.middle):
            setattr(self, f"G_middle_{i}", SpadeResidual(wide, wide, condition, config.shared))
        self.up_0 = SpadeResidual(wide, condition, condition, config.shared)
        self.up_1 = SpadeResidual(condition, config.width, condition, config.shared)
        self.conv_img = nn.Sequential(
            nn.Conv2d(config.width, 3 * 4, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, features: Tensor) -> Tensor:
        x = self.fc(features)
        for i in range(self.middle):
            x = getattr(self, f"G_middle_{i}")(x, features)
        x = self.up_0(F.interpolate(x, scale_factor=2, mode="nearest"), features)
        x = self.up_1(F.interpolate(x, scale_factor=2, mode="nearest"), features)
        return torch.sigmoid(self.conv_img(F.leaky_relu(x, _SLOPE)))


def fold_spectral_norm(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Plain convolutions from spectrally normalised ones: weight = weight_orig / (u W v).

    Args:
        state: as published, each such weight with its two vectors. where: for the message.

    Raises:
        WeightsError: a weight lacks one of its vectors.
    """
    plain = {n: t for n, t in state.items() if not n.endswith(_SPECTRAL)}
    for name in (n for n in state if n.endswith("weight_orig")):
        stem = name.removesuffix("_orig")
        absent = [f"{stem}{end}" for end in ("_u", "_v") if f"{stem}{end}" not in state]
        if absent:
            raise WeightsError(f"{where}: missing {', '.join(absent)} beside {name}")
        weight, u, v = state[name], state[f"{stem}_u"], state[f"{stem}_v"]
        matrix = weight.flatten(1)
        if u.shape != matrix.shape[:1] or v.shape != matrix.shape[1:]:
            raise WeightsError(
                f"{where}: {stem}_u {tuple(u.shape)} and {stem}_v {tuple(v.shape)} do not fit "
                f"{name} {tuple(weight.shape)}"
            )
        plain[stem] = weight / torch.dot(u, torch.mv(matrix, v))
    return plain
