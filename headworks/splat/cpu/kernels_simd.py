# mypy: ignore-errors
"""Blending of tile lists and its gradient with explicit vectors: one walk for both directions.

The same data and decisions as `kernels_auto`, which says what they are; `picking`, `blending` and
`states_simd` hold the work on a sub-tile. Moments are taken about the centre of a quarter (16 x 16
pixels) and moved to the Gaussian's mean once per quarter.
"""

from __future__ import annotations

import numpy as np

from headworks.splat.cpu.bins import PADDING, fill
from headworks.splat.cpu.blending import BLOCK, SOME, blend_many, blend_some, unblend
from headworks.splat.cpu.gate import finish, take, wait
from headworks.splat.cpu.jit import kernel
from headworks.splat.cpu.picking import (
    HITS,
    IN_ROW,
    PER_QUARTER,
    PICKED,
    PLANE,
    QUARTER,
    SIDE,
    VEC,
    corner,
    expand,
    gather,
    pick,
    take_squares,
)
from headworks.splat.cpu.project import TILE
from headworks.splat.cpu.rules import CHUNK, F0, GEOMETRY, HALF, LN2, MOMENTS
from headworks.splat.cpu.simd import LANES, add8, half, load8, splat, store
from headworks.splat.cpu.states_simd import (
    TABLE,
    add_rows,
    begin,
    begin_backward,
    begin_backward_any,
    clear,
    clear8,
    is_whole,
    moment_tables,
    put,
    put_any,
    row_size,
)

