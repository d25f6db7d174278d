"""Estimated cameras in metres and in the head's own axes, or in the world of known cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera

RIGID = (27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45)
"""Landmarks that expressions hardly move: bridge and base of the nose, corners of the eyes."""
_EYES = ((36, 45), (39, 42))


@dataclass(frozen=True)
class Similarity:
    """y = scale rotation x + translation.

    Attributes:
        scale: positive. rotation: float64 [3, 3]. translation: float64 [3].
    """

    scale: float
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def points(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Move points [..., 3]."""
        moved = np.asarray(points, np.float64) @ self.rotation.T
        return self.scale * moved + self.translation

    def camera(self, camera: Camera) -> Camera:
        """The camera that sees the moved world as it saw the old one (its depths scale along)."""
        rotation = camera.viewmat[:3, :3] @ self.rotation.T
        centre = self.points(camera.centre)
        viewmat = np.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ centre
        return Camera(viewmat, camera.K, camera.width, camera.height)


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> Similarity:
    """Least-squares similarity that moves source [N, 3] onto target [N, 3] (Umeyama 1991)."""
    import torch

    from headworks.geometry import similarity_align

    s, r, t = similarity_align(
        torch.from_numpy(np.asarray(source, np.float64)),
        torch.from_numpy(np.asarray(target, np.float64)),
    )
    return Similarity(float(s), r.numpy(), t.numpy())


def align_to_cameras(
    estimated: Sequence[Camera | None], known: Sequence[Camera]
) -> tuple[Similarity, NDArray[np.float64]]:
    """Similarity onto known camera centres, and what is left of each distance.

    Args:
        estimated: None where not placed. known: as many.

    Returns:
        The similarity, and float64 [C] metres, NaN where not placed.

    Raises:
        ValueError: fewer than three cameras are placed.
    """
    placed = [i for i, camera in enumerate(estimated) if camera is not None]
    if len(placed) < 3:
        raise ValueError(f"{len(placed)} cameras are placed; an alignment needs three")
    here = np.stack([c.centre for c in estimated if c is not None])
    there = np.stack([known[i].centre for i in placed])
    move = similarity(here, there)
    left = np.full(len(known), np.nan)
    left[placed] = np.linalg.norm(move.points(here) - there, axis=1)
    return move, left


def align_to_head(
    landmarks: NDArray[np.floating], confidence: NDArray[np.floating], model: NDArray[np.floating]
) -> tuple[Similarity, int]:
    """Similarity onto the canonical head at the time step where the landmarks are best seen.

    The scale is the head model's distance between the eyes (outer and inner corners) over the
    measured one, the median over all time steps; axes and origin come from the rigid landmarks.

    Args:
        landmarks: [T, 68, 3], NaN where not seen. confidence: [T, 68].
        model: [68, 3] landmarks of the canonical head, metres.

    Returns:
        The similarity and the time step.

    Raises:
        ValueError: at no time step are enough rigid landmarks seen.
    """
    rigid = list(RIGID)
    points = np.asarray(landmarks, np.float64)
    seen = np.asarray(np.isfinite(points[:, rigid]).all(-1))
    weight = np.where(seen, confidence[:, rigid], 0).sum(1)
    reference = int(np.argmax(weight))
    if seen[reference].sum() < 5:
        raise ValueError("the landmarks of no time step are seen by enough cameras")
    ratios = [
        np.linalg.norm(model[a] - model[b]) / np.linalg.norm(points[:, a] - points[:, b], axis=-1)
        for a, b in _EYES
    ]
    known = [r[np.isfinite(r)] for r in ratios]
    used = np.array(rigid)[seen[reference]]
    fitted = similarity(points[reference, used], model[used])
    scale = fitted.scale
    if all(len(k) for k in known):
        scale = float(np.mean([np.median(k) for k in known]))
    middle = points[reference, used].mean(0)
    offset = np.asarray(model, np.float64)[used].mean(0) - scale * fitted.rotation @ middle
    return Similarity(scale, fitted.rotation, offset), reference
