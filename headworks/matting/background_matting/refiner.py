"""BackgroundMattingV2's refiner: small patches of full size where the coarse matte is in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CELL = 4
# Four 3x3 convolutions without padding take this much from each side, at half and at full size.
_HALF_MARGIN, _FULL_MARGIN = 3, 2


@dataclass(frozen=True)
class Selection:
    """Which cells of 4x4 pixels are refined.

    Attributes:
        mode: "sampling": those of largest error, `pixels` in all, none without error;
            "thresholding": those whose error exceeds `threshold`; "full": all.
        pixels: of the sampling mode (published: 80 000 for HD, 320 000 for 4K); capped by what the
            picture has. threshold: of the thresholding mode.
    """

    mode: Literal["sampling", "thresholding", "full"] = "sampling"
    pixels: int = 80_000
    threshold: float = 0.1

    def cells(self, error: Tensor) -> Tensor:
        """Bool [B, h, w] from the error of each cell [B, 1, h, w]."""
        error = error[:, 0]
        if self.mode == "full":
            return torch.ones_like(error, dtype=torch.bool)
        if self.mode == "thresholding":
            return error > self.threshold
        flat = error.flatten(1)
        count = min(self.pixels // _CELL**2, flat.shape[1])
        chosen = torch.zeros_like(flat, dtype=torch.bool)
        chosen.scatter_(1, flat.topk(count, 1).indices, True)
        return chosen.view_as(error) & (error > 0)


class Refiner(nn.Module):
    """Two convolutions at half size, two at full size, on the chosen cells and their margins.

    Source: Lin et al. 2021, section 3.3.
    """

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(hidden + 4 + 6, 24, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.conv2 = nn.Conv2d(24, 16, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16 + 6, 12, 3, bias=False)
        self.bn3 = nn.BatchNorm2d(12)
        self.conv4 = nn.Conv2d(12, 4, 3)

    def forward(
        self,
        pair: Tensor,
        alpha: Tensor,
        residual: Tensor,
        error: Tensor,
        hidden: Tensor,
        selection: Selection,
    ) -> tuple[Tensor, Tensor]:
        """Refine.

        Args:
            pair: [B, 6, H, W] frame and background. alpha: [B, 1, h, w].
            residual: [B, 3, h, w] foreground minus frame. error: [B, 1, h, w].
            hidden: [B, 32, h, w]. selection: which cells.

        Returns:
            [B, 4, H, W] alpha and residual, not clamped; [B, 1, H/4, W/4] 1 where refined.
        """
        height, width = pair.shape[-2:]
        cells = selection.cells(_resized(error, height // _CELL, width // _CELL))
        out = _resized(torch.cat([alpha, residual], 1), height, width)
        where = torch.nonzero(cells, as_tuple=True)
        if len(where[0]):
            coarse = torch.cat([hidden, alpha, residual], 1)
            half = torch.cat([_resized(t, height // 2, width // 2) for t in (coarse, pair)], 1)
            x = _patches(half, where, _CELL // 2, _HALF_MARGIN)
            x = F.relu(self.bn1(self.conv1(x)))
            x = F.relu(self.bn2(self.conv2(x)))
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = torch.cat([x, _patches(pair, where, _CELL, _FULL_MARGIN)], 1)
            x = F.relu(self.bn3(self.conv3(x)))
            out = _replaced(out, self.conv4(x), where)
        return out, cells[:, None].to(out.dtype)


def _resized(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)


def _patches(x: Tensor, where: tuple[Tensor, ...], cell: int, margin: int) -> Tensor:
    """[P, C, cell + 2 margin, .] around cells (batch, row, column), zeros beyond the border."""
    side = cell + 2 * margin
    windows = F.pad(x, (margin,) * 4).unfold(2, side, cell).unfold(3, side, cell)
    return windows.permute(0, 2, 3, 1, 4, 5)[where]


def _replaced(x: Tensor, patches: Tensor, where: tuple[Tensor, ...]) -> Tensor:
    """x [B, C, H, W] with the cells at (batch, row, column) replaced by patches [P, C, 4, 4]."""
    b, c, height, width = x.shape
    blocks = x.view(b, c, height // _CELL, _CELL, width // _CELL, _CELL).permute(0, 2, 4, 1, 3, 5)
    blocks = blocks.contiguous()
    blocks[where] = patches
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(b, c, height, width)
