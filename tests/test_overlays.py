"""Promises of the overlay videos of mattes and landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headworks.cameras import Camera, intrinsics, orbit
from headworks.overlays import (
    SIDE,
    cloud_picture,
    landmark_picture,
    matte_picture,
    write_overlay,
)


def test_a_matte_shows_what_it_keeps_and_hides_the_rest() -> None:
    picture = np.full((120, 120, 3), (20, 60, 200), np.uint8)
    alpha = np.zeros((120, 120), np.uint8)
    alpha[30:90, 30:90] = 255
    out = matte_picture(picture, alpha)
    assert out.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(out[120, 120], (20, 60, 200))
    assert (out[5, 5] == out[5, 5, 0]).all()
    assert out[5, 5, 0] > 200
    red = (out[..., 0] > 200) & (out[..., 1] < 80)
    assert 300 < red.sum() < 1200  # the edge of a square of 120 pixels


def test_landmarks_are_drawn_where_they_are_by_how_sure_they_are() -> None:
    picture = np.zeros((480, 480, 3), np.uint8)
    points = np.full((68, 3), (100.0, 300.0, 1.0), np.float32)
    points[30] = (400.0, 200.0, 0.0)
    out = landmark_picture(picture, points).astype(int)
    sure, unsure = out[150, 50], out[100, 200]
    assert sure[1] > 200 > sure[0]
    assert unsure[0] > 200 > unsure[1]
    lost = landmark_picture(picture, np.full((68, 3), np.nan, np.float32))
    assert lost.any()
    assert not np.array_equal(lost, out)


def test_points_in_space_are_drawn_where_the_camera_sees_them_near_ones_warm() -> None:
    picture = np.zeros((480, 480, 3), np.uint8)
    camera = Camera(orbit(0.0, 0.0, 1.0, (0, 0, 0)), intrinsics(960.0, 480, 480), 480, 480)
    near = np.tile([[-0.1, 0.0, 0.1]], (50, 1))
    far = np.tile([[0.1, 0.0, -0.1]], (50, 1))
    hidden = np.array([[-0.1 * 1.1 / 0.9, 0.0, -0.1]])  # behind the near ones
    none = np.full((68, 3), np.nan)
    out = cloud_picture(picture, camera, np.concatenate([near, hidden, far]), none, "").astype(int)
    places = camera.resized(SIDE, SIDE).project(np.stack([near[0], far[0]]))[:, :2]
    warm, cold = (out[int(y), int(x)] for x, y in places)
    assert warm[0] > 100 > warm[2]
    assert cold[2] > cold[0]
    marks = none.copy()
    marks[30] = 0.0
    marked = cloud_picture(picture, camera, np.zeros((0, 3)), marks, "")
    assert (marked[SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1] > 200).all()
    assert marked[:, : SIDE // 4].max() == 0


@pytest.mark.parametrize("cameras", [1, 5])
def test_equal_pictures_give_equal_videos_of_bounded_length(tmp_path: Path, cameras: int) -> None:
    from headworks.formats.media import clip_info

    def drawn(t: int, c: int) -> np.ndarray:
        return np.full((SIDE, SIDE, 3), (t, 40 * c, 90), np.uint8)

    for name in ("a", "b"):
        write_overlay(tmp_path / f"{name}.mp4", (130, cameras), drawn, 25.0)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    info = clip_info(tmp_path / "a.mp4")
    assert (info.width, info.frames) == (SIDE * min(cameras, 3), 60)
