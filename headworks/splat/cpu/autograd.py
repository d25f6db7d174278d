"""The kernels as two differentiable torch functions: projection and blending."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from headworks.splat.cpu import (
    bins,
    kernels_auto,
    kernels_simd,
    project,
    project_simd,
    project_simd_backward,
    threads,
)
from headworks.splat.cpu.rules import ABSOLUTE, CHUNK, COLORED, GEOMETRIC, GEOMETRY, SHAPED, VIEWED
from headworks.splat.cpu.simd import LANES
from headworks.splat.cpu.workspace import borrowed

CHANNELS = (3, 4, 8, 16, 32)  # compiled variants; others are padded with zeros
GRAIN = 16384  # Gaussians that are worth waking a thread
STEP = CHUNK  # list entries to work on at a time

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

    Made with the view alone; `Project` fills in the arrays, `bin` the lists. A function's context
    does not keep it: what a backward pass needs is saved in a way that lets torch free it.
    """

    view: View
    absgrad: Floats | None = None  # [N, 2], written by the backward pass
    depths: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    radii: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 2), np.int32))
    spans: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 4), np.int32))
    records: Floats = field(default_factory=lambda: np.empty((0, 8), np.float32))
    lists: Lists | None = None

    def bin(self, differentiable: bool) -> None:
        """Sort the visible Gaussians by depth and list them by tile.

        Args:
            differentiable: make the slots, too, that only a backward pass needs.
        """
        tile = project.TILE
        tiles_x, tiles_y = -(-self.view.width // tile), -(-self.view.height // tile)
        order = bins.depth_order(self.depths, self.radii)
        count = _share(len(order))
        counts = np.empty((count, tiles_x * tiles_y), np.int64)
        offsets = np.empty(tiles_x * tiles_y + 1, np.int64)
        slot_offsets = np.zeros(len(self.depths) + 1 if differentiable else 0, np.int64)
        threads.run(bins.count, count, order, self.spans, tiles_x, counts, slot_offsets)
        bins.scan(counts, offsets, slot_offsets)
        entries = np.empty(offsets[-1] + bins.PADDING, np.int32)
        entries[offsets[-1] :] = 0
        slots = np.empty(offsets[-1] if differentiable else 0, np.int32)
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


class Kernels(NamedTuple):
    """One way to make the kernels; the signatures are those of `project` and `kernels_auto`."""

    project: Any
    project_backward: Any
    blending: Any


VARIANTS = {
    "explicit": Kernels(project_simd.project, project_simd_backward.project_backward, kernels_simd),
    "auto": Kernels(project.project, project.project_backward, kernels_auto),
}


def _kernels() -> Kernels:
    """Kernels with explicit vectors, or the auto-vectorised twin by HEADWORKS_SIMD=auto."""
    name = os.environ.get("HEADWORKS_SIMD", "explicit")
    if name not in VARIANTS:
        raise ValueError(f"HEADWORKS_SIMD must be one of {sorted(VARIANTS)}, got {name!r}")
    return VARIANTS[name]


def _projection(n: int) -> Kernels:
    """The projection for n Gaussians: vectors need at least one block of them."""
    return _kernels() if n >= LANES else VARIANTS["auto"]


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
        frame.records = np.empty((n, GEOMETRY), np.float32)
        bad = np.full(count, -1)
        threads.run(
            _projection(n).project, count, *arrays, view.K, (view.width, view.height), view.near,
            view.far, view.eps2d, view.radius_clip, view.antialiased, view.rho_floor, *outputs,
            frame.spans, frame.radii, frame.records, bad,
        )  # fmt: skip
        if (bad >= 0).any():
            _raise_bad(means, quats, scales, opacities)
        ctx.view = view
        ctx.save_for_backward(
            means, quats, scales, opacities, viewmat, torch.from_numpy(frame.radii)
        )
        ctx.set_materialize_grads(False)
        return tuple(torch.from_numpy(output) for output in outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *arrays, radii = (_array(t) for t in ctx.saved_tensors)
        view, n, needed = ctx.view, len(radii), ctx.needs_input_grad
        given = [
            np.zeros(shape, np.float32) if g is None else _array(g)
            for g, shape in zip(grads, ((n, 2), (n, 3), (n,), (n,)))
        ]
        wanted = SHAPED * (needed[1] or needed[2]) | VIEWED * needed[4]
        rows = n if wanted & SHAPED else 0
        gradients = [
            np.empty(shape, np.float32) for shape in ((n, 3), (rows, 4), (rows, 3), (n,), (4, 4))
        ]
        views = np.zeros((project.VIEW_CHUNKS, 3, 4))
        threads.run(
            _projection(n).project_backward, _share(n), *arrays, view.K, (view.width, view.height),
            view.eps2d, view.antialiased, view.rho_floor, radii, *given, wanted, *gradients[:4],
            views,
        )  # fmt: skip
        gradients[4][:3], gradients[4][3] = views.sum(0), 0
        return (*_needed(gradients, needed), None)


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
        kernels = _kernels().blending
        with borrowed(count, kernels.scratch_size(D)) as scratch:
            threads.run(
                kernels.forward, count, scratch, np.zeros(1, np.int64), *frame.lists[:4],
                frame.records, padded, np.float32(view.max_alpha), STEP, image, alphas, (0,) * D,
            )  # fmt: skip
        ctx.max_alpha, ctx.absgrad, ctx.tiles_x = view.max_alpha, frame.absgrad, frame.lists.tiles_x
        outputs = torch.from_numpy(image), torch.from_numpy(alphas)
        arrays = padded, frame.records, *(a for a in frame.lists if isinstance(a, np.ndarray))
        ctx.save_for_backward(
            conics, opacities, colors, *outputs, *(torch.from_numpy(a) for a in arrays)
        )
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, g_image: Tensor | None, g_alphas: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        conics, opacities, _, image, alphas, padded, records, order, *lists, slot_offsets = (
            _array(t) for t in ctx.saved_tensors
        )
        count, n, D, needed = (
            threads.n_threads(),
            len(conics),
            padded.shape[1],
            ctx.needs_input_grad,
        )
        given = [
            np.zeros_like(a) if g is None else _array(g)
            for g, a in ((g_image, image), (g_alphas, alphas))
        ]
        wanted = GEOMETRIC * any(needed[:3]) | COLORED * needed[3]
        geometric, colored = n if wanted & GEOMETRIC else 0, n if wanted & COLORED else 0
        shapes = (geometric, 2), (geometric, 3), (geometric,), (colored, image.shape[2])
        gradients = [np.empty(shape, np.float32) for shape in shapes]
        magnitudes = np.empty((0, 2), np.float32)
        if ctx.absgrad is not None:
            wanted, magnitudes = wanted | ABSOLUTE, ctx.absgrad
        kernels = _kernels().blending
        with (
            borrowed(int(slot_offsets[-1]), kernels.row_size(D)) as rows,
            borrowed(count, kernels.scratch_size(D)) as scratch,
        ):
            threads.run(
                kernels.backward, count, scratch, np.zeros(1, np.int64), order, ctx.tiles_x, *lists,
                records, padded, np.float32(ctx.max_alpha), STEP, image, alphas, *given, rows,
                wanted, (0,) * D,
            )  # fmt: skip
            threads.run(
                kernels.reduce, _share(n), slot_offsets, rows, conics, opacities, *gradients,
                magnitudes,
            )  # fmt: skip
        return (*_needed(gradients, needed), None)


def _needed(arrays: Sequence[Floats], needed: Sequence[bool]) -> Iterator[Tensor | None]:
    """The gradients that were asked for."""
    return (torch.from_numpy(a) if asked else None for a, asked in zip(arrays, needed))


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
