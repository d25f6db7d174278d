"""`rasterization` on CUDA through gsplat; a thin adapter to its own function.

Written against gsplat 1.5.3. What differs from the other backends: there, whatever belongs to a
culled Gaussian in the meta but its radii is not set; `meta` has more entries (tiles, lists).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHANNEL_CHUNK = 32  # channels that gsplat blends in one go; for more it calls itself repeatedly


def extension_loads() -> bool:
    """Whether gsplat's compiled CUDA kernels are there; builds them where it finds nvcc."""
    from gsplat.cuda import _backend

    return _backend._C is not None


def rasterization(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
    viewmats: Tensor, Ks: Tensor, width: int, height: int, *, near_plane: float, far_plane: float,
    eps2d: float, radius_clip: float, backgrounds: Tensor | None, render_mode: str,
    rasterize_mode: str, max_alpha: float, rho_floor: float, absgrad: bool,
) -> tuple[Tensor, Tensor, dict[str, Any]]:  # fmt: skip
    """See `headworks.splat.rasterization`; needs CUDA tensors and gsplat's compiled extension.

    `max_alpha` and `rho_floor` are those of the installed gsplat: they are compiled in.

    Raises:
        ValueError: the tensors are not on a CUDA device.
        NotImplementedError: absgrad with more channels than gsplat blends in one go.
        RuntimeError: gsplat has no compiled extension.
    """
    if not means.is_cuda:
        raise ValueError(f"backend gsplat needs CUDA tensors, means are on {means.device}")
    means, quats, scales, opacities, colors, viewmats, Ks = (
        t.float() for t in (means, quats, scales, opacities, colors, viewmats, Ks)
    )
    if render_mode in ("D", "ED"):
        backgrounds = None  # the depth channel has background 0
    if backgrounds is not None:
        backgrounds = backgrounds.float()
    if absgrad and colors.shape[-1] + ("+" in render_mode) > CHANNEL_CHUNK:
        # gsplat keeps the magnitudes of one chunk only
        raise NotImplementedError(f"absgrad: more than {CHANNEL_CHUNK} blended channels")
    if not len(means):
        return _nothing(colors, viewmats, width, height, backgrounds, render_mode)
    if not extension_loads():
        raise RuntimeError(
            "CUDA tensors, but gsplat's CUDA extension is not there: install the CUDA toolkit of "
            "this torch (gsplat then builds it) or a prebuilt wheel of gsplat, or move the tensors "
            "to the CPU"
        )
    import gsplat

    renders, alphas, meta = gsplat.rasterization(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height,
        near_plane=near_plane, far_plane=far_plane, radius_clip=radius_clip, eps2d=eps2d,
        packed=False, backgrounds=backgrounds, render_mode=render_mode, absgrad=absgrad,
        rasterize_mode=rasterize_mode, channel_chunk=CHANNEL_CHUNK,
    )  # fmt: skip
    return renders, alphas, meta


def _nothing(
    colors: Tensor, viewmats: Tensor, width: int, height: int, backgrounds: Tensor | None, mode: str
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """No Gaussians: gsplat's kernels are not made for it."""
    C, new = len(viewmats), viewmats.new_zeros
    if backgrounds is None:
        backgrounds = new((C, 0 if mode in ("D", "ED") else colors.shape[-1]))
    channels = torch.cat([backgrounds, new((C, int(mode != "RGB")))], -1)
    # a graph for callers that differentiate: gradients are zero
    image = channels[:, None, None].expand(C, height, width, -1) + 0 * viewmats.sum()
    meta: dict[str, Any] = {
        "means2d": new((C, 0, 2)), "conics": new((C, 0, 3)), "opacities": new((C, 0)),
        "depths": new((C, 0)), "radii": new((C, 0, 2), dtype=torch.int32), "gaussian_ids": None,
        "width": width, "height": height, "n_cameras": C,
    }  # fmt: skip
    return image, torch.zeros_like(image[..., :1]), meta
