# mypy: ignore-errors
"""Blending of tile lists and its gradient with explicit vectors, one sub-tile of 8 x 8 each.

The same algorithm, data and decisions as `kernels_auto`, which says what they are. Up to four
channels are accumulated in registers; for more, hits are taken in blocks: first the weights of a
block, then its channels in groups of four.
"""

from __future__ import annotations

import numpy as np

from headworks.splat.cpu.jit import STRICT, kernel
from headworks.splat.cpu.kernels_auto import (
    CHUNK,
    F0,
    F1,
    GEOMETRY,
    MIN_LOG2_ALPHA,
    MOMENTS,
    PIXELS,
    STOP,
    STRIDE,
    SUB,
    SUBS,
    SUBS_X,
    TILE,
    _load,
    _some,
    _touching,
    _zero,
    take,
)  # fmt: skip
from headworks.splat.cpu.simd import (
    add,
    add_color_sums,
    add_sums,
    any_positive,
    exp2,
    finished,
    fma,
    greater,
    greater_equal,
    lane_x,
    lane_y,
    load,
    low,
    mul,
    reciprocal,
    select,
    splat,
    store,
    sub,
)  # fmt: skip

BLOCK = 32  # hits whose weights stay in the first-level cache
IN_REGISTERS = 4
T, C = 0, PIXELS  # forward state: transmittance, channels
S, G = PIXELS, 2 * PIXELS  # backward state: transmittance, rest, gradients of the channels
# unsigned, as the hits are: Numba then leaves out the test for negative indices
U1, U2, U3 = np.uint64(1), np.uint64(2), np.uint64(3)
K1, K2, K3, K4, K5 = (np.uint64(plane * STRIDE) for plane in range(1, 6))
ROW = 16  # gradient row in scratch: 6 moments and up to 4 channels; more channels follow it


@kernel()
def aligned(n):
    """Uninitialised float32 [n] that starts on a cache line."""
    raw = np.empty(n + 16, np.float32)
    first = (-raw.ctypes.data % 64) // 4
    return raw[first : first + n]


@kernel(STRICT)
def _blend_few(state, geometry, colors, hits, m, x0, y0, max_alpha, channels):
    """Blend the hits into one sub-tile, up to 4 channels; False when all pixels are finished."""
    D = len(channels)
    t = load(state, T)
    c0, c1, c2 = load(state, C), load(state, C + PIXELS), load(state, C + 2 * PIXELS)
    c3 = load(state, C + (D - 1) * PIXELS)
    zero, least, stop = splat(F0), splat(MIN_LOG2_ALPHA), splat(STOP)
    most = splat(max_alpha)
    for h in range(m):
        k = hits[h]
        dx = sub(lane_x(), splat(geometry[k] - x0))
        dy = sub(lane_y(), splat(geometry[k + K1] - y0))
        qa, qb = splat(geometry[k + K2]), splat(geometry[k + K3])
        qc = splat(geometry[k + K4])
        s = fma(fma(qa, dx, mul(qb, dy)), dx, mul(mul(qc, dy), dy))
        q = sub(splat(geometry[k + K5]), s)
        w = mul(low(exp2(q), most), t)
        # one comparison at a time: masks that meet in one value leave the mask registers
        w = select(greater_equal(low(sub(q, least), s), zero), w, zero)
        after = sub(t, w)
        live = greater(after, stop)
        w = select(live, w, zero)
        t = select(live, after, finished(t))
        j = k * np.uint64(D)
        c0 = fma(w, splat(colors[j]), c0)
        c1 = fma(w, splat(colors[j + U1]), c1)
        c2 = fma(w, splat(colors[j + U2]), c2)
        if D > 3:
            c3 = fma(w, splat(colors[j + U3]), c3)
        if (h & 7) == 7 and not any_positive(t):
            break
    store(state, T, t)
    store(state, C, c0)
    store(state, C + PIXELS, c1)
    store(state, C + 2 * PIXELS, c2)
    if D > 3:
        store(state, C + 3 * PIXELS, c3)
    return any_positive(t)


