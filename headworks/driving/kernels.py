"""Loops of the poser: skinning, and Gaussians carried by their triangles. Released GIL, cached.

`headworks.avatars.binding` (gaussian_frames, place) is the reference that tests compare with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_FAST = {"nnan", "ninf", "nsz", "contract", "arcp"}


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def shape_and_skin(
    thread: int, threads: int, base: Any, basis: Any, reach: Any, coefficients: Any, weights: Any,
    rotations: Any, offsets: Any, out: Any,
) -> None:  # fmt: skip
    """Shapes added to the rest, then linear blend skinning, of a share of the vertices.

    Args:
        base: [3 V]. basis: [K, 3 V]. reach: int64 [K, 2], the part of a row outside which it is
            zero. coefficients: [K]. weights: [V, J]. rotations: [J, 3, 3]. offsets: [J, 3].
        out: [V, 3].
    """
    count, joints = weights.shape
    first, end = count * thread // threads, count * (thread + 1) // threads
    rest = base[3 * first : 3 * end].copy()
    for k in range(len(coefficients)):
        c = coefficients[k]
        low, high = max(reach[k, 0], 3 * first), min(reach[k, 1], 3 * end)
        if c != 0 and low < high:
            row = basis[k, low:high]
            part = rest[low - 3 * first : high - 3 * first]
            for n in range(len(row)):
                part[n] += c * row[n]
    for v in range(first, end):
        n = 3 * (v - first)
        x, y, z = rest[n], rest[n + 1], rest[n + 2]
        a = b = c = np.float32(0)
        for j in range(joints):
            w = weights[v, j]
            if w != 0:
                r = rotations[j]
                a += w * (r[0, 0] * x + r[0, 1] * y + r[0, 2] * z + offsets[j, 0])
                b += w * (r[1, 0] * x + r[1, 1] * y + r[1, 2] * z + offsets[j, 1])
                c += w * (r[2, 0] * x + r[2, 1] * y + r[2, 2] * z + offsets[j, 2])
        out[v, 0], out[v, 1], out[v, 2] = a, b, c


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def carry(
    thread: int, threads: int, vertices: Any, corners: Any, order: Any, bary: Any, means: Any,
    quats: Any, scales: Any, out_means: Any, out_quats: Any, out_scales: Any,
) -> None:  # fmt: skip
    """A share of the Gaussians in the frames of their triangles: GASP equation (2).

    Gaussians of one triangle lie one after another, so that its frame is computed once.

    Args:
        vertices: [V, 3]. corners: int32 [N, 3]. order: int32 [N], where in the results each
            belongs. bary: [N, 3]. means: [N, 3] local. quats: [N, 4] local, unit, wxyz.
        scales: [N, 3] local, linear. out_*: the world's.
    """
    one, half, tiny = np.float32(1), np.float32(0.5), np.float32(1e-20)
    count = len(corners)
    before = np.int32(-1), np.int32(-1), np.int32(-1)
    for n in range(count * thread // threads, count * (thread + 1) // threads):
        i, j, k = corners[n, 0], corners[n, 1], corners[n, 2]
        if (i, j, k) != before:
            before = (i, j, k)
            x0, y0, z0 = vertices[i, 0], vertices[i, 1], vertices[i, 2]
            x1, y1, z1 = vertices[j, 0], vertices[j, 1], vertices[j, 2]
            x2, y2, z2 = vertices[k, 0], vertices[k, 1], vertices[k, 2]
            ax, ay, az = x1 - x0, y1 - y0, z1 - z0
            length = np.sqrt(max(ax * ax + ay * ay + az * az, tiny))
            ax, ay, az = ax / length, ay / length, az / length
            sx, sy, sz = x2 - x0, y2 - y0, z2 - z0
            bx, by, bz = ay * sz - az * sy, az * sx - ax * sz, ax * sy - ay * sx
            norm = np.sqrt(max(bx * bx + by * by + bz * bz, tiny))
            bx, by, bz = bx / norm, by / norm, bz / norm
            cx, cy, cz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
            size = half * (length + abs(cx * sx + cy * sy + cz * sz))
            # The frame's columns are a, b, c: its quaternion by the largest component.
            trace = ax + by + cz
            if trace >= ax and trace >= by and trace >= cz:
                fw, fx, fy, fz = one + trace, bz - cy, cx - az, ay - bx
            elif ax >= by and ax >= cz:
                fw, fx, fy, fz = bz - cy, one + ax + ax - trace, ay + bx, cx + az
            elif by >= cz:
                fw, fx, fy, fz = cx - az, ay + bx, one + by + by - trace, bz + cy
            else:
                fw, fx, fy, fz = ay - bx, cx + az, bz + cy, one + cz + cz - trace
            norm = np.sqrt(max(fw * fw + fx * fx + fy * fy + fz * fz, tiny))
            fw, fx, fy, fz = fw / norm, fx / norm, fy / norm, fz / norm
        u, v, w = bary[n, 0], bary[n, 1], bary[n, 2]
        mx, my, mz = size * means[n, 0], size * means[n, 1], size * means[n, 2]
        m = order[n]
        out_means[m, 0] = u * x0 + v * x1 + w * x2 + ax * mx + bx * my + cx * mz
        out_means[m, 1] = u * y0 + v * y1 + w * y2 + ay * mx + by * my + cy * mz
        out_means[m, 2] = u * z0 + v * z1 + w * z2 + az * mx + bz * my + cz * mz
        qw, qx, qy, qz = quats[n, 0], quats[n, 1], quats[n, 2], quats[n, 3]
        out_quats[m, 0] = fw * qw - fx * qx - fy * qy - fz * qz
        out_quats[m, 1] = fw * qx + fx * qw + fy * qz - fz * qy
        out_quats[m, 2] = fw * qy - fx * qz + fy * qw + fz * qx
        out_quats[m, 3] = fw * qz + fx * qy - fy * qx + fz * qw
        for d in range(3):
            out_scales[m, d] = size * scales[n, d]
