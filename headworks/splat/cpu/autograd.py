"""The kernels as two differentiable torch functions: projection and blending."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from headworks.splat.cpu import bins, kernels_auto, kernels_simd, project, project_simd, threads
from headworks.splat.cpu.simd import LANES
from headworks.splat.cpu.workspace import borrowed

VARIANTS = {"explicit": (project_simd, kernels_simd), "auto": (project, kernels_auto)}
CHANNELS = (3, 4, 8, 16, 32)  # compiled variants; others are padded with zeros
GRAIN = 16384  # Gaussians that are worth waking a thread

Floats = NDArray[np.float32]
Longs = NDArray[np.int64]


class View(NamedTuple):
    """One camera and the rules of its projection; see `headworks.splat.rasterization`."""

    K: NDArray[np.float64]
    width: int
    height: int
    near: float
    far: float
    eps2d: float
    radius_clip: float
    antialiased: bool
    rho_floor: float
    max_alpha: float


class Lists(NamedTuple):
    """Gaussians by tile, see `bins`."""

    tile_order: Longs
    tiles_x: int
    offsets: Longs
    entries: NDArray[np.int32]
    slots: NDArray[np.int32]
    slot_offsets: Longs


@dataclass
class Frame:
    """What projection and blending of one camera share beside differentiable tensors.

    Made with the view alone; `Project` fills in the arrays, `bin` the lists.
    """

    view: View
    depths: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    radii: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 2), np.int32))
    spans: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 4), np.int32))
    records: Floats = field(default_factory=lambda: np.empty((0, 8), np.float32))
    lists: Lists | None = None

    def bin(self) -> None:
        """Sort the visible Gaussians by depth and list them by tile."""
        tile = project.TILE
        tiles_x, tiles_y = -(-self.view.width // tile), -(-self.view.height // tile)
        order = bins.depth_order(self.depths, self.radii)
        count = _share(len(order))
        counts = np.empty((count, tiles_x * tiles_y), np.int64)
        offsets = np.empty(tiles_x * tiles_y + 1, np.int64)
        slot_offsets = np.zeros(len(self.depths) + 1, np.int64)
        threads.run(bins.count, count, order, self.spans, tiles_x, counts, slot_offsets)
        bins.scan(counts, offsets, slot_offsets)
        entries = np.empty(offsets[-1] + bins.PADDING, np.int32)
        entries[offsets[-1] :] = 0
        slots = np.empty(offsets[-1], np.int32)
        threads.run(
            bins.fill, count, order, self.spans, tiles_x, counts, slot_offsets, entries, slots
        )
        longest_first = np.argsort(-np.diff(offsets), kind="stable")
        self.lists = Lists(longest_first, tiles_x, offsets, entries, slots, slot_offsets)


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().contiguous().numpy()


def _share(n: int) -> int:
    """Threads for n Gaussians."""
    return max(1, min(threads.n_threads(), n // GRAIN))


def _variant() -> Any:
    """Kernels with explicit vectors, or the auto-vectorised twin by HEADWORKS_SIMD=auto."""
    name = os.environ.get("HEADWORKS_SIMD", "explicit")
    if name not in VARIANTS:
        raise ValueError(f"HEADWORKS_SIMD must be one of {sorted(VARIANTS)}, got {name!r}")
    return VARIANTS[name]


def _projection(n: int) -> Any:
    """The projection for n Gaussians: vectors need at least one block of them."""
    return _variant()[0] if n >= LANES else project


class Project(torch.autograd.Function):
    """means, quats, scales, opacities, viewmat -> means2d, conics, opacities, depths."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmat: Tensor,
        frame: Frame,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        n, view = len(means), frame.view
        count = _share(n)
        arrays = [_array(t) for t in (means, quats, scales, opacities, viewmat)]
        outputs = [np.empty(shape, np.float32) for shape in ((n, 2), (n, 3), (n,), (n,))]
        frame.depths = outputs[3]
        frame.radii, frame.spans = np.empty((n, 2), np.int32), np.empty((n, 4), np.int32)
        frame.records = np.empty((n, kernels_auto.GEOMETRY), np.float32)
        bad = np.full(count, -1)
        threads.run(
            _projection(n).project, count, *arrays, view.K, (view.width, view.height), view.near,
            view.far, view.eps2d, view.radius_clip, view.antialiased, view.rho_floor, *outputs,
            frame.spans, frame.radii, frame.records, bad,
        )  # fmt: skip
        if (bad >= 0).any():
            _raise_bad(means, quats, scales, opacities)
        ctx.frame, ctx.arrays = frame, arrays
        ctx.save_for_backward(means, quats, scales, opacities, viewmat)
        ctx.set_materialize_grads(False)
        return tuple(torch.from_numpy(output) for output in outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # raises when one of them was changed in place
        frame, view, n = ctx.frame, ctx.frame.view, len(ctx.arrays[0])
        given = [
            np.zeros(shape, np.float32) if g is None else _array(g)
            for g, shape in zip(grads, ((n, 2), (n, 3), (n,), (n,)))
        ]
        gradients = [np.empty_like(a) for a in ctx.arrays[:4]]
        views = np.zeros((project.VIEW_CHUNKS, 3, 4))
        threads.run(
            _projection(n).project_backward, _share(n), *ctx.arrays, view.K,
            (view.width, view.height), view.eps2d, view.antialiased, view.rho_floor, frame.radii,
            *given, *gradients, views,
        )  # fmt: skip
        g_view = np.zeros((4, 4), np.float32)
        g_view[:3] = views.sum(0)
        return (*(torch.from_numpy(g) for g in (*gradients, g_view)), None)


class Blend(torch.autograd.Function):
    """means2d, conics, opacities, colors + a binned frame -> image [H, W, D], alpha [H, W]."""

    @staticmethod
    def forward(
        ctx: Any, means2d: Tensor, conics: Tensor, opacities: Tensor, colors: Tensor, frame: Frame
    ) -> tuple[Tensor, Tensor]:
        assert frame.lists is not None
        view, count, used = frame.view, threads.n_threads(), colors.shape[1]
        D = next(k for k in CHANNELS if k >= used)
        padded = _array(colors if used == D else torch.nn.functional.pad(colors, (0, D - used)))
        image = np.empty((view.height, view.width, used), np.float32)
        alphas = np.empty((view.height, view.width), np.float32)
        kernels = _variant()[1]
        with borrowed(count, kernels.scratch_size(D)) as scratch:
            threads.run(
                kernels.forward, count, scratch, np.zeros(1, np.int64), *frame.lists[:4],
                frame.records, padded, np.float32(view.max_alpha), image, alphas, (0,) * D,
            )  # fmt: skip
        ctx.frame, ctx.arrays = frame, (padded, image, alphas)
        outputs = torch.from_numpy(image), torch.from_numpy(alphas)
        ctx.save_for_backward(conics, opacities, colors, *outputs)
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, g_image: Tensor | None, g_alphas: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        conics, opacities = (_array(t) for t in ctx.saved_tensors[:2])
        frame, (padded, image, alphas) = ctx.frame, ctx.arrays
        count, n, D = threads.n_threads(), len(conics), padded.shape[1]
        *lists, slot_offsets = frame.lists
        given = [
            np.zeros_like(a) if g is None else _array(g)
            for g, a in ((g_image, image), (g_alphas, alphas))
        ]
        kernels = _variant()[1]
        gradients = [
            np.empty(shape, np.float32) for shape in ((n, 2), (n, 3), (n,), (n, image.shape[2]))
        ]
        with (
            borrowed(int(slot_offsets[-1]), kernels.row_size(D)) as rows,
            borrowed(count, kernels.scratch_size(D)) as scratch,
        ):
            threads.run(
                kernels.backward, count, scratch, np.zeros(1, np.int64), *lists, frame.records,
                padded, np.float32(frame.view.max_alpha), image, alphas, *given, rows, (0,) * D,
            )  # fmt: skip
            threads.run(
                kernels.reduce, _share(n), slot_offsets, rows, conics, opacities, *gradients
            )
        return (*(torch.from_numpy(g) for g in gradients), None)


def _raise_bad(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor) -> None:
    for name, tensor in (
        ("means", means), ("quats", quats), ("scales", scales), ("opacities", opacities),
    ):  # fmt: skip
        bad = ~torch.isfinite(tensor)
        if bad.any():
            first = [int(k) for k in bad.nonzero()[0]]
            raise ValueError(f"{name}{first} is not finite")
    norms = quats.float().square().sum(-1)
    for bad, what in ((norms == 0, "zero"), (~torch.isfinite(norms), "too large")):
        if bad.any():
            index = int(bad.nonzero()[0])
            raise ValueError(f"quats[{index}] is {what} in single precision: not a rotation")
    raise ValueError("means, scales or opacities are too large for single precision")
