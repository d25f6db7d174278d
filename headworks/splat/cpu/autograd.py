"""The kernels as two differentiable torch functions: projection and blending."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from headworks.splat.cpu import (
    kernels_auto,
    kernels_simd,
    project,
    project_simd,
    project_simd_backward,
    threads,
)
from headworks.splat.cpu.bins import PADDING
from headworks.splat.cpu.gate import gate
from headworks.splat.cpu.rules import ABSOLUTE, CHUNK, COLORED, GEOMETRIC, GEOMETRY, SHAPED, VIEWED
from headworks.splat.cpu.simd import LANES
from headworks.splat.cpu.workspace import Borrowed

CHANNELS = (3, 4, 8, 16, 32)  # compiled variants; others are padded with zeros
GRAIN = 2048  # Gaussians that are worth waking a thread
PART = 1024  # Gaussians that a thread takes at a time
STEP = CHUNK  # list entries to work on at a time

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
NOTHING = np.empty((0, 2), np.float32)


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
    """Gaussians by tile, see `bins`; entries and slots are written by the first blending."""

    order: Ints
    visible: Longs
    spans: Ints
    tiles_x: int
    counts: Longs
    slot_offsets: Longs
    entries: Ints
    slots: Ints


class Frame:
    """What projection and blending of one camera share beside differentiable tensors.

    `Project` fills in the arrays, `Blend` the lists. A function's context does not keep it: what a
    backward pass needs is saved in a way that lets torch free it.

    Args:
        view: the camera. differentiable: whether a backward pass may come, which needs slots.
    """

    def __init__(self, view: View, differentiable: bool) -> None:
        self.view, self.differentiable = view, differentiable
        self.absgrad: Floats | None = None  # [N, 2], written by the backward pass
        self.radii: Ints
        self.records: Floats
        self.offsets: Longs
        self.tile_order: Ints
        self.lists: Lists
        self.filled = False  # whether the lists have their entries


def _array(tensor: Tensor) -> NDArray[Any]:
    return (tensor if tensor.is_contiguous() else tensor.contiguous()).numpy()


def _share(n: int) -> int:
    """Threads for n Gaussians."""
    return max(1, min(threads.n_threads(), n // GRAIN))


def _parts(n: int, count: int) -> int:
    """Parts for so many threads to take of n Gaussians."""
    return 1 if count == 1 else max(count, n // PART)


class Kernels(NamedTuple):
    """One way to make the kernels; the signatures are those of `project` and `kernels_auto`."""

    prepare: Any
    project_backward: Any
    blending: Any


VARIANTS = {
    "explicit": Kernels(project_simd.prepare, project_simd_backward.project_backward, kernels_simd),
    "auto": Kernels(project.prepare, project.project_backward, kernels_auto),
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
    """means, quats, scales, opacities, viewmat -> means2d, conics, opacities, depths: [1, N, ...].

    Gaussians are sorted by depth and their lists measured on the way.
    """

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmat: Tensor,
        frame: Frame,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        n, view = len(means), frame.view
        count = _share(n)
        arrays = [_array(t) for t in (means, quats, scales, opacities, viewmat)]
        shapes = (1, n, 2), (1, n, 3), (1, n), (1, n)
        outputs = [np.empty(shape, np.float32) for shape in shapes]
        frame.radii, spans = np.empty((n, 2), np.int32), np.empty((n, 4), np.int32)
        frame.records = np.empty((n, GEOMETRY), np.float32)
        tiles_x, tiles_y = -(-view.width // project.TILE), -(-view.height // project.TILE)
        tiles = tiles_x * tiles_y
        frame.offsets, frame.tile_order = np.empty(tiles + 1, np.int64), np.empty(tiles, np.int32)
        counts = np.empty((1 if count == 1 else 2 * count, tiles), np.int64)
        slot_offsets = np.zeros(n + 1 if frame.differentiable else 0, np.int64)
        order, visible = np.empty(n, np.int32), np.zeros(1, np.int64)
        bad = np.full(1, -1)
        threads.share(
            _projection(n).prepare, count, gate(4), _parts(n, count), *arrays[:4], arrays[4][0],
            view.K, (view.width, view.height), view.near, view.far, view.eps2d, view.radius_clip,
            view.antialiased, view.rho_floor, *(output[0] for output in outputs), spans,
            frame.radii, frame.records, bad, tiles_x, order, visible, counts, frame.offsets,
            frame.tile_order, slot_offsets,
        )  # fmt: skip
        if bad[0] >= 0:
            _raise_bad(means, quats, scales, opacities)
        entries = int(frame.offsets[-1])
        frame.lists = Lists(
            order, visible, spans, tiles_x, counts, slot_offsets,
            np.empty(entries + PADDING, np.int32),
            np.empty(entries if frame.differentiable else 0, np.int32),
        )  # fmt: skip
        frame.lists.entries[entries:] = 0
        if frame.differentiable:
            ctx.view = view
            ctx.save_for_backward(
                means, quats, scales, opacities, viewmat, torch.from_numpy(frame.radii)
            )
            ctx.set_materialize_grads(False)
        return tuple(torch.from_numpy(output) for output in outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *arrays, viewmat, radii = (_array(t) for t in ctx.saved_tensors)
        view, n, needed = ctx.view, len(radii), ctx.needs_input_grad
        given = [
            np.zeros(shape, np.float32) if g is None else _array(g)[0]
            for g, shape in zip(grads, ((n, 2), (n, 3), (n,), (n,)))
        ]
        wanted = SHAPED * (needed[1] or needed[2]) | VIEWED * needed[4]
        rows = n if wanted & SHAPED else 0
        shapes = (n, 3), (rows, 4), (rows, 3), (n,), (1, 4, 4)
        gradients = [np.empty(shape, np.float32) for shape in shapes]
        threads.share(
            _projection(n).project_backward, _share(n), gate(2), *arrays, viewmat[0], view.K,
            (view.width, view.height), view.eps2d, view.antialiased, view.rho_floor, radii, *given,
            wanted, *gradients[:4], np.empty((project.VIEW_CHUNKS, 3, 4)), gradients[4][0],
        )  # fmt: skip
        return (*_needed(gradients, needed), None)


class Blend(torch.autograd.Function):
    """means2d, conics, opacities, colors -> image [1, H, W, D], alpha [1, H, W, 1].

    The first three as `Project` gives them with the same frame, colors [N, D].
    """

    @staticmethod
    def forward(
        ctx: Any, means2d: Tensor, conics: Tensor, opacities: Tensor, colors: Tensor, frame: Frame
    ) -> tuple[Tensor, Tensor]:
        view, lists, used = frame.view, frame.lists, colors.shape[1]
        count = _share(len(lists.entries))
        D = next(k for k in CHANNELS if k >= used)
        padded = _array(colors if used == D else torch.nn.functional.pad(colors, (0, D - used)))
        image = np.empty((1, view.height, view.width, used), np.float32)
        alphas = np.empty((1, view.height, view.width, 1), np.float32)
        kernels = _kernels().blending
        with Borrowed(count, kernels.scratch_size(D)) as scratch:
            threads.share(
                kernels.forward, count, gate(2), scratch, *lists, frame.filled, frame.tile_order,
                frame.offsets, frame.records, padded, np.float32(view.max_alpha), STEP, image[0],
                alphas[0, ..., 0], (0,) * D,
            )  # fmt: skip
        frame.filled = True
        outputs = torch.from_numpy(image), torch.from_numpy(alphas)
        if frame.differentiable:
            ctx.max_alpha, ctx.absgrad, ctx.tiles_x = view.max_alpha, frame.absgrad, lists.tiles_x
            arrays = (
                padded, frame.records, frame.tile_order, frame.offsets, lists.entries, lists.slots,
                lists.slot_offsets,
            )  # fmt: skip
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
        conics, opacities, _, image, alphas, padded, records, tile_order, *lists, slot_offsets = (
            _array(t) for t in ctx.saved_tensors
        )
        n, D, needed = conics.shape[1], padded.shape[1], ctx.needs_input_grad
        entries = int(slot_offsets[-1])
        count = _share(entries)
        given = (
            np.zeros_like(image[0]) if g_image is None else _array(g_image)[0],
            NOTHING if g_alphas is None else _array(g_alphas)[0, ..., 0],
        )
        wanted = GEOMETRIC * any(needed[:3]) | COLORED * needed[3]
        geometric, colored = n if wanted & GEOMETRIC else 0, n if wanted & COLORED else 0
        shapes = (1, geometric, 2), (1, geometric, 3), (1, geometric), (colored, image.shape[3])
        gradients = [np.empty(shape, np.float32) for shape in shapes]
        magnitudes = NOTHING
        if ctx.absgrad is not None:
            wanted, magnitudes = wanted | ABSOLUTE, ctx.absgrad
        kernels = _kernels().blending
        with (
            Borrowed(entries, kernels.row_size(D)) as rows,
            Borrowed(count, kernels.scratch_size(D)) as scratch,
        ):
            threads.share(
                kernels.backward, count, gate(2), scratch, tile_order, ctx.tiles_x, *lists, records,
                padded, np.float32(ctx.max_alpha), STEP, image[0], alphas[0, ..., 0], *given, rows,
                wanted, (0,) * D, _parts(n, count), slot_offsets, conics[0], opacities[0],
                *(g[0] for g in gradients[:3]), gradients[3], magnitudes,
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
