"""An avatar as plain arrays: identity folded in, shapes sparse, numbers as fine as they matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars import BoundAvatar
from headworks.heads.base import HeadModel

Arrays = dict[str, NDArray[Any]]

MIN_OPACITY = 1 / 255
"""Gaussians below it are in no picture (`headworks.splat`)."""
SHAPE_TOLERANCE_M = 1e-6
"""A shape moves only the vertices that it moves farther than this."""
MAX_LOG_SCALE = 4.0
"""As in `headworks.avatars.binding.place`."""


def bake(avatar: BoundAvatar) -> tuple[Arrays, dict[str, Any]]:
    """Everything that posing and drawing need, for one identity.

    Returns:
        Arrays, V the vertices under a Gaussian, F their triangles, N the Gaussians, S the shapes
        (expressions, then products of two expressions, then pose correctives): `rest` f32 [V, 3];
        `skin` u16 [V, 5], rows sum to 65535; `shape_start` u32 [S + 1], `shape_vertex` [n],
        `shape_delta` i16 [n, 3], `shape_scale` f32 [S] (metres per unit); `triangles` [F, 3];
        `g_triangle` [N]; `g_bary` u16 [N, 2]; `g_mean`, `g_log_scale` i16 [N, 3]; `g_quat` i16
        [N, 4]; `g_color` u8 [N, 3]; `g_opacity` u16 [N]. And facts: counts, joints, factors.
    """
    head = avatar.head
    with torch.no_grad():
        rest, expressions, products, terms = fold_identity(head, avatar.identity)
        joints = head.joints + torch.einsum("k,kjc->jc", avatar.identity, head.joint_identity)
        shapes = [expressions, products]
        if head.pose_basis is not None:
            shapes.append(head.pose_basis)
    opacity = torch.sigmoid(avatar.local.opacities.detach()).numpy()
    keep = np.flatnonzero(opacity >= MIN_OPACITY)
    faces, g_triangle = np.unique(avatar.binding.faces.numpy()[keep], return_inverse=True)
    corners = head.faces.numpy()[faces]
    vertices, triangles = np.unique(corners, return_inverse=True)
    start, vertex, delta, scale = _sparse(torch.cat(shapes).numpy()[:, vertices])
    mean, mean_scale = _symmetric(avatar.local.means.detach().numpy()[keep])
    log_scales = avatar.local.log_scales.detach().clamp(max=MAX_LOG_SCALE).numpy()[keep]
    middle = np.float32((log_scales.min() + log_scales.max()) / 2 if len(keep) else 0.0)
    log_scale, log_scale_scale = _symmetric(log_scales - middle)
    quats = torch.nn.functional.normalize(avatar.local.quats.detach(), dim=-1).numpy()[keep]
    colours = torch.sigmoid(avatar.local.colors.detach()).numpy()[keep]
    arrays: Arrays = {
        "rest": rest.numpy()[vertices].astype(np.float32),
        "skin": _shares(head.skin_weights.numpy()[vertices]),
        "shape_start": start,
        "shape_vertex": _index(vertex, len(vertices)),
        "shape_delta": delta,
        "shape_scale": scale,
        "triangles": _index(triangles.reshape(-1, 3), len(vertices)),
        "g_triangle": _index(g_triangle, len(faces)),
        "g_bary": np.rint(avatar.binding.bary.numpy()[keep, :2] * 65535).astype(np.uint16),
        "g_mean": mean,
        "g_log_scale": log_scale,
        "g_quat": np.rint(quats * 32767).astype(np.int16),
        "g_color": np.rint(colours * 255).astype(np.uint8),
        "g_opacity": np.rint(opacity[keep] * 65535).astype(np.uint16),
    }
    shift = head.joint_expression
    facts = {
        "gaussians": len(keep),
        "expressions": len(expressions),
        "products": terms,
        "poseShapes": head.pose_basis is not None,
        "joints": joints.double().numpy().tolist(),
        "jointExpression": None if shift is None else shift.double().numpy().tolist(),
        "meanScale": mean_scale,
        "logScaleScale": log_scale_scale,
        "logScaleMiddle": float(middle),
    }
    return arrays, facts


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
