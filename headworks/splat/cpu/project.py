# mypy: ignore-errors
"""Projection of Gaussians to the image plane and its gradient (section 1 of docs/rasteriser.md).

Arithmetic in double precision between float32 loads and stores.
"""

from __future__ import annotations

import math

import numpy as np

from headworks.splat.cpu.bins import arrange
from headworks.splat.cpu.gate import finish, take, wait
from headworks.splat.cpu.jit import kernel
from headworks.splat.cpu.rules import F0, SHAPED, VIEWED

TILE = 32  # pixels per side of the tiles whose lists are blended
MAX_EXTENT = 3.33
MIN_ALPHA = 1.0 / 255.0
TAN_MARGIN = 0.3
LOG2_E = math.log2(math.e)
VIEW_CHUNKS = 64  # fixed, so that the view gradient does not depend on the thread count


@kernel()
def _rotation(w, x, y, z, R):
    """Unit quaternion to a row-major rotation [9]."""
    R[0] = 1 - 2 * (y * y + z * z)
    R[1] = 2 * (x * y - w * z)
    R[2] = 2 * (x * z + w * y)
    R[3] = 2 * (x * y + w * z)
    R[4] = 1 - 2 * (x * x + z * z)
    R[5] = 2 * (y * z - w * x)
    R[6] = 2 * (x * z - w * y)
    R[7] = 2 * (y * z + w * x)
    R[8] = 1 - 2 * (x * x + y * y)


