"""The kernels as two differentiable torch functions: projection and blending."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
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
NOTHING, NO_COLORS = np.empty((0, 2), np.float32), np.empty(0, np.float32)


class View(NamedTuple):
    """One camera and the rules of its projection; see `headworks.splat.rasterization`."""

    K: NDArray[np.float64]
    size: tuple[int, int]  # width, height
    near: float
    far: float
    eps2d: float
    radius_clip: float
    antialiased: bool
    rho_floor: float
    max_alpha: np.float32


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
        colors: [N, D], to be searched for values that are not finite, with the camera; or None.
        how: threads to use and kernels.
    """

    __slots__ = (
        "absgrad", "colors", "differentiable", "filled", "how", "lists", "numbers",
        "offsets", "places", "radii", "records", "suspicious", "tile_order", "view",
    )  # fmt: skip

    def __init__(self, view: View, differentiable: bool, colors: Tensor | None, how: How) -> None:
        self.view, self.differentiable, self.colors, self.how = view, differentiable, colors, how
        self.absgrad: Floats | None = None  # [N, 2], written by the backward pass
        self.filled = False  # whether the lists have their entries
        self.suspicious = False  # whether colours or camera are not finite
        self.radii: Ints  # [1, N, 2]
        self.records: Floats
        self.places: Longs  # offsets, order of tiles and offsets of slots in one piece
        self.offsets: Longs
        self.tile_order: Longs
        self.numbers: Ints  # entries and slots in one piece
        self.lists: Lists


def _array(tensor: Tensor) -> NDArray[Any]:
    return (tensor if tensor.is_contiguous() else tensor.contiguous()).numpy()


