"""Gaussians in the frames of their faces, with view-dependent colour."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from headworks.gaussians import Gaussians
from headworks.geometry import matrix_to_quat, quat_multiply, triangle_frames
from headworks.heads.base import HeadModel
from headworks.seeds import generator
from headworks.splat.sh import coefficients_of_degree, colors_seen_from

INITIAL_OPACITY = 0.1


class FaceGaussians(NamedTuple):
    """Raw Gaussians in the local frames of their faces.

    Attributes:
        means: [N, 3] in face sizes, from the face's centroid. log_scales: [N, 3], relative to the
            face size. quats: [N, 4] wxyz, any norm. sh_dc: [N, 1, 3], sh_rest: [N, K - 1, 3]
            coefficients of the colour. opacities: [N] logits.
    """

    means: Tensor
    log_scales: Tensor
    quats: Tensor
    sh_dc: Tensor
    sh_rest: Tensor
    opacities: Tensor


class FaceFrames(NamedTuple):
    """Frames of all faces of a posed mesh.

    Attributes:
        centroids: [F, 3] metres. rotations: [F, 3, 3]. quats: [F, 4] wxyz. sizes: [F] metres.
    """

    centroids: Tensor
    rotations: Tensor
    quats: Tensor
    sizes: Tensor


def initial_gaussians(head: HeadModel, sh_degree: int, seed: int) -> tuple[FaceGaussians, Tensor]:
    """One Gaussian per face, at its centroid, as large as the face, faint and grey.

    Returns:
        The Gaussians and int64 [F], the face of each.

    Source: GaussianAvatars scene/gaussian_model.py.
    """
    n = len(head.faces)
    quats = torch.zeros(n, 4)
    quats[:, 0] = 1
    dc = generator(seed, "gaussian avatars colours").random((n, 1, 3)) / 255
    local = FaceGaussians(
        means=torch.zeros(n, 3),
        log_scales=torch.zeros(n, 3),
        quats=quats,
        sh_dc=torch.from_numpy(dc).float(),
        sh_rest=torch.zeros(n, coefficients_of_degree(sh_degree) - 1, 3),
        opacities=torch.full((n,), INITIAL_OPACITY).logit(),
    )
    return local, torch.arange(n)


def face_frames(vertices: Tensor, faces: Tensor) -> FaceFrames:
    """Frames of the faces of one posed mesh, differentiable in the vertices.

    Args:
        vertices: [V, 3] metres. faces: int64 [F, 3].

    Source: `headworks.geometry.triangle_frames`; the origin is the centroid.
    """
    if vertices.device.type == "cpu" and vertices.dtype == torch.float32:
        from headworks.avatars.frames import FaceFramesFunction

        return FaceFrames(*FaceFramesFunction.apply(vertices, faces))
    rotations, sizes = triangle_frames(vertices, faces)
    return FaceFrames(vertices[faces].mean(1), rotations, matrix_to_quat(rotations), sizes)


def world_gaussians(
    local: FaceGaussians, binding: Tensor, frames: FaceFrames, centre: Tensor | None, degree: int
) -> Gaussians:
    """Raw Gaussians -> activated Gaussians in the world, coloured as one camera sees them.

    x = k R mu + T, s = k exp(sigma), q = q_face q_local.

    Args:
        binding: int64 [N], face of each. frames: of the posed mesh. centre: [3] of the camera, or
            None for the colours without their view-dependent part. degree: of the harmonics used.

    Source: GaussianAvatars scene/gaussian_model.py.
    """
    size = frames.sizes[binding, None]
    offsets = torch.einsum("nij,nj->ni", frames.rotations[binding], local.means)
    means = frames.centroids[binding] + size * offsets
    if centre is None or degree == 0:
        coefficients, centre, degree = local.sh_dc, means.new_zeros(3), 0
    else:
        coefficients = torch.cat([local.sh_dc, local.sh_rest], 1)
    return Gaussians(
        means=means,
        quats=quat_multiply(
            frames.quats[binding], torch.nn.functional.normalize(local.quats, dim=-1)
        ),
        scales=size * local.log_scales.exp(),
        opacities=torch.sigmoid(local.opacities),
        colors=colors_seen_from(coefficients, means, centre, degree),
    )
