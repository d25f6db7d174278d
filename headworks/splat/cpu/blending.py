# mypy: ignore-errors
"""Blending of the hits of one sub-tile and its gradient: 16 pixels, one vector.

The transmittance of a pixel runs on past the Gaussian that ends it: once it is 1e-4 or less it
stays so, and the test needs no memory. Alpha is the sum of the weights, which is exact where it is
small, unlike one minus the transmittance: expected depth divides by it.

Sums over pixels (moments for the geometry, products for the colours) are 16 x k matrix products:
row p of a table belongs to pixel p, and the weights of a hit are the factors.
"""

from __future__ import annotations

from headworks.splat.cpu.jit import STRICT, kernel
from headworks.splat.cpu.picking import NUMBER, POSITION, VEC, log2_alpha, slopes
from headworks.splat.cpu.rules import (
    ABSOLUTE,
    COLORED,
    F0,
    F1,
    GEOMETRIC,
    MIN_LOG2_ALPHA,
    STOP,
)
from headworks.splat.cpu.simd import (
    LANES,
    accumulate,
    add,
    exp2,
    exp2_of4,
    fma,
    fnma,
    greater,
    greater_equal,
    load,
    low,
    magnitude,
    mul,
    read_index,
    reciprocal,
    select,
    some,
    splat,
    spread,
    store,
    sub,
    total,
)
from headworks.splat.cpu.simd_rows import (
    table,
    weighted,
)

BLOCK = 32  # hits whose weights stay in the first-level cache
GROUP = 16  # hits whose alphas are made before they are blended
MAGNITUDES, COLORS = 24, 32  # bytes: in a row of sums 6 moments, two magnitudes, colours
SOME = 4  # channels that are accumulated in registers
table4, table8, table16 = table(4), table(8), table(16)


@kernel(STRICT)
def _unclamped(q, e):
    """Alpha before its clamp, nothing below the least alpha."""
    return select(greater_equal(q, splat(MIN_LOG2_ALPHA)), e, splat(F0))


@kernel(STRICT)
def _one(picked, squares, hits, h):
    """log2 alpha of hit h."""
    return log2_alpha(picked, squares, hits, h, read_index(hits + POSITION + 4 * h))


@kernel(STRICT)
def _alphas(picked, squares, hits, start, n, alphas):
    """`_unclamped` alpha of n hits, four at a time: nothing here waits for the hit before."""
    whole = n & -4
    for b in range(0, whole, 4):
        h, at = start + b, alphas + b * VEC
        q0, q1 = _one(picked, squares, hits, h), _one(picked, squares, hits, h + 1)
        q2, q3 = _one(picked, squares, hits, h + 2), _one(picked, squares, hits, h + 3)
        e0, e1, e2, e3 = exp2_of4(q0, q1, q2, q3)
        store(at, _unclamped(q0, e0))
        store(at + VEC, _unclamped(q1, e1))
        store(at + 2 * VEC, _unclamped(q2, e2))
        store(at + 3 * VEC, _unclamped(q3, e3))
    for b in range(whole, n):
        q = _one(picked, squares, hits, start + b)
        store(alphas + b * VEC, _unclamped(q, exp2(q)))


@kernel(STRICT)
def _weight(e, t, most):
    """The rules for one Gaussian: alpha, weight of its colour, transmittance behind."""
    a = low(e, most)
    w = mul(a, t)
    after = sub(t, w)
    return a, select(greater(after, splat(STOP)), w, splat(F0)), after