SUBS = (TILE // SIDE) ** 2


def scratch_size(channels):
    """Working memory of one thread, in floats."""
    planes = (
        (GEOMETRY + 1 + PICKED) * PLANE
        + IN_ROW * HITS
        + (CHUNK + 4 * BLOCK) * VEC
        + PER_QUARTER * TABLE
    )
    states = SUBS * (2 + channels + max(channels, 4)) * VEC
    return (planes + states + CHUNK * 4 * row_size(channels)) // 4 + LANES


@kernel()
def _any(flags, start, n):
    found = False
    for k in range(start, start + n):
        found = found or flags[k]
    return found


@kernel()
def _walk(
    thread, scratch, gate, phase, tile_order, tiles_x, offsets, entries, slots, records, colors,
    max_alpha, step, image, alphas, g_image, g_alphas, slot_rows, wanted, channels, direction,
):  # fmt: skip
    """Tile by tile, list by list, quarter by quarter: blend, or the gradient of that.

    Args:
        phase: of the gate, whose parts are tiles.
        direction: () or (0,), forward or backward: a constant to the compiler, as `channels`.
    """
    height, width, used = image.shape
    D = len(channels)
    back = len(direction) > 0
    columns = 4 if D <= SOME else D
    size = (2 + D + columns) * VEC if back else (2 + D) * VEC
    stride = 16 if D <= SOME else 8 + D
    memory = scratch[thread]
    chunk = memory.ctypes.data
    picked = chunk + (GEOMETRY + 1) * PLANE
    squares = picked + PICKED * PLANE
    hits = squares + CHUNK * VEC
    dots = hits + IN_ROW * HITS
    factors, weights = dots + BLOCK * VEC, dots + 2 * BLOCK * VEC
    alpha_values = dots + 3 * BLOCK * VEC
    moments = alpha_values + BLOCK * VEC
    states = moments + PER_QUARTER * TABLE
    state_values = memory[(states - chunk) // 4 :]
    rows = states + SUBS * size
    colors_at, entries_at, records_at = colors.ctypes.data, entries.ctypes.data, records.ctypes.data
    image_at, alphas_at = image.ctypes.data, alphas.ctypes.data
    g_image_at = g_image.ctypes.data
    g_alphas_at = g_alphas.ctypes.data if g_alphas.size else 0
    slot_rows_at, sums = slot_rows.ctypes.data, np.empty(CHUNK, np.int64)
    alive = np.empty(SUBS, np.bool_)
    fresh = back
    while True:
        at = take(gate, phase)
        if at >= len(tile_order):
            break
        if fresh:  # not before there is work: who comes too late touches nothing
            moment_tables(memory[(moments - chunk) // 4 :])
            fresh = False
        tile = tile_order[at]
        left, top = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        if not back:
            clear(states, SUBS * (2 + D))
        for n in range(SUBS):
            x0, y0 = corner(n, left, top)
            alive[n] = begin(states, size, n, x0, y0, width, height, state_values)
            if not (back and alive[n]):
                continue
            if is_whole(x0, y0, width, height, used, channels):
                begin_backward(
                    states + n * size, x0, y0, width, image_at, alphas_at, g_image_at, g_alphas_at,
                    channels,
                )  # fmt: skip
            else:
                begin_backward_any(
                    state_values, n * (size // 4), x0, y0, image, alphas, g_image, g_alphas,
                    channels,
                )  # fmt: skip
        for start in range(offsets[tile], offsets[tile + 1], step):
            length = min(step, offsets[tile + 1] - start)
            if back:
                for k in range(length):
                    sums[k] = slot_rows_at + 4 * stride * slots[start + k]
                    clear8(sums[k], stride // 8)
            if not _any(alive, 0, SUBS):
                continue
            gather(entries_at, start, length, records_at, chunk)
            for quarter in range(0, SUBS, PER_QUARTER):
                if not _any(alive, quarter, PER_QUARTER):
                    continue
                x0, y0 = corner(quarter, left, top)
                qx, qy = np.float32(x0), np.float32(y0)
                found = pick(chunk, length, qx + HALF, qy + HALF, picked)
                take_squares(picked, found, squares)
                if back:
                    clear8(rows, found * stride // 8)
                for n in range(quarter, quarter + PER_QUARTER):
                    inner = n % IN_ROW
                    if inner == 0:
                        x0, y0 = corner(n, left, top)
                        lengths = expand(
                            picked, found, np.float32(x0) + HALF, np.float32(y0) + HALF, hits
                        )
                    if not alive[n]:
                        continue
                    m, own, state = lengths[inner], hits + inner * HITS, states + n * size
                    if back:
                        alive[n] = unblend(
                            state, picked, squares, own, m, colors_at, max_alpha, alpha_values,
                            dots, factors, weights, moments + (n - quarter) * TABLE,
                            state + (2 + D) * VEC, rows, wanted, channels,
                        )  # fmt: skip
                    elif D <= SOME:
                        alive[n] = blend_some(
                            state, picked, squares, own, m, colors_at, max_alpha, alpha_values,
                            channels,
                        )  # fmt: skip
                    else:
                        alive[n] = blend_many(
                            state, picked, squares, own, m, colors_at, max_alpha, weights,
                            alpha_values, channels,
                        )  # fmt: skip
                if back:
                    middle = np.float32(QUARTER / 2)
                    add_rows(rows, picked, found, qx + middle, qy + middle, sums, channels)
        if not back:
            for n in range(SUBS):
                x0, y0 = corner(n, left, top)
                if is_whole(x0, y0, width, height, used, channels):
                    put(states + n * size, x0, y0, width, image_at, alphas_at, channels)
                else:
                    put_any(state_values, n * (size // 4), x0, y0, image, alphas, channels)
        finish(gate, phase)
    wait(gate, phase, len(tile_order))


@kernel()
def forward(
    thread, threads, gate, scratch, order, visible, spans, tiles_x, counts, slot_offsets, entries,
    slots, filled, tile_order, offsets, records, colors, max_alpha, step, image, alphas, channels,
):  # fmt: skip
    """See `kernels_auto.forward`.

    Args:
        scratch: float32 [threads, scratch_size(D)], rows on cache lines.
    """
    if offsets[-1] + PADDING > len(entries):
        return
    if not filled:
        fill(
            gate, 0, order, visible, spans, tiles_x, counts, slot_offsets, entries, slots, offsets
        )  # fmt: skip
    _walk(
        thread, scratch, gate, 1, tile_order, tiles_x, offsets, entries, entries, records, colors,
        max_alpha, step, image, alphas, image, alphas, scratch, 0, channels, (),
    )  # fmt: skip


@kernel()
def backward(
    thread, threads, gate, scratch, tile_order, tiles_x, offsets, entries, slots, records,
    colors, max_alpha, step, image, alphas, g_image, g_alphas, slot_rows, wanted, channels,
    parts, slot_offsets, conics, opacities, g_means2d, g_conics, g_opacities, g_colors, magnitudes,
):  # fmt: skip
    """See `kernels_auto.backward`; `scratch` as in `forward`."""
    _walk(
        thread, scratch, gate, 0, tile_order, tiles_x, offsets, entries, slots, records, colors,
        max_alpha, step, image, alphas, g_image, g_alphas, slot_rows, wanted, channels, (0,),
    )  # fmt: skip
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
    part, parts, sums, slot_offsets, slot_rows, conics, opacities, g_means2d, g_conics, g_opacities,
    g_colors, magnitudes,
):  # fmt: skip
    """Sum the slots of each Gaussian of a part and turn moments into gradients."""
    n = len(slot_offsets) - 1
    stride = slot_rows.shape[1]
    rows = slot_rows.ctypes.data
    sums_at = sums.ctypes.data
    for i in range(n * part // parts, n * (part + 1) // parts):
        for eight in range(0, stride, 8):
            total = half(splat(F0))
            for row in range(slot_offsets[i], slot_offsets[i + 1]):
                total = add8(total, load8(rows + 4 * (row * stride + eight)))
            store(sums_at + 4 * eight, total)
        if len(g_means2d):
            a, b, c = conics[i, 0], conics[i, 1], conics[i, 2]
            g_means2d[i, 0] = -(a * sums[1] + b * sums[2])
            g_means2d[i, 1] = -(b * sums[1] + c * sums[2])
            g_conics[i, 0] = HALF * sums[3]
            g_conics[i, 1] = sums[4]
            g_conics[i, 2] = HALF * sums[5]
            g_opacities[i] = -sums[0] / opacities[i] if opacities[i] > F0 else F0
        if len(magnitudes):
            magnitudes[i, 0], magnitudes[i, 1] = LN2 * sums[6], LN2 * sums[7]
        if len(g_colors):
            for k in range(g_colors.shape[1]):
                g_colors[i, k] = sums[MOMENTS + k]
