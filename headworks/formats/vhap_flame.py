"""What was tracked with an imported FLAME, as VHAP's parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.geometry import axis_angle_to_matrix
from headworks.heads.base import HeadModel
from headworks.tracks import Tracking

SHAPES, EXPRESSIONS = 300, 100


def flame_parameters(
    head: HeadModel, origin: Sequence[float], track: Tracking
) -> tuple[list[dict[str, NDArray[np.float32]]], list[str]]:
    """FLAME's parameters of every frame.

    FLAME turns about its root joint, in its own origin; its neck cannot shift. Where a tracking
    shifts it, the head is put where it was tracked and the torso gives way.

    Args:
        head: an imported FLAME. origin: `HeadRecord.origin` of the import. track: T frames of it.

    Returns:
        T dictionaries of `vhap.PARAMETERS` and `static_offset`; notes on what FLAME cannot say.
    """
    where = torch.as_tensor(origin, dtype=torch.float32)
    count = len(track)
    identity = track.identity[None].expand(count, -1)
    root = head.joints[0] + where + torch.einsum("bk,kc->bc", identity, head.joint_identity[:, 0])
    if head.joint_expression is not None:
        root = root + torch.einsum("bk,kc->bc", track.expression, head.joint_expression[:, 0])
    turn = axis_angle_to_matrix(track.pose.rotation)
    shift = torch.einsum("bij,bj->bi", turn, track.pose.neck_translation)
    # Ours: R x + t. FLAME's: R (x + origin - root) + root + t.
    moved = torch.einsum("bij,bj->bi", turn, root - where)
    translation = track.pose.translation + shift - root + moved
    names = [f"expression{k:03d}" for k in range(EXPRESSIONS)]
    own = [head.expression_names.index(n) for n in names if n in head.expression_names]
    expr = np.zeros((count, EXPRESSIONS), np.float32)
    expr[:, : len(own)] = track.expression[:, own].numpy()
    shape = np.zeros(SHAPES, np.float32)
    kept = min(SHAPES, len(track.identity))
    shape[:kept] = track.identity[:kept].numpy()
    notes = []
    if track.pose.neck_translation.abs().max() > 1e-6:
        notes.append("FLAME's neck cannot shift: heads are where they were tracked, torsos are not")
    others = [n for n in head.expression_names if n not in names]
    if others:
        notes.append(f"not FLAME's, left out: {', '.join(others)}")
    if len(track.identity) > SHAPES:
        notes.append(f"identity modes above {SHAPES} left out")
    rows = {
        "expr": expr,
        "rotation": track.pose.rotation.numpy(),
        "neck_pose": track.pose.neck.numpy(),
        "jaw_pose": track.pose.jaw.numpy(),
        "eyes_pose": track.pose.eyes.reshape(count, 6).numpy(),
        "translation": translation.numpy(),
    }
    still = np.zeros((1, len(head.template), 3), np.float32)
    out = [
        {"shape": shape, "static_offset": still, **{n: a[t : t + 1] for n, a in rows.items()}}
        for t in range(count)
    ]
    return out, notes
