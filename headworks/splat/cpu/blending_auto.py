# mypy: ignore-errors
"""Blending of one sub-tile of 8 x 8 pixels and its gradient in loops that LLVM vectorises.

State is one row of planes of 64 floats, so that the compiler sees that loads and stores do not
overlap. A live pixel has T > 0 (transmittance); a finished pixel keeps |T| with the sign set, which
makes every later test fail by itself.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from headworks.splat.cpu.jit import STRICT, SUMS, kernel
from headworks.splat.cpu.rules import (
    ABSOLUTE,
    CHUNK,
    COLORED,
    F0,
    F1,
    GEOMETRIC,
    HALF,
    MIN_LOG2_ALPHA,
    MOMENTS,
    SLACK,
    STOP,
)

SUB, SUBS_X, SUBS, PIXELS = 8, 4, 16, 64
STRIDE = CHUNK + 48  # of the planes of the copy: a power of two would fall into one cache set
X, Y, T, S, W, V, DOT, PLANES = (k * PIXELS for k in range(8))  # planes of the pixel state
FWD_PLANES = 3 * PIXELS  # x, y, T, then the channels
F2, UNDERFLOW = np.float32(2.0), np.float32(-30.0)
# 2^f on [-1/2, 1/2], relative error 1e-7
C0, C1, C2 = np.float32(1.0000000717), np.float32(0.6931469670), np.float32(0.2402211972)
C3, C4, C5 = np.float32(0.0555071333), np.float32(0.0096755417), np.float32(0.0013276457)


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once: forward and backward then decide alike at every threshold."""

    def codegen(context, builder, signature, args):
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), codegen


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


@kernel(STRICT)
def touching(geometry, n, x0, y0, score, hits):
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
def any_live(state, plane):
    best = state[plane]
    for p in range(PIXELS):
        best = max(best, state[plane + p])
    return best > F0


@kernel(STRICT)
def blend(state, geometry, chunk_colors, hits, m, max_alpha, weights, channels):
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
        if (h & 7) == 7 and not any_live(state, T):
            return False
    return any_live(state, T)


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
def _magnitudes(state, gx, gy, qa, qb, qc, row):
    """Sums of |v dq/dx| and |v dq/dy|, q = log2 alpha."""
    along_x = along_y = F0
    for p in range(PIXELS):
        v = state[V + p]
        dx, dy = state[X + p] - gx, state[Y + p] - gy
        along_x += abs(v * (F2 * qa * dx + qb * dy))
        along_y += abs(v * (qb * dx + F2 * qc * dy))
    row[6] += along_x
    row[7] += along_y


@kernel(SUMS)
def _color_sums(state, row, channels):
    for c in range(len(channels)):
        total = F0
        base = PLANES + c * PIXELS
        for p in range(PIXELS):
            total += state[W + p] * state[base + p]
        row[MOMENTS + c] += total


@kernel(STRICT)
def unblend(state, geometry, chunk_colors, hits, m, max_alpha, rows, wanted, channels):
    """Gradient of `blend`, front to back, with the same decisions; adds to `rows`."""
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
        if wanted & GEOMETRIC:
            _moments(state, gx, gy, rows[k])
        if wanted & ABSOLUTE:
            _magnitudes(state, gx, gy, qa, qb, qc, rows[k])
        if wanted & COLORED:
            _color_sums(state, rows[k], channels)
        if (h & 7) == 7 and not any_live(state, T):
            return False
    return any_live(state, T)
