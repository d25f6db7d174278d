# mypy: ignore-errors
"""Gradient of the projection, 16 Gaussians at a time; see `project_simd`."""

from __future__ import annotations

import numpy as np

from headworks.splat.cpu.gate import finish, take, wait
from headworks.splat.cpu.jit import kernel
from headworks.splat.cpu.project import VIEW_CHUNKS, sum_views
from headworks.splat.cpu.project_simd import (
    F0,
    F1,
    F2,
    HALF,
    TINY,
    area,
    columns2,
    columns3,
    columns4,
    dot,
    limits,
    rotation,
)
from headworks.splat.cpu.rules import SHAPED, VIEWED
from headworks.splat.cpu.simd import (
    LANES,
    add,
    both,
    div,
    either,
    first,
    fma,
    fnma,
    from_int,
    greater,
    greater_equal,
    high,
    load,
    low,
    mul,
    select,
    splat,
    sqrt,
    store,
    sub,
    total,
)
from headworks.splat.cpu.simd_rows import store_columns


@kernel()
def _camera_axis(r0, r1, r2, s, v00, v01, v02, v10, v11, v12, v20, v21, v22):
    """One axis of the Gaussians: scaled in the world, and in the camera."""
    a, b, c = mul(r0, s), mul(r1, s), mul(r2, s)
    return (
        a, b, c,
        dot(v00, v01, v02, a, b, c), dot(v10, v11, v12, a, b, c), dot(v20, v21, v22, a, b, c),
    )  # fmt: skip


