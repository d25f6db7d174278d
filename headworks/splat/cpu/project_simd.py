# mypy: ignore-errors
"""Projection of Gaussians to the image plane, 16 Gaussians at a time.

The same outputs as `project`, in single precision but for the depths, whose order two roundings
more would change. Determinants are sums of squares (Cauchy-Binet),
so that nothing cancels for thin Gaussians. Needs at least 16 Gaussians: the last block overlaps the
one before it.
"""

from __future__ import annotations

import numpy as np

from headworks.splat.cpu.bins import arrange
from headworks.splat.cpu.gate import finish, take, wait
from headworks.splat.cpu.jit import kernel
from headworks.splat.cpu.project import MAX_EXTENT, MIN_ALPHA, TAN_MARGIN, TILE, check
from headworks.splat.cpu.simd import (
    LANES,
    add,
    as_int,
    both,
    ceil,
    count,
    div,
    either,
    exact_depth,
    floor,
    fma,
    fnma,
    greater,
    greater_equal,
    high,
    load,
    log2,
    low,
    magnitude,
    mul,
    select,
    splat,
    sqrt,
    store,
    sub,
)
from headworks.splat.cpu.simd_rows import columns, store_columns

F0, F1, F2 = np.float32(0), np.float32(1), np.float32(2)
HALF, TINY = np.float32(0.5), np.float32(1e-12)
HALF_LOG2_E, LOG2_E = np.float32(0.5 * np.log2(np.e)), np.float32(np.log2(np.e))
LOG2_255, TWO_LN2 = np.float32(np.log2(255)), np.float32(2 * np.log(2))
LARGE = np.float32(1e9)
columns3, columns4, columns2 = columns(3), columns(4), columns(2)


@kernel()
def rotation(w, x, y, z):
    """Unit quaternions to rotations: nine vectors, row by row."""
    one, two = splat(F1), splat(F2)
    xx, yy, zz = mul(x, x), mul(y, y), mul(z, z)
    xy, xz, yz = mul(x, y), mul(x, z), mul(y, z)
    wx, wy, wz = mul(w, x), mul(w, y), mul(w, z)
    return (
        fnma(two, add(yy, zz), one), mul(two, sub(xy, wz)), mul(two, add(xz, wy)),
        mul(two, add(xy, wz)), fnma(two, add(xx, zz), one), mul(two, sub(yz, wx)),
        mul(two, sub(xz, wy)), mul(two, add(yz, wx)), fnma(two, add(xx, yy), one),
    )  # fmt: skip


@kernel()
def dot(a, b, c, x, y, z):
    return fma(a, x, fma(b, y, mul(c, z)))


@kernel()
def limits(K, width, height):
    """How far x / z and y / z may lie from the axis: left, right, top, bottom."""
    fx, fy, cx, cy = float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
    margin_x, margin_y = TAN_MARGIN * 0.5 * width / fx, TAN_MARGIN * 0.5 * height / fy
    return (
        np.float32(-(cx / fx + margin_x)), np.float32((width - cx) / fx + margin_x),
        np.float32(-(cy / fy + margin_y)), np.float32((height - cy) / fy + margin_y),
    )  # fmt: skip


