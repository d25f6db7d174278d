"""W: the feature volume warped from the source's keypoints to the driving ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headworks.expressions.liveportrait.blocks import Hourglass, Unit2d
from headworks.expressions.liveportrait.config import Config

_VARIANCE = 0.01
_LEAK = 0.01


class Warped(NamedTuple):
    """Warped features and how they came about.

    Attributes:
        features: [B, warped, H, W]. occlusion: [B, 1, H, W] in [0, 1], 1 where seen.
        deformation: [B, D, H, W, 3] where each voxel comes from. mask: [B, K + 1, D, H, W].
    """

    features: Tensor
    occlusion: Tensor
    deformation: Tensor
    mask: Tensor


class DenseMotion(nn.Module):
    """From sparse keypoints to a flow of every voxel.

    Source: Wang et al., One-Shot Free-View Neural Talking-Head Synthesis, 2021, without Jacobians.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        slots = config.keypoints + 1
        self.hourglass = Hourglass(
            slots * (config.compress + 1),
            config.dense_width,
            config.dense_features,
            config.dense_blocks,
        )
        self.mask = nn.Conv3d(self.hourglass.channels, slots, 7, padding=3)
        self.compress = nn.Conv3d(config.volume, config.compress, 1)
        self.norm = nn.BatchNorm3d(config.compress)
        self.occlusion = nn.Conv2d(self.hourglass.channels * config.depth, 1, 7, padding=3)

    def forward(
        self, volume: Tensor, driving: Tensor, source: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Deformation, occlusion and mask (see `Warped`) of keypoints [B, K, 3]."""
        shape = volume.shape[2:]
        grid = identity_grid(shape).to(volume)
        flows = sparse_motions(grid, driving, source)
        moved = _sampled_by_each(F.relu(self.norm(self.compress(volume))), flows)
        heat = heat_maps(grid, driving) - heat_maps(grid, source)
        heat = torch.cat([torch.zeros_like(heat[:, :1]), heat], 1)
        x = self.hourglass(torch.cat([heat[:, :, None], moved], 2).flatten(1, 2))
        mask = torch.softmax(self.mask(x), 1)
        deformation = torch.einsum("bsdhw,bsdhwc->bdhwc", mask, flows)
        occlusion = torch.sigmoid(self.occlusion(x.flatten(1, 2)))
        return deformation, occlusion, mask


class WarpingNetwork(nn.Module):
    """Dense motion, sampling, and two convolutions that flatten the volume."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.dense_motion_network = DenseMotion(config)
        self.third = Unit2d(config.features, config.warped, leak=_LEAK)
        self.fourth = nn.Conv2d(config.warped, config.warped, 1)

    def forward(self, volume: Tensor, driving: Tensor, source: Tensor) -> Warped:
        """Warp.

        Args:
            volume: [B, C, D, H, W] of the source. driving, source: keypoints [B, K, 3].
        """
        deformation, occlusion, mask = self.dense_motion_network(volume, driving, source)
        moved = F.grid_sample(volume, deformation, align_corners=False).flatten(1, 2)
        features = self.fourth(self.third(moved)) * occlusion
        return Warped(features, occlusion, deformation, mask)


def identity_grid(shape: tuple[int, ...] | torch.Size) -> Tensor:
    """[D, H, W, 3] coordinates x, y, z; the first and last voxels are at -1 and 1.

    Sampling (`align_corners=False`) takes the voxels' outer edges for -1 and 1: the published
    networks were trained with this mismatch.
    """
    z, y, x = (2 * torch.arange(n, dtype=torch.float32) / (n - 1) - 1 for n in shape)
    return torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], -1)


def sparse_motions(grid: Tensor, driving: Tensor, source: Tensor) -> Tensor:
    """[B, K + 1, D, H, W, 3]: the unmoved grid, then the grid moved with each keypoint."""
    moved = grid - driving[:, :, None, None, None] + source[:, :, None, None, None]
    return torch.cat([grid.expand(len(driving), 1, *grid.shape), moved], 1)


def heat_maps(grid: Tensor, keypoints: Tensor) -> Tensor:
    """A Gaussian around each keypoint, [B, K, D, H, W]."""
    squared = (grid - keypoints[:, :, None, None, None]).square().sum(-1)
    return torch.exp(-0.5 * squared / _VARIANCE)


def _sampled_by_each(volume: Tensor, flows: Tensor) -> Tensor:
    """[B, K + 1, C, D, H, W]: the volume seen through each flow."""
    batch, slots = flows.shape[:2]
    repeated = volume[:, None].expand(-1, slots, -1, -1, -1, -1).flatten(0, 1)
    moved = F.grid_sample(repeated, flows.flatten(0, 1), align_corners=False)
    return moved.unflatten(0, (batch, slots))