@kernel(STRICT)
def _blend_many(state, geometry, colors, hits, m, x0, y0, max_alpha, weights, channels):
    """As `_blend_few` for a multiple of 4 channels."""
    D = len(channels)
    t = load(state, T)
    zero, least, stop = splat(F0), splat(MIN_LOG2_ALPHA), splat(STOP)
    most = splat(max_alpha)
    for first in range(0, m, BLOCK):
        n = min(BLOCK, m - first)
        for b in range(n):
            k = hits[first + b]
            dx = sub(lane_x(), splat(geometry[k] - x0))
            dy = sub(lane_y(), splat(geometry[k + K1] - y0))
            qa, qb = splat(geometry[k + K2]), splat(geometry[k + K3])
            qc = splat(geometry[k + K4])
            s = fma(fma(qa, dx, mul(qb, dy)), dx, mul(mul(qc, dy), dy))
            q = sub(splat(geometry[k + K5]), s)
            w = mul(low(exp2(q), most), t)
            w = select(greater_equal(low(sub(q, least), s), zero), w, zero)
            after = sub(t, w)
            live = greater(after, stop)
            w = select(live, w, zero)
            t = select(live, after, finished(t))
            store(weights, b * PIXELS, w)
        for c in range(0, D, 4):
            at = C + c * PIXELS
            c0, c1 = load(state, at), load(state, at + PIXELS)
            c2, c3 = load(state, at + 2 * PIXELS), load(state, at + 3 * PIXELS)
            for b in range(n):
                w = load(weights, b * PIXELS)
                j = hits[first + b] * np.uint64(D) + np.uint64(c)
                c0 = fma(w, splat(colors[j]), c0)
                c1 = fma(w, splat(colors[j + U1]), c1)
                c2 = fma(w, splat(colors[j + U2]), c2)
                c3 = fma(w, splat(colors[j + U3]), c3)
            store(state, at, c0)
            store(state, at + PIXELS, c1)
            store(state, at + 2 * PIXELS, c2)
            store(state, at + 3 * PIXELS, c3)
        if not any_positive(t):
            break
    store(state, T, t)
    return any_positive(t)


