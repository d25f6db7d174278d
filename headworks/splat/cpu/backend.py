"""`rasterization` on the CPU kernels: cameras one after the other, 32 channels at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headworks.splat import modes
from headworks.splat.checks import check_finite
from headworks.splat.cpu.autograd import CHANNELS, Blend, Project
from headworks.splat.cpu.frame import Frame, View, how


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Parts of one camera each as a batch."""
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts))


def _cameras(batch: Tensor) -> Sequence[Tensor]:
    """A batch as parts of one camera each."""
    return [batch] if batch.shape[0] == 1 else batch.split(1)


def rasterization(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
    viewmats: Tensor, Ks: Tensor, width: int, height: int, *, near_plane: float, far_plane: float,
    eps2d: float, radius_clip: float, backgrounds: Tensor | None, render_mode: str,
    rasterize_mode: str, max_alpha: float, rho_floor: float, absgrad: bool, check_values: bool,
) -> tuple[Tensor, Tensor, dict[str, Any]]:  # fmt: skip
    """See `headworks.splat.rasterization`; computes in float32.

    Args:
        check_values: refuse colours and cameras that are not finite, too. Gaussians always are.
    """
    given = means, quats, scales, opacities, colors, viewmats
    if any(t.dtype is not torch.float32 for t in given):
        means, quats, scales, opacities, colors, viewmats = (t.float() for t in given)
    tracked = means, quats, scales, opacities, colors, viewmats
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in tracked)
    shared = colors.ndim == 2
    every_color = [colors] * len(Ks) if shared else colors.unbind(0)
    rules = (
        (int(width), int(height)), float(near_plane), float(far_plane), float(eps2d),
        float(radius_clip), rasterize_mode == "antialiased", float(rho_floor),
        np.float32(max_alpha),
    )  # fmt: skip
    kernels = how(means.shape[0])
    at_once = len(every_color) == 1 and render_mode == "RGB" and colors.shape[-1] <= CHANNELS[-1]
    frames = [
        Frame(View(K, *rules), differentiable, color, check_values, at_once, kernels)
        for K, color in zip(Ks.detach().numpy().astype(np.float64), every_color)
    ]
    projected = [
        Project.apply(means, quats, scales, opacities, view, frame)
        for view, frame in zip(_cameras(viewmats), frames)
    ]
    if check_values and any(frame.suspicious for frame in frames):
        for name, tensor in (("colors", colors), ("viewmats", viewmats), ("Ks", Ks)):
            check_finite(name, tensor)
    means2d, conics, opacities2d, depths = (_joined(parts) for parts in zip(*projected))
    if absgrad:
        if colors.shape[-1] + ("+" in render_mode) > CHANNELS[-1]:
            raise NotImplementedError(f"absgrad: more than {CHANNELS[-1]} blended channels")
        means2d.absgrad = torch.zeros_like(means2d)  # type: ignore[attr-defined]
        for frame, magnitudes in zip(frames, means2d.absgrad.numpy()):  # type: ignore[attr-defined]
            frame.absgrad = magnitudes
    images, alphas = [], []
    # blending starts from the joined means, so that meta["means2d"] is on the gradient's path
    for k, (frame, color, centres, (_, conic, opacity, depth)) in enumerate(
        zip(frames, every_color, _cameras(means2d), projected)
    ):
        deep = render_mode != "RGB"
        channels = modes.blended_channels(color, depth[0], render_mode) if deep else color
        wide = channels.shape[1] > CHANNELS[-1]
        parts = channels.split(CHANNELS[-1], dim=1) if wide else [channels]
        chunks = [Blend.apply(centres, conic, opacity, part, frame) for part in parts]
        image, alpha = chunks[0]
        if wide:
            image = torch.cat([chunk[0] for chunk in chunks], -1)
        background = None if backgrounds is None else backgrounds[k].float()
        if deep or background is not None:
            image = modes.finish(image, alpha, background, render_mode)
        images.append(image)
        alphas.append(alpha)
    meta = {
        "means2d": means2d, "conics": conics, "opacities": opacities2d, "depths": depths,
        "radii": _joined([torch.from_numpy(frame.radii) for frame in frames]),
        "gaussian_ids": None, "width": width, "height": height, "n_cameras": len(frames),
    }  # fmt: skip
    return _joined(images), _joined(alphas), meta