@kernel()
def project(
    part, parts, means, quats, scales, opacities, view, K, size, near, far, eps2d, radius_clip,
    antialiased, rho_floor, means2d, conics, opacities2d, depths, spans, radii, records, bad,
):  # fmt: skip
    """Project one part of the Gaussians.

    Args:
        means, quats, scales, opacities: float32 [N, 3], [N, 4], [N, 3], [N].
        view: float32 [4, 4]. K: float64 [3, 3]. size: (width, height).
        means2d, conics, opacities2d, depths: float32 outputs [N, 2], [N, 3], [N], [N].
        spans: int32 [N, 4] out, tiles that the box around alpha >= 1/255 touches: first and
            one-past-last in x, then in y; all 0 where culled. radii: int32 [N, 2] out, 0 = culled.
        records: float32 [N, 8] for blending: x, y, conic in units of log 2 (xx and yy halved), log2
            opacity, and the slopes -B/A, -B/C of the ellipse's axes.
        bad: int64 [2], the first set to an index with a non-finite value or a zero quaternion.
    """
    n = len(means)
    width, height = size
    fx, fy, cx, cy = float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
    margin_x, margin_y = TAN_MARGIN * 0.5 * width / fx, TAN_MARGIN * 0.5 * height / fy
    right, left = (width - cx) / fx + margin_x, cx / fx + margin_x
    bottom, top = (height - cy) / fy + margin_y, cy / fy + margin_y
    V = np.empty((3, 4))
    for q in range(12):
        V[q // 4, q % 4] = view[q // 4, q % 4]
    R = np.empty(9)
    tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
    for i in range(n * part // parts, n * (part + 1) // parts):
        radii[i, 0] = 0
        radii[i, 1] = 0
        means2d[i, 0] = 0.0
        means2d[i, 1] = 0.0
        conics[i, 0] = 0.0
        conics[i, 1] = 0.0
        conics[i, 2] = 0.0
        opacities2d[i] = 0.0
        depths[i] = 0.0
        for k in range(4):
            spans[i, k] = 0
        x0, y0, z0 = float(means[i, 0]), float(means[i, 1]), float(means[i, 2])
        qw, qx, qy, qz = (
            float(quats[i, 0]), float(quats[i, 1]), float(quats[i, 2]), float(quats[i, 3]),
        )  # fmt: skip
        sx, sy, sz = float(scales[i, 0]), float(scales[i, 1]), float(scales[i, 2])
        opacity = float(opacities[i])
        norm = math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
        # finite - finite = 0; inf and nan give nan
        total = abs(x0) + abs(y0) + abs(z0) + norm + abs(sx) + abs(sy) + abs(sz) + abs(opacity)
        if total - total != 0.0 or norm == 0.0:
            bad[0] = i
            continue
        z = V[2, 0] * x0 + V[2, 1] * y0 + V[2, 2] * z0 + V[2, 3]
        if not (z >= near and z <= far) or z <= 0.0:
            continue
        x = V[0, 0] * x0 + V[0, 1] * y0 + V[0, 2] * z0 + V[0, 3]
        y = V[1, 0] * x0 + V[1, 1] * y0 + V[1, 2] * z0 + V[1, 3]
        _rotation(qw / norm, qx / norm, qy / norm, qz / norm, R)
        tan_x = min(right, max(-left, x / z))
        tan_y = min(bottom, max(-top, y / z))
        j00, j02 = fx / z, -fx * tan_x / z
        j11, j12 = fy / z, -fy * tan_y / z
        cxx = cxy = cyy = 0.0
        for k in range(3):
            s = sx if k == 0 else (sy if k == 1 else sz)
            a, b, c = R[k] * s, R[3 + k] * s, R[6 + k] * s
            m2 = V[2, 0] * a + V[2, 1] * b + V[2, 2] * c
            u = j00 * (V[0, 0] * a + V[0, 1] * b + V[0, 2] * c) + j02 * m2
            v = j11 * (V[1, 0] * a + V[1, 1] * b + V[1, 2] * c) + j12 * m2
            cxx += u * u
            cxy += u * v
            cyy += v * v
        det0 = cxx * cyy - cxy * cxy
        cxx += eps2d
        cyy += eps2d
        det = cxx * cyy - cxy * cxy
        if not det > 0.0:
            continue
        if antialiased:
            opacity *= math.sqrt(max(det0 / det, rho_floor))
        if opacity < MIN_ALPHA:
            continue
        extent = min(MAX_EXTENT, math.sqrt(2.0 * math.log(255.0 * opacity)))
        box_x, box_y = extent * math.sqrt(cxx), extent * math.sqrt(cyy)
        rx, ry = math.ceil(box_x), math.ceil(box_y)
        if rx <= radius_clip and ry <= radius_clip:
            continue
        u, v = fx * x / z + cx, fy * y / z + cy
        if u + rx <= 0 or u - rx >= width or v + ry <= 0 or v - ry >= height:
            continue
        means2d[i, 0] = u
        means2d[i, 1] = v
        conics[i, 0] = cyy / det
        conics[i, 1] = -cxy / det
        conics[i, 2] = cxx / det
        opacities2d[i] = opacity
        depths[i] = z
        records[i, 0] = u
        records[i, 1] = v
        records[i, 2] = 0.5 * LOG2_E * cyy / det
        records[i, 3] = -LOG2_E * cxy / det
        records[i, 4] = 0.5 * LOG2_E * cxx / det
        records[i, 5] = math.log2(opacity)
        records[i, 6] = cxy / cyy
        records[i, 7] = cxy / cxx
        spans[i, 0] = min(tiles_x, max(0, int(min(max(u - box_x, -1.0), 1e9)) // TILE))
        last_x = int(max(min(u + box_x, 1e9), -1.0)) // TILE + 1
        spans[i, 1] = max(spans[i, 0], min(tiles_x, last_x))
        spans[i, 2] = min(tiles_y, max(0, int(min(max(v - box_y, -1.0), 1e9)) // TILE))
        last_y = int(max(min(v + box_y, 1e9), -1.0)) // TILE + 1
        spans[i, 3] = max(spans[i, 2], min(tiles_y, last_y))
        radii[i, 0] = int(min(rx, 1e9))
        radii[i, 1] = int(min(ry, 1e9))


@kernel()
def check(part, parts, colors, view, K, bad):
    """Set bad[1] when one part of the colours, or the camera, has a non-finite value.

    Args:
        colors: float32 [any], what shall be looked at. view, K, bad: of `project`.
    """
    n, wrong = len(colors), 0
    for i in range(n * part // parts, n * (part + 1) // parts):
        wrong += colors[i] - colors[i] != F0  # inf and nan give nan
    for q in range(9 if part == 0 else 0):
        wrong += K[q // 3, q % 3] - K[q // 3, q % 3] != 0.0
    for q in range(16 if part == 0 else 0):
        wrong += view[q // 4, q % 4] - view[q // 4, q % 4] != F0
    if wrong > 0:
        bad[1] = wrong


@kernel()
def prepare(
    thread, threads, gate, parts, means, quats, scales, opacities, view, K, size, near, far, eps2d,
    radius_clip, antialiased, rho_floor, means2d, conics, opacities2d, depths, spans, radii,
    records, bad, colors, tiles_x, order, visible, counts, offsets, tile_order, slot_offsets,
):  # fmt: skip
    """Project in so many parts, sort by depth, measure the lists: four phases of a gate.

    Args:
        means to bad: of `project`. colors: of `check`. tiles_x to slot_offsets: of `bins.arrange`.
    """
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
def project_backward(
    thread, threads, gate, means, quats, scales, opacities, view, K, size, eps2d, antialiased,
    rho_floor, radii, g_means2d, g_conics, g_opacities2d, g_depths, wanted, g_means, g_quats,
    g_scales, g_opacities, g_views, g_view,
):  # fmt: skip
    """Gradient of `project`; arguments as there, `g_` = gradient of the loss.

    Args:
        gate: two phases. g_depths: empty when there is none.
        wanted: bits of `rules`: SHAPED fills g_quats and g_scales, VIEWED g_views; else they may be
            empty. The others are always filled.
        g_views: float64 [VIEW_CHUNKS, 3, 4], one sum per fixed chunk of Gaussians.
        g_view: float32 [4, 4] out, the sum of them.
    """
    n = len(means)
    width, height = size
    fx, fy, cx, cy = float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
    margin_x, margin_y = TAN_MARGIN * 0.5 * width / fx, TAN_MARGIN * 0.5 * height / fy
    right, left = (width - cx) / fx + margin_x, cx / fx + margin_x
    bottom, top = (height - cy) / fy + margin_y, cy / fy + margin_y
    V = np.empty((3, 4))
    for q in range(12):
        V[q // 4, q % 4] = view[q // 4, q % 4]
    R, H = np.empty(9), np.empty(9)
    M, Mc, dMc = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    P = np.empty((2, 3))
    dP = np.empty((2, 3))
    gV = np.empty((3, 4))
    while True:
        chunk = take(gate, 0)
        if chunk >= VIEW_CHUNKS:
            break
        for q in range(12):
            gV[q // 4, q % 4] = 0.0
        for i in range(n * chunk // VIEW_CHUNKS, n * (chunk + 1) // VIEW_CHUNKS):
            for k in range(3):
                g_means[i, k] = 0.0
            if wanted & SHAPED:
                for k in range(3):
                    g_scales[i, k] = 0.0
                for k in range(4):
                    g_quats[i, k] = 0.0
            g_opacities[i] = 0.0
            if radii[i, 0] == 0 and radii[i, 1] == 0:
                continue
            hidden = g_means2d[i, 0] == 0 and g_means2d[i, 1] == 0 and g_conics[i, 0] == 0
            hidden = hidden and g_conics[i, 1] == 0 and g_conics[i, 2] == 0
            g_depth = float(g_depths[i]) if len(g_depths) else 0.0
            if hidden and g_opacities2d[i] == 0 and g_depth == 0:
                continue
            x0, y0, z0 = float(means[i, 0]), float(means[i, 1]), float(means[i, 2])
            qw, qx, qy, qz = (
                float(quats[i, 0]), float(quats[i, 1]), float(quats[i, 2]), float(quats[i, 3]),
            )  # fmt: skip
            norm = math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
            qw, qx, qy, qz = qw / norm, qx / norm, qy / norm, qz / norm
            _rotation(qw, qx, qy, qz, R)
            x = V[0, 0] * x0 + V[0, 1] * y0 + V[0, 2] * z0 + V[0, 3]
            y = V[1, 0] * x0 + V[1, 1] * y0 + V[1, 2] * z0 + V[1, 3]
            z = V[2, 0] * x0 + V[2, 1] * y0 + V[2, 2] * z0 + V[2, 3]
            tan_x = min(right, max(-left, x / z))
            tan_y = min(bottom, max(-top, y / z))
            j00, j02 = fx / z, -fx * tan_x / z
            j11, j12 = fy / z, -fy * tan_y / z
            cxx = cxy = cyy = 0.0
            for k in range(3):
                s = float(scales[i, k])
                for r in range(3):
                    M[r, k] = R[3 * r + k] * s
                for r in range(3):
                    Mc[r, k] = V[r, 0] * M[0, k] + V[r, 1] * M[1, k] + V[r, 2] * M[2, k]
                P[0, k] = j00 * Mc[0, k] + j02 * Mc[2, k]
                P[1, k] = j11 * Mc[1, k] + j12 * Mc[2, k]
                cxx += P[0, k] * P[0, k]
                cxy += P[0, k] * P[1, k]
                cyy += P[1, k] * P[1, k]
            det0 = cxx * cyy - cxy * cxy
            cxx += eps2d
            cyy += eps2d
            det = cxx * cyy - cxy * cxy
            a, b, c = cyy / det, -cxy / det, cxx / det
            # dcov = -Q G Q with Q the conic as a matrix and G its gradient, B split in two halves
            ga, gb, gc = float(g_conics[i, 0]), 0.5 * float(g_conics[i, 1]), float(g_conics[i, 2])
            t00, t01 = a * ga + b * gb, a * gb + b * gc
            t10, t11 = b * ga + c * gb, b * gb + c * gc
            dxx = -(t00 * a + t01 * b)
            dxy = -(t00 * b + t01 * c)
            dyy = -(t10 * b + t11 * c)
            g_opacity = float(g_opacities2d[i])
            if antialiased:
                ratio = det0 / det
                rho = math.sqrt(max(ratio, rho_floor))
                g_opacities[i] = g_opacity * rho
                if ratio > rho_floor:
                    # d rho = (d det0 / det - ratio d det / det) / (2 rho)
                    g_ratio = g_opacity * float(opacities[i]) / (2.0 * rho + 1e-12)
                    dxx += g_ratio * ((cyy - eps2d) - ratio * cyy) / det
                    dyy += g_ratio * ((cxx - eps2d) - ratio * cxx) / det
                    dxy += g_ratio * (-cxy + ratio * cxy) / det
            else:
                g_opacities[i] = g_opacity
            dj00 = dj02 = dj11 = dj12 = 0.0
            for k in range(3):
                dP[0, k] = 2.0 * (dxx * P[0, k] + dxy * P[1, k])
                dP[1, k] = 2.0 * (dxy * P[0, k] + dyy * P[1, k])
                dj00 += dP[0, k] * Mc[0, k]
                dj02 += dP[0, k] * Mc[2, k]
                dj11 += dP[1, k] * Mc[1, k]
                dj12 += dP[1, k] * Mc[2, k]
                dMc[0, k] = j00 * dP[0, k]
                dMc[1, k] = j11 * dP[1, k]
                dMc[2, k] = j02 * dP[0, k] + j12 * dP[1, k]
            gu, gv = float(g_means2d[i, 0]), float(g_means2d[i, 1])
            zz = z * z
            dx = j00 * gu
            dy = j11 * gv
            dz = g_depth - (fx * x * gu + fy * y * gv + fx * dj00 + fy * dj11) / zz
            dz += 2.0 * (fx * tan_x * dj02 + fy * tan_y * dj12) / zz
            dtx, dty = -fx / zz * dj02, -fy / zz * dj12
            if -left <= x / z <= right:
                dx += dtx
            else:
                dz += dtx * tan_x
            if -top <= y / z <= bottom:
                dy += dty
            else:
                dz += dty * tan_y
            for k in range(3):
                g_means[i, k] = V[0, k] * dx + V[1, k] * dy + V[2, k] * dz
            gV[0, 0] += dx * x0
            gV[0, 1] += dx * y0
            gV[0, 2] += dx * z0
            gV[0, 3] += dx
            gV[1, 0] += dy * x0
            gV[1, 1] += dy * y0
            gV[1, 2] += dy * z0
            gV[1, 3] += dy
            gV[2, 0] += dz * x0
            gV[2, 1] += dz * y0
            gV[2, 2] += dz * z0
            gV[2, 3] += dz
            for k in range(3):
                s = float(scales[i, k])
                ds = 0.0
                for r in range(3):
                    dM = V[0, r] * dMc[0, k] + V[1, r] * dMc[1, k] + V[2, r] * dMc[2, k]
                    ds += dM * R[3 * r + k]
                    H[3 * r + k] = dM * s
                    for q in range(3):
                        gV[q, r] += dMc[q, k] * M[r, k]
                if wanted & SHAPED:
                    g_scales[i, k] = ds
            if not wanted & SHAPED:
                continue
            gw = 2 * (qx * (H[7] - H[5]) + qy * (H[2] - H[6]) + qz * (H[3] - H[1]))
            gx = 2 * (-2 * qx * (H[4] + H[8]) + qy * (H[1] + H[3]) + qz * (H[2] + H[6])
                      + qw * (H[7] - H[5]))  # fmt: skip
            gy = 2 * (qx * (H[1] + H[3]) - 2 * qy * (H[0] + H[8]) + qz * (H[5] + H[7])
                      + qw * (H[2] - H[6]))  # fmt: skip
            gz = 2 * (qx * (H[2] + H[6]) + qy * (H[5] + H[7]) - 2 * qz * (H[0] + H[4])
                      + qw * (H[3] - H[1]))  # fmt: skip
            along = gw * qw + gx * qx + gy * qy + gz * qz
            g_quats[i, 0] = (gw - along * qw) / norm
            g_quats[i, 1] = (gx - along * qx) / norm
            g_quats[i, 2] = (gy - along * qy) / norm
            g_quats[i, 3] = (gz - along * qz) / norm
        for q in range(12 if wanted & VIEWED else 0):
            g_views[chunk, q // 4, q % 4] = gV[q // 4, q % 4]
        finish(gate, 0)
    wait(gate, 0, VIEW_CHUNKS)
    if wanted & VIEWED:
        sum_views(gate, g_views, g_view)


@kernel()
def sum_views(gate, g_views, g_view):
    """The gradient of the view matrix: the second phase of `project_backward`."""
    if take(gate, 1) == 0:
        for q in range(4):
            g_view[3, q] = 0.0
        for q in range(12):
            total = 0.0
            for chunk in range(VIEW_CHUNKS):
                total += g_views[chunk, q // 4, q % 4]
            g_view[q // 4, q % 4] = total
        finish(gate, 1)
    wait(gate, 1, 1)
