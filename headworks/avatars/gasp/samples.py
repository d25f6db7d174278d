"""Grids of pictures that show how far a training has come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars.binding import LocalGaussians, gaussian_frames, place
from headworks.avatars.gasp.decoder import GaussianPrior
from headworks.avatars.gasp.training import Surface
from headworks.avatars.views import Views, splat_view
from headworks.images import to_uint8

COLUMNS = 8
"""People in a grid."""


@torch.no_grad()
def sample_grid(surface: Surface, prior: GaussianPrior, people: list[Views]) -> NDArray[np.uint8]:
    """Upper row the rendered person, lower row what the prior makes of the person's code.

    Returns:
        uint8 [2 H, columns W, 3].
    """
    white = torch.ones(3)
    device = surface.faces.device
    columns = []
    for j, views in enumerate(people[:COLUMNS]):
        index = len(views) // 2
        vertices = views.vertices[views.times[index]].to(device)
        frames = gaussian_frames(vertices, surface.faces, surface.binding)
        local: LocalGaussians = prior.decode(prior.codes[j])
        pred, _ = splat_view(
            place(local, frames),
            views.viewmats[index].to(device),
            views.Ks[index].to(device),
            views.size,
            white.to(device),
        )
        target, _ = views.target(index, white)
        columns.append(np.concatenate([target.numpy(), pred.cpu().numpy()]))
    return to_uint8(np.concatenate(columns, 1))


def keep_samples(path: Path, surface: Surface, prior: GaussianPrior, people: list[Views]) -> None:
    """Write a `sample_grid` as PNG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sample_grid(surface, prior, people)).save(path)
