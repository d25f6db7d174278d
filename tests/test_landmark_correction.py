"""Promises of the correction of dlib's landmarks in rendered pictures."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera, intrinsics, orbit
from headworks.landmarks.correction import Correction, corrected, learnt
from headworks.landmarks.dlib68 import detect

SIZE, AZIMUTHS = 224, (0.0, 0.5)


@lru_cache(maxsize=1)
def rendered() -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float32]]:
    """Two pictures of somebody whom the map has not learnt from; true and dlib's landmarks."""
    import torch

    from headworks.heads import HeadPose
    from headworks.synthetic.person import make_person
    from headworks.synthetic.render import pose_person, render_stage
    from headworks.synthetic.rigs import DISTANCE, TARGET

    person = make_person(31, texture=256)
    head = person.space.head
    stage = pose_person(person, torch.zeros(len(head.expression_names)), HeadPose.zeros(1))
    frames, marks = [], []
    for azimuth in AZIMUTHS:
        view = orbit(azimuth, 0.0, DISTANCE, TARGET)
        camera = Camera(view, intrinsics(SIZE * DISTANCE / 0.32, SIZE, SIZE), SIZE, SIZE)
        picture = render_stage(stage, camera, 2)
        frames.append((255 * picture.over((0.6, 0.6, 0.6))).round().astype(np.uint8))
        marks.append(picture.landmarks.astype(np.float64))
    images = np.stack(frames)
    return images, np.stack(marks), detect(images)[0]


def off(points: NDArray[np.floating], true: NDArray[np.float64]) -> float:
    """Mean error of the inner landmarks, pixels."""
    return float(np.linalg.norm(points[:, 17:, :2] - true[:, 17:, :2], axis=-1).mean())


def test_dlibs_errors_on_a_rendered_stranger_shrink_by_a_third() -> None:
    frames, true, found = rendered()
    better = corrected(frames, found)
    assert off(better, true) < 0.67 * off(found, true)
    np.testing.assert_array_equal(better[..., 2], found[..., 2])


def test_a_larger_picture_is_corrected_alike() -> None:
    import cv2

    frames, _, found = rendered()
    large = np.stack(
        [cv2.resize(f, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC) for f in frames]
    )
    scaled = found * [2, 2, 1]
    gap = corrected(large, scaled)[..., :2] / 2 - corrected(frames, found)[..., :2]
    assert np.abs(gap).max() < 0.6
    assert np.abs(gap).mean() < 0.12


def test_faces_that_were_not_found_stay_unknown_and_no_step_is_wild() -> None:
    frames, _, found = rendered()
    lost = found.copy()
    lost[1] = np.nan
    assert np.isnan(corrected(frames, lost)[1]).all()
    map_ = learnt()
    wild = Correction(map_.shape, map_.mean, map_.reduce, 1e3 * map_.expand, map_.constant)
    moved = corrected(frames, found, wild)[..., :2] - found[..., :2]
    across = np.linalg.norm(found[:, 36, :2] - found[:, 45, :2], axis=-1).max()
    assert np.linalg.norm(moved, axis=-1).max() < 0.4 * across
