"""What dlib's landmarks are off by in rendered pictures, read from the pixels around them.

dlib has learnt from photographs. On rendered faces its lids lie beside the lids and its chin below
the chin, by 3 to 10 % of the face and differently on every person. Histograms of gradients at the
landmarks, in a frame that turns and scales with the face, are mapped linearly to the landmarks'
errors. The map is learnt from synthetic people, whose landmarks are known
(`benchmarks/landmark_correction.py`), and is for such pictures: on photographs, where dlib is at
home, it makes lids worse.

Source: Xiong and De la Torre, Supervised Descent Method, 2013 (one step of it, with descriptors in
rings as of DAISY, Tola et al. 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
WEIGHTS = Path(__file__).parent / "correction.npz"

IOD = 56.0
"""Interocular distance of the upright picture, pixels."""

SIDE = 200
_RAISED = 6.0  # pixels by which the inner landmarks' middle lies above the picture's
_INNER = slice(17, 68)  # those that the outline does not move
_ORIENTATIONS = np.arange(8) * np.pi / 4
_BLURS = (1.5, 3.5)
_SHARPEST = 0.8  # pictures that shrink by more are blurred first
_MOST = 0.25  # of the interocular distance; no correction is larger


def _rings() -> tuple[Array, NDArray[np.int64]]:
    """Offsets [R, 2] from a landmark, pixels, and which blur is looked at there."""
    near = 4 * np.stack([np.cos(_ORIENTATIONS), np.sin(_ORIENTATIONS)], 1)
    turned = _ORIENTATIONS + np.pi / 8
    far = 11 * np.stack([np.cos(turned), np.sin(turned)], 1)
    return np.concatenate([np.zeros((1, 2)), near, far]), np.repeat([0, 0, 1], [1, 8, 8])


_OFFSETS, _LEVEL = _rings()


@dataclass(frozen=True)
class Correction:
    """The learnt map.

    Attributes:
        shape: [68, 2] mean landmarks, interocular distance 1. mean: [D] of the features.
        reduce: [D, R], expand: [R, 136]: features to errors, pixels of the upright picture.
        constant: [136].
    """

    shape: Array
    mean: NDArray[np.float32]
    reduce: NDArray[np.float32]
    expand: NDArray[np.float32]
    constant: NDArray[np.float32]

    def __call__(self, features: NDArray[np.float32]) -> Array:
        """[..., 68, 2] where the landmarks should move, pixels of the upright picture."""
        moved = (features - self.mean) @ self.reduce @ self.expand + self.constant
        return moved.reshape(*features.shape[:-1], 68, 2).astype(np.float64)


@lru_cache(maxsize=1)
def learnt() -> Correction:
    """The map that is installed with this package."""
    with np.load(WEIGHTS) as kept:
        values = {name: kept[name].astype(np.float32) for name in kept.files}
    shape = values.pop("shape").astype(np.float64)
    return Correction(shape, **values)


def corrected(
    frames: NDArray[np.uint8], points: NDArray[np.floating], by: Correction | None = None
) -> NDArray[np.float32]:
    """Landmarks without what dlib errs by on rendered faces.

    Args:
        frames: uint8 [T, H, W, 3]. points: [T, 68, 3] of a detector: x, y in pixels (centres at
            +0.5), confidence; NaN where not found. by: the map; None for the installed one.

    Returns:
        float32 [T, 68, 3]; confidences as they were.
    """
    by = by or learnt()
    out = np.asarray(points, np.float32).copy()
    for t in np.flatnonzero(np.isfinite(points[..., :2]).all((1, 2))):
        marks = np.asarray(points[t, :, :2], np.float64)
        picture, place, turn = upright(frames[t], marks, by.shape)
        moved = by(describe(picture, place))
        length = np.linalg.norm(moved, axis=-1, keepdims=True)
        moved *= np.minimum(1, _MOST * IOD / np.maximum(length, 1e-9))
        out[t, :, :2] = marks + moved @ np.linalg.inv(turn).T
    return out


def upright(
    frame: NDArray[np.uint8], marks: Array, shape: Array
) -> tuple[NDArray[np.float32], Array, Array]:
    """The face turned and scaled like the mean shape.

    Args:
        frame: uint8 [H, W, 3]. marks: [68, 2] pixels. shape: [68, 2] as in `Correction`.

    Returns:
        grey float32 [SIDE, SIDE]; the landmarks in it [68, 2]; [2, 2] how directions turn and
        scale from the frame.
    """
    import cv2

    turn, shift = _similarity(marks[_INNER], shape[_INNER])
    turn = turn * IOD
    shift = shift * IOD + np.array([SIDE / 2, SIDE / 2 - _RAISED])
    scale = float(np.sqrt(np.linalg.det(turn)))
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    if scale < _SHARPEST:
        grey = cv2.GaussianBlur(grey, (0, 0), 0.4 / scale)
    # The middle of the first pixel is at (0.5, 0.5) here, and at (0, 0) for OpenCV.
    move = np.concatenate([turn, (shift - 0.5 + 0.5 * turn.sum(1))[:, None]], 1)
    picture = cv2.warpAffine(grey, move, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return picture.astype(np.float32), marks @ turn.T + shift, turn


def _similarity(points: Array, onto: Array) -> tuple[Array, Array]:
    """Turn with scale [2, 2] and shift [2] that bring points [N, 2] nearest to others."""
    middle, other = points.mean(0), onto.mean(0)
    a, b = (points - middle) @ [1, 1j], (onto - other) @ [1, 1j]
    z = (a.conj() * b).sum() / (np.abs(a) ** 2).sum()
    turn = np.array([[z.real, -z.imag], [z.imag, z.real]])
    return turn, other - turn @ middle


def describe(picture: NDArray[np.float32], place: Array) -> NDArray[np.float32]:
    """Gradients around the landmarks, and how they lie: [68 * 136 + 136] features.

    Args:
        picture: grey [SIDE, SIDE]. place: [68, 2] pixels in it.
    """
    import cv2

    smooth = cv2.GaussianBlur(picture, (0, 0), 1.0)
    x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125)
    y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125)
    size, angle = np.hypot(x, y), np.arctan2(y, x)
    along = [size * np.maximum(np.cos(angle - a), 0) ** 3 for a in _ORIENTATIONS.astype(np.float32)]
    maps = np.stack(along, -1)
    at = place[:, None] + _OFFSETS
    found = np.empty((68, len(_OFFSETS), len(_ORIENTATIONS)), np.float32)
    for level, sigma in enumerate(_BLURS):
        blurred = cv2.GaussianBlur(maps, (0, 0), sigma)
        chosen = level == _LEVEL
        where = (at[:, chosen].reshape(1, -1, 2) - 0.5).astype(np.float32)
        values = cv2.remap(
            blurred, where[..., 0].copy(), where[..., 1].copy(), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        found[:, chosen] = values.reshape(68, -1, len(_ORIENTATIONS))
    flat = found.reshape(-1)
    flat = flat / np.sqrt((flat**2).mean() + 1.0)
    return np.concatenate([flat, ((place - place.mean(0)) / 5).reshape(-1)]).astype(np.float32)
