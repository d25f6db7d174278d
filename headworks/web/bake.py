"""An avatar as plain arrays: identity folded in, shapes sparse, numbers as fine as they matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars import Avatar, BoundAvatar
from headworks.avatars.flash_avatar.avatar import FlashAvatar
from headworks.avatars.flash_avatar.model import canonical_points, head_weights
from headworks.avatars.flash_avatar.network import FREQUENCIES
from headworks.avatars.gaussian_avatars.avatar import GaussianAvatar
from headworks.errors import HeadworksError
from headworks.heads.base import HeadModel
from headworks.splat.sh import SH_C0

Arrays = dict[str, NDArray[Any]]

MIN_OPACITY = 1 / 255
"""Gaussians below it are in no picture (`headworks.splat`)."""
SHAPE_TOLERANCE_M = 1e-6
"""A shape moves only the vertices that it moves farther than this."""
COLOR_ONE = 8192
"""White of `g_color`; harmonics may go beyond it, and below 0, before the view's part joins."""
MAX_LOG_SCALE = 4.0
"""As in `headworks.avatars.binding.place`."""


def bake(avatar: Avatar) -> tuple[Arrays, dict[str, Any]]:
    """Everything that posing and drawing need, for one identity.

    Returns:
        Arrays, V the vertices under a Gaussian, F their triangles, N the Gaussians, S the shapes
        (expressions, then products of two expressions, then pose correctives): `rest` f32 [V, 3];
        `skin` u16 [V, 5], rows sum to 65535; `shape_start` u32 [S + 1], `shape_vertex` [n],
        `shape_delta` i16 [n, 3], `shape_scale` f32 [S] (metres per unit); `triangles` [F, 3];
        `g_triangle` [N]; `g_bary` u16 [N, 2]; `g_mean`, `g_log_scale` i16 [N, 3]; `g_quat` i16
        [N, 4]; `g_color` i16 [N, 3], 1 is COLOR_ONE; `g_opacity` u16 [N]. Where colours depend on
        the view `g_sh` i16 [N, K - 1, 3]; where a network moves the Gaussians what
        `_network` says. And facts: counts, joints, factors.

    Raises:
        HeadworksError: an avatar of a method that no page can show.
    """
    if isinstance(avatar, BoundAvatar):
        return _bound(avatar)
    if isinstance(avatar, GaussianAvatar):
        return _face_bound(avatar)
    if isinstance(avatar, FlashAvatar):
        return _moved_by_network(avatar)
    raise HeadworksError(
        f"a page shows avatars of gasp, gaussian_avatars and flash_avatar, not of {avatar.method}"
    )


def _bound(avatar: BoundAvatar) -> tuple[Arrays, dict[str, Any]]:
    local = avatar.local.detach()
    kept = _visible(local.opacities)
    arrays, facts = _mesh(avatar.head, avatar.identity, avatar.binding.faces[kept])
    colours = torch.sigmoid(local.colors[kept])
    log_scales = local.log_scales.clamp(max=MAX_LOG_SCALE)
    described = _gaussians(
        arrays, avatar.binding.bary[kept], local.means[kept], log_scales[kept],
        local.quats[kept], colours, local.opacities[kept],
    )  # fmt: skip
    return arrays, facts | described


def _face_bound(avatar: GaussianAvatar) -> tuple[Arrays, dict[str, Any]]:
    """GaussianAvatars: origins are centroids, colours spherical harmonics about world axes."""
    local = avatar.local
    kept = _visible(local.opacities)
    arrays, facts = _mesh(avatar.head, avatar.identity, avatar.binding[kept])
    described = _gaussians(
        arrays, torch.full((len(kept), 3), 1 / 3), local.means[kept], local.log_scales[kept],
        local.quats[kept], _plain(local.sh_dc[kept]), local.opacities[kept],
    )  # fmt: skip
    return arrays, facts | described | _harmonics(arrays, local.sh_rest[kept], "world")


