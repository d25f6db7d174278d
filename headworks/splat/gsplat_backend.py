"""`rasterization` on CUDA through gsplat; a thin adapter to its own function."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def rasterization(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
    viewmats: Tensor, Ks: Tensor, width: int, height: int, *, near_plane: float, far_plane: float,
    eps2d: float, radius_clip: float, backgrounds: Tensor | None, render_mode: str,
    rasterize_mode: str, max_alpha: float, rho_floor: float,
) -> tuple[Tensor, Tensor, dict[str, Any]]:  # fmt: skip
    """See `headworks.splat.rasterization`; needs CUDA tensors and gsplat's compiled extension.

    Raises:
        ValueError: the tensors are not on a CUDA device.
    """
    if not means.is_cuda:
        raise ValueError(f"backend gsplat needs CUDA tensors, means are on {means.device}")
    import gsplat

    if backgrounds is not None and render_mode in ("D", "ED"):
        backgrounds = None  # the depth channel has background 0
    renders, alphas, meta = gsplat.rasterization(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height,
        near_plane=near_plane, far_plane=far_plane, eps2d=eps2d, radius_clip=radius_clip,
        backgrounds=backgrounds, render_mode=render_mode, rasterize_mode=rasterize_mode,
        packed=False,
    )  # fmt: skip
    return renders, alphas, meta
