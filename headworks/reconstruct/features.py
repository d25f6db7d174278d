"""SIFT features inside the mattes, matched between cameras at one time, kept as one set a camera.

The rig stands still and the head moves: a feature at time t and the same spot at time t + 1 are two
different points in space. So a camera is ONE image that holds the features of all time steps, and
only features of one time step are matched. All time steps then speak for the same camera poses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera

# Faces are smooth: the published threshold (0.0067) finds few features on skin.
_PEAK = 0.002
_MOST = 6000
_RATIO = 0.85
_LARGEST_ANGLE = 0.7
# Features nearer to the matte's edge, in pixels, see the background or slide along the outline.
_MARGIN = 3
# SIFT does not recognise a spot from sides further apart than this, radians.
_WIDEST = np.radians(50)


@dataclass(frozen=True, eq=False)
class Features:
    """Features of every camera, all time steps together.

    Attributes:
        xy: per camera float32 [N, 2] pixels of the working frames, centres at +0.5.
        times: per camera int32 [N], time step of each feature.
        colors: per camera uint8 [N, 3], sRGB at the feature.
        matches: (a, b) with a < b -> uint32 [M, 2] rows of camera a and of camera b.
    """

    xy: tuple[NDArray[np.float32], ...]
    times: tuple[NDArray[np.int32], ...]
    colors: tuple[NDArray[np.uint8], ...]
    matches: dict[tuple[int, int], NDArray[np.uint32]]


def quiet() -> None:
    """Only errors of COLMAP reach the terminal."""
    import pycolmap

    pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value
    pycolmap.logging.stderrthreshold = pycolmap.logging.Level.ERROR.value
    logging.getLogger("pycolmap").setLevel(logging.ERROR)


def match_features(
    frames: Callable[[int, int], tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    times: Sequence[int],
    cameras: Sequence[int],
    threads: int = 1,
    placed: Sequence[Camera] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Features:
    """Extract and match over all pairs of cameras and the given time steps.

    Args:
        frames: (t, c) -> rgb uint8 [H, W, 3] and alpha uint8 [H, W].
        times: the time steps to use. cameras: which; they are numbered anew from 0.
        threads: CPU threads. placed: the cameras where they are known: then pairs that look from
            too different sides are spared.
        progress: called with the fraction done.

    Source: Lowe, Distinctive Image Features from Scale-Invariant Keypoints, 2004; COLMAP's
        implementation (RootSIFT, upright: rigs stand upright).
    """
    import pycolmap

    quiet()
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.use_gpu, extraction.num_threads = False, threads
    extraction.sift.peak_threshold = _PEAK
    extraction.sift.max_num_features = _MOST
    extraction.sift.upright = True
    extractor = pycolmap.FeatureExtractor.create(extraction, pycolmap.Device.cpu)

    count = len(cameras)
    pairs = [p for p in combinations(range(count), 2) if _worthwhile(p, placed)]
    xy: list[list[NDArray[np.float32]]] = [[] for _ in range(count)]
    rgb: list[list[NDArray[np.uint8]]] = [[] for _ in range(count)]
    when: list[list[NDArray[np.int32]]] = [[] for _ in range(count)]
    found: dict[tuple[int, int], list[NDArray[np.uint32]]] = {pair: [] for pair in pairs}
    starts = np.zeros(count, np.uint32)
    for n, t in enumerate(times):
        seen = [_extract(extractor, *frames(t, c)) for c in cameras]
        for a, b in pairs:
            if min(len(seen[a][0]), len(seen[b][0])) < 2:
                continue
            matches = _mutual(seen[a][1], seen[b][1])
            found[a, b].append(matches + starts[[a, b]])
        for c in range(count):
            xy[c].append(seen[c][0][:, :2])
            rgb[c].append(seen[c][2])
            when[c].append(np.full(len(seen[c][0]), t, np.int32))
            starts[c] += len(seen[c][0])
        if progress is not None:
            progress((n + 1) / len(times))
    merged: dict[tuple[int, int], NDArray[np.uint32]] = {}
    for pair, parts in found.items():
        if sum(map(len, parts)):
            merged[pair] = np.concatenate(parts)
    return Features(
        tuple(np.concatenate(p).astype(np.float32) for p in xy),
        tuple(np.concatenate(w) for w in when),
        tuple(np.concatenate(c) for c in rgb),
        merged,
    )


def _worthwhile(pair: tuple[int, int], placed: Sequence[Camera] | None) -> bool:
    if placed is None:
        return True
    a, b = (placed[c].viewmat[2, :3] for c in pair)
    return bool(a @ b > np.cos(_WIDEST))


def _mutual(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Rows [M, 2] that are each other's nearest, clearly nearer than the second nearest.

    As COLMAP's brute-force matcher (angle between descriptors), by one matrix product.
    """
    first = a.astype(np.float32)
    second = b.astype(np.float32)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-6)
    second /= np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-6)
    cosine = first @ second.T
    forth, back = _clear_best(cosine), _clear_best(cosine.T)
    rows = np.flatnonzero(forth >= 0)
    rows = rows[back[forth[rows]] == rows]
    return np.stack([rows, forth[rows]], 1).astype(np.uint32)


def _clear_best(cosine: NDArray[np.float32]) -> NDArray[np.int64]:
    """Per row the column of the largest cosine, -1 where it is not clearly the best."""
    top = np.argpartition(-cosine, 1, axis=1)[:, :2]
    values = np.take_along_axis(cosine, top, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    values = np.take_along_axis(values, order, 1)
    angles = np.arccos(np.clip(values, -1, 1))
    best = np.take_along_axis(top, order, 1)[:, 0]
    clear = (angles[:, 0] < _RATIO * angles[:, 1]) & (angles[:, 0] < _LARGEST_ANGLE)
    return np.where(clear, best, -1)


def _extract(
    extractor: Any, rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Keypoints [N, 4], descriptors [N, 128] and colours [N, 3] inside the matte."""
    import cv2
    import pycolmap

    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    keypoints, descriptors = extractor.extract(pycolmap.Bitmap.from_array(grey))
    matrix = np.asarray(pycolmap.keypoints_to_matrix(keypoints), np.float32)
    size = 2 * _MARGIN + 1
    inside = cv2.erode((alpha > 127).astype(np.uint8), np.ones((size, size), np.uint8))
    column = np.clip(matrix[:, 0].astype(int), 0, grey.shape[1] - 1)
    row = np.clip(matrix[:, 1].astype(int), 0, grey.shape[0] - 1)
    kept = inside[row, column] > 0
    return matrix[kept], np.asarray(descriptors.data)[kept], rgb[row, column][kept]
