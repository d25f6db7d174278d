"""A small ball of a head with all the fields of `HeadModel`, for fast tests."""

from __future__ import annotations

import numpy as np
import torch

from headworks.heads.base import REGIONS, HeadModel


def toy_head(rows: int = 12, columns: int = 16) -> HeadModel:
    """A latitude-longitude ball of 0.1 m radius; the lower half is torso, the top scalp."""
    theta = np.linspace(0.05, np.pi - 0.05, rows)
    phi = np.linspace(-np.pi, np.pi, columns + 1)
    t, p = np.meshgrid(theta, phi, indexing="ij")
    points = np.stack([np.sin(t) * np.sin(p), np.cos(t), np.sin(t) * np.cos(p)], -1)
    template = torch.from_numpy((0.1 * points).reshape(-1, 3).astype(np.float32))
    index = np.arange(rows * (columns + 1)).reshape(rows, columns + 1)
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, :-1].ravel(), index[1:, 1:].ravel()
    faces = torch.from_numpy(np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]))
    u, v = np.meshgrid(np.linspace(0.02, 0.98, columns + 1), np.linspace(0.98, 0.02, rows))
    uvs = torch.from_numpy(np.stack([u, v], -1).reshape(-1, 2).astype(np.float32))
    x, y, z = template.T
    widen = torch.stack([x * 0.1, 0 * y, 0 * z], -1)
    tall = torch.stack([0 * x, y * 0.1, 0 * z], -1)
    nose = torch.stack([0 * x, 0 * y, 0.03 * torch.exp(-((x**2 + y**2) / 0.03**2)) * (z > 0)], -1)
    mouth = torch.stack(
        [0 * x, -0.02 * torch.exp(-((y + 0.03) ** 2) / 0.02**2) * (z > 0), 0 * z], -1
    )
    centre_y = template[faces].mean(1)[:, 1]
    regions = torch.full((len(faces),), REGIONS.index("skin"))
    regions[centre_y > 0.06] = REGIONS.index("scalp")
    regions[centre_y < -0.06] = REGIONS.index("torso")
    rng = np.random.default_rng(0)
    front = (template[faces].mean(1)[:, 2] > 0.03).nonzero()[:, 0].numpy()
    bary = rng.dirichlet([2, 2, 2], 68).astype(np.float32)
    weights = torch.zeros(len(template), 5)
    weights[:, 1] = ((y + 0.06) / 0.04).clamp(0, 1)
    weights[:, 0] = 1 - weights[:, 1]
    joints = torch.tensor(
        [[0, 0, 0], [0, -0.07, 0], [0, -0.02, 0.02], [0.03, 0.03, 0.07], [-0.03, 0.03, 0.07]]
    )
    return HeadModel(
        name="toy",
        template=template,
        identity_basis=torch.stack([widen, tall]),
        expression_basis=torch.stack([nose, mouth]),
        expression_names=("noseOut", "jawOpen"),
        faces=faces,
        face_regions=regions,
        uvs=uvs,
        faces_uv=faces.clone(),
        landmark_faces=torch.from_numpy(rng.choice(front, 68)),
        landmark_bary=torch.from_numpy(bary),
        joints=joints,
        joint_identity=torch.zeros(2, 5, 3),
        skin_weights=weights,
    )
