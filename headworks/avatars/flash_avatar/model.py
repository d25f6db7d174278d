"""FlashAvatar's Gaussians: sampled on the UV map, moved by the network, carried by the head."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from headworks.avatars.binding import WIDE_REGIONS, Binding, bind_uv, neighbour_distance
from headworks.gaussians import Gaussians
from headworks.geometry import matrix_to_quat, quat_multiply, quat_to_matrix
from headworks.heads.base import HeadModel, HeadPose
from headworks.splat.sh import coefficients_of_degree, colors_seen_from

INITIAL_OPACITY = 0.1
SCALE_MODES = ("additive", "log_mult")


class FlashGaussians(NamedTuple):
    """Raw Gaussians in the head's own axes; their places are the network's business.

    Attributes:
        log_scales: [N, 3] of metres. quats: [N, 4] wxyz, any norm. sh_dc: [N, 1, 3],
            sh_rest: [N, K - 1, 3]. opacities: [N] logits.
    """

    log_scales: Tensor
    quats: Tensor
    sh_dc: Tensor
    sh_rest: Tensor
    opacities: Tensor


class Carried(NamedTuple):
    """Where the posed head holds each Gaussian.

    Attributes:
        points: [N, 3] metres, on the posed mesh. quats: [N, 4], turn of the head there.
    """

    points: Tensor
    quats: Tensor


def sample(head: HeadModel, uv_size: int) -> Binding:
    """Texels of the UV map as Gaussians, with the same choice as GASP's fit.

    FlashAvatar drops texels at the cut below the neck; here torso and neck are part of the person
    and are kept. It also closes the mouth with 30 triangles, so that its inside has Gaussians: our
    heads have a mouth's inside, teeth and tongue of their own.
    """
    return bind_uv(head, uv_size, doubled_regions=WIDE_REGIONS)


def canonical_points(head: HeadModel, identity: Tensor, binding: Binding) -> Tensor:
    """[N, 3] metres: the Gaussians' points on the person's neutral mesh."""
    zero = torch.zeros(1, len(head.expression_names))
    return _points(head.rest_vertices(identity[None], zero)[0], head, binding)


def initial_gaussians(points: Tensor, sh_degree: int) -> FlashGaussians:
    """Faint grey balls as large as the distance to their neighbours.

    Args:
        points: [N, 3] metres, from `canonical_points`.

    Source: FlashAvatar scene/gaussian_model.py: squared distances are clamped at 1e-7.
    """
    n = len(points)
    spacing = neighbour_distance(points).square().clamp_min(1e-7).sqrt()
    quats = torch.zeros(n, 4)
    quats[:, 0] = 1
    return FlashGaussians(
        log_scales=spacing.log()[:, None].repeat(1, 3),
        quats=quats,
        sh_dc=torch.zeros(n, 1, 3),
        sh_rest=torch.zeros(n, coefficients_of_degree(sh_degree) - 1, 3),
        opacities=torch.full((n,), INITIAL_OPACITY).logit(),
    )


def head_weights(head: HeadModel, binding: Binding) -> Tensor:
    """[N]: how far each Gaussian follows the neck joint rather than the torso."""
    follows = head.skin_weights[:, 1:].sum(1)
    return (follows[head.faces[binding.faces]] * binding.bary).sum(1)


def carry(
    head: HeadModel,
    identity: Tensor,
    pose: HeadPose,
    vertices: Tensor,
    binding: Binding,
    weights: Tensor,
) -> Carried:
    """Points of the posed mesh and the turn of the head there.

    FlashAvatar leaves the head still and moves the camera; we turn its offsets with the head,
    which is the same, and, where a model's neck moves against its torso, with both, blended.

    Args:
        pose: batch of 1. vertices: [V, 3] posed, metres. weights: [N], `head_weights`.
    """
    rotations, _ = head.joint_transforms(identity[None], pose)
    torso, neck = matrix_to_quat(rotations[0, :2])
    neck = torch.where((torso * neck).sum() < 0, -neck, neck)
    quats = torso + weights[:, None] * (neck - torso)
    quats = torch.nn.functional.normalize(quats, dim=-1)
    return Carried(_points(vertices, head, binding), quats)


def _points(vertices: Tensor, head: HeadModel, binding: Binding) -> Tensor:
    return (vertices[head.faces[binding.faces]] * binding.bary[..., None]).sum(1)


def world_gaussians(
    raw: FlashGaussians,
    outputs: Tensor,
    carried: Carried,
    centre: Tensor | None,
    degree: int,
    scale_mode: str,
) -> Gaussians:
    """Raw Gaussians and the network's outputs -> activated Gaussians in the world.

    Args:
        outputs: [N, 10] in (-1, 1): offset in metres, rotation (log of its real part, then the
            imaginary ones), scale. carried: where the head holds them. centre: [3] of the camera,
            or None for colours without their view-dependent part. degree: of the harmonics used.
        scale_mode: "additive" (sigma + y) or "log_mult" (sigma exp(y), the official code's).

    Source: FlashAvatar src/deform_model.py and scene/gaussian_model.py.
    """
    offset, rotation, scale = outputs.split((3, 4, 3), 1)
    turn = quat_to_matrix(carried.quats)
    means = carried.points + torch.einsum("nij,nj->ni", turn, offset)
    change = torch.cat([rotation[:, :1].exp(), rotation[:, 1:]], 1)
    own = torch.nn.functional.normalize(quat_multiply(raw.quats, change), dim=-1)
    log_scales = (
        raw.log_scales + scale if scale_mode == "additive" else raw.log_scales * scale.exp()
    )
    if centre is None or degree == 0:
        colors = colors_seen_from(raw.sh_dc, means, means.new_zeros(3), 0)
    else:
        # Seen from the head: FlashAvatar's world is the head's own.
        seen = torch.einsum("nji,nj->ni", turn, means - centre)
        coefficients = torch.cat([raw.sh_dc, raw.sh_rest], 1)
        colors = colors_seen_from(coefficients, seen, means.new_zeros(3), degree)
    return Gaussians(
        means=means,
        quats=quat_multiply(carried.quats, own),
        scales=log_scales.exp(),
        opacities=torch.sigmoid(raw.opacities),
        colors=colors,
    )
