"""Promises of lids read from pixels, where a predictor's landmarks do not move."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from headworks.landmarks.lids import EYES, close_lids, closings

EYE_WIDTH, OPEN = 40.0, 13.0
CENTRES = ((70.0, 80.0), (140.0, 80.0))
SKIN, WHITE, IRIS = 200, 235, 60


def marks() -> np.ndarray:
    """[68, 3] of a face whose eyes are open."""
    points = np.zeros((68, 3))
    points[:, 2] = 0.9
    points[:17, :2] = np.stack(
        [np.linspace(20, 190, 17), 190 - np.linspace(-1, 1, 17) ** 2 * 90], 1
    )
    points[17:27, :2] = np.stack([np.linspace(45, 165, 10), np.full(10, 55)], 1)
    points[27:31, :2] = np.stack([np.full(4, 105.0), np.linspace(80, 120, 4)], 1)
    points[31:36, :2] = np.stack([np.linspace(90, 120, 5), np.full(5, 125.0)], 1)
    points[48:, :2] = np.stack([np.linspace(80, 130, 20), np.full(20, 155.0)], 1)
    x = np.array([-0.5, -0.2, 0.2, 0.5, 0.2, -0.2]) * EYE_WIDTH
    y = np.array([0, -0.6, -0.6, 0, 0.4, 0.4]) * OPEN
    for eye, centre in zip(EYES, CENTRES, strict=True):
        points[eye, :2] = np.stack([x, y], 1) + centre
    return points


def picture(shut: float, look: tuple[float, float] = (0.0, 0.0), light: float = 1.0) -> np.ndarray:
    """[220, 220, 3]: the upper lids are down by the share `shut`, the irises moved by `look`."""
    out = np.full((220, 220), SKIN, np.float32)
    for centre in CENTRES:
        x = np.array([-0.5, -0.2, 0.2, 0.5, 0.2, -0.2]) * EYE_WIDTH + centre[0]
        y = np.array([0, -0.6, -0.6, 0, 0.4, 0.4]) * OPEN + centre[1]
        y[1:3] += shut * OPEN
        opening = np.zeros(out.shape, np.uint8)
        corners = np.rint(np.stack([x, y], 1) * 16).astype(np.int32)
        cv2.fillPoly(opening, [corners], 1, cv2.LINE_8, 4)
        ball = np.full(out.shape, WHITE, np.float32)
        at = (round(centre[0] + look[0]), round(centre[1] - 0.1 * OPEN + look[1]))
        cv2.circle(ball, at, 6, IRIS, -1)
        out = np.where(opening > 0, ball, out)
        cv2.polylines(out, [corners[[0, 1, 2, 3]]], False, 90.0, 1, cv2.LINE_8, 4)
    noise = np.random.default_rng(round(1e3 * shut + abs(look[0]) * 70)).normal(0, 1.5, out.shape)
    grey = np.clip(cv2.GaussianBlur(out, (0, 0), 0.8) * light + noise, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def opening(points: np.ndarray) -> np.ndarray:
    """[T] mean distance of the lids over that of the open eye."""
    gap = [points[:, eye[[4, 5]], 1].mean(1) - points[:, eye[[1, 2]], 1].mean(1) for eye in EYES]
    return np.mean(gap, 0) / OPEN


BLINK = {11: 0.5, 12: 1.0, 13: 1.0, 14: 0.6, 15: 0.3}


@pytest.mark.parametrize("droop", [0.0, 0.3])
def test_a_blink_that_the_predictor_misses_is_found_in_the_pixels(droop: float) -> None:
    frames = np.stack([picture(BLINK.get(t, 0.0)) for t in range(30)])
    points = np.repeat(marks()[None], 30, 0)
    for t, shut in BLINK.items():  # as a predictor does: a little, corners and all
        for eye in EYES:
            points[t, eye[[1, 2]], 1] += droop * shut * OPEN
            points[t, eye, 1] += 2.0 * shut
    closed = close_lids(frames, points)
    assert opening(closed)[12:14].max() < 0.2
    assert abs(opening(closed)[11] - 0.5) < 0.25
    rest = np.setdiff1d(np.arange(30), list(BLINK))
    np.testing.assert_allclose(closed[rest], points[rest], atol=1e-4)
    others = np.setdiff1d(np.arange(68), np.concatenate([eye[[1, 2]] for eye in EYES]))
    np.testing.assert_allclose(closed[:, others], points[:, others], atol=1e-4)


def test_eyes_that_wander_and_lamps_that_dim_close_nothing() -> None:
    looks = [(3.5 * np.sin(t / 4), 1.5 * np.cos(t / 7)) for t in range(40)]
    frames = np.stack([picture(0.0, look, 1 - 0.2 * (t > 20)) for t, look in enumerate(looks)])
    points = np.repeat(marks()[None], 40, 0)
    assert np.nanmax(closings(frames, points)) < 0.2


def test_photos_and_frames_without_a_face_stay_as_they_are() -> None:
    frames = np.stack([picture(BLINK.get(t, 0.0)) for t in range(20)])
    points = np.repeat(marks()[None], 20, 0).astype(np.float32)
    np.testing.assert_array_equal(close_lids(frames[:3], points[:3]), points[:3])
    points[4:7] = np.nan
    closed = close_lids(frames, points)
    assert np.isnan(closed[4:7]).all()
    assert opening(closed)[12] < 0.2
