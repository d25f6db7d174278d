"""The matte's outline as evidence for the shape of the head, and how well the two agree.

Hair lies outside of the skull, so the outline is believed by halves: a mesh that reaches beyond the
matte is wrong and is pulled in; a mesh inside it is drawn outward only where the outline is near.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.heads.base import HeadModel
from headworks.tracking.energy import Observations, State
from headworks.tracking.texture import FaceSurface, draw, sample

Array = NDArray[np.float64]
_SAMPLES = 96
_REACH_IOD, _STEP_PX = 0.35, 0.5
_SIGMA_IOD = 0.03
_INSIDE_WEIGHT, _INSIDE_SCALE_IOD = 0.35, 0.12
_HAIR_IOD = 0.06  # the least thickness of hair on the scalp


def intersection_over_union(covered: NDArray[np.bool_], alpha: NDArray[np.uint8]) -> float:
    """IoU of the pixels a mesh covers [H, W] and a matte [H, W]; NaN where both are empty."""
    inside = alpha > 127
    union = (covered | inside).sum()
    return float((covered & inside).sum() / union) if union else float("nan")


def scalp_vertices(head: HeadModel, surface: FaceSurface) -> NDArray[np.bool_]:
    """Bool over the surface's vertices: those that hair covers."""
    kept = np.zeros(len(head.template), bool)
    kept[head.faces.numpy()[head.region_faces("scalp").numpy()]] = True
    return kept[surface.vertex_ids]


def outline_observations(
    surface: FaceSurface,
    scalp: NDArray[np.bool_],
    state: State,
    alpha: NDArray[np.uint8],
    Ks: Array,
    magnification: Array,
    iod: Array,
    offset: int,
) -> Observations:
    """Outline points of the drawn head and where along their normals the matte ends.

    Args:
        surface: the head without neck and torso. scalp: from `scalp_vertices`. state: T frames.
        alpha: [T, H, W]. Ks: [T, 3, 3]. magnification: [T]. iod: [T] pixels.
        offset: where the surface's vertices begin in the fit's point model.

    Returns:
        Observations about the principal point at magnification 1; only along the normals.
    """
    import cv2

    t, (h, w) = len(state), alpha.shape[1:3]
    index = np.full((t, _SAMPLES), offset, np.int64)
    target, normal = np.zeros((t, _SAMPLES, 2)), np.zeros((t, _SAMPLES, 2))
    weight = np.zeros((t, _SAMPLES))
    for i in range(t):
        vertices = surface.vertices(state, i)
        buffers = draw(surface, vertices, Ks[i], w, h)
        drawn = (buffers.face_ids >= 0).astype(np.uint8)
        contours, _ = cv2.findContours(drawn, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if not contours:
            continue
        contour = max(contours, key=len)[:, 0]
        if len(contour) < 2 * _SAMPLES:
            continue
        pick = np.linspace(0, len(contour), _SAMPLES, endpoint=False).astype(int)
        at = contour[pick]
        tangent = np.roll(contour, -4, 0)[pick] - np.roll(contour, 4, 0)[pick]
        out = np.stack([tangent[:, 1], -tangent[:, 0]], -1).astype(np.float64)
        out /= np.linalg.norm(out, axis=1, keepdims=True) + 1e-9
        ahead = np.rint(at + 3 * out).astype(int).clip(0, [w - 1, h - 1])
        out[drawn[ahead[:, 1], ahead[:, 0]] > 0] *= -1  # whichever way the contour runs
        corners = surface.faces[buffers.face_ids[at[:, 1], at[:, 0]]]
        nearest = buffers.barycentric[at[:, 1], at[:, 0]].argmax(1)
        vertex = corners[np.arange(_SAMPLES), nearest]

        pixels = vertices[vertex, :2] / vertices[vertex, 2:] * Ks[i, 0, 0] + Ks[i, :2, 2]
        reach = np.arange(-_REACH_IOD * iod[i], _REACH_IOD * iod[i], _STEP_PX)
        ray = pixels[:, None] + reach[:, None] * out[:, None]
        values = sample(alpha[i], ray.reshape(-1, 2)).reshape(ray.shape[:2])
        inside = values > 127
        # The outline counts where the ray leaves the matte once, from inside to outside.
        once = (np.diff(inside.astype(int), axis=1) != 0).sum(1) == 1
        once &= inside[:, 0] & ~inside[:, -1]
        once &= ((ray > 1) & (ray < [w - 1, h - 1])).all((1, 2))
        edge = reach[np.argmin(inside, axis=1)]
        edge = np.where(scalp[vertex] & (edge > 0), edge - _HAIR_IOD * iod[i], edge)
        gap = np.maximum(edge, 0) / (_INSIDE_SCALE_IOD * iod[i])
        index[i] = offset + vertex
        target[i], normal[i] = pixels + edge[:, None] * out, out
        weight[i] = once * np.where(edge > 0, _INSIDE_WEIGHT / (1 + gap**2) ** 2, 1.0)
    target = (target - Ks[:, None, :2, 2]) / magnification[:, None, None]
    sigma = _SIGMA_IOD * iod / magnification
    return Observations(index, target, weight, sigma, normal=normal)
