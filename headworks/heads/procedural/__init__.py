"""A head model made by code alone: no scans, no data files, no licences."""

from __future__ import annotations

import numpy as np
import torch

from headworks.heads.base import HeadModel
from headworks.heads.procedural.assembly import assemble
from headworks.heads.procedural.embedding import landmark_embedding
from headworks.heads.procedural.expressions import expressions
from headworks.heads.procedural.identity import IDENTITY_NAMES, identity
from headworks.heads.procedural.skinning import joints, skin_weights
from headworks.heads.procedural.surface import SkinSurface

__all__ = ["IDENTITY_NAMES", "build"]

_METRES = 1e-3


def build() -> HeadModel:
    """Build the procedural head.

    The jaw joint turns chin, lower lip and lower teeth by the skinning weights; the expression
    `jawOpen` is the same movement as a linear shape, for trackers that know no joints.

    Returns:
        A `HeadModel` named "procedural" on the CPU.
    """
    head = assemble(SkinSurface())
    names, shapes = expressions(head)
    modes, joint_modes = identity(head)
    landmark_faces, landmark_bary = landmark_embedding(head)

    def metres(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array * _METRES, np.float32))

    def real(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    return HeadModel(
        name="procedural",
        template=metres(head.points),
        identity_basis=metres(modes),
        expression_basis=metres(shapes),
        expression_names=names,
        faces=torch.from_numpy(head.faces),
        face_regions=torch.from_numpy(head.regions),
        uvs=real(head.uvs),
        faces_uv=torch.from_numpy(head.faces_uv),
        landmark_faces=torch.from_numpy(landmark_faces),
        landmark_bary=real(landmark_bary),
        joints=metres(joints()),
        joint_identity=metres(joint_modes),
        skin_weights=real(skin_weights(head)),
    )
