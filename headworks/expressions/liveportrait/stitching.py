"""Small perceptrons on keypoints: stitching to the shoulders, opening of eyes and lips."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_STITCHING = (128, 128, 64)
_LIPS = (128, 128, 64)
_EYES = (256, 256, 128, 128, 64)


class KeypointMLP(nn.Module):
    """Linear layers with rectifiers between them."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        self.mlp = nn.Sequential(*layers, nn.Linear(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)


def stitching_network(keypoints: int = 21) -> KeypointMLP:
    """Source and driving keypoints -> what to add to the driving ones, and a shift in x and y."""
    return KeypointMLP(6 * keypoints, _STITCHING, 3 * keypoints + 2)


def lip_network(keypoints: int = 21) -> KeypointMLP:
    """Source keypoints, its lips' opening and the wanted one -> what to add."""
    return KeypointMLP(3 * keypoints + 2, _LIPS, 3 * keypoints)


def eye_network(keypoints: int = 21) -> KeypointMLP:
    """Source keypoints, both eyes' opening and the wanted one -> what to add."""
    return KeypointMLP(3 * keypoints + 3, _EYES, 3 * keypoints)


def stitch(network: KeypointMLP, source: Tensor, driving: Tensor) -> Tensor:
    """Driving keypoints that keep the shoulders in place; all [B, K, 3]."""
    delta = network(torch.cat([source.flatten(1), driving.flatten(1)], 1))
    points, shift = delta[:, :-2], delta[:, -2:]
    out = driving + points.view_as(driving)
    return torch.cat([out[..., :2] + shift[:, None], out[..., 2:]], -1)


def retarget(network: KeypointMLP, source: Tensor, ratios: Tensor) -> Tensor:
    """What to add to keypoints [B, K, 3] so that eyes or lips open as far as `ratios` say.

    Args:
        source: [B, K, 3]. ratios: [B, 2] lips (its own, wanted) or [B, 3] eyes (left, right,
            wanted).
    """
    return network(torch.cat([source.flatten(1), ratios], 1)).view_as(source)
