"""The Gaussians of one frame as 3DGS stores them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from headworks.formats.ply import Splats, from_activated
from headworks.gaussians import Gaussians

Axes = Literal["world", "rdf"]
"""`world`: +y up, as all our worlds. `rdf`: x right, y down, z forward, as 3DGS scenes usually lie
(viewers that take this for granted show the others upside down)."""

_FLIP = np.array([1.0, -1.0, -1.0])


def frame_splats(gaussians: Gaussians, axes: Axes = "world") -> Splats:
    """World Gaussians as raw splats of degree 0; colours are clipped to [0, 1]."""
    means, quats, scales, opacities, colors = (x.detach().double().numpy() for x in gaussians)
    if axes == "rdf":
        means = means * _FLIP
        quats = _half_turn(quats)
    return from_activated(means, quats, scales, opacities, np.clip(colors, 0, 1))


def _half_turn(quats: np.ndarray) -> np.ndarray:
    """Half a turn about x before quaternions wxyz: (0, 1, 0, 0) q."""
    w, x, y, z = np.moveaxis(quats, -1, 0)
    return np.stack([-x, w, -z, y], -1)
