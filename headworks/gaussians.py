"""The one record in which Gaussians travel."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Gaussians(NamedTuple):
    """Activated 3D Gaussians with the semantics of `gsplat.rasterization`.

    Attributes:
        means: [..., N, 3] metres. quats: [..., N, 4] wxyz, any norm. scales: [..., N, 3] metres.
        opacities: [..., N] in [0, 1]. colors: [..., N, D] in [0, 1].
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
