"""FlashAvatar's image losses: Huber, and the mouth 40 times more."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.cameras import Camera
from headworks.heads.base import HeadModel

HUBER_DELTA = 0.1
MOUTH_WEIGHT = 40.0
MOUTH_REGIONS = ("lips", "mouth_inner", "teeth", "tongue")


def huber(pred: Tensor, target: Tensor) -> Tensor:
    """Mean of d^2 / 2 below 0.1, of 0.1 (d - 0.05) above.

    Source: FlashAvatar utils/loss_utils.py.
    """
    distance = (pred - target).abs()
    inner = 0.5 * distance.square()
    outer = HUBER_DELTA * (distance - 0.5 * HUBER_DELTA)
    return torch.where(distance < HUBER_DELTA, inner, outer).mean()


def picture_loss(pred: Tensor, target: Tensor, mouth: Tensor) -> Tensor:
    """Huber over the picture, and 40 times Huber over the mouth, both means over all pixels.

    Args:
        pred, target: [H, W, 3] in [0, 1]. mouth: [H, W], 1 inside the mouth's mask.
    """
    inside = mouth[..., None]
    return huber(pred, target) + MOUTH_WEIGHT * huber(pred * inside, target * inside)


def mouth_mask(head: HeadModel, vertices: Tensor, camera: Camera) -> NDArray[np.bool_]:
    """Bool [H, W]: where lips, teeth, tongue or the mouth's inside are in sight.

    The official code has it from a face parser; ours is that of the tracked mesh.

    Args:
        vertices: [V, 3] posed, metres. camera: the view.
    """
    from headworks.mesh import rasterize_mesh

    face_ids = rasterize_mesh(vertices.numpy(), head.faces.numpy(), camera).face_ids
    mouth = head.region_faces(*MOUTH_REGIONS).numpy()
    return (face_ids >= 0) & mouth[np.maximum(face_ids, 0)]
