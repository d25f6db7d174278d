"""Gaussians bound to the triangles of a head mesh: where they sit, and how a pose carries them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from headworks.gaussians import Gaussians
from headworks.geometry import matrix_to_quat, quat_multiply
from headworks.heads.base import HeadModel

FINE_REGIONS = ("lips", "eyelids", "eyes", "teeth", "mouth_inner")
"""Regions whose every face owns a Gaussian, however small it is on the UV map."""
WIDE_REGIONS = ("scalp", "neck", "torso")
"""Regions that are large on the head and small on the UV map."""


class Binding(NamedTuple):
    """Which triangle each Gaussian lives on, and where on it.

    Attributes:
        faces: int64 [N], index into the head's faces. bary: float32 [N, 3], sums to 1.
    """

    faces: Tensor
    bary: Tensor


class LocalGaussians(NamedTuple):
    """Raw Gaussians in the local frames of their triangles (GASP section 3.2).

    Attributes:
        means: [N, 3] in triangle sizes. log_scales: [N, 3], relative to the triangle size.
        quats: [N, 4] wxyz, any norm. colors: [N, 3] logits of sRGB. opacities: [N] logits.
    """

    means: Tensor
    log_scales: Tensor
    quats: Tensor
    colors: Tensor
    opacities: Tensor

    def detach(self) -> LocalGaussians:
        """The same values, cut from the graph."""
        return LocalGaussians(*(x.detach() for x in self))


class Frames(NamedTuple):
    """Frame of each Gaussian's triangle in the world.

    Attributes:
        origins: [N, 3] the bound surface points. rotations: [N, 3, 3]. quats: [N, 4].
        sizes: [N] metres.
    """

    origins: Tensor
    rotations: Tensor
    quats: Tensor
    sizes: Tensor


def bind_uv(
    head: HeadModel,
    size: int,
    fine_regions: tuple[str, ...] = FINE_REGIONS,
    doubled_regions: tuple[str, ...] = (),
) -> Binding:
    """One Gaussian per covered texel of a size x size UV map.

    Faces of `fine_regions` that no texel centre hits get one Gaussian at their centroid. Faces of
    (nearly) no area get none.

    Args:
        head: the head model; its atlas must not overlap. size: texels per side.
        doubled_regions: regions sampled at twice the resolution, because the atlas, which favours
            the face, gives them a small share for their area.

    Source: GASP section 3.4; the two lists are ours.
    """
    from headworks.mesh import rasterize_uv

    doubled = head.region_faces(*doubled_regions)
    parts = []
    for resolution, wanted in ((size, ~doubled), (2 * size, doubled)):
        if not wanted.any():
            continue
        face_ids, bary = rasterize_uv(head.uvs.numpy(), head.faces_uv.numpy(), resolution)
        hit = face_ids >= 0
        hit[hit] = wanted.numpy()[face_ids[hit]]
        faces = torch.from_numpy(face_ids[hit].astype(np.int64))
        parts.append((faces, torch.from_numpy(bary[hit].astype(np.float32))))
    lonely = head.region_faces(*fine_regions)
    for faces, _ in parts:
        lonely[faces] = False
    extra = lonely.nonzero()[:, 0]
    parts.append((extra, torch.full((len(extra), 3), 1 / 3)))
    faces = torch.cat([f for f, _ in parts])
    weights = torch.cat([w for _, w in parts])
    corners = head.template[head.faces[faces]]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    keep = area.norm(dim=-1) > 2e-12
    return Binding(faces[keep], weights[keep])


def gaussian_frames(vertices: Tensor, faces: Tensor, binding: Binding) -> Frames:
    """Frames of all Gaussians on one posed mesh.

    Args:
        vertices: [V, 3] metres. faces: int64 [F, 3] of the head.

    Source: `headworks.geometry.triangle_frames`, written out per Gaussian; GASP section 3.4 for
        the barycentric origin.
    """
    asked = vertices.requires_grad and torch.is_grad_enabled()
    if vertices.device.type == "cpu" and vertices.dtype == torch.float32 and not asked:
        return _quick_frames(vertices, faces, binding)
    corners = vertices[faces[binding.faces]]
    origins = (corners * binding.bary[:, :, None]).sum(1)
    v0, v1, v2 = corners.unbind(1)
    edge = v1 - v0
    length = edge.square().sum(-1, keepdim=True).clamp_min(1e-20).sqrt()
    a0 = edge / length
    normal = torch.linalg.cross(a0, v2 - v0)
    a1 = normal / normal.square().sum(-1, keepdim=True).clamp_min(1e-20).sqrt()
    a2 = torch.linalg.cross(a0, a1)
    height = (a2 * (v2 - v0)).sum(-1).abs()
    rotations = torch.stack([a0, a1, a2], -1)
    return Frames(
        origins, rotations, matrix_to_quat(rotations.detach()), (length[:, 0] + height) / 2
    )


def _quick_frames(vertices: Tensor, faces: Tensor, binding: Binding) -> Frames:
    """`gaussian_frames` without gradient, ten times as fast."""
    from headworks.avatars.frames import frames

    n = len(binding.faces)
    out = Frames(*(torch.empty(n, *shape) for shape in ((3,), (3, 3), (4,), ())))
    corners = faces[binding.faces]
    given = (vertices.detach().contiguous(), corners, binding.bary.contiguous())
    frames(*(x.numpy() for x in (*given, *out)))
    return out


def place(local: LocalGaussians, frames: Frames) -> Gaussians:
    """Local raw Gaussians -> activated Gaussians in the world.

    x = k R mu + T, s = k exp(sigma), q = q_frame q_local, opacity and colour through a sigmoid.

    Source: GASP equation (2).
    """
    offsets = torch.einsum("nij,nj->ni", frames.rotations, local.means)
    size = frames.sizes[:, None]
    return Gaussians(
        means=frames.origins + size * offsets,
        quats=quat_multiply(frames.quats, torch.nn.functional.normalize(local.quats, dim=-1)),
        scales=size * local.log_scales.clamp(max=4.0).exp(),
        opacities=torch.sigmoid(local.opacities),
        colors=torch.sigmoid(local.colors),
    )


def neighbour_distance(points: Tensor, k: int = 3) -> Tensor:
    """Root mean square distance [N] of each point [N, 3] to its k nearest others."""
    distance, _ = cKDTree(points.numpy()).query(points.numpy(), k=k + 1)
    return torch.from_numpy(np.sqrt((distance[:, 1:] ** 2).mean(1)).astype(np.float32))


def initial_gaussians(head: HeadModel, binding: Binding) -> LocalGaussians:
    """Flat, texel-sized, mid-grey Gaussians on the neutral surface."""
    frames = gaussian_frames(head.template, head.faces, binding)
    spacing = neighbour_distance(frames.origins).clamp_min(1e-4)
    scale = (0.6 * spacing / frames.sizes.clamp_min(1e-6)).log()[:, None].repeat(1, 3)
    scale[:, 1] -= np.log(3.0)  # thinner along the normal
    n = len(binding.faces)
    quats = torch.zeros(n, 4)
    quats[:, 0] = 1
    return LocalGaussians(torch.zeros(n, 3), scale, quats, torch.zeros(n, 3), torch.full((n,), 2.0))


def refine(
    head: HeadModel, coarse: Binding, fine: Binding
) -> tuple[Tensor, Tensor, Frames, Frames]:
    """For every Gaussian of a finer binding, the nearest one of a coarser binding.

    Only Gaussians of the same region are considered, so that lips do not inherit from teeth.

    Returns:
        parents int64 [Nf]; the log of the spacing ratio [Nf]; the frames of the coarse and the
        fine binding on the neutral mesh.
    """
    a = gaussian_frames(head.template, head.faces, coarse)
    b = gaussian_frames(head.template, head.faces, fine)
    region_a, region_b = head.face_regions[coarse.faces], head.face_regions[fine.faces]
    parents = torch.zeros(len(fine.faces), dtype=torch.long)
    for region in region_b.unique():
        mine = (region_b == region).nonzero()[:, 0]
        theirs = (region_a == region).nonzero()[:, 0]
        if not len(theirs):
            theirs = torch.arange(len(region_a))
        _, nearest = cKDTree(a.origins[theirs].numpy()).query(b.origins[mine].numpy())
        parents[mine] = theirs[torch.from_numpy(np.asarray(nearest, np.int64))]
    shrink = (neighbour_distance(b.origins) / neighbour_distance(a.origins)[parents]).log()
    return parents, shrink.clamp(-2.0, 0.5), a, b


def inherit(
    local: LocalGaussians, parents: Tensor, shrink: Tensor, coarse: Frames, fine: Frames
) -> LocalGaussians:
    """Children with their parent's world offset, orientation and colour, at the finer spacing.

    Args:
        local: parents [N, .]. parents: int64 [Nf]. shrink: [Nf] log of the spacing ratio.
        coarse, fine: frames of the two bindings; all but `local` as `refine` returns them.
    """
    size_ratio = (coarse.sizes[parents] / fine.sizes).clamp_min(1e-6)
    world = torch.einsum("nij,nj->ni", coarse.rotations[parents], local.means[parents])
    means = torch.einsum("nji,nj->ni", fine.rotations, world) * size_ratio[:, None]
    back = fine.quats * fine.quats.new_tensor([1, -1, -1, -1])
    quats = quat_multiply(back, quat_multiply(coarse.quats[parents], local.quats[parents]))
    scales = local.log_scales[parents] + (size_ratio.log() + shrink)[:, None]
    return LocalGaussians(means, scales, quats, local.colors[parents], local.opacities[parents])