@kernel()
def project_backward(
    thread, threads, gate, means, quats, scales, opacities, view, K, size, eps2d, antialiased,
    rho_floor, radii, g_means2d, g_conics, g_opacities2d, g_depths, wanted, g_means, g_quats,
    g_scales, g_opacities, g_views, g_view,
):  # fmt: skip
    """See `project.project_backward`; chunks of the view gradient are whole blocks."""
    n, deep = len(means), len(g_depths) > 0
    width, height = size
    blocks = (n + LANES - 1) // LANES
    left, right, top, bottom = limits(K, width, height)
    fx, fy = splat(np.float32(K[0, 0])), splat(np.float32(K[1, 1]))
    v00, v01, v02 = splat(view[0, 0]), splat(view[0, 1]), splat(view[0, 2])
    v10, v11, v12 = splat(view[1, 0]), splat(view[1, 1]), splat(view[1, 2])
    v20, v21, v22 = splat(view[2, 0]), splat(view[2, 1]), splat(view[2, 2])
    v03, v13, v23 = splat(view[0, 3]), splat(view[1, 3]), splat(view[2, 3])
    zero, one, two, half = splat(F0), splat(F1), splat(F2), splat(HALF)
    eps, floor = splat(np.float32(eps2d)), splat(np.float32(rho_floor))
    means_at, quats_at, scales_at = means.ctypes.data, quats.ctypes.data, scales.ctypes.data
    opacities_at, radii_at = opacities.ctypes.data, radii.ctypes.data
    g_means2d_at, g_conics_at = g_means2d.ctypes.data, g_conics.ctypes.data
    g_opacities2d_at, g_depths_at = g_opacities2d.ctypes.data, g_depths.ctypes.data
    g_means_at, g_quats_at = g_means.ctypes.data, g_quats.ctypes.data
    g_scales_at, g_opacities_at = g_scales.ctypes.data, g_opacities.ctypes.data
    while True:
        chunk = take(gate, 0)
        if chunk >= VIEW_CHUNKS:
            break
        s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = s20 = s21 = s22 = s23 = zero
        for block in range(blocks * chunk // VIEW_CHUNKS, blocks * (chunk + 1) // VIEW_CHUNKS):
            i = min(block * LANES, n - LANES)
            rx, ry = columns2(radii_at + 8 * i)
            seen = either(greater(from_int(rx), zero), greater(from_int(ry), zero))
            x0, y0, z0 = columns3(means_at + 12 * i)
            qw, qx, qy, qz = columns4(quats_at + 16 * i)
            sx, sy, sz = columns3(scales_at + 12 * i)
            gu, gv = columns2(g_means2d_at + 8 * i)
            ga, gb, gc = columns3(g_conics_at + 12 * i)
            gb = mul(half, gb)
            norm = sqrt(fma(qw, qw, fma(qx, qx, fma(qy, qy, mul(qz, qz)))))
            unit = div(one, norm)
            qw, qx, qy, qz = mul(qw, unit), mul(qx, unit), mul(qy, unit), mul(qz, unit)
            r = rotation(qw, qx, qy, qz)
            x = fma(v00, x0, fma(v01, y0, fma(v02, z0, v03)))
            y = fma(v10, x0, fma(v11, y0, fma(v12, z0, v13)))
            z = select(seen, fma(v20, x0, fma(v21, y0, fma(v22, z0, v23))), one)
            inverse = div(one, z)
            wide_x, wide_y = mul(x, inverse), mul(y, inverse)
            tan_x = low(splat(right), high(splat(left), wide_x))
            tan_y = low(splat(bottom), high(splat(top), wide_y))
            j00, j11 = mul(fx, inverse), mul(fy, inverse)
            a0, b0, c0, k0, l0, m0 = _camera_axis(
                r[0], r[3], r[6], sx, v00, v01, v02, v10, v11, v12, v20, v21, v22
            )
            a1, b1, c1, k1, l1, m1 = _camera_axis(
                r[1], r[4], r[7], sy, v00, v01, v02, v10, v11, v12, v20, v21, v22
            )
            a2, b2, c2, k2, l2, m2 = _camera_axis(
                r[2], r[5], r[8], sz, v00, v01, v02, v10, v11, v12, v20, v21, v22
            )
            u0, w0 = mul(j00, fnma(tan_x, m0, k0)), mul(j11, fnma(tan_y, m0, l0))
            u1, w1 = mul(j00, fnma(tan_x, m1, k1)), mul(j11, fnma(tan_y, m1, l1))
            u2, w2 = mul(j00, fnma(tan_x, m2, k2)), mul(j11, fnma(tan_y, m2, l2))
            cxx = fma(u0, u0, fma(u1, u1, mul(u2, u2)))
            cyy = fma(w0, w0, fma(w1, w1, mul(w2, w2)))
            cxy = fma(u0, w0, fma(u1, w1, mul(u2, w2)))
            det0 = area(u0, u1, u2, w0, w1, w2)
            det = select(seen, fma(eps, add(add(cxx, cyy), eps), det0), one)
            over_det = div(one, det)
            a, c = mul(add(cyy, eps), over_det), mul(add(cxx, eps), over_det)
            b = mul(sub(zero, cxy), over_det)
            # dcov = -Q G Q with Q the conic as a matrix and G its gradient, B split in two halves
            t00, t01 = fma(a, ga, mul(b, gb)), fma(a, gb, mul(b, gc))
            t10, t11 = fma(b, ga, mul(c, gb)), fma(b, gb, mul(c, gc))
            dxx = sub(zero, fma(t00, a, mul(t01, b)))
            dxy = sub(zero, fma(t00, b, mul(t01, c)))
            dyy = sub(zero, fma(t10, b, mul(t11, c)))
            g_opacity = load(g_opacities2d_at + 4 * i)
            if antialiased:
                ratio = mul(det0, over_det)
                rho = sqrt(high(ratio, floor))
                # d rho = (d det0 / det - ratio d det / det) / (2 rho)
                g_ratio = div(
                    mul(g_opacity, load(opacities_at + 4 * i)), fma(two, rho, splat(TINY))
                )
                g_ratio = mul(select(greater(ratio, floor), g_ratio, zero), over_det)
                dxx = fma(g_ratio, fnma(ratio, add(cyy, eps), cyy), dxx)
                dyy = fma(g_ratio, fnma(ratio, add(cxx, eps), cxx), dyy)
                dxy = fma(g_ratio, mul(cxy, sub(ratio, one)), dxy)
                g_opacity = mul(g_opacity, rho)
            dxx, dxy, dyy = mul(two, dxx), mul(two, dxy), mul(two, dyy)
            du0, dw0 = fma(dxx, u0, mul(dxy, w0)), fma(dxy, u0, mul(dyy, w0))
            du1, dw1 = fma(dxx, u1, mul(dxy, w1)), fma(dxy, u1, mul(dyy, w1))
            du2, dw2 = fma(dxx, u2, mul(dxy, w2)), fma(dxy, u2, mul(dyy, w2))
            dj00, dj02 = dot(du0, du1, du2, k0, k1, k2), dot(du0, du1, du2, m0, m1, m2)
            dj11, dj12 = dot(dw0, dw1, dw2, l0, l1, l2), dot(dw0, dw1, dw2, m0, m1, m2)
            # gradient of the camera-space axes
            k0, k1, k2 = mul(j00, du0), mul(j00, du1), mul(j00, du2)
            l0, l1, l2 = mul(j11, dw0), mul(j11, dw1), mul(j11, dw2)
            m0 = sub(zero, fma(tan_x, k0, mul(tan_y, l0)))
            m1 = sub(zero, fma(tan_x, k1, mul(tan_y, l1)))
            m2 = sub(zero, fma(tan_x, k2, mul(tan_y, l2)))
            # dz: by the mean, by j00 and j11, by j02 = -j00 tan_x and j12
            dx, dy = mul(j00, gu), mul(j11, gv)
            moved_x, moved_y = mul(j00, dj02), mul(j11, dj12)
            by_scale = fma(j00, dj00, mul(j11, dj11))
            by_scale = fnma(two, fma(tan_x, moved_x, mul(tan_y, moved_y)), by_scale)
            g_depth = load(g_depths_at + 4 * i) if deep else zero
            dz = fnma(wide_x, dx, fnma(wide_y, dy, g_depth))
            dz = fnma(by_scale, inverse, dz)
            moved_x, moved_y = mul(moved_x, inverse), mul(moved_y, inverse)
            inside_x = both(greater_equal(wide_x, splat(left)), greater_equal(splat(right), wide_x))
            inside_y = both(greater_equal(wide_y, splat(top)), greater_equal(splat(bottom), wide_y))
            dx = sub(dx, select(inside_x, moved_x, zero))
            dy = sub(dy, select(inside_y, moved_y, zero))
            dz = sub(dz, mul(tan_x, select(inside_x, zero, moved_x)))
            dz = sub(dz, mul(tan_y, select(inside_y, zero, moved_y)))
            dx, dy, dz = select(seen, dx, zero), select(seen, dy, zero), select(seen, dz, zero)
            store_columns(
                g_means_at + 12 * i,
                (dot(v00, v10, v20, dx, dy, dz), dot(v01, v11, v21, dx, dy, dz),
                 dot(v02, v12, v22, dx, dy, dz)),
            )  # fmt: skip
            store(g_opacities_at + 4 * i, select(seen, g_opacity, zero))
            if wanted & VIEWED:
                # lanes that the block before has done already
                new = both(seen, _from(block * LANES - i))
                dx, dy, dz = select(new, dx, zero), select(new, dy, zero), select(new, dz, zero)
                s03, s13, s23 = add(s03, dx), add(s13, dy), add(s23, dz)
                s00, s01, s02 = fma(dx, x0, s00), fma(dx, y0, s01), fma(dx, z0, s02)
                s10, s11, s12 = fma(dy, x0, s10), fma(dy, y0, s11), fma(dy, z0, s12)
                s20, s21, s22 = fma(dz, x0, s20), fma(dz, y0, s21), fma(dz, z0, s22)
                s00 = add(s00, select(new, dot(k0, k1, k2, a0, a1, a2), zero))
                s01 = add(s01, select(new, dot(k0, k1, k2, b0, b1, b2), zero))
                s02 = add(s02, select(new, dot(k0, k1, k2, c0, c1, c2), zero))
                s10 = add(s10, select(new, dot(l0, l1, l2, a0, a1, a2), zero))
                s11 = add(s11, select(new, dot(l0, l1, l2, b0, b1, b2), zero))
                s12 = add(s12, select(new, dot(l0, l1, l2, c0, c1, c2), zero))
                s20 = add(s20, select(new, dot(m0, m1, m2, a0, a1, a2), zero))
                s21 = add(s21, select(new, dot(m0, m1, m2, b0, b1, b2), zero))
                s22 = add(s22, select(new, dot(m0, m1, m2, c0, c1, c2), zero))
            if not wanted & SHAPED:
                continue
            # world-space axes, then scales and rotation
            d00, d10, d20 = _turned_back(k0, l0, m0, v00, v01, v02, v10, v11, v12, v20, v21, v22)
            d01, d11, d21 = _turned_back(k1, l1, m1, v00, v01, v02, v10, v11, v12, v20, v21, v22)
            d02, d12, d22 = _turned_back(k2, l2, m2, v00, v01, v02, v10, v11, v12, v20, v21, v22)
            store_columns(
                g_scales_at + 12 * i,
                (select(seen, dot(d00, d10, d20, r[0], r[3], r[6]), zero),
                 select(seen, dot(d01, d11, d21, r[1], r[4], r[7]), zero),
                 select(seen, dot(d02, d12, d22, r[2], r[5], r[8]), zero)),
            )  # fmt: skip
            d00, d10, d20 = mul(d00, sx), mul(d10, sx), mul(d20, sx)
            d01, d11, d21 = mul(d01, sy), mul(d11, sy), mul(d21, sy)
            d02, d12, d22 = mul(d02, sz), mul(d12, sz), mul(d22, sz)
            n0, n1, n2 = sub(d21, d12), sub(d02, d20), sub(d10, d01)
            p01, p02, p12 = add(d01, d10), add(d02, d20), add(d12, d21)
            gw = dot(qx, qy, qz, n0, n1, n2)
            gx = fma(qw, n0, fma(qy, p01, mul(qz, p02)))
            gy = fma(qw, n1, fma(qx, p01, mul(qz, p12)))
            gz = fma(qw, n2, fma(qx, p02, mul(qy, p12)))
            gx = fnma(mul(two, qx), add(d11, d22), gx)
            gy = fnma(mul(two, qy), add(d00, d22), gy)
            gz = fnma(mul(two, qz), add(d00, d11), gz)
            along = fma(gw, qw, dot(gx, gy, gz, qx, qy, qz))
            scale = mul(two, unit)
            store_columns(
                g_quats_at + 16 * i,
                (select(seen, mul(scale, fnma(along, qw, gw)), zero),
                 select(seen, mul(scale, fnma(along, qx, gx)), zero),
                 select(seen, mul(scale, fnma(along, qy, gy)), zero),
                 select(seen, mul(scale, fnma(along, qz, gz)), zero)),
            )  # fmt: skip
        sums = (
            (total(s00), total(s01), total(s02), total(s03)),
            (total(s10), total(s11), total(s12), total(s13)),
            (total(s20), total(s21), total(s22), total(s23)),
        )
        for k in range(3):
            for q in range(4):
                g_views[chunk, k, q] = sums[k][q]
        finish(gate, 0)
    wait(gate, 0, VIEW_CHUNKS)
    if wanted & VIEWED:
        sum_views(gate, g_views, g_view)


@kernel()
def _from(done):
    """Lanes from `done` on."""
    return greater_equal(splat(F0), select(first(done), splat(F1), splat(F0)))


@kernel()
def _turned_back(a, b, c, v00, v01, v02, v10, v11, v12, v20, v21, v22):
    return (
        dot(v00, v10, v20, a, b, c), dot(v01, v11, v21, a, b, c), dot(v02, v12, v22, a, b, c)
    )  # fmt: skip
