# mypy: ignore-errors
"""Blending of tile lists and its gradient; the inner loops are vectorised by LLVM.

A tile of 32 x 32 pixels is 16 sub-tiles of 8 x 8. For each sub-tile the Gaussians whose ellipse
touches it are selected, then blended one by one over its 64 pixels: `blending_auto`.

Kernels take `channels`, a tuple of D zeros: its length is a constant to the compiler.
"""

from __future__ import annotations

import numpy as np

from headworks.splat.cpu.bins import PADDING, fill
from headworks.splat.cpu.blending_auto import (
    FWD_PLANES,
    PIXELS,
    PLANES,
    STRIDE,
    SUB,
    SUBS,
    SUBS_X,
    S,
    T,
    X,
    Y,
    any_live,
    blend,
    touching,
    unblend,
)
from headworks.splat.cpu.gate import finish, take, wait
from headworks.splat.cpu.jit import kernel
from headworks.splat.cpu.project import TILE
from headworks.splat.cpu.rules import CHUNK, F0, F1, GEOMETRY, HALF, LN2, MOMENTS


@kernel()
def _zero(array, n):
    """A loop, because a slice assignment compiles Numba's string formatting with it."""
    for k in range(n):
        array[k] = F0


@kernel()
def _some(flags):
    found = False
    for k in range(len(flags)):
        found = found or flags[k]
    return found


@kernel()
def _load(entries, records, colors, start, n, geometry, chunk_colors, channels):
    """Copy list entries start .. start + n to structure-of-arrays scratch."""
    for k in range(n):
        i = entries[start + k]
        for g in range(GEOMETRY):
            geometry[g * STRIDE + k] = records[i, g]
        for c in range(len(channels)):
            chunk_colors[k, c] = colors[i, c]