@kernel(STRICT)
def blend_some(state, picked, squares, hits, m, colors, max_alpha, alphas, channels):
    """Blend the hits into one sub-tile, up to 4 channels; False when all pixels are finished."""
    D = len(channels)
    t, covered = load(state), load(state + (1 + D) * VEC)
    c0, c1, c2, c3 = load(state + VEC), load(state + 2 * VEC), load(state + 3 * VEC), covered
    if D > 3:
        c3 = load(state + 4 * VEC)
    stop, most = splat(STOP), splat(max_alpha)
    for start in range(0, m, GROUP):
        n = min(GROUP, m - start)
        _alphas(picked, squares, hits, start, n, alphas)
        for b in range(n):
            k = read_index(hits + POSITION + 4 * (start + b))
            _, w, t = _weight(load(alphas + b * VEC), t, most)
            covered = add(covered, w)
            color = colors + 4 * D * read_index(picked + NUMBER + 4 * k)
            c0 = fma(w, spread(color), c0)
            c1 = fma(w, spread(color + 4), c1)
            c2 = fma(w, spread(color + 8), c2)
            if D > 3:
                c3 = fma(w, spread(color + 12), c3)
        if not some(greater(t, stop)):
            break
    store(state, t)
    store(state + (1 + D) * VEC, covered)
    store(state + VEC, c0)
    store(state + 2 * VEC, c1)
    store(state + 3 * VEC, c2)
    if D > 3:
        store(state + 4 * VEC, c3)
    return some(greater(t, stop))


@kernel(STRICT)
def blend_many(state, picked, squares, hits, m, colors, max_alpha, weights, alphas, channels):
    """As `blend_some` for a multiple of 8 channels."""
    D = len(channels)
    t, covered = load(state), load(state + (1 + D) * VEC)
    stop, most = splat(STOP), splat(max_alpha)
    for start in range(0, m, BLOCK):
        n = min(BLOCK, m - start)
        _alphas(picked, squares, hits, start, n, alphas)
        for b in range(n):
            _, w, t = _weight(load(alphas + b * VEC), t, most)
            store(weights + b * VEC, w)
            covered = add(covered, w)
        for c in range(0, D, 8):
            at = state + (1 + c) * VEC
            c0, c1, c2, c3 = load(at), load(at + VEC), load(at + 2 * VEC), load(at + 3 * VEC)
            c4, c5 = load(at + 4 * VEC), load(at + 5 * VEC)
            c6, c7 = load(at + 6 * VEC), load(at + 7 * VEC)
            for b in range(n):
                w = load(weights + b * VEC)
                k = read_index(hits + POSITION + 4 * (start + b))
                color = colors + 4 * c + 4 * D * read_index(picked + NUMBER + 4 * k)
                c0, c1 = fma(w, spread(color), c0), fma(w, spread(color + 4), c1)
                c2, c3 = fma(w, spread(color + 8), c2), fma(w, spread(color + 12), c3)
                c4, c5 = fma(w, spread(color + 16), c4), fma(w, spread(color + 20), c5)
                c6, c7 = fma(w, spread(color + 24), c6), fma(w, spread(color + 28), c7)
            store(at, c0)
            store(at + VEC, c1)
            store(at + 2 * VEC, c2)
            store(at + 3 * VEC, c3)
            store(at + 4 * VEC, c4)
            store(at + 5 * VEC, c5)
            store(at + 6 * VEC, c6)
            store(at + 7 * VEC, c7)
        if not some(greater(t, stop)):
            break
    store(state, t)
    store(state + (1 + D) * VEC, covered)
    return some(greater(t, stop))


