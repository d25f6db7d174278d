"""LPIPS as published: distances of unit-normalised features of VGG16 or AlexNet.

The feature extractors are our own modules; they read torchvision's published state dicts and the
linear weights of the package `lpips`, version 0.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headworks.errors import WeightsError
from headworks.metrics.lpips_files import BACKBONES, Net, lpips_files
from headworks.networks.checkpoints import load_state, read_checkpoint
from headworks.networks.files import file_digest

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
NORM_EPS = 1e-10
TAPS: dict[Net, tuple[int, ...]] = {"alex": (0, 3, 6, 8, 10), "vgg": (2, 7, 14, 21, 28)}
"""Indices of the convolutions whose rectified outputs are compared."""
CHANNELS: dict[Net, tuple[int, ...]] = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
}


def backbone(net: Net) -> nn.Sequential:
    """The convolutional part up to the last tap, keys as in torchvision's `features`.

    Source: torchvision's AlexNet and VGG16, by their published state dicts.
    """
    layers: list[nn.Module]
    if net == "alex":
        layers = [
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        ]  # fmt: skip
        return nn.Sequential(*layers)
    layers, inputs = [], 3
    for block, (width, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]):
        if block:
            layers.append(nn.MaxPool2d(2))
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
    return nn.Sequential(*layers)


class Lpips(nn.Module):
    """Learned perceptual image patch similarity, frozen, differentiable in both images.

    Args:
        net: "alex" or "vgg".

    Source: Zhang et al. 2018, equation (1); constants of the package lpips 0.1.4.
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net: Net = net
        self.name = f"lpips_{net}"
        self.features = backbone(net)
        self.heads = nn.ParameterList(
            nn.Parameter(torch.zeros(1, channels, 1, 1)) for channels in CHANNELS[net]
        )

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The mean distance, [], of two images [B, 3, H, W] in [0, 1]."""
        return self.layers(2 * pred - 1, 2 * target - 1).sum(-1).mean()

    def layers(self, pred: Tensor, target: Tensor) -> Tensor:
        """Contribution of each layer, [B, 5], of two images [B, 3, H, W] in [-1, 1]."""
        batch = len(pred)
        both = torch.cat([pred, target])
        # Of single precision even where the rest is double, as the published module holds them.
        shift, scale = (torch.tensor(x).to(both).reshape(1, 3, 1, 1) for x in (SHIFT, SCALE))
        both = (both - shift) / scale
        rows: list[Tensor] = []
        for index, layer in enumerate(self.features):
            both = layer(both)
            if index - 1 in TAPS[self.net]:
                # vector_norm, for the root of a sum has no gradient where all features are 0.
                norm = torch.linalg.vector_norm(both, dim=1, keepdim=True)
                unit = both / (norm + NORM_EPS)
                difference = (unit[:batch] - unit[batch:]).square()
                rows.append((difference * self.heads[len(rows)]).sum(1).mean((-2, -1)))
        return torch.stack(rows, -1)


def lpips_score(model: Lpips, pred: NDArray[np.floating], target: NDArray[np.floating]) -> float:
    """LPIPS of two pictures, as a metric.

    Args:
        model: from `load_lpips`. pred, target: [H, W, 3] sRGB in [0, 1], sides of 64 or more.
    """
    pair = (torch.from_numpy(np.float32(image)).permute(2, 0, 1)[None] for image in (pred, target))
    with torch.no_grad():
        return float(model(*pair))


def load_lpips(net: Net, folder: Path | None) -> Lpips:
    """LPIPS with its published weights.

    Args:
        net: "alex" or "vgg". folder: see `lpips_files`.

    Raises:
        WeightsError: a file is absent, damaged or not the published one.
    """
    found = lpips_files(net, folder)
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise WeightsError(
            f"{folder or 'no folder of weights'}: {' and '.join(missing)} not found; put "
            f"{BACKBONES[net][0]}.pth (torchvision) there and {net}.pth of the package lpips "
            "(weights/v0.1) into its folder lpips, or set `perceptual` to substitute"
        )
    trunk, heads = (path for path in found.values() if path is not None)
    stem = trunk.stem.split(".")[0]
    if trunk.suffix == ".pth" and not file_digest(trunk).startswith(stem.rsplit("-", 1)[1]):
        raise WeightsError(
            f"{trunk}: its SHA-256 does not begin with {stem.rsplit('-', 1)[1]}, as its name says; "
            "fetch the file again"
        )
    return lpips_from(net, read_checkpoint(trunk), read_checkpoint(heads), f"{trunk}, {heads}")


def lpips_from(
    net: Net,
    trunk: dict[str, Tensor],
    heads: dict[str, Tensor],
    where: str = "LPIPS",
    dtype: torch.dtype = torch.float32,
) -> Lpips:
    """LPIPS from a torchvision state dict and the lpips package's linear weights.

    Args:
        trunk: names `features.{k}.weight` and `.bias`; others are ignored. heads: names
            `lin{k}.model.1.weight` [1, C, 1, 1]. where: for the message. dtype: to compute in.

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    with torch.device("meta"):
        shell = Lpips(net).features
    keys = {f"features.{name}" for name in shell.state_dict()}
    state: dict[str, Any] = {name: tensor for name, tensor in trunk.items() if name in keys}
    state |= {f"heads.{k}": heads.get(f"lin{k}.model.1.weight") for k in range(5)}
    return load_state(Lpips(net).to(dtype), state, where)
