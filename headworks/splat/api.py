"""The one rendering function, with the semantics of `gsplat.rasterization`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from headworks.cameras import Camera
from headworks.gaussians import Gaussians
from headworks.splat import semantics
from headworks.splat.checks import check_shapes, check_values

BACKENDS = ("auto", "gsplat", "cpu", "torch")
# arguments of gsplat.rasterization 1.5.3 that change what is computed, with the value that is done
GSPLAT_ONLY: dict[str, Any] = {
    "sh_degree": None, "packed": False, "sparse_grad": False, "distributed": False,
    "camera_model": "pinhole", "segmented": False, "covars": None, "with_ut": False,
    "with_eval3d": False, "radial_coeffs": None, "tangential_coeffs": None,
    "thin_prism_coeffs": None, "ftheta_coeffs": None, "rolling_shutter": None, "viewmats_rs": None,
}  # fmt: skip
NO_EFFECT = {"tile_size", "channel_chunk"}  # how gsplat works, not what it draws


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    radius_clip: float = 0.0,
    backgrounds: Tensor | None = None,
    render_mode: str = "RGB",
    rasterize_mode: str = "classic",
    absgrad: bool = False,
    backend: str = "auto",
    max_alpha: float | None = None,
    check_inputs: bool = True,
    **other: Any,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render Gaussians from C cameras.

    Letters: N Gaussians, C cameras, D colour channels, H x W pixels.

    Args:
        means: [N, 3] metres. quats: [N, 4] wxyz, any norm but zero. scales: [N, 3] metres, linear.
        opacities: [N] in [0, 1]. colors: [N, D] or one set per camera [C, N, D].
        viewmats: [C, 4, 4] world-to-camera, OpenCV axes. Ks: [C, 3, 3] pixels, no skew.
        width, height: image size in pixels; centres at +0.5.
        near_plane, far_plane: metres; Gaussians whose centre lies outside are dropped.
        eps2d: added to the diagonal of the projected covariance, pixels^2.
        radius_clip: drop Gaussians whose box is not larger than this, pixels.
        backgrounds: [C, D] or None for black; the depth channel has background 0.
        render_mode: RGB, D (depth sum), ED (depth sum over alpha), RGB+D, RGB+ED.
        rasterize_mode: classic, or antialiased (opacity shrinks as eps2d grows a Gaussian).
        absgrad: give meta["means2d"] an attribute `absgrad` [C, N, 2], which the backward pass
            fills with the sums over pixels of the absolute gradients to the 2D means.
        backend: auto (gsplat for CUDA tensors, else cpu), gsplat, cpu, or torch (slow reference,
            in the dtype given).
        max_alpha: clamp of one Gaussian's alpha; None takes the installed gsplat's value.
        check_inputs: check shapes, types and finite values first.
        other: further arguments of gsplat's function; the error names one that asks for more than
            is done here.

    Returns:
        renders [C, H, W, X] with X = D, 1 (D, ED) or D + 1 (depth last); alphas [C, H, W, 1];
        meta with means2d [C, N, 2], conics [C, N, 3], opacities [C, N], depths [C, N],
        radii int [C, N, 2] (0 = culled), gaussian_ids, width, height, n_cameras.
        Gradients flow to means, quats, scales, opacities, colors, viewmats and backgrounds, and
        through meta["means2d"].

    Raises:
        ValueError, TypeError: an input is not as described; the message names it and the first
            bad index. NotImplementedError: the backend cannot do what is asked.
        RuntimeError: CUDA tensors, but gsplat's extension is not there.

    Source: gsplat 1.5.3, `rendering.rasterization`.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
    if other:
        _refuse_others(other)
    inputs = means, quats, scales, opacities, colors, viewmats, Ks
    if check_inputs:
        check_shapes(*inputs, width, height, backgrounds, render_mode, rasterize_mode)
    if backend == "auto":
        backend = "gsplat" if means.is_cuda else "cpu"
    rules = semantics.installed()
    options: dict[str, Any] = {}
    if backend == "cpu":
        from headworks.splat.cpu import backend as implementation

        options["check_values"] = check_inputs  # its kernels look at the values themselves
    else:
        if check_inputs:
            check_values(*inputs)
        if backend == "torch":
            from headworks.splat import reference as implementation  # type: ignore[no-redef]
        else:
            from headworks.splat import gsplat_backend as implementation  # type: ignore[no-redef]

            if max_alpha is not None and max_alpha != rules.max_alpha:
                raise NotImplementedError("max_alpha: gsplat's clamp is fixed at compile time")
    return implementation.rasterization(
        *inputs, width, height,
        near_plane=near_plane, far_plane=far_plane, eps2d=eps2d, radius_clip=radius_clip,
        backgrounds=backgrounds, render_mode=render_mode, rasterize_mode=rasterize_mode,
        max_alpha=rules.max_alpha if max_alpha is None else max_alpha,
        rho_floor=rules.rho_floor, absgrad=absgrad, **options,
    )  # fmt: skip


def _refuse_others(arguments: dict[str, Any]) -> None:
    """Arguments of gsplat's function that are not those of `rasterization`.

    Raises:
        TypeError: gsplat has none of that name. NotImplementedError: it asks for what nobody does.
    """
    for name, value in arguments.items():
        if name in NO_EFFECT:
            continue
        if name not in GSPLAT_ONLY:
            raise TypeError(f"rasterization() has no argument {name!r}")
        if value != GSPLAT_ONLY[name]:
            raise NotImplementedError(f"{name}={value!r}: no backend here does this")


def render(
    gaussians: Gaussians,
    camera: Camera,
    background: Sequence[float] | Tensor = (1.0, 1.0, 1.0),
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Render one set of Gaussians from one camera; for a batch of frames, call it per frame.

    Args:
        gaussians: unbatched, D colour channels. camera: the view.
        background: D values in [0, 1], or one value for all channels.
        options: further arguments of `rasterization`.

    Returns:
        rgb [H, W, D] over the background, alpha [H, W]; differentiable.
    """
    like = gaussians.means
    D = gaussians.colors.shape[-1]
    over = torch.as_tensor(background, dtype=like.dtype, device=like.device).flatten()
    if len(over) == 1 or (len(over) == 3 and D != 3 and bool((over == over[0]).all())):
        over = over[:1].expand(D)
    image, alpha, _ = rasterization(
        *gaussians,
        torch.as_tensor(camera.viewmat, dtype=like.dtype, device=like.device)[None],
        torch.as_tensor(camera.K, dtype=like.dtype, device=like.device)[None],
        camera.width,
        camera.height,
        backgrounds=over[None],
        **options,
    )
    return image[0], alpha[0, ..., 0]