@kernel(STRICT)
def unblend(
    state, picked, squares, hits, m, colors, max_alpha, alphas, dots, factors, weights, moments,
    gradients, rows, wanted, channels,
):  # fmt: skip
    """Gradient of the blending of one sub-tile, front to back; adds to `rows`.

    Args:
        state: T, rest, gradients of D channels. moments, gradients: tables [16, 8] and
            [16, 4 or 8], or one [16, 16] after the other for D > 8. rows: one per picked Gaussian.
        wanted: bits of `rules`.
    """
    D = len(channels)
    wide = D > SOME
    stride = 4 * (8 + D if wide else 16)
    t, rest = load(state), load(state + VEC)
    zero, one, stop, most = splat(F0), splat(F1), splat(STOP), splat(max_alpha)
    for start in range(0, m, BLOCK):
        n = min(BLOCK, m - start)
        if wide:
            for c in range(0, D, 8):
                at = state + (2 + c) * VEC
                g0, g1, g2, g3 = load(at), load(at + VEC), load(at + 2 * VEC), load(at + 3 * VEC)
                g4, g5 = load(at + 4 * VEC), load(at + 5 * VEC)
                g6, g7 = load(at + 6 * VEC), load(at + 7 * VEC)
                for b in range(n):
                    k = read_index(hits + POSITION + 4 * (start + b))
                    color = colors + 4 * c + 4 * D * read_index(picked + NUMBER + 4 * k)
                    even, odd = mul(g0, spread(color)), mul(g1, spread(color + 4))
                    if c > 0:
                        even = add(even, load(dots + b * VEC))
                    even, odd = fma(g2, spread(color + 8), even), fma(g3, spread(color + 12), odd)
                    even, odd = fma(g4, spread(color + 16), even), fma(g5, spread(color + 20), odd)
                    even, odd = fma(g6, spread(color + 24), even), fma(g7, spread(color + 28), odd)
                    store(dots + b * VEC, add(even, odd))
        else:
            g0, g1, g2 = load(state + 2 * VEC), load(state + 3 * VEC), load(state + 4 * VEC)
            for b in range(n):
                k = read_index(hits + POSITION + 4 * (start + b))
                color = colors + 4 * D * read_index(picked + NUMBER + 4 * k)
                dot = fma(g1, spread(color + 4), mul(g0, spread(color)))
                dot = fma(g2, spread(color + 8), dot)
                if D > 3:
                    dot = fma(load(state + 5 * VEC), spread(color + 12), dot)
                store(dots + b * VEC, dot)
        _alphas(picked, squares, hits, start, n, alphas)
        for b in range(n):
            e, dot = load(alphas + b * VEC), load(dots + b * VEC)
            a, w, after = _weight(e, t, most)
            rest = fnma(w, dot, rest)
            # v = -e dL/dalpha where the pair is blended and its alpha is not clamped
            v = mul(e, sub(mul(rest, reciprocal(sub(one, a))), mul(t, dot)))
            v = select(greater(w, zero), select(greater_equal(most, e), v, zero), zero)
            t = after
            store(factors + b * VEC, v)
            store(weights + b * VEC, w)
            if (b & 3) == 3 and not some(greater(t, stop)):
                n = b + 1  # what follows has no weight
                break
        if wanted & GEOMETRIC:
            by_pixel = table8(moments)
            for b in range(n):
                k = read_index(hits + POSITION + 4 * (start + b))
                accumulate(rows + k * stride, weighted(factors + b * VEC, by_pixel))
        if wanted & ABSOLUTE:
            for b in range(n):
                h = start + b
                k = read_index(hits + POSITION + 4 * h)
                v = load(factors + b * VEC)
                along_x, along_y = slopes(picked, hits, h, k)
                at = rows + k * stride + MAGNITUDES
                accumulate(at, total(magnitude(mul(v, along_x))))
                accumulate(at + 4, total(magnitude(mul(v, along_y))))
        if not wanted & COLORED:
            pass
        elif D <= SOME:
            colors_by_pixel = table4(gradients)
            for b in range(n):
                k = read_index(hits + POSITION + 4 * (start + b))
                accumulate(rows + k * stride + COLORS, weighted(weights + b * VEC, colors_by_pixel))
        elif D == 8:
            colors_by_pixel = table8(gradients)
            for b in range(n):
                k = read_index(hits + POSITION + 4 * (start + b))
                accumulate(rows + k * stride + COLORS, weighted(weights + b * VEC, colors_by_pixel))
        else:
            for c in range(0, D, LANES):
                colors_by_pixel = table16(gradients + c * VEC)
                for b in range(n):
                    k = read_index(hits + POSITION + 4 * (start + b))
                    accumulate(
                        rows + k * stride + COLORS + 4 * c,
                        weighted(weights + b * VEC, colors_by_pixel),
                    )
        if not some(greater(t, stop)):
            break
    store(state, t)
    store(state + VEC, rest)
    return some(greater(t, stop))
