# mypy: ignore-errors
"""Blending of tile lists and its gradient; the inner loops are vectorised by LLVM.

A tile of 32 x 32 pixels is 16 sub-tiles of 8 x 8. For each sub-tile the Gaussians whose ellipse
touches it are selected, then blended one by one over its 64 pixels. State per sub-tile is one
row of planes of 64 floats, so that the compiler sees that loads and stores do not overlap.
A live pixel has T > 0 (transmittance); a finished pixel keeps |T| with the sign set, which makes
every later test fail by itself.

Kernels take `channels`, a tuple of D zeros: its length is a constant to the compiler.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from headworks.splat.cpu.jit import STRICT, SUMS, kernel
from headworks.splat.cpu.project import TILE

SUB, SUBS_X, SUBS, PIXELS = 8, 4, 16, 64
CHUNK = 1024  # list entries that are copied to scratch at a time
STRIDE = CHUNK + 48  # of the planes of the copy: a power of two would fall into one cache set
GEOMETRY = 8  # x, y, qa, qb, qc, log2 opacity, -qb / 2qa, -qb / 2qc
MOMENTS = 6  # sums of v, v dx, v dy, v dx^2, v dx dy, v dy^2
X, Y, T, S, W, V, DOT, PLANES = (k * PIXELS for k in range(8))  # planes of the pixel state
FWD_PLANES = 3 * PIXELS  # x, y, T, then the channels

F0, F1, HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
STOP = np.float32(1e-4)
MIN_LOG2_ALPHA = np.float32(np.log2(1.0 / 255.0))
UNDERFLOW = np.float32(-30.0)
SLACK = np.float32(1e-3)  # rounding room of the ellipse test; the pixel test decides
# 2^f on [-1/2, 1/2], relative error 1e-7
C0, C1, C2 = np.float32(1.0000000717), np.float32(0.6931469670), np.float32(0.2402211972)
C3, C4, C5 = np.float32(0.0555071333), np.float32(0.0096755417), np.float32(0.0013276457)


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once: forward and backward then decide alike at every threshold."""

    def codegen(context, builder, signature, args):
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@intrinsic
def take(typingctx, counter):
    """Atomic `counter[0]++` on an int64 array; the value before."""

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), codegen


@kernel(STRICT)
def _sigma2(dx, dy, qa, qb, qc):
    """Exponent of a Gaussian in units of log 2, up to its opacity: >= 0 but for rounding."""
    return fma(fma(qa, dx, qb * dy), dx, (qc * dy) * dy)


@kernel(STRICT)
def _exp2(q):
    q = max(q, UNDERFLOW)
    whole = np.floor(q + HALF)
    f = q - whole
    p = fma(fma(fma(fma(fma(C5, f, C4), f, C3), f, C2), f, C1), f, C0)
    return p * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


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


@kernel(STRICT)
def _touching(geometry, n, x0, y0, score, hits):
    """Entries whose ellipse alpha >= 1/255 touches the sub-tile with first pixel centre x0, y0.

    The maximum of a concave quadratic over a rectangle lies on one of the two sides nearest to
    its centre, at the unconstrained optimum of that side clamped to the side.
    """
    x1, y1 = x0 + np.float32(SUB - 1), y0 + np.float32(SUB - 1)
    for k in range(n):
        gx, gy = geometry[k], geometry[STRIDE + k]
        qa, qb, qc = geometry[2 * STRIDE + k], geometry[3 * STRIDE + k], geometry[4 * STRIDE + k]
        ra, rc = geometry[6 * STRIDE + k], geometry[7 * STRIDE + k]
        left, right, top, bottom = x0 - gx, x1 - gx, y0 - gy, y1 - gy
        nx = min(max(left, F0), right)
        ny = min(max(top, F0), bottom)
        dy = min(max(rc * nx, top), bottom)
        dx = min(max(ra * ny, left), right)
        s1 = (qa * nx + qb * dy) * nx + qc * dy * dy
        s2 = (qa * dx + qb * ny) * dx + qc * ny * ny
        score[k] = geometry[5 * STRIDE + k] - min(s1, s2)
    m = 0
    for k in range(n):
        hits[m] = k
        m += score[k] >= MIN_LOG2_ALPHA - SLACK
    return m