@kernel()
def forward(
    thread, threads, counter, tile_order, tiles_x, offsets, entries, order, records, colors,
    max_alpha, image, alphas, channels,
):  # fmt: skip
    """See `kernels_auto.forward`."""
    height, width, used = image.shape
    D = len(channels)
    planes = (1 + D) * PIXELS
    geometry = aligned(GEOMETRY * STRIDE)
    chunk_colors = aligned(CHUNK * D)
    by_entry = chunk_colors.reshape(CHUNK, D)
    score = aligned(CHUNK)
    hits = np.empty(CHUNK + 1, np.uint64)
    weights = aligned(BLOCK * PIXELS)
    states = aligned(SUBS * planes)
    alive = np.empty(SUBS, np.bool_)
    while True:
        at = take(counter)
        if at >= len(tile_order):
            break
        tile = tile_order[at]
        left, top = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        _zero(states, SUBS * planes)
        for n in range(SUBS):
            x0, y0 = left + (n % SUBS_X) * SUB, top + (n // SUBS_X) * SUB
            alive[n] = x0 < width and y0 < height
            for p in range(PIXELS):
                inside = x0 + p % SUB < width and y0 + p // SUB < height
                states[n * planes + p] = F1 if inside else -F1
        for start in range(offsets[tile], offsets[tile + 1], CHUNK):
            count = min(CHUNK, offsets[tile + 1] - start)
            if not _some(alive):
                break
            _load(entries, order, records, colors, start, count, geometry, by_entry, channels)
            for n in range(SUBS):
                if not alive[n]:
                    continue
                x0 = np.float32(left + (n % SUBS_X) * SUB + 0.5)
                y0 = np.float32(top + (n // SUBS_X) * SUB + 0.5)
                m = _touching(geometry, count, x0, y0, score, hits)
                state = states[n * planes : (n + 1) * planes]
                if D <= IN_REGISTERS:
                    alive[n] = _blend_few(
                        state, geometry, chunk_colors, hits, m, x0, y0, max_alpha, channels
                    )
                else:
                    alive[n] = _blend_many(
                        state, geometry, chunk_colors, hits, m, x0, y0, max_alpha, weights, channels
                    )
        for n in range(SUBS):
            x0, y0 = left + (n % SUBS_X) * SUB, top + (n // SUBS_X) * SUB
            state = states[n * planes : (n + 1) * planes]
            for p in range(PIXELS):
                x, y = x0 + p % SUB, y0 + p // SUB
                if x < width and y < height:
                    alphas[y, x] = F1 - abs(state[p])
                    for c in range(used):
                        image[y, x, c] = state[C + c * PIXELS + p]


@kernel(STRICT)
def _unblend(state, geometry, colors, hits, m, x0, y0, max_alpha, dots, weights, rows, channels):
    """Gradient of the blending of one sub-tile, front to back; adds to `rows`."""
    D = len(channels)
    stride = ROW if D <= IN_REGISTERS else ROW + max(D, 16)
    t, rest = load(state, T), load(state, S)
    zero, one = splat(F0), splat(F1)
    least, stop, most = splat(MIN_LOG2_ALPHA), splat(STOP), splat(max_alpha)
    for first in range(0, m, BLOCK):
        n = min(BLOCK, m - first)
        if D > IN_REGISTERS:
            for c in range(0, D, 4):
                at = G + c * PIXELS
                g0, g1 = load(state, at), load(state, at + PIXELS)
                g2, g3 = load(state, at + 2 * PIXELS), load(state, at + 3 * PIXELS)
                for b in range(n):
                    j = hits[first + b] * np.uint64(D) + np.uint64(c)
                    dot = mul(g0, splat(colors[j]))
                    if c > 0:
                        dot = add(dot, load(dots, b * PIXELS))
                    dot = fma(g1, splat(colors[j + U1]), dot)
                    dot = fma(g2, splat(colors[j + U2]), dot)
                    store(dots, b * PIXELS, fma(g3, splat(colors[j + U3]), dot))
        for b in range(n):
            k = hits[first + b]
            dx = sub(lane_x(), splat(geometry[k] - x0))
            dy = sub(lane_y(), splat(geometry[k + K1] - y0))
            qa, qb = splat(geometry[k + K2]), splat(geometry[k + K3])
            qc = splat(geometry[k + K4])
            s = fma(fma(qa, dx, mul(qb, dy)), dx, mul(mul(qc, dy), dy))
            q = sub(splat(geometry[k + K5]), s)
            e = exp2(q)
            a = low(e, most)
            w = mul(a, t)
            w = select(greater_equal(low(sub(q, least), s), zero), w, zero)
            after = sub(t, w)
            live = greater(after, stop)
            w = select(live, w, zero)
            if D <= IN_REGISTERS:
                g0, g1, g2 = load(state, G), load(state, G + PIXELS), load(state, G + 2 * PIXELS)
                j = k * np.uint64(D)
                dot = mul(g0, splat(colors[j]))
                dot = fma(g1, splat(colors[j + U1]), dot)
                dot = fma(g2, splat(colors[j + U2]), dot)
                if D > 3:
                    g3 = load(state, G + 3 * PIXELS)
                    dot = fma(g3, splat(colors[j + U3]), dot)
            else:
                dot = load(dots, b * PIXELS)
            rest = sub(rest, mul(w, dot))
            # v = -e dL/dalpha where the pair is blended and its alpha is not clamped
            v = mul(e, sub(mul(rest, reciprocal(sub(one, a))), mul(t, dot)))
            v = select(greater(w, zero), select(greater_equal(most, e), v, zero), zero)
            t = select(live, after, finished(t))
            if D == 3:
                add_sums(rows, np.intp(k) * stride, v, dx, dy, w, (g0, g1, g2))
            elif D == 4:
                add_sums(rows, np.intp(k) * stride, v, dx, dy, w, (g0, g1, g2, g3))
            else:
                add_sums(rows, np.intp(k) * stride, v, dx, dy, w, ())
                store(weights, b * PIXELS, w)
        if D > IN_REGISTERS:
            for b in range(n):
                at = np.intp(hits[first + b]) * stride + ROW
                add_color_sums(rows, at, load(weights, b * PIXELS), state, G, channels)
        if not any_positive(t):
            break
    store(state, T, t)
    store(state, S, rest)
    return any_positive(t)


@kernel()
def backward(
    thread, threads, counter, tile_order, tiles_x, offsets, entries, slots, order, records, colors,
    max_alpha, image, alphas, g_image, g_alphas, slot_rows, channels,
):  # fmt: skip
    """See `kernels_auto.backward`."""
    height, width, used = image.shape
    D = len(channels)
    planes = (2 + D) * PIXELS
    stride = ROW if D <= IN_REGISTERS else ROW + max(D, 16)
    color_at = MOMENTS if D <= IN_REGISTERS else ROW
    geometry = aligned(GEOMETRY * STRIDE)
    chunk_colors = aligned(CHUNK * D)
    by_entry = chunk_colors.reshape(CHUNK, D)
    score = aligned(CHUNK)
    hits = np.empty(CHUNK + 1, np.uint64)
    dots, weights = aligned(BLOCK * PIXELS), aligned(BLOCK * PIXELS)
    rows = aligned(CHUNK * stride)
    states = aligned(SUBS * planes)
    alive = np.empty(SUBS, np.bool_)
    while True:
        at = take(counter)
        if at >= len(tile_order):
            break
        tile = tile_order[at]
        left, top = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        _zero(states, SUBS * planes)
        for n in range(SUBS):
            x0, y0 = left + (n % SUBS_X) * SUB, top + (n // SUBS_X) * SUB
            alive[n] = x0 < width and y0 < height
            state = states[n * planes : (n + 1) * planes]
            for p in range(PIXELS):
                x, y = x0 + p % SUB, y0 + p // SUB
                state[p] = -F1
                if x < width and y < height:
                    state[p] = F1
                    total = F0
                    for c in range(used):
                        g = g_image[y, x, c]
                        state[G + c * PIXELS + p] = g
                        total += g * image[y, x, c]
                    state[S + p] = total - (F1 - alphas[y, x]) * g_alphas[y, x]
        for start in range(offsets[tile], offsets[tile + 1], CHUNK):
            count = min(CHUNK, offsets[tile + 1] - start)
            _zero(rows, count * stride)
            if _some(alive):
                _load(entries, order, records, colors, start, count, geometry, by_entry, channels)
            for n in range(SUBS):
                if not alive[n]:
                    continue
                x0 = np.float32(left + (n % SUBS_X) * SUB + 0.5)
                y0 = np.float32(top + (n // SUBS_X) * SUB + 0.5)
                m = _touching(geometry, count, x0, y0, score, hits)
                state = states[n * planes : (n + 1) * planes]
                alive[n] = _unblend(
                    state, geometry, chunk_colors, hits, m, x0, y0, max_alpha, dots, weights, rows,
                    channels,
                )  # fmt: skip
            for k in range(count):
                slot = slots[start + k]
                for c in range(MOMENTS):
                    slot_rows[slot, c] = rows[k * stride + c]
                for c in range(D):
                    slot_rows[slot, MOMENTS + c] = rows[k * stride + color_at + c]