@kernel()
def _place(state, sub, origin_x, origin_y, width, height, t_plane):
    """Pixel centres of a sub-tile; T = 1 inside the image, finished outside."""
    for p in range(PIXELS):
        x = origin_x + (sub % SUBS_X) * SUB + p % SUB
        y = origin_y + (sub // SUBS_X) * SUB + p // SUB
        state[X + p] = np.float32(x) + HALF
        state[Y + p] = np.float32(y) + HALF
        state[t_plane + p] = F1 if x < width and y < height else -F1


def scratch_size(channels):
    """Shared working memory of one thread: none, its small arrays are its own."""
    return 16


def row_size(channels):
    """Floats of a row of sums per list entry: moments, then colours."""
    return MOMENTS + channels


@kernel()
def forward(
    thread, threads, gate, scratch, order, visible, spans, tiles_x, counts, slot_offsets, entries,
    slots, filled, tile_order, offsets, records, colors, max_alpha, step, image, alphas, channels,
):  # fmt: skip
    """Fill the lists and blend all tiles: two phases of a gate.

    Args:
        scratch: not used by these kernels. order to slots: of `bins.fill`; when they are too short,
            nothing is done.
        filled: whether the lists are there from a call before.
        tile_order: int32, tiles to take in this order.
        offsets: of the tile lists. records: float32 [N, GEOMETRY] of `project.project`.
        colors: float32 [N, D]. image: float32 [H, W, d <= D] out. alphas: float32 [H, W] out.
        step: list entries to work on at a time, up to CHUNK; changes no bit of the result.
    """
    if offsets[-1] + PADDING > len(entries):
        return
    if not filled:
        fill(
            gate, 0, order, visible, spans, tiles_x, counts, slot_offsets, entries, slots, offsets
        )  # fmt: skip
    height, width, used = image.shape
    D = len(channels)
    geometry = np.empty(GEOMETRY * STRIDE, np.float32)
    chunk_colors = np.empty((CHUNK, D), np.float32)
    score = np.empty(CHUNK, np.float32)
    hits = np.empty(CHUNK + 1, np.int32)
    weights = np.empty(PIXELS, np.float32)
    states = np.empty((SUBS, FWD_PLANES + D * PIXELS), np.float32)
    alive = np.empty(SUBS, np.bool_)
    while True:
        at = take(gate, 1)
        if at >= len(tile_order):
            break
        tile = tile_order[at]
        origin_x, origin_y = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        for sub in range(SUBS):
            _place(states[sub], sub, origin_x, origin_y, width, height, T - X)
            _zero(states[sub, FWD_PLANES:], D * PIXELS)
            alive[sub] = any_live(states[sub], T)
        for start in range(offsets[tile], offsets[tile + 1], step):
            n = min(step, offsets[tile + 1] - start)
            if not _some(alive):
                break
            _load(entries, records, colors, start, n, geometry, chunk_colors, channels)
            for sub in range(SUBS):
                if alive[sub]:
                    state = states[sub]
                    m = touching(geometry, n, state[X], state[Y], score, hits)
                    alive[sub] = blend(
                        state, geometry, chunk_colors, hits, m, max_alpha, weights, channels
                    )
        for sub in range(SUBS):
            x0 = origin_x + (sub % SUBS_X) * SUB
            y0 = origin_y + (sub // SUBS_X) * SUB
            for p in range(PIXELS):
                x, y = x0 + p % SUB, y0 + p // SUB
                if x < width and y < height:
                    alphas[y, x] = F1 - abs(states[sub, T + p])
                    for c in range(used):
                        image[y, x, c] = states[sub, FWD_PLANES + c * PIXELS + p]
        finish(gate, 1)
    wait(gate, 1, len(tile_order))


@kernel()
def backward(
    thread, threads, gate, scratch, tile_order, tiles_x, offsets, entries, slots, records,
    colors, max_alpha, step, image, alphas, g_image, g_alphas, slot_rows, wanted, channels,
    parts, slot_offsets, conics, opacities, g_means2d, g_conics, g_opacities, g_colors, magnitudes,
):  # fmt: skip
    """Gradient of `forward` for every list entry, then, in so many parts, for every Gaussian.

    Args:
        slots: int32 [E], row of `slot_rows` of each list entry.
        g_image, g_alphas: gradients of the loss, shaped as image and alphas; g_alphas may be empty.
        slot_rows: float32 [E, row_size(D)] out.
        wanted: which sums to make, bits GEOMETRIC, COLORED, ABSOLUTE of `rules`.
        slot_offsets: of `bins.arrange`. g_means2d and the others: [N, ...] out; one of length 0 is
            not wanted.
        magnitudes: [N, 2] out, sums of the absolute gradients to the 2D mean of every pixel.
    """
    height, width, used = image.shape
    D = len(channels)
    geometry = np.empty(GEOMETRY * STRIDE, np.float32)
    chunk_colors = np.empty((CHUNK, D), np.float32)
    score = np.empty(CHUNK, np.float32)
    hits = np.empty(CHUNK + 1, np.int32)
    flat_rows = np.empty(CHUNK * (MOMENTS + D), np.float32)
    rows = flat_rows.reshape(CHUNK, MOMENTS + D)
    states = np.empty((SUBS, PLANES + D * PIXELS), np.float32)
    alive = np.empty(SUBS, np.bool_)
    while True:
        at = take(gate, 0)
        if at >= len(tile_order):
            break
        tile = tile_order[at]
        origin_x, origin_y = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        for sub in range(SUBS):
            state = states[sub]
            _place(state, sub, origin_x, origin_y, width, height, T - X)
            _zero(state[PLANES:], D * PIXELS)
            for p in range(PIXELS):
                state[S + p] = F0
                x, y = int(state[X + p]), int(state[Y + p])
                if x < width and y < height:
                    total = F0
                    for c in range(used):
                        g = g_image[y, x, c]
                        state[PLANES + c * PIXELS + p] = g
                        total += g * image[y, x, c]
                    if g_alphas.size:
                        total -= (F1 - alphas[y, x]) * g_alphas[y, x]
                    state[S + p] = total
            alive[sub] = any_live(state, T)
        for start in range(offsets[tile], offsets[tile + 1], step):
            n = min(step, offsets[tile + 1] - start)
            _zero(flat_rows, n * (MOMENTS + D))
            if _some(alive):
                _load(entries, records, colors, start, n, geometry, chunk_colors, channels)
            for sub in range(SUBS):
                if alive[sub]:
                    state = states[sub]
                    m = touching(geometry, n, state[X], state[Y], score, hits)
                    alive[sub] = unblend(
                        state, geometry, chunk_colors, hits, m, max_alpha, rows, wanted, channels
                    )
            for k in range(n):
                row = slots[start + k]
                for c in range(MOMENTS + D):
                    slot_rows[row, c] = rows[k, c]
        finish(gate, 0)
    wait(gate, 0, len(tile_order))
    sums = np.empty(slot_rows.shape[1], np.float32)
    while True:
        part = take(gate, 1)
        if part >= parts:
            break
        _reduce(
            part, parts, sums, slot_offsets, slot_rows, conics, opacities, g_means2d, g_conics,
            g_opacities, g_colors, magnitudes,
        )  # fmt: skip
        finish(gate, 1)
    wait(gate, 1, parts)


@kernel()
def _reduce(
    part, parts, total, slot_offsets, slot_rows, conics, opacities, g_means2d, g_conics,
    g_opacities, g_colors, magnitudes,
):  # fmt: skip
    """Sum the slots of each Gaussian of a part and turn moments into gradients."""
    n = len(slot_offsets) - 1
    width = slot_rows.shape[1]
    for i in range(n * part // parts, n * (part + 1) // parts):
        _zero(total, width)
        for row in range(slot_offsets[i], slot_offsets[i + 1]):
            for c in range(width):
                total[c] += slot_rows[row, c]
        if len(g_means2d):
            a, b, c = conics[i, 0], conics[i, 1], conics[i, 2]
            g_means2d[i, 0] = -(a * total[1] + b * total[2])
            g_means2d[i, 1] = -(b * total[1] + c * total[2])
            g_conics[i, 0] = HALF * total[3]
            g_conics[i, 1] = total[4]
            g_conics[i, 2] = HALF * total[5]
            g_opacities[i] = -total[0] / opacities[i] if opacities[i] > F0 else F0
        if len(magnitudes):
            magnitudes[i, 0], magnitudes[i, 1] = LN2 * total[6], LN2 * total[7]
        if len(g_colors):
            for k in range(g_colors.shape[1]):
                g_colors[i, k] = total[MOMENTS + k]
