"""What quality flags, weights, overlays, crops and resuming promise."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from headworks.artifacts import open_arrays, read_meta, read_table
from headworks.heads.base import HeadPose
from headworks.tracking import crops, rotations
from headworks.tracking.overlay import Overlay, write_overlay
from headworks.tracking.quality import rate
from headworks.tracking.report import Tracked, measure
from stages.contract import Context
from stages.crops import CropsParams
from stages.crops import run as run_crops
from stages.tracking import TrackingParams, run
from tests.tracking.scene import SIDE, pictures, scene
from tests.tracking.test_stage import write_inputs

T = 8
BLURRED, COVERED, LOST = 2, 5, 6


@cache
def spoilt() -> tuple[Tracked, np.ndarray, np.ndarray]:
    """The scene's truth, measured on pictures of which three are spoilt: (measured, rgb, marks)."""
    of = scene(T)
    rgb, alpha = pictures(of)
    marks = of.landmarks.copy()
    marks[..., :2] += SIDE / 2
    rgb[BLURRED] = cv2.GaussianBlur(rgb[BLURRED], (0, 0), 4)
    low, high = marks[COVERED, :, :2].min(0).astype(int), marks[COVERED, :, :2].max(0).astype(int)
    rgb[COVERED, (low[1] + high[1]) // 2 : high[1], low[0] : high[0]] = 0
    marks[LOST] = np.nan
    zero = torch.zeros(T, 3)
    turn = torch.from_numpy(rotations.log(of.truth.rotation)).float()
    shift = torch.from_numpy(of.truth.translation).float()
    pose = HeadPose(turn, shift, zero, zero, zero, torch.zeros(T, 2, 3))
    K = np.array([[of.truth.focal, 0, SIDE / 2], [0, of.truth.focal, SIDE / 2], [0, 0, 1]])
    measured = measure(
        of.head, of.truth.identity.astype(np.float32), of.truth.expression.astype(np.float32),
        pose, np.eye(4)[None], np.tile(K, (T, 1, 1, 1)), rgb[:, None], alpha[:, None],
        marks[:, None],
    )  # fmt: skip
    return measured, rgb, marks[:, None]


def test_flags_fire_on_the_spoilt_frames_alone() -> None:
    flags = [row[0] for row in spoilt()[0].flags]
    assert "blur" in flags[BLURRED]
    assert "occlusion" in flags[COVERED]
    assert flags[LOST] == "no_face,interpolated"
    fine = [f for i, f in enumerate(flags) if i not in (BLURRED, COVERED, LOST)]
    assert fine == [""] * (T - 3)


def test_spoilt_frames_weigh_less() -> None:
    weights = spoilt()[0].weights
    fine = np.delete(weights, [BLURRED, COVERED, LOST])
    assert weights[LOST] == 0
    assert max(weights[BLURRED], weights[COVERED]) < 0.6 * fine.min()
    assert fine.min() > 0.8
    assert weights.max() <= 1


def test_the_overlay_marks_the_head_and_is_the_same_twice(tmp_path: Path) -> None:
    measured, rgb, marks = spoilt()
    overlay = Overlay(scene(T).head, measured, marks, (0,))
    frames = list(overlay.frames(lambda t, c: rgb[t]))
    assert len(frames) == T
    green = (frames[0].astype(int) @ [-1, 2, -1] > 250).sum()
    assert green > 20, "landmarks are drawn"
    files = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for file in files:
        write_overlay(file, overlay, lambda t, c: rgb[t], 25.0)
    assert files[0].read_bytes() == files[1].read_bytes()


class KilledError(Exception):
    pass


def test_a_killed_tracking_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    of = scene(3, noise_px=0.3)
    params = TrackingParams(photometric_passes=0, pixel_rounds=1, keyframes=3, outline=False)
    folders = write_inputs(tmp_path, of, of.landmarks)
    run(folders, params, tmp_path / "whole", Context())

    def killing(done: float, message: str = "") -> None:
        if message == "torso tracked":
            raise KilledError

    scratch = tmp_path / "scratch"
    with pytest.raises(KilledError):
        run(folders, params, tmp_path / "never", Context(progress=killing, scratch=scratch))
    assert (scratch / "head.npz").is_file()
    told: list[str] = []
    context = Context(progress=lambda done, text="": told.append(text), scratch=scratch)
    run(folders, params, tmp_path / "resumed", context)
    assert "landmarks fitted" not in told
    names = [p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*")]
    for name in names:
        if (tmp_path / "whole" / name).is_file():
            expected = (tmp_path / "whole" / name).read_bytes()
            assert (tmp_path / "resumed" / name).read_bytes() == expected, name


def test_an_aligned_face_has_its_eyes_and_mouth_in_fixed_places() -> None:
    marks = spoilt()[2][0, 0, :, :2]
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    for points in (marks, 1.7 * marks @ turn.T + [30, -12]):
        matrix = crops.face_matrix(points, 100)
        placed = points @ matrix[:, :2].T + matrix[:, 2]
        assert abs(placed[36:42].mean(0) - [34, 42]).max() < 8
        assert abs(placed[42:48].mean(0) - [66, 42]).max() < 8
        assert abs(placed[48:60].mean(0) - [50, 76]).max() < 8
        np.testing.assert_allclose(matrix[:, :2] @ matrix[:, :2].T / -np.linalg.det(
            matrix[:, :2]), -np.eye(2), atol=1e-9)  # fmt: skip


def test_head_boxes_follow_slowly_and_start_anew_after_a_cut() -> None:
    boxes = np.array([[10.0, 20, 50, 80], [20, 20, 60, 80], [110, 20, 150, 80]])
    squares = crops.head_boxes(boxes, np.array([True, False]))
    np.testing.assert_allclose(squares.box[1], [10.3, 20, 50.3, 80])
    np.testing.assert_allclose(squares.box[2], boxes[2])
    side = np.sqrt(40 * 60) * 1.65
    assert abs(squares.side[0] - side) <= 1
    relative = squares.relative()[0] * squares.side[0] + np.tile(squares.corner[0], 2)
    np.testing.assert_allclose(relative, boxes[0])


def test_face_and_rest_are_cut_apart(tmp_path: Path) -> None:
    of = scene(3)
    folders = write_inputs(tmp_path, of, of.landmarks)
    params = TrackingParams(
        photometric_passes=0, pixel_rounds=0, keyframes=3, outline=False, overlay=False
    )
    run(folders, params, tmp_path / "tracking", Context())
    inputs = {**folders, "tracking": tmp_path / "tracking"}
    run_crops(inputs, CropsParams(size=64, head_size=48), tmp_path / "crops", Context())
    table = read_table(tmp_path / "crops" / "crops.parquet")
    assert table["visible"].all()
    assert read_meta(tmp_path / "crops", "crops")["faces"] == 3
    face, rest, head = (
        open_arrays(tmp_path / "crops" / f"{name}.zarr")["rgb"][1, 0]
        for name in ("face", "non_face", "head")
    )
    assert (face.shape, rest.shape, head.shape) == ((64, 64, 3), (64, 64, 3), (48, 48, 3))
    grey = lambda picture: (picture == crops.GREY).all(-1)  # noqa: E731
    assert grey(face)[:3].all()
    assert grey(face)[30:40, 28:36].mean() < 0.2, "the nose is there"
    marks = of.landmarks[1, :, :2] + SIDE / 2
    x, y = (marks[30] * 64 / SIDE).astype(int)
    assert grey(rest)[y, x], "and is cut out of the rest"
    assert (rest[0, 0] == 0).all()
    assert (head.max(-1) > 0).mean() > 0.3


def test_a_mesh_that_misses_the_landmarks_is_flagged_and_weighs_little() -> None:
    error = np.array([[0.02], [0.12], [0.2]])
    quality, flags = rate(np.ones((3, 1)), np.zeros((3, 1)), error, np.ones((3, 1), bool))
    assert [row[0] for row in flags] == ["", "high_error", "high_error"]
    np.testing.assert_allclose(quality.weight[:, 0], [1.0, 0.3, 0.1], atol=1e-9)