def _moved_by_network(avatar: FlashAvatar) -> tuple[Arrays, dict[str, Any]]:
    """FlashAvatar: a network gives offsets, turns and scales; harmonics turn with the head."""
    raw = avatar.raw
    kept = _visible(raw.opacities)
    binding = avatar.binding
    arrays, facts = _mesh(avatar.head, avatar.identity, binding.faces[kept])
    described = _gaussians(
        arrays, binding.bary[kept], torch.zeros(len(kept), 3), raw.log_scales[kept],
        raw.quats[kept], _plain(raw.sh_dc[kept]), raw.opacities[kept],
    )  # fmt: skip
    described |= _harmonics(arrays, raw.sh_rest[kept], "head")
    return arrays, facts | described | _network(arrays, avatar, kept)


def _network(arrays: Arrays, avatar: FlashAvatar, kept: torch.Tensor) -> dict[str, Any]:
    """What the page needs to run the network.

    Adds `net_point` f32 [N, 3], the Gaussians' points on the neutral mesh; `net_follows` f32 [N],
    how far each follows the neck; `net_weight_k` f32 [out, in] and `net_bias_k` of every layer.
    """
    layers = [layer for layer in avatar.network.layers if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        points = canonical_points(avatar.head, avatar.identity, avatar.binding)[kept]
        follows = head_weights(avatar.head, avatar.binding)[kept]
    arrays["net_point"], arrays["net_follows"] = points.numpy(), follows.numpy()
    for k, layer in enumerate(layers):
        arrays[f"net_weight_{k}"] = layer.weight.detach().numpy()
        arrays[f"net_bias_{k}"] = layer.bias.detach().numpy()
    return {
        "network": {
            "layers": len(layers), "width": avatar.network.width, "frequencies": FREQUENCIES,
            "scaleMode": avatar.scale_mode,
        }
    }  # fmt: skip


def _visible(opacities: torch.Tensor) -> torch.Tensor:
    """Which Gaussians any picture can show."""
    return (torch.sigmoid(opacities.detach()) >= MIN_OPACITY).nonzero()[:, 0]


def _plain(sh_dc: torch.Tensor) -> torch.Tensor:
    """The part [N, 3] of harmonic colours [N, 1, 3] that does not depend on the view."""
    return 0.5 + SH_C0 * sh_dc.detach()[:, 0]


def _mesh(
    head: HeadModel, identity: torch.Tensor, owners: torch.Tensor
) -> tuple[Arrays, dict[str, Any]]:
    """The triangles under the Gaussians, with what moves them.

    Args:
        identity: [Ki]. owners: int64 [N], the face of each Gaussian.
    """
    with torch.no_grad():
        rest, expressions, products, terms = fold_identity(head, identity)
        joints = head.joints + torch.einsum("k,kjc->jc", identity, head.joint_identity)
        shapes = [expressions, products]
        if head.pose_basis is not None:
            shapes.append(head.pose_basis)
    faces, g_triangle = np.unique(owners.numpy(), return_inverse=True)
    corners = head.faces.numpy()[faces]
    vertices, triangles = np.unique(corners, return_inverse=True)
    start, vertex, delta, scale = _sparse(torch.cat(shapes).numpy()[:, vertices])
    arrays: Arrays = {
        "rest": rest.numpy()[vertices].astype(np.float32),
        "skin": _shares(head.skin_weights.numpy()[vertices]),
        "shape_start": start,
        "shape_vertex": _index(vertex, len(vertices)),
        "shape_delta": delta,
        "shape_scale": scale,
        "triangles": _index(triangles.reshape(-1, 3), len(vertices)),
        "g_triangle": _index(g_triangle, len(faces)),
    }
    shift = head.joint_expression
    facts = {
        "gaussians": len(owners),
        "expressions": len(expressions),
        "products": terms,
        "poseShapes": head.pose_basis is not None,
        "joints": joints.double().numpy().tolist(),
        "jointExpression": None if shift is None else shift.double().numpy().tolist(),
    }
    return arrays, facts


def _gaussians(
    arrays: Arrays, bary: torch.Tensor, means: torch.Tensor, log_scales: torch.Tensor,
    quats: torch.Tensor, colours: torch.Tensor, opacities: torch.Tensor,
) -> dict[str, Any]:  # fmt: skip
    """Add the arrays of N Gaussians.

    Args:
        bary: [N, 3]. means: [N, 3], local. log_scales: [N, 3]. quats: [N, 4]. colours: [N, 3],
            sRGB, 1 is white. opacities: [N] logits.

    Returns:
        The factors that the integers are to be multiplied by.
    """
    mean, mean_scale = _symmetric(means.detach().numpy())
    logs = log_scales.detach().numpy()
    middle = np.float32((logs.min() + logs.max()) / 2 if len(logs) else 0.0)
    log_scale, log_scale_scale = _symmetric(logs - middle)
    unit = torch.nn.functional.normalize(quats.detach(), dim=-1).numpy()
    arrays |= {
        "g_bary": np.rint(bary.numpy()[:, :2] * 65535).astype(np.uint16),
        "g_mean": mean,
        "g_log_scale": log_scale,
        "g_quat": np.rint(unit * 32767).astype(np.int16),
        "g_color": np.rint(colours.clamp(-3.99, 3.99).numpy() * COLOR_ONE).astype(np.int16),
        "g_opacity": np.rint(torch.sigmoid(opacities.detach()).numpy() * 65535).astype(np.uint16),
    }
    return {
        "meanScale": mean_scale, "logScaleScale": log_scale_scale, "logScaleMiddle": float(middle),
        "colorOne": COLOR_ONE,
    }  # fmt: skip


def _harmonics(arrays: Arrays, sh_rest: torch.Tensor, axes: str) -> dict[str, Any]:
    """Add the view-dependent part [N, K - 1, 3] of colours, each harmonic with a scale of its own.

    Args:
        axes: "world" or "head", about whose axes the harmonics are.
    """
    if not sh_rest.shape[1]:
        return {}
    values = sh_rest.detach().numpy()
    scale = np.maximum(np.abs(values).max((0, 2), initial=0.0), 1e-9) / 32767
    arrays["g_sh"] = np.rint(values / scale[:, None]).astype(np.int16)
    return {"harmonics": {"axes": axes, "scales": scale.astype(float).tolist()}}


def fold_identity(
    head: HeadModel, identity: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[list[int]]]:
    """One person's own rest shape and expressions.

    Args:
        identity: [Ki].

    Returns:
        rest [V, 3]; expressions [Ke, V, 3]; what products of two expressions add [P, V, 3]; the
        P pairs of expressions.
    """
    rest = head.template + torch.einsum("k,kvc->vc", identity, head.identity_basis)
    expressions = head.expression_basis.clone()
    products, pairs = [], []
    if head.corrective_basis is not None and head.corrective_terms is not None:
        known = len(identity)
        for shape, (a, b) in zip(head.corrective_basis, head.corrective_terms.tolist()):
            low, high = min(a, b), max(a, b)
            if high < known:
                rest = rest + identity[low] * identity[high] * shape
            elif low < known:
                expressions[high - known] += identity[low] * shape
            else:
                products.append(shape)
                pairs.append([low - known, high - known])
    stacked = torch.stack(products) if products else rest.new_zeros(0, *rest.shape)
    return rest, expressions, stacked, pairs


def _sparse(shapes: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
    """Shapes [S, V, 3] by the vertices they move: starts, vertices, int16 moves, scales."""
    moved = np.abs(shapes).max(2) > SHAPE_TOLERANCE_M if shapes.size else np.zeros((len(shapes), 0))
    counts = moved.sum(1)
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)
    which, vertex = np.nonzero(moved)
    top = np.abs(shapes).reshape(len(shapes), -1).max(1, initial=0.0)
    scale = (np.maximum(top, SHAPE_TOLERANCE_M) / 32767).astype(np.float32)
    delta = np.rint(shapes[which, vertex] / scale[which, None]).astype(np.int16)
    return start, vertex, delta.reshape(-1, 3), scale


def _symmetric(values: NDArray[np.float32]) -> tuple[NDArray[np.int16], float]:
    """Values as int16 times one scale."""
    scale = max(float(np.abs(values).max(initial=0.0)), 1e-9) / 32767
    return np.rint(values / scale).astype(np.int16), scale


def _shares(weights: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Rows that sum to 1 as 16-bit shares that sum to 65535."""
    shares = np.rint(weights.astype(np.float64) * 65535).astype(np.int64)
    rows = np.arange(len(shares))
    shares[rows, shares.argmax(1)] += 65535 - shares.sum(1)
    return shares.astype(np.uint16)


def _index(values: NDArray[np.integer], count: int) -> NDArray[Any]:
    """Indices below `count` in the smallest type that WebGL-era JavaScript has."""
    return values.astype(np.uint16 if count <= 65536 else np.uint32)
