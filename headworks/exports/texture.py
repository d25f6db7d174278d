"""A texture of the head, gathered from pictures that its avatar makes of itself."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars.avatar import Avatar
from headworks.avatars.baselines import gather_texture
from headworks.avatars.baselines.textured_mesh import TrainingView
from headworks.driving.performance import bare_head
from headworks.heads.base import HeadPose
from headworks.images import to_uint8
from headworks.pictures import portrait_camera

AROUND = np.deg2rad([0, 30, -30, 65, -65, 110, -110, 150, -150, 180])
ABOVE = ((0.0, 50.0), (0.0, -35.0), (180.0, 45.0))
"""Azimuth and elevation, degrees, of the views from above and below."""
FACES: tuple[dict[str, float], ...] = (
    {"jawOpen": 0.6},
    {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
)
"""What shows lids, lips and teeth."""


def bake_texture(avatar: Avatar, pose: HeadPose, size: int, side: int = 512) -> NDArray[np.uint8]:
    """The colours of an avatar on the UV atlas of its head.

    Args:
        avatar: who. pose: batch of 1, the head upright at its canonical place (the torso where the
            avatar has seen it). size: texels a side. side: pixels of the pictures.

    Returns:
        uint8 [size, size, 3] sRGB, upper row = largest v; texels that no picture shows take their
        neighbours' colour.
    """
    head = avatar.head
    bare = bare_head(head, avatar.identity)
    shots = [({}, a, 0.0) for a in AROUND] + [({}, *np.deg2rad(pair)) for pair in ABOVE]
    shots += [(face, a, 0.0) for face in FACES for a in (0.0, *np.deg2rad([25, -25]))]
    views = []
    for weights, azimuth, elevation in shots:
        expression = torch.zeros(len(head.expression_names))
        for name, value in weights.items():
            if name in head.expression_names:
                expression[head.expression_index(name)] = value
        camera = portrait_camera(bare, side, float(azimuth), float(elevation))
        rgb, alpha = avatar.render(expression, pose, camera)
        with torch.no_grad():
            vertices = avatar.vertices(expression, pose).numpy()
        views.append(TrainingView(vertices, camera, rgb, alpha))
    texture = gather_texture(
        head.faces.numpy(), head.uvs.numpy(), head.faces_uv.numpy(), views, size
    )
    return to_uint8(texture.rgb)
