"""The kernels as two differentiable torch functions: projection and blending.

Usually one camera is rendered, and nothing happens between projection and blending. Then `Project`
runs the kernels of both, one after the other, and `Blend` hands out the result; backwards `Blend`
runs both and `Project` hands out. So a pass wakes the other threads once and disturbs the caches
once: after some milliseconds in kernels every step in Python or torch costs several times what it
costs in a loop of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from headworks.splat.cpu import project, threads
from headworks.splat.cpu.bins import PADDING
from headworks.splat.cpu.frame import Floats, Frame, How, Lists, Passed, remember, room
from headworks.splat.cpu.gate import gate
from headworks.splat.cpu.rules import ABSOLUTE, CHUNK, COLORED, GEOMETRIC, GEOMETRY, SHAPED, VIEWED
from headworks.splat.cpu.workspace import LINE, Borrowed

CHANNELS = (3, 4, 8, 16, 32)  # compiled variants; others are padded with zeros
GRAIN = 2048  # Gaussians that are worth waking a thread
PART = 1024  # Gaussians that a thread takes at a time
STEP = CHUNK  # list entries to work on at a time
NOTHING, NO_VALUES = np.empty((0, 2), np.float32), np.empty(0, np.float32)

Gradients = tuple[Tensor | None, ...]


def _array(tensor: Tensor) -> NDArray[Any]:
    return (tensor if tensor.is_contiguous() else tensor.contiguous()).numpy()


def _share(n: int, most: int) -> int:
    """Threads for n Gaussians, of so many."""
    return max(1, min(most, n // GRAIN))


def _parts(n: int, count: int) -> int:
    """Parts for so many threads to take of n Gaussians."""
    return 1 if count == 1 else max(count, n // PART)


def _once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """As torch's `once_differentiable`, which costs several microseconds, only where it matters."""
    careful = once_differentiable(backward)

    @functools.wraps(backward)
    def quick(ctx: Any, *grads: Tensor | None) -> Any:
        return careful(ctx, *grads) if torch.is_grad_enabled() else backward(ctx, *grads)

    return quick


