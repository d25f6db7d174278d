# mypy: ignore-errors
"""Blending of tile lists and its gradient with explicit vectors.

The same data and decisions as `kernels_auto`, which says what they are; `picking` and `blending`
hold the work on a sub-tile. Moments are taken about the centre of a quarter (16 x 16 pixels) and
moved to the Gaussian's mean once per quarter.
"""

from __future__ import annotations

import numpy as np

from headworks.splat.cpu.blending import (  # fmt: skip
    BLOCK,
    COLORS,
    SOME,
    blend_many,
    blend_some,
    unblend,
)
from headworks.splat.cpu.jit import kernel
from headworks.splat.cpu.kernels_auto import (
    CHUNK,
    F0,
    F1,
    GEOMETRY,
    HALF,
    take,
)
from headworks.splat.cpu.picking import (
    HITS,
    IN_ROW,  # fmt: skip
    PER_QUARTER,
    PICKED,
    PLACE,
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
from headworks.splat.cpu.simd import (
    LANES,
    accumulate,
    add8,
    fma,
    half,
    load,
    load4,
    load8,
    mul,
    read,
    read_index,
    splat,
    store,
    sub,
)
from headworks.splat.cpu.simd_rows import (
    moved,
    pixels,
    store_columns,
    store_pixels,
)

SUBS = (TILE // SIDE) ** 2
TABLE = 8 * VEC  # bytes of a table of moments
pixels1, pixels3, pixels4 = pixels(1), pixels(3), pixels(4)


def row_size(channels):
    """Floats of a row of sums per list entry: moments, then colours."""
    return 16 if channels <= SOME else 8 + channels


def scratch_size(channels):
    """Working memory of one thread, in floats."""
    planes = (
        (GEOMETRY + 1 + PICKED) * PLANE
        + IN_ROW * HITS
        + (CHUNK + 3 * BLOCK) * VEC
        + PER_QUARTER * TABLE
    )
    states = SUBS * (2 + channels + max(channels, 4)) * VEC
    return (planes + states + CHUNK * 4 * row_size(channels)) // 4 + LANES


@kernel()
def _clear(at, n):
    """n vectors of zeros."""
    zero = splat(F0)
    for k in range(n):
        store(at + k * VEC, zero)


@kernel()
def _clear8(at, n):
    """n times eight zeros."""
    zero = half(splat(F0))
    for k in range(n):
        store(at + 32 * k, zero)


@kernel()
def _any(flags, start, n):
    found = False
    for k in range(start, start + n):
        found = found or flags[k]
    return found


@kernel()
def _begin(states, size, n, x0, y0, width, height, state_values):
    """T = 1 inside the image, finished outside; False when the whole sub-tile is outside."""
    if x0 + SIDE <= width and y0 + SIDE <= height:
        store(states + n * size, splat(F1))
        return True
    for p in range(LANES):
        inside = x0 + p % SIDE < width and y0 + p // SIDE < height
        state_values[n * (size // 4) + p] = F1 if inside else -F1
    return x0 < width and y0 < height


@kernel()
def forward(
    thread, threads, scratch, counter, tile_order, tiles_x, offsets, entries, records, colors,
    max_alpha, image, alphas, channels,
):  # fmt: skip
    """See `kernels_auto.forward`.

    Args:
        scratch: float32 [threads, scratch_size(D)], rows on cache lines.
    """
    height, width, used = image.shape
    D = len(channels)
    size = (2 + D) * VEC
    memory = scratch[thread]
    chunk = memory.ctypes.data
    picked = chunk + (GEOMETRY + 1) * PLANE
    squares = picked + PICKED * PLANE
    hits = squares + CHUNK * VEC
    weights = hits + IN_ROW * HITS
    states = weights + BLOCK * VEC
    state_values = memory[(states - chunk) // 4 :]
    image_at, alphas_at, colors_at = image.ctypes.data, alphas.ctypes.data, colors.ctypes.data
    entries_at, records_at = entries.ctypes.data, records.ctypes.data
    alive = np.empty(SUBS, np.bool_)
    while True:
        at = take(counter)
        if at >= len(tile_order):
            break
        tile = tile_order[at]
        left, top = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        _clear(states, SUBS * (2 + D))
        for n in range(SUBS):
            x0, y0 = corner(n, left, top)
            alive[n] = _begin(states, size, n, x0, y0, width, height, state_values)
        for start in range(offsets[tile], offsets[tile + 1], CHUNK):
            length = min(CHUNK, offsets[tile + 1] - start)
            if not _any(alive, 0, SUBS):
                break
            gather(entries_at, start, length, records_at, chunk)
            for quarter in range(0, SUBS, PER_QUARTER):
                if not _any(alive, quarter, PER_QUARTER):
                    continue
                x0, y0 = corner(quarter, left, top)
                found = pick(chunk, length, np.float32(x0) + HALF, np.float32(y0) + HALF, picked)
                take_squares(picked, found, squares)
                for n in range(quarter, quarter + PER_QUARTER):
                    inner = n % IN_ROW
                    if inner == 0:
                        x0, y0 = corner(n, left, top)
                        lengths = expand(
                            picked, found, np.float32(x0) + HALF, np.float32(y0) + HALF, hits
                        )
                    if not alive[n]:
                        continue
                    m, own = lengths[inner], hits + inner * HITS
                    state = states + n * size
                    if D <= SOME:
                        alive[n] = blend_some(
                            state, picked, squares, own, m, colors_at, max_alpha, channels
                        )
                    else:
                        alive[n] = blend_many(
                            state, picked, squares, own, m, colors_at, max_alpha, weights, channels
                        )
        for n in range(SUBS):
            x0, y0 = corner(n, left, top)
            state = states + n * size
            if D <= SOME and used == D and x0 + SIDE <= width and y0 + SIDE <= height:
                alpha = load(state + (1 + D) * VEC)
                first_pixel = y0 * width + x0
                store_pixels(alphas_at + 4 * first_pixel, 4 * width, (alpha,))
                target = image_at + 4 * D * first_pixel
                c0, c1, c2 = load(state + VEC), load(state + 2 * VEC), load(state + 3 * VEC)
                if D == 3:
                    store_pixels(target, 12 * width, (c0, c1, c2))
                else:
                    store_pixels(target, 16 * width, (c0, c1, c2, load(state + 4 * VEC)))
                continue
            values = n * (size // 4)
            for p in range(LANES):
                x, y = x0 + p % SIDE, y0 + p // SIDE
                if x < width and y < height:
                    alphas[y, x] = state_values[values + (1 + D) * LANES + p]
                    for c in range(used):
                        image[y, x, c] = state_values[values + (1 + c) * LANES + p]


@kernel()
def _moment_tables(values):
    """1, x, y, x^2, xy, y^2 of the pixels of every sub-tile about the centre of its quarter."""
    for n in range(PER_QUARTER):
        x0, y0 = corner(n, 0, 0)
        for p in range(LANES):
            x = np.float32(x0 + p % SIDE) - np.float32((QUARTER - 1) / 2)
            y = np.float32(y0 + p // SIDE) - np.float32((QUARTER - 1) / 2)
            at = (TABLE // 4) * n + 8 * p
            values[at], values[at + 1], values[at + 2] = F1, x, y
            values[at + 3], values[at + 4], values[at + 5] = x * x, x * y, y * y
            values[at + 6] = values[at + 7] = F0


@kernel()
def _add_rows(rows, picked, found, x, y, sums, channels):
    """Add the rows of a quarter with centre (x, y) to `sums` (addresses); moments about means."""
    D = len(channels)
    stride = 4 * (16 if D <= SOME else 8 + D)
    for k in range(found):
        row = rows + k * stride
        target = sums[read_index(picked + PLACE + 4 * k)]
        dx, dy = x - read(picked + 4 * k), y - read(picked + PLANE + 4 * k)
        accumulate(target, moved(load8(row), dx, dy))
        if D <= SOME:
            accumulate(target + COLORS, load4(row + COLORS))
        else:
            for c in range(0, D, 8):
                accumulate(target + COLORS + 4 * c, load8(row + COLORS + 4 * c))


@kernel()
def _cell(p, c, columns):
    """Place of pixel p, channel c in the tables of colour gradients, 16 channels at a time."""
    if columns > LANES:
        return (c // LANES) * LANES * LANES + p * LANES + c % LANES
    return p * columns + c


@kernel()
def backward(
    thread, threads, scratch, counter, tile_order, tiles_x, offsets, entries, slots, records,
    colors, max_alpha, image, alphas, g_image, g_alphas, slot_rows, channels,
):  # fmt: skip
    """See `kernels_auto.backward`; `scratch` as in `forward`."""
    height, width, used = image.shape
    D = len(channels)
    columns = 4 if D <= SOME else D
    size = (2 + D + columns) * VEC
    stride = 16 if D <= SOME else 8 + D
    memory = scratch[thread]
    chunk = memory.ctypes.data
    picked = chunk + (GEOMETRY + 1) * PLANE
    squares = picked + PICKED * PLANE
    hits = squares + CHUNK * VEC
    dots = hits + IN_ROW * HITS
    factors, weights = dots + BLOCK * VEC, dots + 2 * BLOCK * VEC
    moments = dots + 3 * BLOCK * VEC
    states = moments + PER_QUARTER * TABLE
    state_values = memory[(states - chunk) // 4 :]
    rows = states + SUBS * size
    image_at, alphas_at, colors_at = image.ctypes.data, alphas.ctypes.data, colors.ctypes.data
    g_image_at, g_alphas_at = g_image.ctypes.data, g_alphas.ctypes.data
    entries_at, records_at = entries.ctypes.data, records.ctypes.data
    slot_rows_at, sums = slot_rows.ctypes.data, np.empty(CHUNK, np.int64)
    alive = np.empty(SUBS, np.bool_)
    _moment_tables(memory[(moments - chunk) // 4 :])
    while True:
        at = take(counter)
        if at >= len(tile_order):
            break
        tile = tile_order[at]
        left, top = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        for n in range(SUBS):
            x0, y0 = corner(n, left, top)
            alive[n] = _begin(states, size, n, x0, y0, width, height, state_values)
            if not alive[n]:
                continue
            state = states + n * size
            if D <= SOME and used == D and x0 + SIDE <= width and y0 + SIDE <= height:
                first_pixel = y0 * width + x0
                within = 4 * D * first_pixel
                (alpha,) = pixels1(alphas_at + 4 * first_pixel, 4 * width)
                (g_alpha,) = pixels1(g_alphas_at + 4 * first_pixel, 4 * width)
                rest = mul(sub(alpha, splat(F1)), g_alpha)
                if D == 3:
                    c0, c1, c2 = pixels3(image_at + within, 12 * width)
                    g0, g1, g2 = pixels3(g_image_at + within, 12 * width)
                    g3 = splat(F0)
                else:
                    c0, c1, c2, c3 = pixels4(image_at + within, 16 * width)
                    g0, g1, g2, g3 = pixels4(g_image_at + within, 16 * width)
                    rest = fma(c3, g3, rest)
                    store(state + 5 * VEC, g3)
                rest = fma(c0, g0, fma(c1, g1, fma(c2, g2, rest)))
                store(state + VEC, rest)
                store(state + 2 * VEC, g0)
                store(state + 3 * VEC, g1)
                store(state + 4 * VEC, g2)
                store_columns(state + (2 + D) * VEC, (g0, g1, g2, g3))
                continue
            _clear(state + VEC, 1 + D + columns)
            values = n * (size // 4)
            for p in range(LANES):
                x, y = x0 + p % SIDE, y0 + p // SIDE
                if x < width and y < height:
                    total = F0
                    for c in range(used):
                        g = g_image[y, x, c]
                        state_values[values + (2 + c) * LANES + p] = g
                        state_values[values + (2 + D) * LANES + _cell(p, c, columns)] = g
                        total += g * image[y, x, c]
                    state_values[values + LANES + p] = total - (F1 - alphas[y, x]) * g_alphas[y, x]
        for start in range(offsets[tile], offsets[tile + 1], CHUNK):
            length = min(CHUNK, offsets[tile + 1] - start)
            for k in range(length):
                sums[k] = slot_rows_at + 4 * stride * slots[start + k]
                _clear8(sums[k], stride // 8)
            if not _any(alive, 0, SUBS):
                continue
            gather(entries_at, start, length, records_at, chunk)
            for quarter in range(0, SUBS, PER_QUARTER):
                if not _any(alive, quarter, PER_QUARTER):
                    continue
                qx, qy = corner(quarter, left, top)
                found = pick(chunk, length, np.float32(qx) + HALF, np.float32(qy) + HALF, picked)
                take_squares(picked, found, squares)
                _clear8(rows, found * stride // 8)
                for n in range(quarter, quarter + PER_QUARTER):
                    inner = n % IN_ROW
                    if inner == 0:
                        x0, y0 = corner(n, left, top)
                        lengths = expand(
                            picked, found, np.float32(x0) + HALF, np.float32(y0) + HALF, hits
                        )
                    if not alive[n]:
                        continue
                    m, own = lengths[inner], hits + inner * HITS
                    state = states + n * size
                    alive[n] = unblend(
                        state, picked, squares, own, m, colors_at, max_alpha, dots, factors,
                        weights, moments + (n - quarter) * TABLE, state + (2 + D) * VEC, rows,
                        channels,
                    )  # fmt: skip
                middle = np.float32(QUARTER / 2)
                _add_rows(
                    rows, picked, found, np.float32(qx) + middle, np.float32(qy) + middle,
                    sums, channels,
                )  # fmt: skip


@kernel()
def reduce(
    thread, threads, slot_offsets, slot_rows, conics, opacities, g_means2d, g_conics, g_opacities,
    g_colors,
):  # fmt: skip
    """See `kernels_auto.reduce`."""
    n = len(slot_offsets) - 1
    stride = slot_rows.shape[1]
    rows = slot_rows.ctypes.data
    sums = np.empty(stride, np.float32)
    sums_at = sums.ctypes.data
    for i in range(n * thread // threads, n * (thread + 1) // threads):
        for part in range(0, stride, 8):
            total = half(splat(F0))
            for row in range(slot_offsets[i], slot_offsets[i + 1]):
                total = add8(total, load8(rows + 4 * (row * stride + part)))
            store(sums_at + 4 * part, total)
        a, b, c = conics[i, 0], conics[i, 1], conics[i, 2]
        g_means2d[i, 0] = -(a * sums[1] + b * sums[2])
        g_means2d[i, 1] = -(b * sums[1] + c * sums[2])
        g_conics[i, 0] = HALF * sums[3]
        g_conics[i, 1] = sums[4]
        g_conics[i, 2] = HALF * sums[5]
        g_opacities[i] = -sums[0] / opacities[i] if opacities[i] > F0 else F0
        for k in range(g_colors.shape[1]):
            g_colors[i, k] = sums[8 + k]
