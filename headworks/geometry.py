"""Rotations (wxyz quaternions, axis-angle), triangle frames and alignment, in torch."""

from __future__ import annotations

import torch
from torch import Tensor


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula.

    Args:
        axis_angle: [..., 3] radians.

    Returns:
        [..., 3, 3] active rotation; differentiable at zero.
    """
    x, y, z = axis_angle.unbind(-1)
    squared = (axis_angle * axis_angle).sum(-1)
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    a = torch.where(small, 1 - squared / 6, angle.sin() / angle)[..., None, None]
    b = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)[..., None, None]
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + a * k + b * (k @ k)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """[..., 3, 3] -> axis-angle [..., 3] with angle in [0, pi]."""
    quat = matrix_to_quat(matrix)
    w, v = quat[..., :1], quat[..., 1:]
    v = torch.where(w < 0, -v, v)
    norm = v.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(norm, w.abs())
    return torch.where(norm < 1e-7, 2 * v, v / norm.clamp_min(1e-12) * angle)


def quat_to_matrix(quat: Tensor) -> Tensor:
    """wxyz quaternion of any norm [..., 4] -> rotation [..., 3, 3]."""
    w, x, y, z = torch.nn.functional.normalize(quat, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(*quat.shape[:-1], 3, 3)


def matrix_to_quat(matrix: Tensor) -> Tensor:
    """Rotation [..., 3, 3] -> unit quaternion wxyz [..., 4] (largest-component branch)."""
    m = matrix
    d = torch.stack([m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]], -1)
    trace = d.sum(-1)
    quads = torch.stack([trace, d[..., 0], d[..., 1], d[..., 2]], -1)
    best = quads.argmax(-1)
    off = {
        "wx": m[..., 2, 1] - m[..., 1, 2],
        "wy": m[..., 0, 2] - m[..., 2, 0],
        "wz": m[..., 1, 0] - m[..., 0, 1],
        "xy": m[..., 0, 1] + m[..., 1, 0],
        "xz": m[..., 0, 2] + m[..., 2, 0],
        "yz": m[..., 1, 2] + m[..., 2, 1],
    }
    one = torch.ones_like(trace)
    candidates = torch.stack(
        [
            torch.stack([one + trace, off["wx"], off["wy"], off["wz"]], -1),
            torch.stack([off["wx"], one + 2 * d[..., 0] - trace, off["xy"], off["xz"]], -1),
            torch.stack([off["wy"], off["xy"], one + 2 * d[..., 1] - trace, off["yz"]], -1),
            torch.stack([off["wz"], off["xz"], off["yz"], one + 2 * d[..., 2] - trace], -1),
        ],
        -2,
    )
    index = best[..., None, None].expand(*best.shape, 1, 4)
    return torch.nn.functional.normalize(candidates.gather(-2, index).squeeze(-2), dim=-1)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product of wxyz quaternions [..., 4]; rotates by `b` first, then by `a`."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def triangle_frames(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation and size of each triangle's local frame.

    Args:
        vertices: [..., V, 3] metres. faces: int [F, 3], counter-clockwise seen from outside.

    Returns:
        rotations [..., F, 3, 3], columns = (first edge, normal, in-plane away from v2), det +1;
        sizes [..., F] metres, the mean of the first edge and the height on it.

    Source: GaussianAvatars, as used by GASP section 3.2.
    """
    v0, v1, v2 = (vertices[..., faces[:, i], :] for i in range(3))
    edge = v1 - v0
    length = edge.square().sum(-1, keepdim=True).clamp_min(1e-20).sqrt()
    a0 = edge / length
    normal = torch.linalg.cross(a0, v2 - v0)
    a1 = normal / normal.square().sum(-1, keepdim=True).clamp_min(1e-20).sqrt()
    a2 = torch.linalg.cross(a0, a1)
    height = (a2 * (v2 - v0)).sum(-1).abs()
    return torch.stack([a0, a1, a2], -1), (length[..., 0] + height) / 2


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted unit normals [..., V, 3] of a mesh with vertices [..., V, 3]."""
    v0, v1, v2 = (vertices[..., faces[:, i], :] for i in range(3))
    face = torch.linalg.cross(v1 - v0, v2 - v0)
    normals = torch.zeros_like(vertices)
    for i in range(3):
        normals.index_add_(-2, faces[:, i], face)
    return torch.nn.functional.normalize(normals, dim=-1)


def similarity_align(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Least-squares similarity: target = s R source + t (Umeyama 1991).

    Args:
        source: [N, 3]. target: [N, 3].

    Returns:
        scale [], rotation [3, 3], translation [3].
    """
    mu_s, mu_t = source.mean(0), target.mean(0)
    a, b = source - mu_s, target - mu_t
    u, d, vt = torch.linalg.svd(b.T @ a / len(a))
    sign = torch.ones(3, dtype=source.dtype)
    sign[2] = torch.sign(torch.det(u) * torch.det(vt))
    rotation = u @ torch.diag(sign) @ vt
    scale = (d * sign).sum() / a.square().sum(-1).mean()
    return scale, rotation, mu_t - scale * rotation @ mu_s
