# mypy: ignore-errors
"""The pixels of a sub-tile on their way in and out, and the sums of a quarter's Gaussians.

State of a sub-tile, in vectors. Forward: T, D channels, alpha. Backward: T, what lies behind the
pixel's last Gaussian times its gradient, gradients of D channels, the same by pixel.
"""

from __future__ import annotations

import numpy as np

from headworks.splat.cpu.blending import COLORS, SOME
from headworks.splat.cpu.jit import kernel
from headworks.splat.cpu.picking import PER_QUARTER, PLACE, PLANE, QUARTER, SIDE, VEC, corner
from headworks.splat.cpu.rules import F0, F1
from headworks.splat.cpu.simd import (
    LANES,
    accumulate,
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
from headworks.splat.cpu.simd_rows import moved, pixels, store_columns, store_pixels

TABLE = 8 * VEC  # bytes of a table of moments
pixels1, pixels3, pixels4 = pixels(1), pixels(3), pixels(4)


def row_size(channels):
    """Floats of a row of sums per list entry: moments, then colours."""
    return 16 if channels <= SOME else 8 + channels


@kernel()
def clear(at, n):
    """n vectors of zeros."""
    zero = splat(F0)
    for k in range(n):
        store(at + k * VEC, zero)


@kernel()
def clear8(at, n):
    """n times eight zeros."""
    zero = half(splat(F0))
    for k in range(n):
        store(at + 32 * k, zero)


@kernel()
def begin(states, size, n, x0, y0, width, height, state_values):
    """T = 1 inside the image, finished outside; False when the whole sub-tile is outside."""
    if x0 + SIDE <= width and y0 + SIDE <= height:
        store(states + n * size, splat(F1))
        return True
    for p in range(LANES):
        inside = x0 + p % SIDE < width and y0 + p // SIDE < height
        state_values[n * (size // 4) + p] = F1 if inside else -F1
    return x0 < width and y0 < height


@kernel()
def is_whole(x0, y0, width, height, used, channels):
    """Whether a sub-tile lies inside the image, with channels that are read and written at once."""
    D = len(channels)
    return D <= SOME and used == D and x0 + SIDE <= width and y0 + SIDE <= height


@kernel()
def put(state, x0, y0, width, image_at, alphas_at, channels):
    """Write the pixels of a whole sub-tile. Arrays by address: handing over arrays costs."""
    D = len(channels)
    first_pixel = y0 * width + x0
    store_pixels(alphas_at + 4 * first_pixel, 4 * width, (load(state + (1 + D) * VEC),))
    target = image_at + 4 * D * first_pixel
    c0, c1, c2 = load(state + VEC), load(state + 2 * VEC), load(state + 3 * VEC)
    if D == 3:
        store_pixels(target, 12 * width, (c0, c1, c2))
    else:
        store_pixels(target, 16 * width, (c0, c1, c2, load(state + 4 * VEC)))


@kernel()
def put_any(state_values, at, x0, y0, image, alphas, channels):
    """Write the pixels of any sub-tile; its state begins at state_values[at]."""
    height, width, used = image.shape
    D = len(channels)
    for p in range(LANES):
        x, y = x0 + p % SIDE, y0 + p // SIDE
        if x < width and y < height:
            alphas[y, x] = state_values[at + (1 + D) * LANES + p]
            for c in range(used):
                image[y, x, c] = state_values[at + (1 + c) * LANES + p]


@kernel()
def begin_backward(state, x0, y0, width, image_at, alphas_at, g_image_at, g_alphas_at, channels):
    """Rest and gradients of a whole sub-tile whose T is set; g_alphas_at 0 = no such gradient."""
    D = len(channels)
    first_pixel = y0 * width + x0
    within = 4 * D * first_pixel
    (alpha,) = pixels1(alphas_at + 4 * first_pixel, 4 * width)
    rest = splat(F0)
    if g_alphas_at != 0:
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


@kernel()
def _cell(p, c, columns):
    """Place of pixel p, channel c in the tables of colour gradients, 16 channels at a time."""
    if columns > LANES:
        return (c // LANES) * LANES * LANES + p * LANES + c % LANES
    return p * columns + c


@kernel()
def begin_backward_any(state_values, at, x0, y0, image, alphas, g_image, g_alphas, channels):
    """As `begin_backward` for any sub-tile; its state begins at state_values[at]."""
    height, width, used = image.shape
    D = len(channels)
    columns = 4 if D <= SOME else D
    clear(state_values.ctypes.data + 4 * at + VEC, 1 + D + columns)
    for p in range(LANES):
        x, y = x0 + p % SIDE, y0 + p // SIDE
        if x < width and y < height:
            total = F0
            for c in range(used):
                g = g_image[y, x, c]
                state_values[at + (2 + c) * LANES + p] = g
                state_values[at + (2 + D) * LANES + _cell(p, c, columns)] = g
                total += g * image[y, x, c]
            if g_alphas.size:
                total -= (F1 - alphas[y, x]) * g_alphas[y, x]
            state_values[at + LANES + p] = total


@kernel()
def moment_tables(values):
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
def add_rows(rows, picked, found, x, y, sums, channels):
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