class Project(torch.autograd.Function):
    """means, quats, scales, opacities, viewmat -> means2d, conics, opacities, depths: [1, N, ...].

    Gaussians are sorted by depth and their lists measured on the way; when the frame says so, its
    colours are blended, too.
    """

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmat: Tensor,
        frame: Frame,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        n, view, empty, from_numpy = means.shape[0], frame.view, np.empty, torch.from_numpy
        width, height = view.size
        tiles_x, tiles_y = -(-width // project.TILE), -(-height // project.TILE)
        tiles = tiles_x * tiles_y
        known = room(n, tiles) if frame.at_once else 0
        count = _share(max(n, known), frame.how.threads)
        means2d, conics = empty((1, n, 2), np.float32), empty((1, n, 3), np.float32)
        opacities2d, depths = empty((1, n), np.float32), empty((1, n), np.float32)
        radii, spans = empty((1, n, 2), np.int32), empty((n, 4), np.int32)
        records = empty((n, GEOMETRY), np.float32)
        places = empty(2 * tiles + 1 + (n + 1) * frame.differentiable, np.int64)
        offsets, tile_order = places[: tiles + 1], places[tiles + 1 : 2 * tiles + 1]
        slot_offsets = places[2 * tiles + 1 :]
        slot_offsets.fill(0)
        counts = empty((1 if count == 1 else 2 * count, tiles), np.int64)
        order, visible, bad = empty(n, np.int32), empty(1, np.int64), empty(2, np.int64)
        bad.fill(-1)
        frame.records, frame.radii, frame.places = records, radii, places
        frame.offsets, frame.tile_order = offsets, tile_order
        prepare = (
            frame.how.projection.prepare, gate(4),
            (
                _parts(n, count), _array(means), _array(quats), _array(scales), _array(opacities),
                _array(viewmat)[0], view.K, view.size, view.near, view.far, view.eps2d,
                view.radius_clip, view.antialiased, view.rho_floor, means2d[0], conics[0],
                opacities2d[0], depths[0], spans, radii[0], records, bad,
                _array(frame.colors).reshape(-1) if frame.check else NO_VALUES, tiles_x, order,
                visible, counts, offsets, tile_order, slot_offsets,
            ),
        )  # fmt: skip
        measured = order, visible, spans, tiles_x, counts, slot_offsets
        if frame.at_once:
            _make_room(frame, measured, known)
            frame.blended = _blend(frame, frame.colors, count, prepare)
        else:
            threads.share(count, prepare)
        if bad[0] >= 0:
            _raise_bad(means, quats, scales, opacities)
        frame.suspicious = bad[1] >= 0
        entries = int(offsets[tiles])
        if frame.at_once:
            remember(n, tiles, entries)
        if entries > known or not frame.at_once:
            frame.blended, frame.filled = None, False  # there was no room
            _make_room(frame, measured, entries)
        if frame.differentiable:
            inputs = means, quats, scales, opacities, viewmat, from_numpy(radii)
            frame.passed = ctx.passed = Passed(ctx.needs_input_grad)
            ctx.view, ctx.how, frame.inputs = view, frame.how, inputs
            ctx.save_for_backward(*inputs)
            ctx.set_materialize_grads(False)
        return (
            from_numpy(means2d), from_numpy(conics), from_numpy(opacities2d), from_numpy(depths),
        )  # fmt: skip

    @staticmethod
    @_once
    def backward(ctx: Any, *grads: Tensor | None) -> Gradients:
        found = ctx.passed.take(grads)
        if found:
            return found
        call, gradients = _project_backward(ctx.saved_tensors, ctx, ctx.passed.needed, grads)
        threads.share(_share(len(gradients[0]), ctx.how.threads), call)
        return _needed(gradients, ctx.passed.needed)


class Blend(torch.autograd.Function):
    """means2d, conics, opacities, colors -> image [1, H, W, D], alpha [1, H, W, 1].

    The first three as `Project` gives them with the same frame, colors [N, D].
    """

    @staticmethod
    def forward(
        ctx: Any, means2d: Tensor, conics: Tensor, opacities: Tensor, colors: Tensor, frame: Frame
    ) -> tuple[Tensor, Tensor]:
        outputs, frame.blended, from_numpy = frame.blended, None, torch.from_numpy
        if outputs is None:
            outputs = _blend(frame, colors, _share(len(frame.lists.entries), frame.how.threads))
        if frame.differentiable:
            ctx.view, ctx.absgrad, ctx.how = frame.view, frame.absgrad, frame.how
            ctx.tiles_x, ctx.passed = frame.lists.tiles_x, None
            below: tuple[Tensor, ...] = ()
            if frame.at_once:
                ctx.passed, below = frame.passed, frame.inputs
            ctx.save_for_backward(
                conics, opacities, colors, *outputs, from_numpy(frame.records),
                from_numpy(frame.places), from_numpy(frame.numbers), *below,
            )  # fmt: skip
            ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    @_once
    def backward(ctx: Any, g_image: Tensor | None, g_alphas: Tensor | None) -> Gradients:
        conics, opacities, colors, *images, records, places_, numbers_ = ctx.saved_tensors[:8]
        image, alphas = images[0].numpy()[0], images[1].numpy()[0, ..., 0]
        places, numbers = places_.numpy(), numbers_.numpy()
        n, needed, empty, how = conics.shape[1], ctx.needs_input_grad, np.empty, ctx.how
        D, padded = _padded(colors)
        tiles = (len(places) - n - 2) // 2
        entries, capacity = int(places[tiles]), (len(numbers) - PADDING) // 2
        count = _share(max(entries, n), how.threads)
        given = (
            np.zeros_like(image) if g_image is None else _array(g_image)[0],
            NOTHING if g_alphas is None else _array(g_alphas)[0, ..., 0],
        )
        wanted = GEOMETRIC * (needed[0] or needed[1] or needed[2]) | COLORED * needed[3]
        rows, colored = n if wanted & GEOMETRIC else 0, n if wanted & COLORED else 0
        g_means2d, g_conics = empty((1, rows, 2), np.float32), empty((1, rows, 3), np.float32)
        g_opacities = empty((1, rows), np.float32)
        g_colors = empty((colored, image.shape[2]), np.float32)
        gradients = _needed((g_means2d, g_conics, g_opacities, g_colors), needed)
        magnitudes = NOTHING
        if ctx.absgrad is not None:
            wanted, magnitudes = wanted | ABSOLUTE, ctx.absgrad
        calls: list[threads.Call] = []
        below: Gradients = ()
        if rows and ctx.passed is not None:
            above = gradients[0], gradients[1], gradients[2], None
            call, arrays = _project_backward(ctx.saved_tensors[8:], ctx, ctx.passed.needed, above)
            calls, below = [call], _needed(arrays, ctx.passed.needed)
        row, scratch = how.blending.row_size(D), how.blending.scratch_size(D)
        size = -(-entries * row // LINE) * LINE
        with Borrowed(size + count * scratch) as memory:
            backward = (
                how.blending.backward, gate(2),
                (
                    memory[size:].reshape(count, scratch), places[tiles + 1 : 2 * tiles + 1],
                    ctx.tiles_x, places[: tiles + 1], numbers[: capacity + PADDING],
                    numbers[capacity + PADDING :], records.numpy(), padded, ctx.view.max_alpha,
                    STEP, image, alphas, *given, memory[: entries * row].reshape(entries, row),
                    wanted, (0,) * D, _parts(n, count), places[2 * tiles + 1 :], conics.numpy()[0],
                    opacities.numpy()[0], g_means2d[0], g_conics[0], g_opacities[0], g_colors,
                    magnitudes,
                ),
            )  # fmt: skip
            threads.share(count, backward, *calls)
        if below:
            ctx.passed.above, ctx.passed.below = above, below
        return gradients


def _make_room(frame: Frame, measured: tuple[Any, ...], entries: int) -> None:
    """Lists for so many entries."""
    frame.numbers = np.empty(entries * (1 + frame.differentiable) + PADDING, np.int32)
    split = entries + PADDING
    frame.lists = Lists._make((*measured, frame.numbers[:split], frame.numbers[split:]))


def _blend(
    frame: Frame, colors: Tensor, count: int, *before: threads.Call
) -> tuple[Tensor, Tensor]:
    """Blend colours [N, D] with so many threads, after other kernels: image and alphas."""
    width, height = frame.view.size
    D, padded = _padded(colors)
    # torch aligns its memory, as its own operators like it
    image = torch.empty((1, height, width, colors.shape[1]), dtype=torch.float32)
    alphas = torch.empty((1, height, width, 1), dtype=torch.float32)
    kernels = frame.how.blending
    with Borrowed(count, kernels.scratch_size(D)) as scratch:
        forward = (
            kernels.forward, gate(2),
            (
                scratch, *frame.lists, frame.filled, frame.tile_order, frame.offsets, frame.records,
                padded, frame.view.max_alpha, STEP, image.numpy()[0], alphas.numpy()[0, ..., 0],
                (0,) * D,
            ),
        )  # fmt: skip
        threads.share(count, *before, forward)
    frame.filled = True
    return image, alphas


def _project_backward(
    inputs: Sequence[Tensor], ctx: Any, needed: Sequence[bool], grads: Gradients
) -> tuple[threads.Call, tuple[Floats, ...]]:
    """The kernel for the gradients of `Project`, and the arrays that it will fill.

    Args:
        inputs: of `Project`, and the radii. ctx: has `view` and `how`.
        needed: inputs that ask for a gradient. grads: to the outputs.
    """
    means, quats, scales, opacities, viewmat, radii = inputs
    n, view, empty = means.shape[0], ctx.view, np.empty
    given = [
        np.zeros(shape, np.float32) if g is None else _array(g)[0]
        for g, shape in zip(grads, ((n, 2), (n, 3), (n,), (0,)))
    ]
    wanted = SHAPED * (needed[1] or needed[2]) | VIEWED * needed[4]
    rows = n if wanted & SHAPED else 0
    g_means, g_quats = empty((n, 3), np.float32), empty((rows, 4), np.float32)
    g_scales, g_opacities = empty((rows, 3), np.float32), empty(n, np.float32)
    g_view = empty((1, 4, 4), np.float32)
    how: How = ctx.how
    call = (
        how.projection.project_backward, gate(2),
        (
            _array(means), _array(quats), _array(scales), _array(opacities), _array(viewmat)[0],
            view.K, view.size, view.eps2d, view.antialiased, view.rho_floor, radii.numpy()[0],
            *given, wanted, g_means, g_quats, g_scales, g_opacities,
            empty((project.VIEW_CHUNKS, 3, 4)), g_view[0],
        ),
    )  # fmt: skip
    return call, (g_means, g_quats, g_scales, g_opacities, g_view)


def _padded(colors: Tensor) -> tuple[int, Floats]:
    """Channels of the kernels for these colours, and the colours with so many."""
    used = colors.shape[1]
    D = next(k for k in CHANNELS if k >= used)
    return D, _array(colors if used == D else torch.nn.functional.pad(colors, (0, D - used)))


def _needed(arrays: tuple[Floats, ...], needed: Sequence[bool]) -> Gradients:
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
