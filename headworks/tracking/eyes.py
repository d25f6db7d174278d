"""Gaze: where the irises are inside the lids, as rotations of the eyeballs.

The iris is looked for as the disk of known size that is darkest against its surroundings, inside
the polygon of the eye's six landmarks. Its centre's ray meets the eyeball at the gaze.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headworks.heads.base import HeadModel
from headworks.tracking.energy import State
from headworks.tracking.smoothing import smooth_runs

Array = NDArray[np.float64]
EYES = (np.arange(42, 48), np.arange(36, 42))
"""Landmarks of the subject's left and right eye (outer or inner corner first, around the lids)."""

IRIS_RADIUS_M = 0.0059
_LEAST_APERTURE = 0.17  # height over width of the lids' opening; below it the eye is shut
_LEAST_CONTRAST = 0.05
_CANDIDATE_STEP_PX = 0.5
_MOST_YAW, _MOST_PITCH = 0.6, 0.45
# Lids follow the eyes: full eyeLookUp or eyeLookDown at this pitch.
_LID_PITCH = 0.5


@dataclass(frozen=True)
class Gaze:
    """Eye rotations.

    Attributes:
        eyes: [T, 2, 3] axis-angle in the head's frame, the subject's left eye first.
        seen: bool [T, 2], where the iris was found.
    """

    eyes: Array
    seen: NDArray[np.bool_]


