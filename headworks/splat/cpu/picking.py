# mypy: ignore-errors
"""Which Gaussians a sub-tile of 4 x 4 pixels has to blend, 16 at a time.

A tile of 32 x 32 pixels is four quarters, a quarter 16 sub-tiles. The Gaussians of a tile's list
that touch a quarter, then those of them that touch a sub-tile, are picked by the same exact test.
What comes out are hits: log2 alpha as a quadratic in the pixel, about the centre of the sub-tile.
"""

from __future__ import annotations

import numpy as np
from numba import literal_unroll

from headworks.splat.cpu.jit import STRICT, kernel
from headworks.splat.cpu.project import TILE
from headworks.splat.cpu.rules import CHUNK, F0, GEOMETRY, MIN_LOG2_ALPHA, SLACK
from headworks.splat.cpu.simd import (
    LANES,
    add,
    append,
    append_index,
    both,
    count,
    first,
    fma,
    fnma,
    greater_equal,
    high,
    lanes,
    load,
    low,
    mul,
    splat,
    spread,
    store,
    sub,
)
from headworks.splat.cpu.simd_rows import (
    picked_columns,
)

SIDE, QUARTER = 4, 16  # pixels
PER_QUARTER = (QUARTER // SIDE) ** 2
VEC = 4 * LANES  # bytes
PLANE = 4 * (CHUNK + 48)  # bytes; a power of two would fall into one cache set
# planes of picked Gaussians: x, y, qa, qb, qc, log2 opacity, -qb / 2qa, -qb / 2qc, their number,
# and their position in the chunk
PICKED = GEOMETRY + 2
NUMBER, PLACE = GEOMETRY * PLANE, (GEOMETRY + 1) * PLANE
C0, BX, BY, POSITION = 0, PLANE, 2 * PLANE, 3 * PLANE  # planes of hits
HITS = 4 * PLANE
IN_ROW = QUARTER // SIDE

_X = [p % SIDE - (SIDE - 1) / 2 for p in range(LANES)]
_Y = [p // SIDE - (SIDE - 1) / 2 for p in range(LANES)]
lane_x, lane_y = lanes(_X), lanes(_Y)
minus_xx, minus_yy = lanes([-x * x for x in _X]), lanes([-y * y for y in _Y])
minus_xy = lanes([-x * y for x, y in zip(_X, _Y)])


@kernel()
def corner(n, left, top):
    """First pixel of sub-tile n: quarters first, sub-tiles within."""
    quarter, inner = n // PER_QUARTER, n % PER_QUARTER
    across = TILE // QUARTER
    inside = QUARTER // SIDE
    x = left + (quarter % across) * QUARTER + (inner % inside) * SIDE
    y = top + (quarter // across) * QUARTER + (inner // inside) * SIDE
    return x, y


@kernel()
def gather(entries, start, n, records, planes):
    """Copy the records of list entries start .. start + n to planes, and their numbers."""
    for k in range(0, n, LANES):
        numbers = entries + 4 * (start + k)
        at = planes + 4 * k
        values = picked_columns(records, numbers)
        for g in literal_unroll(values):
            store(at, g)
            at += PLANE
        store(at, load(numbers))


@kernel(STRICT)
def _test(source, k, x0, y0, side):
    """Largest log2 alpha over a square of pixel centres, for 16 Gaussians from position k on.

    The maximum of a concave quadratic over a rectangle lies on one of the two sides nearest to
    its centre, at the unconstrained optimum of that side clamped to the side.
    """
    at = source + 4 * k
    gx, gy = load(at), load(at + PLANE)
    qa, qb, qc = load(at + 2 * PLANE), load(at + 3 * PLANE), load(at + 4 * PLANE)
    left, top = sub(splat(x0), gx), sub(splat(y0), gy)
    right, bottom = add(left, splat(side)), add(top, splat(side))
    nx = low(high(left, splat(F0)), right)
    ny = low(high(top, splat(F0)), bottom)
    dy = low(high(mul(load(at + 7 * PLANE), nx), top), bottom)
    dx = low(high(mul(load(at + 6 * PLANE), ny), left), right)
    s1 = fma(fma(qa, nx, mul(qb, dy)), nx, mul(mul(qc, dy), dy))
    s2 = fma(fma(qa, dx, mul(qb, ny)), dx, mul(mul(qc, ny), ny))
    return sub(load(at + 5 * PLANE), low(s1, s2))


@kernel(STRICT)
def pick(source, n, x0, y0, target):
    """Copy the Gaussians that touch a quarter, and their positions; how many there are."""
    m = 0
    least = splat(MIN_LOG2_ALPHA - SLACK)
    for k in range(0, n, LANES):
        score = _test(source, k, x0, y0, np.float32(QUARTER - 1))
        hit = both(greater_equal(score, least), first(n - k))
        for g in range(GEOMETRY):
            append(target + g * PLANE + 4 * m, load(source + g * PLANE + 4 * k), hit)
        append(target + NUMBER + 4 * m, load(source + NUMBER + 4 * k), hit)
        append_index(target + PLACE + 4 * m, k, hit)
        m += count(hit)
    return m


@kernel(STRICT)
def expand(source, n, x0, y0, hits):
    """The Gaussians that touch each of four sub-tiles in a row.

    Args:
        source: picked Gaussians, n of them. x0, y0: first pixel centre of the first sub-tile.
        hits: four lists, HITS bytes apart: log2 alpha about the centre of the sub-tile, and the
            position of the Gaussian.

    Returns:
        length of the four lists.
    """
    m0 = m1 = m2 = m3 = 0
    step, middle = np.float32(SIDE), np.float32((SIDE - 1) / 2)
    for k in range(0, n, LANES):
        at = source + 4 * k
        gx, gy, lo = load(at), load(at + PLANE), load(at + 5 * PLANE)
        qa, qb, qc = load(at + 2 * PLANE), load(at + 3 * PLANE), load(at + 4 * PLANE)
        # all of `_test` and of the quadratic that does not depend on x
        top = sub(splat(y0), gy)
        bottom = add(top, splat(np.float32(SIDE - 1)))
        ny = low(high(top, splat(F0)), bottom)
        qby, qcyy = mul(qb, ny), mul(mul(qc, ny), ny)
        dy = sub(gy, splat(y0 + middle))
        ay = mul(qc, dy)
        row = (
            qa, qb, qc, lo, load(at + 7 * PLANE), top, bottom, mul(load(at + 6 * PLANE), ny), qby,
            qcyy, mul(qb, dy), fnma(ay, dy, lo), add(ay, ay), first(n - k),
        )  # fmt: skip
        left = sub(splat(x0), gx)
        m0 += _expand_one(row, left, k, m0, hits)
        left = add(left, splat(step))
        m1 += _expand_one(row, left, k, m1, hits + HITS)
        left = add(left, splat(step))
        m2 += _expand_one(row, left, k, m2, hits + 2 * HITS)
        left = add(left, splat(step))
        m3 += _expand_one(row, left, k, m3, hits + 3 * HITS)
    return m0, m1, m2, m3


@kernel(STRICT)
def _expand_one(row, left, k, m, hits):
    """What `expand` does for one sub-tile that begins `left` of the means; how many were added."""
    qa, qb, qc, lo, rc, top, bottom, best_x, qby, qcyy, qbdy, base, ay2, present = row
    right = add(left, splat(np.float32(SIDE - 1)))
    nx = low(high(left, splat(F0)), right)
    dy, dx = low(high(mul(rc, nx), top), bottom), low(high(best_x, left), right)
    s1 = fma(fma(qa, nx, mul(qb, dy)), nx, mul(mul(qc, dy), dy))
    s2 = fma(fma(qa, dx, qby), dx, qcyy)
    hit = both(greater_equal(sub(lo, low(s1, s2)), splat(MIN_LOG2_ALPHA - SLACK)), present)
    dx = sub(splat(-np.float32((SIDE - 1) / 2)), left)
    ax = fma(qa, dx, qbdy)
    at = hits + 4 * m
    append(at + C0, fnma(ax, dx, base), hit)
    append(at + BX, fma(qa, dx, ax), hit)
    append(at + BY, fma(qb, dx, ay2), hit)
    append_index(at + POSITION, k, hit)
    return count(hit)


@kernel(STRICT)
def take_squares(picked, n, squares):
    """The quadratic part of log2 alpha is the same in every sub-tile: one vector per Gaussian."""
    for k in range(n):
        at = picked + 4 * k
        value = mul(minus_xx(), spread(at + 2 * PLANE))
        value = fma(minus_yy(), spread(at + 4 * PLANE), value)
        store(squares + k * VEC, fma(minus_xy(), spread(at + 3 * PLANE), value))


@kernel(STRICT)
def log2_alpha(picked, squares, hits, h, k):
    """Of hit h, which is the picked Gaussian k; never above that of its opacity.

    Far from the mean of a long thin Gaussian the quadratic is a small difference of large numbers.
    """
    at = hits + 4 * h
    value = add(load(squares + k * VEC), spread(at + C0))
    value = fma(lane_x(), spread(at + BX), value)
    value = fma(lane_y(), spread(at + BY), value)
    return low(value, spread(picked + 5 * PLANE + 4 * k))


@kernel(STRICT)
def slopes(picked, hits, h, k):
    """Derivatives of `log2_alpha` to the pixel's x and y."""
    at, qb = hits + 4 * h, spread(picked + 3 * PLANE + 4 * k)
    qa, qc = spread(picked + 2 * PLANE + 4 * k), spread(picked + 4 * PLANE + 4 * k)
    x = fnma(add(qa, qa), lane_x(), spread(at + BX))
    y = fnma(add(qc, qc), lane_y(), spread(at + BY))
    return fnma(qb, lane_y(), x), fnma(qb, lane_x(), y)
