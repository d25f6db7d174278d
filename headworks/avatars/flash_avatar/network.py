"""The network of FlashAvatar: expression and a point of the face in, an offset out."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from headworks.geometry import axis_angle_to_matrix
from headworks.heads.base import HeadModel, HeadPose

FREQUENCIES = 8
ENCODED = 3 * (1 + 2 * FREQUENCIES)
"""Numbers that stand for one point."""
OUTPUTS = 10
"""Offset 3, rotation 4, scale 3."""
LAYERS = 5
"""Hidden layers after the first."""


def encode(points: Tensor) -> Tensor:
    """Positional encoding: the point, then sine and cosine of 2^l times it, l = 0 .. 7.

    Args:
        points: [N, 3] metres on the neutral mesh.

    Returns:
        [N, 51].

    Source: FlashAvatar src/deform_model.py.
    """
    angles = points[:, None, :] * (2.0 ** torch.arange(FREQUENCIES))[:, None]
    waves = torch.stack([angles.sin(), angles.cos()], 2)
    return torch.cat([points, waves.flatten(1)], 1)


def six_numbers(axis_angle: Tensor) -> Tensor:
    """Rotation as the first two rows of its matrix: [..., 3] -> [..., 6]."""
    return axis_angle_to_matrix(axis_angle)[..., :2, :].flatten(-2)


def condition(expression: Tensor, pose: HeadPose) -> Tensor:
    """What the face does: expression, jaw (6) and both eyes (12).

    Lids are part of the expression where a head model has shapes for them, as FLAME's two are when
    it is imported with them. Where the head is stands in the camera's place, not here.

    Args:
        expression: [Ke]. pose: batch of 1.

    Returns:
        [Ke + 18].
    """
    return torch.cat([expression, six_numbers(pose.jaw[0]), six_numbers(pose.eyes[0]).flatten()])


def condition_size(head: HeadModel) -> int:
    """Length of `condition` for a head model."""
    return len(head.expression_names) + 18


class OffsetNetwork(nn.Module):
    """MLP from an encoded point and the condition to ten numbers in (-1, 1).

    Layers: ENCODED + condition -> width, LAYERS x (width -> width), ReLU, -> 10, tanh. The part of
    the first layer that sees the condition is computed once, not once per Gaussian.

    Source: FlashAvatar src/deform_model.py.
    """

    def __init__(self, condition_size: int, width: int, seed: int, final_gain: float = 1.0) -> None:
        """`final_gain`: factor on the last layer's start; near 0, training starts at the mesh."""
        super().__init__()
        sizes = [ENCODED + condition_size, *[width] * (LAYERS + 1), OUTPUTS]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        with torch.no_grad():
            for parameter in self.layers[-1].parameters():
                parameter.mul_(final_gain)

    @property
    def width(self) -> int:
        """Numbers per hidden layer."""
        return self._first().out_features

    def _first(self) -> nn.Linear:
        layer = self.layers[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, encoded: Tensor, condition: Tensor) -> Tensor:
        """Offsets.

        Args:
            encoded: [N, 51]. condition: [D].

        Returns:
            [N, 10] in (-1, 1).
        """
        first = self._first()
        x = encoded @ first.weight[:, :ENCODED].T
        x = x + (first.weight[:, ENCODED:] @ condition + first.bias)
        for layer in self.layers[1:]:
            x = layer(torch.relu(x))
        return torch.tanh(x)