def _share(n: int, most: int) -> int:
    """Threads for n Gaussians, of so many."""
    return max(1, min(most, n // GRAIN))


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


class How(NamedTuple):
    """How a call computes: threads at most, the projection, and the kernels of blending."""

    threads: int
    projection: Kernels
    blending: Any


def how(n: int) -> How:
    """Kernels with explicit vectors, or the auto-vectorised twin by HEADWORKS_SIMD=auto.

    Args:
        n: Gaussians; a projection by vectors needs at least one block of them.
    """
    name = os.environ.get("HEADWORKS_SIMD", "explicit")
    if name not in VARIANTS:
        raise ValueError(f"HEADWORKS_SIMD must be one of {sorted(VARIANTS)}, got {name!r}")
    kernels = VARIANTS[name]
    projection = kernels if n >= LANES else VARIANTS["auto"]
    return How(threads.n_threads(), projection, kernels.blending)


def _once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """As torch's `once_differentiable`, which costs several microseconds, only where it matters."""
    careful = once_differentiable(backward)

    @functools.wraps(backward)
    def quick(ctx: Any, *grads: Tensor | None) -> Any:
        return careful(ctx, *grads) if torch.is_grad_enabled() else backward(ctx, *grads)

    return quick


class Project(torch.autograd.Function):
    """means, quats, scales, opacities, viewmat -> means2d, conics, opacities, depths: [1, N, ...].

    Gaussians are sorted by depth and their lists measured on the way.
    """

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmat: Tensor,
        frame: Frame,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        n, view, empty = means.shape[0], frame.view, np.empty
        count = _share(n, frame.how.threads)
        means2d, conics = empty((1, n, 2), np.float32), empty((1, n, 3), np.float32)
        opacities2d, depths = empty((1, n), np.float32), empty((1, n), np.float32)
        radii, spans = empty((1, n, 2), np.int32), empty((n, 4), np.int32)
        records = empty((n, GEOMETRY), np.float32)
        width, height = view.size
        tiles_x, tiles_y = -(-width // project.TILE), -(-height // project.TILE)
        tiles = tiles_x * tiles_y
        places = empty(2 * tiles + 1 + (n + 1) * frame.differentiable, np.int64)
        offsets, tile_order = places[: tiles + 1], places[tiles + 1 : 2 * tiles + 1]
        slot_offsets = places[2 * tiles + 1 :]
        slot_offsets.fill(0)
        counts = empty((1 if count == 1 else 2 * count, tiles), np.int64)
        order, visible, bad = empty(n, np.int32), empty(1, np.int64), empty(2, np.int64)
        bad.fill(-1)
        colors = NO_COLORS if frame.colors is None else _array(frame.colors).reshape(-1)
        threads.share(
            frame.how.projection.prepare, count, gate(4), _parts(n, count), _array(means),
            _array(quats), _array(scales), _array(opacities), _array(viewmat)[0], view.K,
            view.size, view.near, view.far, view.eps2d, view.radius_clip, view.antialiased,
            view.rho_floor, means2d[0], conics[0], opacities2d[0], depths[0], spans, radii[0],
            records, bad, colors, tiles_x, order, visible, counts, offsets, tile_order,
            slot_offsets,
        )  # fmt: skip
        if bad[0] >= 0:
            _raise_bad(means, quats, scales, opacities)
        frame.suspicious = bad[1] >= 0
        entries = int(offsets[tiles])
        numbers = empty(entries * (1 + frame.differentiable) + PADDING, np.int32)
        numbers[entries : entries + PADDING] = 0
        frame.records, frame.radii, frame.places, frame.numbers = records, radii, places, numbers
        frame.offsets, frame.tile_order = offsets, tile_order
        frame.lists = Lists(
            order, visible, spans, tiles_x, counts, slot_offsets, numbers[: entries + PADDING],
            numbers[entries + PADDING :],
        )  # fmt: skip
        from_numpy = torch.from_numpy
        if frame.differentiable:
            ctx.view, ctx.how = view, frame.how
            ctx.save_for_backward(means, quats, scales, opacities, viewmat, from_numpy(radii))
            ctx.set_materialize_grads(False)
        return (
            from_numpy(means2d), from_numpy(conics), from_numpy(opacities2d), from_numpy(depths),
        )  # fmt: skip

    @staticmethod
    @_once
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        means, quats, scales, opacities, viewmat, radii = ctx.saved_tensors
        view, n, needed, empty = ctx.view, means.shape[0], ctx.needs_input_grad, np.empty
        given = [
            np.zeros(shape, np.float32) if g is None else _array(g)[0]
            for g, shape in zip(grads, ((n, 2), (n, 3), (n,), (n,)))
        ]
        wanted = SHAPED * (needed[1] or needed[2]) | VIEWED * needed[4]
        rows = n if wanted & SHAPED else 0
        g_means, g_quats = empty((n, 3), np.float32), empty((rows, 4), np.float32)
        g_scales, g_opacities = empty((rows, 3), np.float32), empty(n, np.float32)
        g_view = empty((1, 4, 4), np.float32)
        threads.share(
            ctx.how.projection.project_backward, _share(n, ctx.how.threads), gate(2), _array(means),
            _array(quats), _array(scales), _array(opacities), _array(viewmat)[0], view.K, view.size,
            view.eps2d, view.antialiased, view.rho_floor, radii.numpy()[0], *given, wanted, g_means,
            g_quats, g_scales, g_opacities, empty((project.VIEW_CHUNKS, 3, 4)), g_view[0],
        )  # fmt: skip
        return _needed((g_means, g_quats, g_scales, g_opacities, g_view), needed)


class Blend(torch.autograd.Function):
    """means2d, conics, opacities, colors -> image [1, H, W, D], alpha [1, H, W, 1].

    The first three as `Project` gives them with the same frame, colors [N, D].
    """

    @staticmethod
    def forward(
        ctx: Any, means2d: Tensor, conics: Tensor, opacities: Tensor, colors: Tensor, frame: Frame
    ) -> tuple[Tensor, Tensor]:
        view, lists, how, used = frame.view, frame.lists, frame.how, colors.shape[1]
        count = _share(len(lists.entries), how.threads)
        D, padded = _padded(colors)
        width, height = view.size
        image = np.empty((1, height, width, used), np.float32)
        alphas = np.empty((1, height, width, 1), np.float32)
        with Borrowed(count, how.blending.scratch_size(D)) as scratch:
            threads.share(
                how.blending.forward, count, gate(2), scratch, *lists, frame.filled,
                frame.tile_order, frame.offsets, frame.records, padded, view.max_alpha, STEP,
                image[0], alphas[0, ..., 0], (0,) * D,
            )  # fmt: skip
        frame.filled = True
        from_numpy = torch.from_numpy
        outputs = from_numpy(image), from_numpy(alphas)
        if frame.differentiable:
            ctx.max_alpha, ctx.absgrad, ctx.how = view.max_alpha, frame.absgrad, how
            ctx.tiles = lists.tiles_x, len(frame.tile_order)
            ctx.save_for_backward(
                conics, opacities, colors, *outputs, from_numpy(frame.records),
                from_numpy(frame.places), from_numpy(frame.numbers),
            )  # fmt: skip
            ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    @_once
    def backward(
        ctx: Any, g_image: Tensor | None, g_alphas: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        conics, opacities, colors, image_, alphas_, records, places_, numbers_ = ctx.saved_tensors
        image, alphas = image_.numpy()[0], alphas_.numpy()[0, ..., 0]
        places, numbers = places_.numpy(), numbers_.numpy()
        (tiles_x, tiles), n, needed, empty = (
            ctx.tiles,
            conics.shape[1],
            ctx.needs_input_grad,
            np.empty,
        )
        D, padded = _padded(colors)
        entries = int(places[tiles])
        count = _share(entries, ctx.how.threads)
        given = (
            np.zeros_like(image) if g_image is None else _array(g_image)[0],
            NOTHING if g_alphas is None else _array(g_alphas)[0, ..., 0],
        )
        wanted = GEOMETRIC * (needed[0] or needed[1] or needed[2]) | COLORED * needed[3]
        rows, colored = n if wanted & GEOMETRIC else 0, n if wanted & COLORED else 0
        g_means2d, g_conics = empty((1, rows, 2), np.float32), empty((1, rows, 3), np.float32)
        g_opacities = empty((1, rows), np.float32)
        g_colors = empty((colored, image.shape[2]), np.float32)
        magnitudes = NOTHING
        if ctx.absgrad is not None:
            wanted, magnitudes = wanted | ABSOLUTE, ctx.absgrad
        kernels = ctx.how.blending
        with (
            Borrowed(entries, kernels.row_size(D)) as slot_rows,
            Borrowed(count, kernels.scratch_size(D)) as scratch,
        ):
            threads.share(
                kernels.backward, count, gate(2), scratch, places[tiles + 1 : 2 * tiles + 1],
                tiles_x, places[: tiles + 1], numbers[: entries + PADDING],
                numbers[entries + PADDING :], records.numpy(), padded, ctx.max_alpha, STEP, image,
                alphas, *given, slot_rows, wanted, (0,) * D, _parts(n, count),
                places[2 * tiles + 1 :], conics.numpy()[0], opacities.numpy()[0], g_means2d[0],
                g_conics[0], g_opacities[0], g_colors, magnitudes,
            )  # fmt: skip
        return _needed((g_means2d, g_conics, g_opacities, g_colors), needed)


def _padded(colors: Tensor) -> tuple[int, Floats]:
    """Channels of the kernels for these colours, and the colours with so many."""
    used = colors.shape[1]
    D = next(k for k in CHANNELS if k >= used)
    return D, _array(colors if used == D else torch.nn.functional.pad(colors, (0, D - used)))


def _needed(arrays: tuple[Floats, ...], needed: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """The gradients that were asked for, and none for the frame."""
    found = [torch.from_numpy(a) if asked else None for a, asked in zip(arrays, needed)]
    return (*found, None)


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
