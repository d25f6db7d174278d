"""The torso's own motion, from pixels below the chin.

Landmarks say how the head moves; shoulders do not follow it. Corners on clothing and neck inside
the matte are followed from a reference frame; a robust similarity per frame is the torso's image
motion. Where too few corners hold, the torso is taken to stand still between the frames that know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headworks.tracking.flow import corners, lucas_kanade
from headworks.tracking.landmark_fit import interocular
from headworks.tracking.smoothing import runs, smooth_runs

Array = NDArray[np.float64]
_ENOUGH = 8  # corners that must agree on a similarity
_REFRESH = 0.4  # new corners when fewer than this share is left
_BELOW_CHIN_IOD = 0.35


@dataclass(frozen=True)
class TorsoMotion:
    """Image similarity of the torso against a reference frame: u_t = s R(angle) (u - c) + c + d.

    Attributes:
        centre: [2] pixels, c. shift: [T, 2] pixels, d. angle: [T] radians, x towards y.
        log_scale: [T]. support: [T] corners that agree, 0 where the motion was filled in.
    """

    centre: Array
    shift: Array
    angle: Array
    log_scale: Array
    support: NDArray[np.int64]

    def frames(self, part: slice) -> TorsoMotion:
        """Some of the frames."""
        return TorsoMotion(
            self.centre, self.shift[part], self.angle[part], self.log_scale[part],
            self.support[part],
        )  # fmt: skip


def fit_similarity(source: Array, target: Array, sigma: float = 0.7) -> tuple[Array, int]:
    """Robust 2D similarity by reweighted least squares.

    Args:
        source, target: [N, 2]. sigma: pixels, residuals well beyond it lose their say.

    Returns:
        [4] = a, b, tx, ty of u' = [[a, -b], [b, a]] u + t, and how many points agree (< 3 sigma).
    """
    x, y = source.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    design = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    wanted = np.concatenate([target[:, 0], target[:, 1]])
    p = np.array([1.0, 0.0, *np.median(target - source, 0)])
    # The start trusts most points, then the scale of the residuals shrinks to sigma.
    for scale in (8.0, 4.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        r = (design @ p - wanted).reshape(2, -1)
        w = np.sqrt(1 / (1 + (r**2).sum(0) / (scale * sigma) ** 2) ** 2)
        w = np.concatenate([w, w])[:, None]
        p = np.linalg.lstsq(design * w, wanted * w[:, 0], rcond=None)[0]
    r = np.linalg.norm((design @ p - wanted).reshape(2, -1), axis=0)
    return p, int((r < 3 * sigma).sum())


def torso_mask(alpha: NDArray[np.uint8], landmarks: Array) -> NDArray[np.bool_]:
    """Pixels that surely belong to the torso: inside the matte, clear of the chin.

    Args:
        alpha: [H, W]. landmarks: [68, >=2] pixels; NaN gives an empty mask.
    """
    import cv2

    inside = cv2.erode((alpha > 200).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if not np.isfinite(landmarks[:, :2]).all():
        return np.zeros_like(inside)
    iod = float(interocular(landmarks[None])[0])
    inside[: max(0, int(landmarks[6:11, 1].max() + _BELOW_CHIN_IOD * iod))] = False
    return inside


def track_torso(
    grey: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    landmarks: Array,
    linked: NDArray[np.bool_],
    rate: float = 25.0,
) -> TorsoMotion:
    """Follow the torso through a clip.

    Args:
        grey: [T, H, W]. alpha: [T, H, W]. landmarks: [T, 68, >=2] pixels.
        linked: bool [T-1], frames that follow each other. rate: frames per second.

    Returns:
        Smoothed motion against each run's middle frame (its own reference, motion zero there).
    """
    t = len(grey)
    similarity = np.tile(np.array([1.0, 0, 0, 0]), (t, 1))
    support = np.zeros(t, np.int64)
    centres = []
    for run in runs(linked):
        middle = (run.start + run.stop) // 2
        support[middle] = _ENOUGH
        mask = torso_mask(alpha[middle], landmarks[middle])
        rows, columns = np.nonzero(mask)
        if len(rows):
            centres.append([columns.mean() + 0.5, rows.mean() + 0.5])
        for order in (range(middle, run.stop), range(middle, run.start - 1, -1)):
            _follow(list(order), grey, alpha, landmarks, similarity, support)
    h, w = grey.shape[1:]
    centre = np.mean(centres, 0) if centres else np.array([w / 2, h - 1.0])

    a, b = similarity[:, 0], similarity[:, 1]
    shift = np.stack([a * centre[0] - b * centre[1], b * centre[0] + a * centre[1]], -1)
    shift = shift + similarity[:, 2:] - centre
    weight = np.minimum(support / 30.0, 1.0)
    speed = (rate / 25.0) ** 4

    def filled(values: Array, stiffness: float) -> Array:
        return smooth_runs(values, weight, stiffness * speed, linked)

    return TorsoMotion(
        centre=centre,
        shift=filled(shift, 1.0),
        angle=filled(np.arctan2(b, a), 30.0),
        log_scale=filled(np.log(np.hypot(a, b)), 300.0),
        support=support,
    )


def _follow(
    order: list[int],
    grey: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    landmarks: Array,
    similarity: Array,
    support: NDArray[np.int64],
) -> None:
    """Walk away from a reference frame; fills `similarity` (reference to frame) and `support`."""
    anchor, last = order[0], order[0]
    points = corners(grey[anchor], torso_mask(alpha[anchor], landmarks[anchor]), 200, 4)
    for now in order[1:]:
        similarity[now] = similarity[last]
        if len(points) < _ENOUGH:
            anchor = last
            points = corners(grey[last], torso_mask(alpha[last], landmarks[last]), 200, 4)
            if len(points) < _ENOUGH:
                last = now  # nothing to hold on to: the torso is taken to stand still
                continue
        # From the anchor directly: errors do not add up while its corners are still seen.
        since = _compose(similarity[last], _inverse(similarity[anchor]))
        guess = _apply(since, points)
        there, good = lucas_kanade(grey[anchor], grey[now], points, guess, window=21)
        h, w = grey.shape[1:]
        cell = np.clip(np.nan_to_num(there).astype(int), 0, [w - 1, h - 1])
        good &= alpha[now][cell[:, 1], cell[:, 0]] > 128
        if good.sum() >= _ENOUGH:
            found, agree = fit_similarity(points[good], there[good])
            if agree >= _ENOUGH and abs(np.hypot(*found[:2]) - 1) < 0.25:
                similarity[now] = _compose(found, similarity[anchor])
                support[now] = agree
        last = now
        if good.sum() < _REFRESH * len(points) and support[now] > 0:
            anchor = now
            points = corners(grey[now], torso_mask(alpha[now], landmarks[now]), 200, 4)


def _apply(p: Array, points: Array) -> Array:
    a, b, tx, ty = p
    return points @ np.array([[a, b], [-b, a]]) + [tx, ty]


def _compose(second: Array, first: Array) -> Array:
    a, b = second[:2]
    c, d = first[:2]
    return np.array([a * c - b * d, a * d + b * c, *_apply(second, first[None, 2:])[0]])


def _inverse(p: Array) -> Array:
    a, b, tx, ty = p
    n = a * a + b * b
    inverse = np.array([a / n, -b / n, 0.0, 0.0])
    inverse[2:] = -_apply(inverse, np.array([[tx, ty]]))[0]
    return inverse
