"""Quality of each picture's tracking: is the face there, sharp, free, and where the mesh says?

Weights in [0, 1] say how far a fit should trust a picture; nothing is thrown away here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.heads.base import HeadModel
from headworks.mesh import MeshBuffers
from headworks.tracking.texture import sample

Array = NDArray[np.float64]
FLAGS = ("no_face", "interpolated", "unseen", "high_error", "blur", "occlusion")
HIGH_ERROR_IOD = 0.10
"""Pictures whose landmarks miss by more, in interocular distances, are flagged."""

BLUR, OCCLUSION = 0.35, 0.2
"""Sharpness below, and share of covered skin above, that are flagged."""

_FACE_SIDE = 128  # faces are compared at this size, so that nearness is not sharpness
_PROBES = 400
_DEPTH_TOLERANCE_M, _LEAST_COSINE = 0.006, 0.45
_STRANGE = 0.16  # of the colour range: skin that differs by more is not that skin
_LEAST_PROBES = 20
# Full weight from the first value on, none (or the least weight) from the second on.
_SHARP, _FREE, _CLOSE = (0.6, 0.15), (0.10, 0.45), (0.05, 0.15)
_LEAST = 0.1  # blurred and badly tracked pictures still tell something


@dataclass(frozen=True)
class Quality:
    """Per picture, [T, C].

    Attributes:
        sharpness: variance of the Laplacian over the median of the camera's pictures; NaN without a
            face. occlusion: share of the visible skin that has another colour than in the other
            pictures. weight: [T, C] in [0, 1].
    """

    sharpness: Array
    occlusion: Array
    weight: Array


def sharpness(picture: NDArray[np.uint8], landmarks: Array) -> float:
    """Variance of the Laplacian in the face's box, at a size that all faces share.

    Args:
        picture: [H, W, 3]. landmarks: [68, >=2] pixels; NaN gives NaN.

    Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """
    import cv2

    points = landmarks[:, :2]
    if not np.isfinite(points).all():
        return float("nan")
    h, w = picture.shape[:2]
    low = np.clip(points.min(0), 0, [w - 2, h - 2]).astype(int)
    high = np.clip(np.ceil(points.max(0)), low + 2, [w, h]).astype(int)
    face = cv2.cvtColor(picture[low[1] : high[1], low[0] : high[0]], cv2.COLOR_RGB2GRAY)
    scale = _FACE_SIDE / max(face.shape)
    # Only ever made smaller: a small face has no detail to be blurred.
    if scale < 1:
        face = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(face.astype(np.float32), cv2.CV_32F).var())


class SkinProbe:
    """Colours of points of the skin in one camera's pictures."""

    def __init__(self, head: HeadModel, frames: int) -> None:
        kept = np.unique(head.faces.numpy()[head.region_faces("skin", "lips").numpy()])
        marks = head.landmarks(head.template[None])[0].numpy()
        place = head.template.numpy()[kept]
        low, high = marks[8, 1], marks[17:27, 1].max()
        inside = (place[:, 1] > low) & (place[:, 1] < high + 0.3 * (high - low))
        inside &= place[:, 2] > 0.02
        kept = kept[inside]
        pick = np.linspace(0, len(kept) - 1, min(_PROBES, len(kept))).astype(int)
        self.vertices = kept[np.unique(pick)]
        corner = head.faces.numpy()
        self._beside = np.zeros((len(self.vertices), 3), np.int64)
        first = np.full(len(head.template), -1, np.int64)
        first[corner.reshape(-1)] = np.repeat(np.arange(len(corner)), 3)
        self._beside[:] = corner[first[self.vertices]]
        self.colours = np.full((frames, len(self.vertices), 3), np.nan)

    def look(
        self, t: int, vertices: Array, buffers: MeshBuffers, camera: Camera,
        picture: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Note the colours of the points that are seen.

        Args:
            t: frame. vertices: [V, 3] world. buffers: of the mesh in this camera.
            picture: [H, W, 3].
        """
        points = vertices[self.vertices].astype(np.float64)
        a, b, c = (vertices[self._beside[:, k]].astype(np.float64) for k in range(3))
        normal, ray = np.cross(b - a, c - a), points - camera.centre
        length = np.linalg.norm(normal, axis=1) * np.linalg.norm(ray, axis=1) + 1e-20
        cosine = -(normal * ray).sum(1) / length
        at = camera.project(points)
        h, w = picture.shape[:2]
        inside = (at[:, 2] > 0) & (at[:, :2] > 1).all(1)
        inside &= (at[:, 0] < w - 1) & (at[:, 1] < h - 1)
        cell = np.where(inside[:, None], at[:, :2], 0).astype(int)
        hidden = at[:, 2] > buffers.depth[cell[:, 1], cell[:, 0]] + _DEPTH_TOLERANCE_M
        seen = inside & ~hidden & (cosine > _LEAST_COSINE)
        self.colours[t, seen] = sample(picture, at[seen, :2]) / 255.0

    def occlusion(self) -> Array:
        """[T] share of the seen points whose colour is not their own; 0 where too few are seen."""
        t = len(self.colours)
        known = np.asarray(np.isfinite(self.colours[..., 0]))
        often: NDArray[np.bool_] = known.sum(0) >= min(3, t)
        out = np.zeros(t)
        if t < 3 or not often.any():
            return out
        colours = self.colours[:, often]
        usual = np.nanmedian(colours, 0)
        for i in range(t):
            seen = np.asarray(np.isfinite(colours[i, :, 0]))
            if seen.sum() < _LEAST_PROBES:
                continue
            here, there = colours[i, seen], usual[seen]
            # A lamp that dims, or a camera that corrects, changes all skin alike.
            gain = np.clip(np.median(here / (there + 0.02), 0), 0.6, 1.6)
            strange = np.abs(here - gain * there).max(1) > _STRANGE
            out[i] = strange.mean()
        return out


def rate(
    sharp: Array, covered: Array, error: Array, seen: NDArray[np.bool_]
) -> tuple[Quality, list[list[str]]]:
    """Weights and flags.

    Args:
        sharp: [T, C] variances, NaN without a face. covered: [T, C]. error: [T, C] of
            landmarks, in interocular distances of a face that looks at the camera, NaN unseen.
        seen: bool [T, C], where landmarks were found.

    Returns:
        Quality, and flags [T][C]: names of `FLAGS` joined by commas.
    """
    relative = np.full(sharp.shape, np.nan)
    for c in range(sharp.shape[1]):
        if np.isfinite(sharp[:, c]).any():
            relative[:, c] = sharp[:, c] / max(float(np.nanmedian(sharp[:, c])), 1e-9)
    weight = np.where(np.asarray(seen.any(1))[:, None], 1.0, 0.0) * np.ones(sharp.shape)
    weight *= np.maximum(_ramp(np.nan_to_num(relative, nan=1.0), *_SHARP), _LEAST)
    weight *= _ramp(covered, *_FREE)
    weight *= np.maximum(_ramp(np.nan_to_num(error), *_CLOSE), _LEAST)

    def flag(i: int, j: int) -> str:
        if not seen[i].any():
            return "no_face,interpolated"
        found = [
            name
            for name, holds in (
                ("unseen", not seen[i, j]),
                ("high_error", error[i, j] > HIGH_ERROR_IOD),
                ("blur", relative[i, j] < BLUR),
                ("occlusion", covered[i, j] > OCCLUSION),
            )
            if holds
        ]
        return ",".join(found)

    t, c = sharp.shape
    return Quality(relative, covered, weight), [[flag(i, j) for j in range(c)] for i in range(t)]


def _ramp(values: Array, full: float, none: float) -> Array:
    return np.clip((values - none) / (full - none), 0, 1)
