"""Peers of the rasteriser's benchmark that run on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

TILE, MIN_ALPHA, MAX_ALPHA, STOP = 16, 1 / 255, 0.999, 1e-4


def gsplat_reference(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
    viewmats: Tensor, Ks: Tensor, width: int, height: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One camera through gsplat's own torch functions, with what they lack on a CPU filled in.

    gsplat's torch path needs CUDA for the enumeration of (Gaussian, pixel) pairs and for the
    accumulation of weights, and its tile intersection is a Python loop. Here the intersection is
    vectorised in torch, the enumeration is a serial Numba loop, and the weights are an exponential
    of a cumulative sum; autograd does the backward.

    Args:
        as of `headworks.splat.rasterization`, with C = 1.

    Returns:
        image [1, H, W, D], alpha [1, H, W, 1].
    """
    from gsplat.cuda import _torch_impl as gsplat  # type: ignore[import-untyped]

    covars, _ = gsplat._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
    radii, means2d, depths, conics, _ = gsplat._fully_fused_projection(
        means, covars, viewmats, Ks, width, height
    )
    radii, means2d, depths, conics = radii[0], means2d[0], depths[0], conics[0]
    with torch.no_grad():
        offsets, entries, tiles_x = _intersect(means2d, radii, depths, width, height)
        gaussians, pixels, starts = _pairs(
            offsets.numpy(), entries.numpy(), tiles_x, means2d.detach().numpy(),
            conics.detach().numpy(), opacities.detach().numpy(), width, height,
        )  # fmt: skip
        gaussian, pixel, start = (torch.from_numpy(a) for a in (gaussians, pixels, starts))
    centre = torch.stack([pixel % width, pixel // width], -1) + 0.5
    d = means2d[gaussian] - centre
    conic = conics[gaussian]
    sigma = 0.5 * (conic[:, 0] * d[:, 0] ** 2 + conic[:, 2] * d[:, 1] ** 2)
    sigma = sigma + conic[:, 1] * d[:, 0] * d[:, 1]
    alpha = (opacities[gaussian] * torch.exp(-sigma)).clamp_max(MAX_ALPHA)
    passed = torch.log1p(-alpha.double())
    before = passed.cumsum(0) - passed  # of all pairs; less what lies before the pixel's first
    weight = alpha * torch.exp(before - before[start]).float()
    image = torch.zeros(width * height, colors.shape[1]).index_add(
        0, pixel, weight[:, None] * colors[gaussian]
    )
    total = torch.zeros(width * height).index_add(0, pixel, weight)
    return image.view(1, height, width, -1), total.view(1, height, width, 1)


def _intersect(
    means2d: Tensor, radii: Tensor, depths: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor, int]:
    """Tile lists: offsets [tiles + 1], Gaussians [E], tiles in a row."""
    tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
    low = ((means2d - radii) / TILE).floor().long()
    high = ((means2d + radii) / TILE).ceil().long()
    most = torch.tensor([tiles_x, tiles_y])
    low, high = low.clamp(min=0), torch.minimum(high, most)
    spans = (high - low).clamp(min=0) * (radii > 0).all(1, keepdim=True)
    counts = spans.prod(1)
    owner = torch.repeat_interleave(torch.arange(len(means2d)), counts)
    inner = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
    x, y = low[owner, 0] + inner % spans[owner, 0], low[owner, 1] + inner // spans[owner, 0]
    tile = y * tiles_x + x
    keys = (tile << 32) | depths[owner].view(torch.int32).long()
    order = keys.argsort(stable=True)
    sizes = torch.bincount(tile, minlength=tiles_x * tiles_y)
    return torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)]), owner[order], tiles_x


@njit(nogil=True)
def _pairs(
    offsets: Any, entries: Any, tiles_x: int, means2d: Any, conics: Any, opacities: Any,
    width: int, height: int,
) -> Any:  # fmt: skip
    """Pairs that are blended, pixel by pixel and near to far: Gaussian, pixel, pixel's first."""
    gaussians = pixels = starts = np.empty(0, np.int64)
    for passing in range(2):
        n = 0
        for p in range(width * height):
            x, y = p % width + 0.5, p // width + 0.5
            tile = (p // width) // TILE * tiles_x + (p % width) // TILE
            t, start = 1.0, n
            for k in range(offsets[tile], offsets[tile + 1]):
                i = entries[k]
                dx, dy = means2d[i, 0] - x, means2d[i, 1] - y
                sigma = 0.5 * (conics[i, 0] * dx * dx + conics[i, 2] * dy * dy)
                sigma += conics[i, 1] * dx * dy
                alpha = min(MAX_ALPHA, opacities[i] * np.exp(-sigma))
                if sigma < 0 or alpha < MIN_ALPHA:
                    continue
                t *= 1 - alpha
                if t <= STOP:
                    break
                if passing:
                    gaussians[n], pixels[n], starts[n] = i, p, start
                n += 1
        if not passing:
            gaussians, pixels = np.empty(n, np.int64), np.empty(n, np.int64)
            starts = np.empty(n, np.int64)
    return gaussians, pixels, starts
