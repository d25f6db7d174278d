"""Frames of triangles and of Gaussians on them in one loop, on the CPU.

`headworks.avatars.binding.gaussian_frames` (without gradient) and `face_frames` of
`headworks.avatars.gaussian_avatars.model` (with) say in tensors what they are, and call these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor


@njit(cache=True, nogil=True, error_model="numpy")
def frames(
    vertices: Any, corners: Any, bary: Any, origins: Any, rotations: Any, quats: Any, sizes: Any
) -> None:
    """Fill in the frames of N Gaussians.

    Args:
        vertices: float32 [V, 3]. corners: int64 [N, 3]. bary: [N, 3].
        origins: out [N, 3]. rotations: out [N, 3, 3]. quats: out [N, 4]. sizes: out [N].
    """
    one, half, tiny = np.float32(1), np.float32(0.5), np.float32(1e-20)
    for n in range(len(corners)):
        i, j, k = corners[n, 0], corners[n, 1], corners[n, 2]
        x0, y0, z0 = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        x1, y1, z1 = vertices[j, 0], vertices[j, 1], vertices[j, 2]
        x2, y2, z2 = vertices[k, 0], vertices[k, 1], vertices[k, 2]
        u, v, w = bary[n, 0], bary[n, 1], bary[n, 2]
        origins[n, 0] = u * x0 + v * x1 + w * x2
        origins[n, 1] = u * y0 + v * y1 + w * y2
        origins[n, 2] = u * z0 + v * z1 + w * z2
        ax, ay, az = x1 - x0, y1 - y0, z1 - z0
        length = np.sqrt(max(ax * ax + ay * ay + az * az, tiny))
        ax, ay, az = ax / length, ay / length, az / length
        sx, sy, sz = x2 - x0, y2 - y0, z2 - z0
        bx, by, bz = ay * sz - az * sy, az * sx - ax * sz, ax * sy - ay * sx
        norm = np.sqrt(max(bx * bx + by * by + bz * bz, tiny))
        bx, by, bz = bx / norm, by / norm, bz / norm
        cx, cy, cz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        sizes[n] = half * (length + abs(cx * sx + cy * sy + cz * sz))
        rotations[n, 0, 0], rotations[n, 0, 1], rotations[n, 0, 2] = ax, bx, cx
        rotations[n, 1, 0], rotations[n, 1, 1], rotations[n, 1, 2] = ay, by, cy
        rotations[n, 2, 0], rotations[n, 2, 1], rotations[n, 2, 2] = az, bz, cz
        # The quaternion by its largest component, as `headworks.geometry.matrix_to_quat` has it.
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
        quats[n, 0], quats[n, 1], quats[n, 2], quats[n, 3] = (
            fw / norm, fx / norm, fy / norm, fz / norm,
        )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def frames_backward(
    corners: Any, rotations: Any, quats: Any, lengths: Any, heights: Any, sides: Any,
    to_origins: Any, to_rotations: Any, to_quats: Any, to_sizes: Any, out: Any,
) -> None:  # fmt: skip
    """Gradient at the vertices of the frames of N triangles, whose origins are their centroids.

    With edges e = v1 - v0, s = v2 - v0 the frame is a = e / |e|, b = a x s / |a x s|, c = a x b,
    and the size (|e| + |a x s|) / 2. A quaternion's gradient turns into that of the rotation
    vector w by dq = (0, w) q / 2, and t of w is that of (t x a, t x b, t x c) / 2 of the columns.

    Args:
        corners: int64 [N, 3]. rotations: [N, 3, 3]. quats: [N, 4]. lengths: |e| [N].
        heights: |a x s| [N]. sides: s [N, 3]. to_*: gradients at the frames' parts.
        out: [V, 3], added to. Triangles of no area get no gradient.
    """
    half, third, least = np.float32(0.5), np.float32(1 / 3), np.float32(1e-9)
    for n in range(len(corners)):
        i, j, k = corners[n, 0], corners[n, 1], corners[n, 2]
        for d in range(3):
            g = third * to_origins[n, d]
            out[i, d] += g
            out[j, d] += g
            out[k, d] += g
        length, height = lengths[n], heights[n]
        if length < least or height < least:
            continue
        r, to = rotations[n], to_rotations[n]
        ax, ay, az = r[0, 0], r[1, 0], r[2, 0]
        bx, by, bz = r[0, 1], r[1, 1], r[2, 1]
        cx, cy, cz = r[0, 2], r[1, 2], r[2, 2]
        w, x, y, z = quats[n, 0], quats[n, 1], quats[n, 2], quats[n, 3]
        gw, gx, gy, gz = to_quats[n, 0], to_quats[n, 1], to_quats[n, 2], to_quats[n, 3]
        quarter = half * half
        tx = quarter * (-gw * x + gx * w - gy * z + gz * y)
        ty = quarter * (-gw * y + gx * z + gy * w - gz * x)
        tz = quarter * (-gw * z - gx * y + gy * x + gz * w)
        gax, gay, gaz = ty * az - tz * ay, tz * ax - tx * az, tx * ay - ty * ax
        gbx, gby, gbz = ty * bz - tz * by, tz * bx - tx * bz, tx * by - ty * bx
        gcx, gcy, gcz = ty * cz - tz * cy, tz * cx - tx * cz, tx * cy - ty * cx
        gax, gay, gaz = gax + to[0, 0], gay + to[1, 0], gaz + to[2, 0]
        gbx, gby, gbz = gbx + to[0, 1], gby + to[1, 1], gbz + to[2, 1]
        gcx, gcy, gcz = gcx + to[0, 2], gcy + to[1, 2], gcz + to[2, 2]
        gax, gay, gaz = (
            gax + by * gcz - bz * gcy, gay + bz * gcx - bx * gcz, gaz + bx * gcy - by * gcx,
        )  # fmt: skip
        gbx, gby, gbz = (
            gbx + gcy * az - gcz * ay, gby + gcz * ax - gcx * az, gbz + gcx * ay - gcy * ax,
        )  # fmt: skip
        along = bx * gbx + by * gby + bz * gbz
        scale = half * to_sizes[n]
        mx = (gbx - along * bx) / height + scale * bx
        my = (gby - along * by) / height + scale * by
        mz = (gbz - along * bz) / height + scale * bz
        sx, sy, sz = sides[n, 0], sides[n, 1], sides[n, 2]
        gax, gay, gaz = (
            gax + sy * mz - sz * my, gay + sz * mx - sx * mz, gaz + sx * my - sy * mx,
        )  # fmt: skip
        hx, hy, hz = my * az - mz * ay, mz * ax - mx * az, mx * ay - my * ax
        along = ax * gax + ay * gay + az * gaz
        ex = (gax - along * ax) / length + scale * ax
        ey = (gay - along * ay) / length + scale * ay
        ez = (gaz - along * az) / length + scale * az
        out[i, 0] -= ex + hx
        out[i, 1] -= ey + hy
        out[i, 2] -= ez + hz
        out[j, 0] += ex
        out[j, 1] += ey
        out[j, 2] += ez
        out[k, 0] += hx
        out[k, 1] += hy
        out[k, 2] += hz


class FaceFramesFunction(torch.autograd.Function):
    """Centroids [F, 3], rotations [F, 3, 3], quaternions [F, 4] and sizes [F] of a mesh's faces."""

    @staticmethod
    def forward(ctx: Any, vertices: Tensor, faces: Tensor) -> tuple[Tensor, ...]:
        n = len(faces)
        out = tuple(torch.empty(n, *shape) for shape in ((3,), (3, 3), (4,), ()))
        bary = torch.full((n, 3), 1 / 3)
        given = (vertices.detach().contiguous(), faces.contiguous(), bary)
        frames(*(x.numpy() for x in (*given, *out)))
        ctx.save_for_backward(vertices, faces, out[1], out[2])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        vertices, faces, rotations, quats = ctx.saved_tensors
        corners = vertices.detach()[faces]
        sides = corners[:, 2] - corners[:, 0]
        lengths = (corners[:, 1] - corners[:, 0]).norm(dim=-1)
        heights = torch.linalg.cross(rotations[..., 0].contiguous(), sides).norm(dim=-1)
        out = torch.zeros_like(vertices)
        given = (faces, rotations, quats, lengths, heights, sides, *gradients, out)
        frames_backward(*(x.detach().contiguous().numpy() for x in given))
        return out, None