@kernel(STRICT)
def _any_live(state, plane):
    best = state[plane]
    for p in range(PIXELS):
        best = max(best, state[plane + p])
    return best > F0


@kernel(STRICT)
def _blend(state, geometry, chunk_colors, hits, m, max_alpha, weights, channels):
    """Blend the hits into one sub-tile; False when all its pixels are finished."""
    for h in range(m):
        k = hits[h]
        gx, gy, lo = geometry[k], geometry[STRIDE + k], geometry[5 * STRIDE + k]
        qa, qb, qc = geometry[2 * STRIDE + k], geometry[3 * STRIDE + k], geometry[4 * STRIDE + k]
        for p in range(PIXELS):
            s = _sigma2(state[X + p] - gx, state[Y + p] - gy, qa, qb, qc)
            q = lo - s
            a = min(_exp2(q), max_alpha)
            t = state[T + p]
            w = a * t
            after = t - w
            valid = (q >= MIN_LOG2_ALPHA) & (s >= F0)
            live = after > STOP
            w = w if valid & live else F0
            weights[p] = w
            after = t - w
            state[T + p] = -abs(t) if valid & (not live) else after
        for c in range(len(channels)):
            color = chunk_colors[k, c]
            base = FWD_PLANES + c * PIXELS
            for p in range(PIXELS):
                state[base + p] = fma(weights[p], color, state[base + p])
        if (h & 7) == 7 and not _any_live(state, T):
            return False
    return _any_live(state, T)


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
    thread, threads, scratch, counter, tile_order, tiles_x, offsets, entries, records, colors,
    max_alpha, image, alphas, channels,
):  # fmt: skip
    """Blend all tiles.

    Args:
        scratch: not used by these kernels. counter: int64 [1], shared, starts at 0.
        tile_order: int64, tiles to take in this order.
        offsets, entries: tile lists. records: float32 [N, GEOMETRY] of `project.project`.
        colors: float32 [N, D]. image: float32 [H, W, d <= D] out. alphas: float32 [H, W] out.
    """
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
        at = take(counter)
        if at >= len(tile_order):
            break
        tile = tile_order[at]
        origin_x, origin_y = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        for sub in range(SUBS):
            _place(states[sub], sub, origin_x, origin_y, width, height, T - X)
            _zero(states[sub, FWD_PLANES:], D * PIXELS)
            alive[sub] = _any_live(states[sub], T)
        for start in range(offsets[tile], offsets[tile + 1], CHUNK):
            n = min(CHUNK, offsets[tile + 1] - start)
            if not _some(alive):
                break
            _load(entries, records, colors, start, n, geometry, chunk_colors, channels)
            for sub in range(SUBS):
                if alive[sub]:
                    state = states[sub]
                    m = _touching(geometry, n, state[X], state[Y], score, hits)
                    alive[sub] = _blend(
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


@kernel(SUMS)
def _moments(state, gx, gy, row):
    m0 = mx = my = mxx = mxy = myy = F0
    for p in range(PIXELS):
        v = state[V + p]
        dx, dy = state[X + p] - gx, state[Y + p] - gy
        vx, vy = v * dx, v * dy
        m0 += v
        mx += vx
        my += vy
        mxx += vx * dx
        mxy += vx * dy
        myy += vy * dy
    row[0] += m0
    row[1] += mx
    row[2] += my
    row[3] += mxx
    row[4] += mxy
    row[5] += myy


@kernel(SUMS)
def _color_sums(state, row, channels):
    for c in range(len(channels)):
        total = F0
        base = PLANES + c * PIXELS
        for p in range(PIXELS):
            total += state[W + p] * state[base + p]
        row[MOMENTS + c] += total


@kernel(STRICT)
def _unblend(state, geometry, chunk_colors, hits, m, max_alpha, rows, channels):
    """Gradient of `_blend`, front to back, with the same decisions; adds to `rows`."""
    for h in range(m):
        k = hits[h]
        gx, gy, lo = geometry[k], geometry[STRIDE + k], geometry[5 * STRIDE + k]
        qa, qb, qc = geometry[2 * STRIDE + k], geometry[3 * STRIDE + k], geometry[4 * STRIDE + k]
        color = chunk_colors[k, 0]
        for p in range(PIXELS):
            state[DOT + p] = color * state[PLANES + p]
        for c in range(1, len(channels)):
            color = chunk_colors[k, c]
            base = PLANES + c * PIXELS
            for p in range(PIXELS):
                state[DOT + p] = fma(color, state[base + p], state[DOT + p])
        for p in range(PIXELS):
            s = _sigma2(state[X + p] - gx, state[Y + p] - gy, qa, qb, qc)
            q = lo - s
            e = _exp2(q)
            a = min(e, max_alpha)
            t = state[T + p]
            w = a * t
            after = t - w
            valid = (q >= MIN_LOG2_ALPHA) & (s >= F0)
            live = after > STOP
            used = valid & live
            w = w if used else F0
            after = t - w
            state[T + p] = -abs(t) if valid & (not live) else after
            state[W + p] = w
            dot = state[DOT + p]
            rest = state[S + p] - w * dot
            state[S + p] = rest
            g_alpha = t * dot - rest / (F1 - a)
            state[V + p] = -e * g_alpha if used & (e <= max_alpha) else F0
        _moments(state, gx, gy, rows[k])
        _color_sums(state, rows[k], channels)
        if (h & 7) == 7 and not _any_live(state, T):
            return False
    return _any_live(state, T)


@kernel()
def backward(
    thread, threads, scratch, counter, tile_order, tiles_x, offsets, entries, slots, records,
    colors,
    max_alpha, image, alphas, g_image, g_alphas, slot_rows, channels,
):  # fmt: skip
    """Gradient of `forward` for every list entry.

    Args:
        slots: int32 [E], row of `slot_rows` of each list entry.
        g_image, g_alphas: gradients of the loss, shaped as image and alphas.
        slot_rows: float32 [E, row_size(D)] out.
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
        at = take(counter)
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
                    state[S + p] = total - (F1 - alphas[y, x]) * g_alphas[y, x]
            alive[sub] = _any_live(state, T)
        for start in range(offsets[tile], offsets[tile + 1], CHUNK):
            n = min(CHUNK, offsets[tile + 1] - start)
            _zero(flat_rows, n * (MOMENTS + D))
            if _some(alive):
                _load(entries, records, colors, start, n, geometry, chunk_colors, channels)
            for sub in range(SUBS):
                if alive[sub]:
                    state = states[sub]
                    m = _touching(geometry, n, state[X], state[Y], score, hits)
                    alive[sub] = _unblend(
                        state, geometry, chunk_colors, hits, m, max_alpha, rows, channels
                    )
            for k in range(n):
                row = slots[start + k]
                for c in range(MOMENTS + D):
                    slot_rows[row, c] = rows[k, c]


@kernel()
def reduce(
    thread, threads, slot_offsets, slot_rows, conics, opacities, g_means2d, g_conics, g_opacities,
    g_colors,
):  # fmt: skip
    """Sum the slots of every Gaussian and turn moments into gradients [N, ...]."""
    n = len(slot_offsets) - 1
    width = slot_rows.shape[1]
    total = np.empty(width, np.float32)
    for i in range(n * thread // threads, n * (thread + 1) // threads):
        _zero(total, width)
        for row in range(slot_offsets[i], slot_offsets[i + 1]):
            for c in range(width):
                total[c] += slot_rows[row, c]
        a, b, c = conics[i, 0], conics[i, 1], conics[i, 2]
        g_means2d[i, 0] = -(a * total[1] + b * total[2])
        g_means2d[i, 1] = -(b * total[1] + c * total[2])
        g_conics[i, 0] = HALF * total[3]
        g_conics[i, 1] = total[4]
        g_conics[i, 2] = HALF * total[5]
        g_opacities[i] = -total[0] / opacities[i] if opacities[i] > F0 else F0
        for k in range(g_colors.shape[1]):
            g_colors[i, k] = total[MOMENTS + k]
