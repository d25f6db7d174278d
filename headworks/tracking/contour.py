"""The jaw contour: landmarks that slide over the face as it turns.

A detector puts landmarks 0-16 on the visible outline of the face. Seen from the front that is the
jaw; when the head turns, the outline of the far side moves over the cheek, while the near side
stays at the jaw. Each sliding landmark therefore has a path of candidates from the jaw towards the
front of the face, and in every frame the candidate that lies outermost in the image is taken.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.geometry import vertex_normals
from headworks.heads.base import HeadModel

SLIDING = (0, 1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16)
"""Contour landmarks that slide; 6-10 (the chin) stay where the model has them."""

_NOSE_BRIDGE, _PATH = 27, 9
_OUTER_SKIN = ("skin", "ears", "neck", "scalp")


def contour_paths(head: HeadModel) -> NDArray[np.int64]:
    """Candidate vertices of each sliding landmark.

    The path of a landmark is where the plane through it, its mirror partner and the bridge of the
    nose cuts the skin, from the landmark forward to a third of its distance from the midline.

    Returns:
        int64 [len(SLIDING), 9] vertex ids, jaw first.
    """
    marks = head.landmarks(head.template[None])[0].double().numpy()
    vertices = head.template.double().numpy()
    normals = vertex_normals(head.template, head.faces).double().numpy()
    skin = torch.zeros(len(vertices), dtype=torch.bool)
    skin[head.faces[head.region_faces(*_OUTER_SKIN)].reshape(-1)] = True
    usable = skin.numpy() & (normals[:, 2] > -0.2)
    paths = np.empty((len(SLIDING), _PATH), np.int64)
    for row, landmark in enumerate(SLIDING):
        a, b, c = marks[landmark], marks[16 - landmark], marks[_NOSE_BRIDGE]
        normal = np.cross(b - a, c - a)
        distance = (vertices - a) @ (normal / np.linalg.norm(normal))
        side = usable & (vertices[:, 0] * a[0] > 0) & (vertices[:, 2] > a[2] - 0.003)
        # Points of the path are asked for at equal steps of breadth, the landmark's own first.
        for step, breadth in enumerate(np.linspace(1.0, 1 / 3, _PATH)):
            wanted = np.abs(np.abs(vertices[:, 0]) - abs(a[0]) * breadth)
            score = np.hypot(distance, wanted) + np.where(side, 0, 1e3)
            if step == 0:
                score = np.linalg.norm(vertices - a, axis=1) + np.where(skin.numpy(), 0, 1e3)
            paths[row, step] = int(score.argmin())
    return paths


def outermost(
    candidates: NDArray[np.float64], rotation: NDArray[np.float64], outward: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Which candidate of each path lies outermost in the image.

    Args:
        candidates: [T, L, K, 2] pixels. rotation: [T, 3, 3] head to camera. outward: [L, 3] in the
            head's frame, direction in which the contour bounds the face.

    Returns:
        int64 [T, L] positions on the paths.
    """
    direction = np.einsum("txy,ly->tlx", rotation, outward)[..., :2]
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True) + 1e-9
    reach = np.einsum("tlkx,tlx->tlk", candidates, direction)
    return reach.argmax(-1)


def outward_directions(head: HeadModel) -> NDArray[np.float64]:
    """[len(SLIDING), 3] unit directions away from the middle of the face, in its own plane."""
    marks = head.landmarks(head.template[None])[0].double().numpy()
    offset = marks[list(SLIDING)] - marks[30]
    offset[:, 2] = 0
    return offset / np.linalg.norm(offset, axis=1, keepdims=True)
