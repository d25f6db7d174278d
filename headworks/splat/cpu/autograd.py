"""The kernels as two differentiable torch functions: projection and blending."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headworks.splat.cpu import bins, kernels_auto, kernels_simd, project, threads

VARIANTS = {"explicit": kernels_simd, "auto": kernels_auto}
CHANNELS = (3, 4, 8, 16, 32)  # compiled variants; others are padded with zeros


class View(NamedTuple):
    """One camera and the rules of its projection; see `headworks.splat.rasterization`."""

    K: np.ndarray
    width: int
    height: int
    near: float
    far: float
    eps2d: float
    radius_clip: float
    antialiased: bool
    rho_floor: float
    max_alpha: float


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _blending() -> Any:
    """Kernels with explicit vectors, or the auto-vectorised twin by HEADWORKS_SIMD=auto."""
    name = os.environ.get("HEADWORKS_SIMD", "explicit")
    if name not in VARIANTS:
        raise ValueError(f"HEADWORKS_SIMD must be one of {sorted(VARIANTS)}, got {name!r}")
    return VARIANTS[name]


class Project(torch.autograd.Function):
    """means, quats, scales, opacities, viewmat -> means2d, conics, opacities, depths + boxes."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmat: Tensor,
        view: View,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        n, count = len(means), threads.n_threads()
        arrays = [_array(t) for t in (means, quats, scales, opacities, viewmat)]
        outputs = [torch.empty(n, k) for k in (2, 3)] + [torch.empty(n), torch.empty(n)]
        boxes, radii = torch.empty(n, 2), torch.empty(n, 2, dtype=torch.int32)
        bad = np.full(count, -1)
        threads.run(
            project.project, count, *arrays, view.K, (view.width, view.height), view.near,
            view.far, view.eps2d, view.radius_clip, view.antialiased, view.rho_floor,
            *(t.numpy() for t in (*outputs, boxes, radii)), bad,
        )  # fmt: skip
        if (bad >= 0).any():
            _raise_bad(means, quats, scales, opacities)
        ctx.view = view
        ctx.save_for_backward(means, quats, scales, opacities, viewmat, radii)
        ctx.mark_non_differentiable(boxes, radii)
        return (*outputs, boxes, radii)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, radii = ctx.saved_tensors
        view: View = ctx.view
        gradients = [torch.empty_like(t, memory_format=torch.contiguous_format)
                     for t in tensors[:4]]  # fmt: skip
        views = np.zeros((project.VIEW_CHUNKS, 3, 4))
        threads.run(
            project.project_backward, threads.n_threads(), *(_array(t) for t in tensors), view.K,
            (view.width, view.height), view.eps2d, view.antialiased, view.rho_floor,
            radii.numpy(), *(_array(g) for g in grads[:4]), *(g.numpy() for g in gradients), views,
        )  # fmt: skip
        g_view = torch.zeros(4, 4)
        g_view[:3] = torch.from_numpy(views.sum(0))
        return (*gradients, g_view, None)


class Blend(torch.autograd.Function):
    """means2d, conics, opacities, colors + depths, boxes, radii -> image [H, W, D], alpha."""

    @staticmethod
    def forward(
        ctx: Any, means2d: Tensor, conics: Tensor, opacities: Tensor, colors: Tensor,
        depths: Tensor, boxes: Tensor, radii: Tensor, view: View,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        count = threads.n_threads()
        used = colors.shape[1]
        D = next(k for k in CHANNELS if k >= used)
        padded = colors.detach()
        if used < D:
            padded = torch.nn.functional.pad(padded, (0, D - used))
        tile = kernels_auto.TILE
        tiles_x, tiles_y = -(-view.width // tile), -(-view.height // tile)
        order = bins.depth_order(_array(depths), radii.numpy())
        spans = np.empty((len(order), 4), np.int32)
        threads.run(
            bins.spans, count, order, _array(means2d), boxes.numpy(), tile, tiles_x, tiles_y, spans
        )
        offsets, entries, slots, slot_offsets = bins.tile_lists(
            order, spans, len(means2d), tiles_x, tiles_y
        )
        records = np.empty((len(order), kernels_auto.GEOMETRY), np.float32)
        geometry = [_array(t) for t in (means2d, conics, opacities)]
        threads.run(kernels_auto.pack, count, order, *geometry, records)
        image = torch.empty(view.height, view.width, used)
        alphas = torch.empty(view.height, view.width)
        tile_order = np.argsort(-np.diff(offsets), kind="stable")
        shared = (tile_order, tiles_x, offsets, entries)
        threads.run(
            _blending().forward, count, np.zeros(1, np.int64), *shared, order, records,
            _array(padded), np.float32(view.max_alpha), image.numpy(), alphas.numpy(), (0,) * D,
        )  # fmt: skip
        ctx.view, ctx.shared, ctx.slots, ctx.slot_offsets = view, shared, slots, slot_offsets
        ctx.order, ctx.records = order, records
        ctx.save_for_backward(conics, opacities, padded, image, alphas)
        return image, alphas

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_image: Tensor, g_alphas: Tensor) -> tuple[Tensor | None, ...]:
        conics, opacities, padded, image, alphas = ctx.saved_tensors
        count = threads.n_threads()
        slots, slot_offsets = ctx.slots, ctx.slot_offsets
        D = int(padded.shape[1])
        rows = np.empty((len(slots), kernels_auto.MOMENTS + D), np.float32)
        threads.run(
            _blending().backward, count, np.zeros(1, np.int64), *ctx.shared, slots, ctx.order,
            ctx.records, _array(padded), np.float32(ctx.view.max_alpha), image.numpy(),
            alphas.numpy(), _array(g_image), _array(g_alphas), rows, (0,) * D,
        )  # fmt: skip
        n = len(conics)
        gradients = [torch.empty(n, 2), torch.empty(n, 3), torch.empty(n),
                     torch.empty(n, image.shape[2])]  # fmt: skip
        threads.run(
            kernels_auto.reduce, count, slot_offsets, rows, _array(conics), _array(opacities),
            *(g.numpy() for g in gradients),
        )  # fmt: skip
        return (*gradients, None, None, None, None)


def _raise_bad(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor) -> None:
    for name, tensor in (
        ("means", means), ("quats", quats), ("scales", scales), ("opacities", opacities),
    ):  # fmt: skip
        bad = ~torch.isfinite(tensor)
        if bad.any():
            first = [int(k) for k in bad.nonzero()[0]]
            raise ValueError(f"{name}{first} is not finite")
    index = int((quats.square().sum(-1) == 0).nonzero()[0])
    raise ValueError(f"quats[{index}] is zero: not a rotation")
