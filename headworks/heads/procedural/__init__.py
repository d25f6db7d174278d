"""A head model made by code alone: no scans, no data files, no licences."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from headworks.heads.base import HeadModel
from headworks.heads.procedural.assembly import assemble
from headworks.heads.procedural.embedding import landmark_embedding
from headworks.heads.procedural.expressions import correctives, expressions, symmetric_vertices
from headworks.heads.procedural.identity import (
    IDENTITY_NAMES,
    Population,
    Sex,
    identity,
    meeting_lids,
)
from headworks.heads.procedural.skinning import joints, skin_weights
from headworks.heads.procedural.surface import SkinSurface

__all__ = ["IDENTITY_NAMES", "Sex", "build", "construct", "sample_identity"]

_METRES = 1e-3


def sample_identity(
    sex: Sex, age: float, rng: np.random.Generator, group: str | None = None
) -> np.ndarray:
    """Identity coefficients of a random person.

    Published measures are drawn with the means and deviations of the sex; fine shape, build and
    age change what is not measured.

    Args:
        sex: "female" or "male". age: 0 (about 20 years) to 1 (about 80). rng: source of chance.
        group: key of `groups.GROUPS`; drawn by their shares if None.

    Returns:
        float32 [Ki], in standard deviations over the population of all groups.
    """
    return _built()[1].coefficients(sex, age, rng, group).astype(np.float32)


def build() -> HeadModel:
    """The procedural head: from the cache on disk, or made once and put there.

    The jaw joint turns chin, lower lip and lower teeth by the skinning weights; the expression
    `jawOpen` is the same movement as a linear shape, for trackers that know no joints.

    Returns:
        A `HeadModel` named "procedural" on the CPU.
    """
    return _built()[0]


@lru_cache(maxsize=1)
def _built() -> tuple[HeadModel, Population]:
    from headworks.heads.procedural import cache

    return cache.built(construct)


def construct() -> tuple[HeadModel, Population]:
    """Make the head and the distribution of people anew."""
    head = assemble(SkinSurface())
    twin = symmetric_vertices(head)
    names, shapes = expressions(head, twin)
    modes, joint_modes, people = identity(head, twin)
    landmark_faces, landmark_bary = landmark_embedding(head)
    products = [
        *((index, len(modes) + names.index(a), shape)
          for a, index, shape in meeting_lids(head, twin, people)),
        *((len(modes) + names.index(a), len(modes) + names.index(b), shape)
          for a, b, shape in correctives(head, twin)),
    ]  # fmt: skip

    def metres(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array * _METRES, np.float32))

    def real(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    model = HeadModel(
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
        corrective_basis=metres(np.stack([shape for *_, shape in products])),
        corrective_terms=torch.tensor([(a, b) for a, b, _ in products], dtype=torch.long),
    )
    return model, people