@kernel()
def project(
    part, parts, means, quats, scales, opacities, view, K, size, near, far, eps2d, radius_clip,
    antialiased, rho_floor, means2d, conics, opacities2d, depths, spans, radii, records, bad,
):  # fmt: skip
    """See `project.project`."""
    n = len(means)
    width, height = size
    blocks = (n + LANES - 1) // LANES
    left, right, top, bottom = limits(K, width, height)
    fx, fy = splat(np.float32(K[0, 0])), splat(np.float32(K[1, 1]))
    cx, cy = splat(np.float32(K[0, 2])), splat(np.float32(K[1, 2]))
    v00, v01, v02 = splat(view[0, 0]), splat(view[0, 1]), splat(view[0, 2])
    v10, v11, v12 = splat(view[1, 0]), splat(view[1, 1]), splat(view[1, 2])
    v20, v21, v22 = splat(view[2, 0]), splat(view[2, 1]), splat(view[2, 2])
    v03, v13, v23 = splat(view[0, 3]), splat(view[1, 3]), splat(view[2, 3])
    zero, one, eps = splat(F0), splat(F1), splat(np.float32(eps2d))
    tiles_x, tiles_y = splat(np.float32(-(-width // TILE))), splat(np.float32(-(-height // TILE)))
    means_at, quats_at, scales_at = means.ctypes.data, quats.ctypes.data, scales.ctypes.data
    opacities_at, means2d_at, conics_at = (
        opacities.ctypes.data, means2d.ctypes.data, conics.ctypes.data,
    )  # fmt: skip
    opacities2d_at, depths_at = opacities2d.ctypes.data, depths.ctypes.data
    spans_at, radii_at, records_at = spans.ctypes.data, radii.ctypes.data, records.ctypes.data
    for block in range(blocks * part // parts, blocks * (part + 1) // parts):
        i = min(block * LANES, n - LANES)
        x0, y0, z0 = columns3(means_at + 12 * i)
        qw, qx, qy, qz = columns4(quats_at + 16 * i)
        sx, sy, sz = columns3(scales_at + 12 * i)
        opacity = load(opacities_at + 4 * i)
        norm = sqrt(fma(qw, qw, fma(qx, qx, fma(qy, qy, mul(qz, qz)))))
        # finite - finite = 0; inf and nan give nan, which compares false
        sizes = add(add(magnitude(x0), magnitude(y0)), add(magnitude(z0), norm))
        sizes = add(sizes, add(magnitude(sx), magnitude(sy)))
        sizes = add(sizes, add(magnitude(sz), magnitude(opacity)))
        good = both(greater_equal(zero, sub(sizes, sizes)), greater(norm, zero))
        if count(good) < LANES:
            bad[0] = i
        z = exact_depth(v20, v21, v22, v23, x0, y0, z0)
        seen = both(greater_equal(z, splat(np.float32(near))), greater(z, zero))
        seen = both(good, both(seen, greater_equal(splat(np.float32(far)), z)))
        z = select(seen, z, one)
        norm = select(seen, norm, one)
        x = fma(v00, x0, fma(v01, y0, fma(v02, z0, v03)))
        y = fma(v10, x0, fma(v11, y0, fma(v12, z0, v13)))
        unit, inverse = div(one, norm), div(one, z)
        r = rotation(mul(qw, unit), mul(qx, unit), mul(qy, unit), mul(qz, unit))
        tan_x = low(splat(right), high(splat(left), mul(x, inverse)))
        tan_y = low(splat(bottom), high(splat(top), mul(y, inverse)))
        j00, j11 = mul(fx, inverse), mul(fy, inverse)
        u0, w0 = _image_axis(
            r[0], r[3], r[6], sx, v00, v01, v02, v10, v11, v12, v20, v21, v22, j00, j11, tan_x,
            tan_y,
        )  # fmt: skip
        u1, w1 = _image_axis(
            r[1], r[4], r[7], sy, v00, v01, v02, v10, v11, v12, v20, v21, v22, j00, j11, tan_x,
            tan_y,
        )  # fmt: skip
        u2, w2 = _image_axis(
            r[2], r[5], r[8], sz, v00, v01, v02, v10, v11, v12, v20, v21, v22, j00, j11, tan_x,
            tan_y,
        )  # fmt: skip
        cxx = fma(u0, u0, fma(u1, u1, mul(u2, u2)))
        cyy = fma(w0, w0, fma(w1, w1, mul(w2, w2)))
        cxy = fma(u0, w0, fma(u1, w1, mul(u2, w2)))
        det0 = area(u0, u1, u2, w0, w1, w2)
        det = fma(eps, add(add(cxx, cyy), eps), det0)
        cxx, cyy = add(cxx, eps), add(cyy, eps)
        seen = both(seen, greater(det, zero))
        over_det = div(one, select(seen, det, one))
        if antialiased:
            share = high(mul(det0, over_det), splat(np.float32(rho_floor)))
            opacity = mul(opacity, sqrt(share))
        seen = both(seen, greater_equal(opacity, splat(np.float32(MIN_ALPHA))))
        lo = log2(select(seen, opacity, one))
        extent = sqrt(high(mul(splat(TWO_LN2), add(lo, splat(LOG2_255))), zero))
        extent = low(extent, splat(np.float32(MAX_EXTENT)))
        box_x, box_y = mul(extent, sqrt(cxx)), mul(extent, sqrt(cyy))
        rx, ry = ceil(box_x), ceil(box_y)
        clip = splat(np.float32(radius_clip))
        seen = both(seen, either(greater(rx, clip), greater(ry, clip)))
        u, v = fma(fx, mul(x, inverse), cx), fma(fy, mul(y, inverse), cy)
        seen = both(seen, both(greater(add(u, rx), zero), greater(add(v, ry), zero)))
        seen = both(seen, greater(splat(np.float32(width)), sub(u, rx)))
        seen = both(seen, greater(splat(np.float32(height)), sub(v, ry)))
        a, b, c = mul(cyy, over_det), mul(sub(zero, cxy), over_det), mul(cxx, over_det)
        u, v = select(seen, u, zero), select(seen, v, zero)
        a, b, c = select(seen, a, zero), select(seen, b, zero), select(seen, c, zero)
        store_columns(means2d_at + 8 * i, (u, v))
        store_columns(conics_at + 12 * i, (a, b, c))
        store(opacities2d_at + 4 * i, select(seen, opacity, zero))
        store(depths_at + 4 * i, select(seen, z, zero))
        first_x, last_x = _span(u, box_x, tiles_x)
        first_y, last_y = _span(v, box_y, tiles_y)
        store_columns(
            spans_at + 16 * i,
            (as_int(select(seen, first_x, zero)), as_int(select(seen, last_x, zero)),
             as_int(select(seen, first_y, zero)), as_int(select(seen, last_y, zero))),
        )  # fmt: skip
        rx = as_int(select(seen, low(rx, splat(LARGE)), zero))
        ry = as_int(select(seen, low(ry, splat(LARGE)), zero))
        store_columns(radii_at + 8 * i, (rx, ry))
        store_columns(
            records_at + 32 * i,
            (
                u, v, mul(splat(HALF_LOG2_E), a), mul(splat(LOG2_E), b), mul(splat(HALF_LOG2_E), c),
                lo, select(seen, div(cxy, cyy), zero), select(seen, div(cxy, cxx), zero),
            ),
        )  # fmt: skip


@kernel()
def prepare(
    thread, threads, gate, parts, means, quats, scales, opacities, view, K, size, near, far, eps2d,
    radius_clip, antialiased, rho_floor, means2d, conics, opacities2d, depths, spans, radii,
    records, bad, colors, tiles_x, order, visible, counts, offsets, tile_order, slot_offsets,
):  # fmt: skip
    """See `project.prepare`."""
    while True:
        part = take(gate, 0)
        if part >= parts:
            break
        project(
            part, parts, means, quats, scales, opacities, view, K, size, near, far, eps2d,
            radius_clip, antialiased, rho_floor, means2d, conics, opacities2d, depths, spans, radii,
            records, bad,
        )  # fmt: skip
        check(part, parts, colors, view, K, bad)
        finish(gate, 0)
    wait(gate, 0, parts)
    arrange(
        gate, 1, depths, radii, spans, tiles_x, order, visible, counts, offsets, tile_order,
        slot_offsets,
    )  # fmt: skip


@kernel()
def _span(center, half_size, tiles):
    """First and one-past-last tile of an interval, as whole floats."""
    scale = splat(np.float32(1 / TILE))
    start = floor(mul(sub(center, half_size), scale))
    stop = add(floor(mul(add(center, half_size), scale)), splat(F1))
    start = low(high(start, splat(F0)), tiles)
    return start, high(low(stop, tiles), start)


@kernel()
def _image_axis(r0, r1, r2, s, v00, v01, v02, v10, v11, v12, v20, v21, v22, j00, j11, tan_x, tan_y):
    """One scaled axis of the Gaussians in the image plane: x and y."""
    m0 = mul(dot(v00, v01, v02, r0, r1, r2), s)
    m1 = mul(dot(v10, v11, v12, r0, r1, r2), s)
    m2 = mul(dot(v20, v21, v22, r0, r1, r2), s)
    return mul(j00, fnma(tan_x, m2, m0)), mul(j11, fnma(tan_y, m2, m1))


@kernel()
def area(u0, u1, u2, w0, w1, w2):
    """Determinant of the 2 x 2 matrix of inner products of u and w."""
    p, q, r = fnma(u1, w0, mul(u0, w1)), fnma(u2, w0, mul(u0, w2)), fnma(u2, w1, mul(u1, w2))
    return fma(p, p, fma(q, q, mul(r, r)))