def find_iris(red: NDArray[np.uint8], lids: Array, radius: float) -> tuple[Array, float]:
    """Centre of the iris in one image.

    Args:
        red: [H, W], the red channel (blue irises are dark in it, too, and skin is bright).
        lids: [6, 2] pixels around the eye. radius: of the iris, pixels.

    Returns:
        centre [2] pixels and contrast in [0, 1]; the contrast is 0 where no iris is seen.
    """
    import cv2

    width = float(np.linalg.norm(lids[0] - lids[3]))
    height = float(np.linalg.norm((lids[1] + lids[2] - lids[4] - lids[5]) / 2))
    if width < 6 or height < _LEAST_APERTURE * width:
        return lids.mean(0), 0.0
    low = np.floor(lids.min(0) - 2).astype(int)
    high = np.ceil(lids.max(0) + 2).astype(int)
    if (low < 0).any() or high[0] > red.shape[1] or high[1] > red.shape[0]:
        return lids.mean(0), 0.0
    step = 1.0
    x = np.arange(low[0], high[0], step) + step / 2
    y = np.arange(low[1], high[1], step) + step / 2
    patch = red[low[1] : high[1], low[0] : high[0]].astype(np.float32) / 255
    fine = cv2.resize(patch, (len(x), len(y)), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    polygon = np.rint((lids - low) / step * 16).astype(np.int32)
    mask = cv2.fillPoly(np.zeros(fine.shape, np.uint8), [polygon], 1, cv2.LINE_8, 4) > 0
    if mask.sum() < 20:
        return lids.mean(0), 0.0
    at = np.stack(np.meshgrid(x, y), -1)[mask]
    value = fine[mask]
    # Disk against the rest of the opening, for every centre between the corners.
    along = (lids[3] - lids[0]) / width
    middle = (lids[0] + lids[3]) / 2
    a = np.arange(-0.35 * width, 0.35 * width, _CANDIDATE_STEP_PX)
    b = np.arange(-0.6 * radius, 0.6 * radius + _CANDIDATE_STEP_PX, _CANDIDATE_STEP_PX)
    centre = lids.mean(0)
    across = np.array([-along[1], along[0]])
    base = middle + ((centre - middle) @ across) * across
    candidates = (base + a[:, None, None] * along + b[None, :, None] * across).reshape(-1, 2)
    distance = np.linalg.norm(candidates[:, None] - at, axis=-1)
    disk = np.clip((radius - distance) / (0.4 * radius) + 0.5, 0, 1)  # with a soft border
    inside, total = (disk * value).sum(1), disk.sum(1)
    outside = (value.sum() - inside) / np.maximum(len(value) - total, 1e-6)
    contrast = outside - inside / np.maximum(total, 1e-6)
    # A disk that lies half behind a lid has few pixels: it must earn its contrast.
    score = contrast * np.sqrt(np.maximum(total, 0) / total.max())
    best = int(score.argmax())
    # The peak is flat: the centre is the mean of all nearly as good ones.
    weight = np.maximum(score - 0.9 * score[best], 0)
    found = (weight[:, None] * candidates).sum(0) / max(float(weight.sum()), 1e-12)
    return found, float(max(contrast[best], 0.0))


def track_gaze(
    head: HeadModel,
    state: State,
    rgb: NDArray[np.uint8],
    landmarks: Array,
    Ks: Array,
    linked: NDArray[np.bool_],
) -> Gaze:
    """Gaze of every frame.

    Args:
        head: the model. state: pose of the head in the camera. rgb: [T, H, W, 3].
        landmarks: [T, 68, >=2] pixels. Ks: [T, 3, 3]. linked: bool [T-1].

    Returns:
        Gaze; both eyes look in parallel, and frames without a visible iris (blinks) keep the gaze
        of their neighbours. Straight ahead and unseen for a model whose eyes do not turn.
    """
    t = len(state)
    joints = head.joints.double().numpy() + np.einsum(
        "k,kjc->jc", state.identity, head.joint_identity.double().numpy()
    )
    direction, weight = np.zeros((t, 2, 2)), np.zeros((t, 2))
    for eye, (joint, corners) in enumerate(zip((3, 4), EYES)):
        own = head.skin_weights[:, joint].numpy() > 0.5
        if not own.any():
            continue  # a model whose eyes are painted on its skin does not turn them
        offset = head.template.double().numpy()[own] - head.joints[joint].double().numpy()
        # The iris lies where the eyeball is farthest in front.
        radius = float(np.quantile(offset[:, 2], 0.99))
        centres = np.einsum("txy,y->tx", state.rotation, joints[joint]) + state.translation
        for i in range(t):
            lids = landmarks[i, corners, :2]
            if not np.isfinite(lids).all():
                continue
            focal = Ks[i, 0, 0]
            found, contrast = find_iris(rgb[i, ..., 0], lids, IRIS_RADIUS_M * focal / centres[i, 2])
            if contrast < _LEAST_CONTRAST:
                continue
            ray = np.array([*((found - Ks[i, :2, 2]) / focal), 1.0])
            gaze = state.rotation[i].T @ _meet(ray / np.linalg.norm(ray), centres[i], radius)
            direction[i, eye] = np.arctan2(gaze[0], gaze[2]), np.arctan2(gaze[1], gaze[2])
            weight[i, eye] = min(contrast / 0.2, 1.0)
    seen = weight > 0
    direction = np.clip(direction, [-_MOST_YAW, -_MOST_PITCH], [_MOST_YAW, _MOST_PITCH])
    eyes = np.zeros((t, 2, 3))
    if seen.any():
        # Each eye's constant offset against both is an error of its place, not a squint.
        both = seen.all(1)
        apart = np.median((direction[both, 0] - direction[both, 1]) / 2, 0) if both.any() else 0.0
        direction = direction - np.stack([np.zeros(2) + apart, np.zeros(2) - apart])
        total = weight.sum(1)
        shared = (direction * weight[..., None]).sum(1) / np.maximum(total, 1e-9)[:, None]
        shared[total == 0] = np.median(shared[total > 0], 0)
        shared = smooth_runs(shared, np.where(total > 0, total, 1e-3), 0.5, linked)
        yaw, pitch = shared.T
        axis = np.stack([-np.tan(pitch), np.tan(yaw), np.zeros(t)], -1)  # z x gaze, gaze_z = 1
        angle = np.arctan(np.linalg.norm(axis, axis=1))
        axis /= np.linalg.norm(axis, axis=1, keepdims=True) + 1e-12
        eyes[:] = (axis * angle[:, None])[:, None]
    return Gaze(eyes, seen)


def lids_follow(names: tuple[str, ...], expression: Array, eyes: Array) -> Array:
    """Expressions [T, Ke] with the eyeLook shapes set from the gaze [T, 2, 3]."""
    out = expression.copy()
    for eye, side in enumerate(("Left", "Right")):
        pitch, blink = -eyes[:, eye, 0], f"eyeBlink{side}"  # a positive turn about x looks down
        for name, value in ((f"eyeLookUp{side}", pitch), (f"eyeLookDown{side}", -pitch)):
            if name in names:
                shut = expression[:, names.index(blink)] if blink in names else 0.0
                out[:, names.index(name)] = np.clip(value / _LID_PITCH, 0, 1) * (1 - shut)
    return out


def _meet(ray: Array, centre: Array, radius: float) -> Array:
    """Direction [3] from a sphere's centre to where a ray meets it first, or passes nearest."""
    along = float(ray @ centre)
    gap = radius**2 - (float(centre @ centre) - along**2)
    point = ray * (along - np.sqrt(max(gap, 0.0))) - centre
    return point / np.linalg.norm(point)
