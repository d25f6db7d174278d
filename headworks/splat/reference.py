"""The oracle: plain torch, any dtype (use float64), autograd, slow.

Written from the definition, with nothing in common with the CPU kernels: dense alpha matrices per
16 x 16 tile, cumulative products, masks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from headworks.geometry import quat_to_matrix
from headworks.splat import modes

TILE = 16
MIN_ALPHA = 1 / 255
STOP = 1e-4
MAX_EXTENT = 3.33
TAN_MARGIN = 0.3


def project(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmat: Tensor, K: Tensor,
    width: int, height: int, near: float, far: float, eps2d: float, radius_clip: float,
    antialiased: bool, rho_floor: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Elliptical weighted-average projection.

    Returns:
        means2d [N, 2], conics [N, 3], opacities [N], depths [N], radii int [N, 2] (0 = culled;
        the other values of a culled Gaussian mean nothing).
    """
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    camera = means @ rotation.T + translation
    depths = camera[:, 2]
    seen = (depths >= near) & (depths <= far)
    x, y, z = camera[:, 0], camera[:, 1], torch.where(seen, depths, torch.ones_like(depths))
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = TAN_MARGIN * 0.5 * width / fx, TAN_MARGIN * 0.5 * height / fy
    tan_x = torch.clamp(x / z, -(cx / fx + margin_x), (width - cx) / fx + margin_x)
    tan_y = torch.clamp(y / z, -(cy / fy + margin_y), (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [fx / z, zero, -fx * tan_x / z, zero, fy / z, -fy * tan_y / z], -1
    ).reshape(-1, 2, 3)
    axes = jacobian @ rotation @ (quat_to_matrix(quats) * scales[:, None, :])
    cov = axes @ axes.mT
    a, b, c = cov[:, 0, 0], cov[:, 0, 1], cov[:, 1, 1]
    det0 = a * c - b * b
    a, c = a + eps2d, c + eps2d
    det = a * c - b * b
    seen = seen & (det > 0)
    det = torch.where(seen, det, torch.ones_like(det))
    if antialiased:
        opacities = opacities * (det0 / det).clamp_min(max(rho_floor, 1e-24)).sqrt()
    seen = seen & (opacities >= MIN_ALPHA)
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
    with torch.no_grad():
        extent = (2 * (255 * opacities.clamp_min(MIN_ALPHA)).log()).clamp_min(0).sqrt()
        extent = extent.clamp_max(MAX_EXTENT)
        radii = (extent[:, None] * torch.stack([a, c], -1).clamp_min(0).sqrt()).ceil()
        size = torch.tensor([width, height], dtype=means.dtype)
        inside = ((means2d + radii > 0) & (means2d - radii < size)).all(-1)
        seen = seen & inside & ~(radii <= radius_clip).all(-1)
        radii = torch.where(seen[:, None], radii, torch.zeros_like(radii)).to(torch.int64)
    conics = torch.stack([c / det, -b / det, a / det], -1)
    return means2d, conics, opacities, depths, radii


def blend(
    means2d: Tensor, conics: Tensor, opacities: Tensor, depths: Tensor, radii: Tensor,
    channels: Tensor, width: int, height: int, max_alpha: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Front-to-back blending: image [H, W, X] over black, alpha [H, W]."""
    visible = (radii > 0).any(-1).nonzero()[:, 0]
    # the order is defined on float32 depths, with ties in index order, whatever the dtype is
    visible = visible[torch.argsort(depths.detach().float()[visible], stable=True)]
    low, high = means2d.detach() - radii, means2d.detach() + radii
    rows = []
    for top in range(0, height, TILE):
        row = []
        for left in range(0, width, TILE):
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            touches = (
                (high[visible, 0] >= left) & (low[visible, 0] <= right)
                & (high[visible, 1] >= top) & (low[visible, 1] <= bottom)
            )  # fmt: skip
            at = visible[touches]
            y, x = torch.meshgrid(
                torch.arange(top, bottom) + 0.5, torch.arange(left, right) + 0.5, indexing="ij"
            )
            pixels = torch.stack([x.flatten(), y.flatten()], -1).to(means2d)
            d = pixels[None] - means2d[at, None]
            A, B, C = (conics[at, k, None] for k in range(3))
            sigma = 0.5 * (A * d[..., 0] ** 2 + C * d[..., 1] ** 2) + B * d[..., 0] * d[..., 1]
            alpha = (opacities[at, None] * torch.exp(-sigma)).clamp_max(max_alpha)
            used = (sigma >= 0) & (alpha >= MIN_ALPHA)
            alpha = torch.where(used, alpha, torch.zeros_like(alpha))
            after = torch.cumprod(1 - alpha, 0)
            before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
            weights = torch.where(
                _composited(before, after), alpha * before, torch.zeros_like(alpha)
            )
            color = weights.T @ channels[at]
            row.append(torch.cat([color, weights.sum(0)[:, None]], -1).reshape(*x.shape, -1))
        rows.append(torch.cat(row, 1))
    out = torch.cat(rows, 0)
    return out[..., :-1], out[..., -1]


def _composited(before: Tensor, after: Tensor) -> Tensor:
    """Pairs in front of the stop: what would bring T to 1e-4 is left out, and all behind it."""
    return after.detach() > STOP  # T falls, so the mask never turns true again


def rasterization(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
    viewmats: Tensor, Ks: Tensor, width: int, height: int, *, near_plane: float, far_plane: float,
    eps2d: float, radius_clip: float, backgrounds: Tensor | None, render_mode: str,
    rasterize_mode: str, max_alpha: float, rho_floor: float, absgrad: bool,
) -> tuple[Tensor, Tensor, dict[str, Any]]:  # fmt: skip
    """See `headworks.splat.rasterization`; computes in the dtype of the inputs."""
    if absgrad:
        raise NotImplementedError("absgrad: not on the torch backend")
    parts = zip(
        *(
            project(
                means, quats, scales, opacities, view, K, width, height, near_plane, far_plane,
                eps2d, radius_clip, rasterize_mode == "antialiased", rho_floor,
            )
            for view, K in zip(viewmats, Ks)
        )
    )  # fmt: skip
    # blending starts from the stacked means, so that meta["means2d"] is on the gradient's path
    means2d, conics, opacities2d, depths, radii = (torch.stack(part) for part in parts)
    images, alphas = [], []
    for k in range(len(viewmats)):
        channels = modes.blended_channels(
            colors if colors.ndim == 2 else colors[k], depths[k], render_mode
        )
        image, alpha = blend(
            means2d[k], conics[k], opacities2d[k], depths[k], radii[k], channels, width, height,
            max_alpha,
        )  # fmt: skip
        background = None if backgrounds is None else backgrounds[k]
        images.append(modes.finish(image, alpha[..., None], background, render_mode))
        alphas.append(alpha[..., None])
    meta = {
        "means2d": means2d, "conics": conics, "opacities": opacities2d, "depths": depths,
        "radii": radii, "gaussian_ids": None, "width": width, "height": height,
        "n_cameras": len(viewmats),
    }  # fmt: skip
    return torch.stack(images), torch.stack(alphas), meta
