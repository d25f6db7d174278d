"""GaussianAvatars' layout: a point cloud bound to triangles, and the motion that drives it.

    point_cloud/iteration_1/point_cloud.ply    local raw values and `binding_0`
    point_cloud/iteration_1/flame_param.npz    shape, expressions, joint angles, translation

For an imported FLAME the parameters are FLAME's own, and the folder opens in the method's viewer.
Another head model has no place there: its own coefficients are written under the same keys, and
`note.json` says so.

Source: docs of the layout in GaussianAvatars' repository (README, viewer); own code throughout.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars.avatar import Avatar, BoundAvatar
from headworks.avatars.gaussian_avatars.avatar import GaussianAvatar
from headworks.driving.performance import Performance
from headworks.errors import HeadworksError
from headworks.formats.ply import SH_C0, Splats, write_splats
from headworks.geometry import axis_angle_to_matrix, triangle_frames
from headworks.headfiles import PROCEDURAL, HeadFileError, HeadRecord, record

POINTS = Path("point_cloud") / "iteration_1" / "point_cloud.ply"
PARAMETERS = POINTS.with_name("flame_param.npz")
NOTE = Path("note.json")
SH_REST = 15
"""The loader insists on three degrees; avatars of fewer get zeros."""
FLAME_SIZES = (300, 100, 5143)
"""Shape, expressions, and vertices with the teeth that the method adds."""


def bound_splats(avatar: Avatar) -> Splats:
    """The avatar's Gaussians in the frames of their triangles, origins at the centroids.

    A `BoundAvatar` keeps its Gaussians relative to a point on the triangle; they are moved to the
    centroid on the neutral mesh. That is exact as long as triangles keep their shape.

    Raises:
        HeadworksError: the avatar's Gaussians are not carried by triangle frames.

    Moved by: mu' = mu + R^T (T_bary - centroid) / k.
    """
    if isinstance(avatar, GaussianAvatar):
        local = avatar.local
        n, have = len(avatar.binding), local.sh_rest.shape[1]
        rest = torch.zeros(n, SH_REST, 3)
        rest[:, :have] = local.sh_rest.detach()
        return _splats(
            local.means, local.sh_dc[:, 0], rest, local.opacities, local.log_scales, local.quats,
            avatar.binding,
        )  # fmt: skip
    if not isinstance(avatar, BoundAvatar):
        raise HeadworksError(
            f"an avatar of {avatar.method} is not carried by triangle frames, so this layout "
            "cannot hold it; export the splats of a frame (--ply) instead"
        )
    head, local_g, binding = avatar.head, avatar.local, avatar.binding
    with torch.no_grad():
        neutral = head.rest_vertices(
            avatar.identity[None], torch.zeros(1, len(head.expression_names))
        )[0]
        rotations, sizes = triangle_frames(neutral, head.faces)
    corners = neutral[head.faces[binding.faces]]
    shift = (corners * (binding.bary - 1 / 3)[:, :, None]).sum(1)
    local_shift = torch.einsum("nji,nj->ni", rotations[binding.faces], shift)
    means = local_g.means + local_shift / sizes[binding.faces, None].clamp_min(1e-9)
    colors = (torch.sigmoid(local_g.colors) - 0.5) / SH_C0
    rest = torch.zeros(len(means), SH_REST, 3)
    return _splats(
        means, colors, rest, local_g.opacities, local_g.log_scales, local_g.quats, binding.faces
    )


def _splats(*values: torch.Tensor) -> Splats:
    *floats, binding = (x.detach() for x in values)
    means, sh0, rest, opacities, scales, quats = (
        np.ascontiguousarray(x.numpy(), np.float32) for x in floats
    )
    return Splats(means, sh0, rest, opacities, scales, quats, binding.numpy().astype(np.int32))


def parameters(avatar: Avatar, motion: Performance) -> tuple[dict[str, NDArray[np.float32]], str]:
    """The arrays of `flame_param.npz`, and a note on what they are.

    Args:
        avatar: who. motion: in its coefficients, T frames.
    """
    head, pose, count = avatar.head, motion.pose, len(motion)
    known = _record(head.name)
    flame = known is not None and known.kind == "flame"
    vertices = FLAME_SIZES[2] if flame else len(head.template)
    shape, expr = avatar.identity, motion.expression
    translation = pose.translation
    notes = []
    if flame and known is not None:
        own = torch.tensor([n.startswith("expression") for n in head.expression_names])
        if bool((expr[:, ~own].abs() > 1e-4).any()):
            notes.append("eyelid shapes of the import are no part of FLAME and were left out")
        shape = _padded(shape[None], FLAME_SIZES[0])[0]
        expr = _padded(expr[:, own], FLAME_SIZES[1])
        translation = _flame_translation(avatar, motion, torch.tensor(known.origin))
        shift = float(pose.neck_translation.norm(dim=1).max())
        if shift > 1e-4:
            notes.append(f"the torso's shift against the head (up to {shift:.4f} m) was left out")
    else:
        notes.append(
            f"coefficients of the head model {head.name!r}, not of FLAME: only software that has "
            "that model can pose this file"
        )
    arrays = {
        "shape": shape,
        "expr": expr,
        "rotation": pose.rotation,
        "neck_pose": pose.neck,
        "jaw_pose": pose.jaw,
        "eyes_pose": pose.eyes.flatten(1),
        "translation": translation,
        "static_offset": torch.zeros(1, vertices, 3),
        "dynamic_offset": torch.zeros(count, vertices, 3),
    }
    return {k: v.detach().numpy().astype(np.float32) for k, v in arrays.items()}, "; ".join(notes)


def write_layout(folder: Path, avatar: Avatar, motion: Performance) -> list[str]:
    """Write the layout.

    Args:
        folder: there already. avatar: who. motion: what drives it, at least one frame.

    Returns:
        Notes on what the files do not say.

    Raises:
        HeadworksError: the avatar cannot be held by this layout.
    """
    splats = bound_splats(avatar)
    arrays, note = parameters(avatar, motion)
    (folder / POINTS).parent.mkdir(parents=True)
    write_splats(folder / POINTS, splats)
    with (folder / PARAMETERS).open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    body: dict[str, Any] = {
        "head": avatar.head.name,
        "head_digest": avatar.head.digest,
        "method": avatar.method,
        "frames": len(motion),
        "fps": motion.fps,
        "expression_names": list(avatar.head.expression_names),
        "note": note,
    }
    (folder / NOTE).write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")
    return [note] if note else []


def _record(name: str) -> HeadRecord | None:
    """What an imported head model is; None for one that is not imported from a file of others."""
    if name == PROCEDURAL or ":" in name:
        return None
    try:
        return record(name)
    except HeadFileError:
        return None


def _padded(values: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(values, (0, max(0, width - values.shape[1])))[:, :width]


def _flame_translation(avatar: Avatar, motion: Performance, origin: torch.Tensor) -> torch.Tensor:
    """FLAME's translation: its root turns about the root joint, ours about the canonical origin.

    The inverse of `headworks.heads.importers.flame.flame_pose`.
    """
    head = avatar.head
    joint = (
        head.joints[0]
        + origin
        + torch.einsum("k,kc->c", avatar.identity, head.joint_identity[:, 0])
    )
    roots = joint.expand(len(motion), 3)
    if head.joint_expression is not None:
        roots = roots + torch.einsum("tk,kc->tc", motion.expression, head.joint_expression[:, 0])
    turn = axis_angle_to_matrix(motion.pose.rotation)
    turned = torch.einsum("tij,tj->ti", turn, roots - origin)
    return motion.pose.translation - roots + turned
