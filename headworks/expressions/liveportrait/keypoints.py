"""Implicit keypoints: how they are composed, and which of their entries carry expression.

Axes: x right, y down, z into the picture; the 256-pixel crop is [-1, 1]. Points are rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

_DEGREES_PER_BIN = 3.0
_FIRST_BIN = -97.5

LIPS = (6, 12, 14, 17, 19, 20)
EYES = (11, 13, 15, 16, 18)
# Entries (keypoint: axes) that carry expression; the rest is identity- and pose-like.
_EXPRESSIVE = {
    **dict.fromkeys((1, 2, 6, *range(11, 21)), (0, 1, 2)),
    3: (1,), 4: (1,), 5: (2,), 8: (2,), 9: (1, 2),
}  # fmt: skip


def degrees_of(logits: Tensor) -> Tensor:
    """The expected angle [B], degrees, of 66 bins of 3 degrees [B, 66]."""
    index = torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    expected = (torch.softmax(logits, -1) * index).sum(-1)
    return _DEGREES_PER_BIN * expected + _FIRST_BIN


def rotation_matrix(pitch: Tensor, yaw: Tensor, roll: Tensor) -> Tensor:
    """[B, 3, 3] for row vectors, (Rz(roll) Ry(yaw) Rx(pitch)) transposed; angles [B], radians."""
    one, zero = torch.ones_like(pitch), torch.zeros_like(pitch)

    def matrix(*rows: Tensor) -> Tensor:
        return torch.stack(rows, -1).unflatten(-1, (3, 3))

    (sx, cx), (sy, cy), (sz, cz) = ((a.sin(), a.cos()) for a in (pitch, yaw, roll))
    rx = matrix(one, zero, zero, zero, cx, -sx, zero, sx, cx)
    ry = matrix(cy, zero, sy, zero, one, zero, -sy, zero, cy)
    rz = matrix(cz, -sz, zero, sz, cz, zero, zero, zero, one)
    return (rz @ ry @ rx).transpose(-1, -2)


def compose(kp: Tensor, exp: Tensor, rotation: Tensor, scale: Tensor, t: Tensor) -> Tensor:
    """Keypoints in the picture: scale (kp R + exp) + (tx, ty, 0).

    Args:
        kp, exp: [B, K, 3]. rotation: [B, 3, 3]. scale: [B, 1]. t: [B, 3], whose z is not used.

    Returns:
        [B, K, 3].
    """
    shift = torch.cat([t[:, :2], torch.zeros_like(t[:, 2:])], 1)
    return scale[..., None] * (kp @ rotation + exp) + shift[:, None]


def expression_mask(keypoints: int = 21) -> Tensor:
    """Bool [K, 3]: the entries that carry expression."""
    mask = torch.zeros(keypoints, 3, dtype=torch.bool)
    for index, axes in _EXPRESSIVE.items():
        if index < keypoints:
            mask[index, list(axes)] = True
    return mask


def absolute_expression(source: Tensor, driving: Tensor) -> Tensor:
    """The driver's expression entries, the source's others; [B, K, 3] each.

    The source's own expression does not remain: its entries that carry expression are replaced.
    """
    return torch.where(expression_mask(source.shape[-2]).to(source.device), driving, source)


def relative_expression(source: Tensor, driving: Tensor, neutral: Tensor) -> Tensor:
    """The source's expression moved as the driver's moved from its neutral; [B, K, 3] each."""
    return source + driving - neutral
