"""Promises of the landmarks: precision, steadiness, what happens without face or weights."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
import torch

from headworks.artifacts import read_array, read_meta, write_arrays, write_meta, write_table
from headworks.errors import CaptureError, WeightsError
from headworks.landmarks import detect, detect_3d, dlib68, fan
from headworks.landmarks.faces import detect_faces, steady_boxes
from headworks.landmarks.steady import noise, steady
from stages.contract import Context
from stages.landmarks import LandmarksParams, run
from tests.faceclips import forbid_network, moving, portrait, tree


def capture(folder: Path, rgb: np.ndarray, kind: str = "clip", setting: str = "monocular") -> Path:
    """A capture artifact of these frames [T, C, H, W, 3]."""
    times, cameras = rgb.shape[:2]
    write_arrays(folder / "frames.zarr", {"rgb": rgb})
    rows = [
        {"sequence": "s", "t": t, "c": c, "frame": t} for t in range(times) for c in range(cameras)
    ]
    write_table(folder / "frames.parquet", pl.DataFrame(rows))
    source = [{"file": "someone.mp4"}]
    write_meta(folder, "capture", {"subject_kind": kind, "setting": setting, "source": source})
    return folder


@pytest.fixture(scope="module")
def face() -> tuple[np.ndarray, np.ndarray]:
    """The portrait and its landmarks [68, 3]."""
    frame = np.ascontiguousarray(portrait(256, 256))
    points, _ = dlib68.detect(frame[None])
    return frame, points[0]


def test_landmarks_lie_on_the_features(face: tuple[np.ndarray, np.ndarray]) -> None:
    frame, points = face
    grey = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (0, 0), 1)

    def brightness(xy: np.ndarray) -> float:
        return float(grey[int(xy[1]), int(xy[0])])

    for eye, cheek in ((range(36, 42), 31), (range(42, 48), 35)):
        pupil = points[list(eye), :2].mean(0)
        below = np.array([pupil[0], points[cheek, 1]])
        assert brightness(pupil) < brightness(below) - 40
    assert (points[:, 2] > 0.5).all()
    assert points[36, 0] < points[39, 0] < points[42, 0] < points[45, 0]


def test_a_shift_below_one_pixel_moves_the_landmarks_by_it(
    face: tuple[np.ndarray, np.ndarray],
) -> None:
    frame, points = face
    shift = np.array([[1, 0, 0.5], [0, 1, 0.25]])
    moved = cv2.warpAffine(frame, shift, (256, 256), flags=cv2.INTER_CUBIC)
    again, _ = dlib68.detect(moved[None])
    step = (again[0] - points)[:, :2]
    np.testing.assert_allclose(step.mean(0), [0.5, 0.25], atol=0.12)
    assert step.std() < 0.35


def test_the_mirror_image_has_the_mirrored_landmarks(
    face: tuple[np.ndarray, np.ndarray],
) -> None:
    frame, points = face
    again, _ = dlib68.detect(np.ascontiguousarray(frame[:, ::-1])[None])
    back = again[0, dlib68.MIRROR, :2] * [-1, 1] + [256, 0]
    iod = np.linalg.norm(points[36, :2] - points[45, :2])
    assert np.abs(back - points[:, :2]).mean() < 0.01 * iod


def test_mirroring_twice_is_no_change() -> None:
    np.testing.assert_array_equal(dlib68.MIRROR[dlib68.MIRROR], np.arange(68))


def test_a_face_the_detector_misses_is_found_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = np.stack(moving(3, 1, 256, 256))
    seen: list[int] = []

    def once(image: np.ndarray, *rest: object) -> np.ndarray:
        seen.append(1)
        return detect_faces(image, *rest) if len(seen) == 1 else np.empty((0, 5), np.float32)

    monkeypatch.setattr(dlib68, "detect_faces", once)
    points, boxes = dlib68.detect(frames)
    assert np.isfinite(points).all()
    assert np.isfinite(boxes).all()
    step = (points[2] - points[0])[:, :2].mean(0)
    np.testing.assert_allclose(step, [2, 0], atol=0.5)


def test_frames_without_a_face_are_missing_not_invented() -> None:
    noisy = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    frames = np.stack([portrait(256, 256), noisy, portrait(256, 256)])
    points, boxes = detect("dlib", frames)
    assert np.isfinite(points[[0, 2]]).all()
    assert np.isnan(points[1]).all()
    assert np.isnan(boxes[1]).all()


def test_weights_are_found_without_importing_their_package() -> None:
    assert dlib68.weights_path().stat().st_size == 99_693_937
    assert "face_recognition_models" not in sys.modules


def blinking(times: int = 60) -> np.ndarray:
    """A face that drifts and turns; point 1 blinks for two frames: [T, 20, 3]."""
    rng = np.random.default_rng(0)
    shape = rng.uniform(-50, 50, (20, 2))
    t = np.arange(times)
    angle = 0.2 * np.sin(t / 9)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1)
    points = shape @ turn.reshape(-1, 2, 2) + np.stack([128 + t, 128 + 0 * t], -1)[:, None]
    points[31:33, 1, 1] += np.array([6.0, 5.0])
    return np.concatenate([points, np.ones((times, 20, 1))], -1)


def test_steadying_removes_noise_and_keeps_blinks() -> None:
    clean = blinking()
    noisy = clean.copy()
    noisy[..., :2] += 0.2 * np.random.default_rng(1).standard_normal(clean[..., :2].shape)
    quiet = steady(noisy)
    rest = np.ones(len(clean), bool)
    rest[27:36] = False
    before = np.abs(noisy - clean)[rest][..., :2].mean()
    after = np.abs(quiet - clean)[rest][..., :2].mean()
    assert after < 0.8 * before
    blink = quiet[31, 1, 1] - quiet[[26, 37], 1, 1].mean()
    assert blink > 0.9 * (clean[31, 1, 1] - clean[[26, 37], 1, 1].mean())


@pytest.mark.parametrize("noise_px", [0.2, 0.5, 1.0])
def test_a_blink_keeps_nine_tenths_while_jitter_is_halved(noise_px: float) -> None:
    rng = np.random.default_rng(3)
    times, lids = np.arange(120), [37, 38, 43, 44]
    angle = 0.15 * np.sin(times / 17)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1)
    clean = rng.uniform(-50, 50, (68, 2)) @ turn.reshape(-1, 2, 2)
    clean += np.stack([128 + 0.4 * times, 128 + 8 * np.sin(times / 11)], -1)[:, None]
    blink = 6.0 * np.array([0.35, 0.85, 1.0, 0.85, 0.5, 0.2])
    rest = np.ones(len(times), bool)
    for start in (30, 70, 100):
        clean[start : start + len(blink), lids, 1] += blink[:, None]
        rest[start - 3 : start + len(blink) + 3] = False
    noisy = clean + noise_px * rng.standard_normal(clean.shape)
    quiet = steady(np.concatenate([noisy, np.ones((120, 68, 1))], -1))[..., :2]

    def jitter(points: np.ndarray) -> float:
        second = np.diff(points - clean, 2, axis=0)[rest[1:-1]]
        return float(np.sqrt((second**2).mean()))

    def closing(points: np.ndarray) -> float:
        open_ = [points[[s - 2, s + len(blink) + 1]][:, lids, 1].mean() for s in (30, 70, 100)]
        shut = [points[s + 2, lids, 1].mean() for s in (30, 70, 100)]
        return float(np.mean(shut) - np.mean(open_))

    assert jitter(quiet) < 0.5 * jitter(noisy)
    assert closing(quiet) > 0.9 * closing(clean)


def test_steadying_keeps_gaps_and_confidence() -> None:
    points = blinking(40).astype(np.float32)
    points[7] = np.nan
    quiet = steady(points)
    assert np.isnan(quiet[7]).all()
    assert np.isfinite(np.delete(quiet, 7, 0)).all()
    np.testing.assert_array_equal(quiet[..., 2], points[..., 2])


def test_noise_measures_white_noise_despite_motion() -> None:
    signal = np.linspace(0, 80, 4000) + 0.3 * np.random.default_rng(0).standard_normal(4000)
    assert noise(signal) == pytest.approx(0.3, rel=0.05)


def test_boxes_are_filled_and_single_jumps_removed() -> None:
    boxes = np.repeat(np.arange(10.0)[:, None], 4, 1)
    boxes[4] = np.nan
    boxes[6] += 50
    steadied = steady_boxes(boxes)
    assert np.abs(steadied[:, 0] - np.arange(10)).max() <= 1
    assert np.isnan(steady_boxes(np.full((3, 4), np.nan))).all()


def test_stage_writes_the_contract_and_equal_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    folder = capture(tmp_path / "in", np.stack(moving(3, 2, 256, 256))[:, None])
    for name in "ab":
        run({"ingest": folder}, LandmarksParams(), tmp_path / name, Context())
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    meta = read_meta(tmp_path / "a", "landmarks")
    assert (meta["backend"], meta["found"]) == ("dlib", 1.0)
    assert meta["weights_sha256"].startswith("fbdc2cb8")
    points = read_array(tmp_path / "a" / "landmarks.zarr", "points", (3, 1, 68, 3))
    boxes = read_array(tmp_path / "a" / "landmarks.zarr", "boxes", (3, 1, 4))
    assert (points[..., 2] >= 0).all()
    assert (points[..., 2] <= 1).all()
    centre = points[..., :2].mean(2)
    assert ((boxes[..., :2] < centre) & (centre < boxes[..., 2:])).all()


def test_a_capture_without_a_face_is_an_error_naming_the_file(tmp_path: Path) -> None:
    noisy = np.random.default_rng(0).integers(0, 255, (2, 1, 128, 128, 3), np.uint8)
    folder = capture(tmp_path / "in", noisy)
    with pytest.raises(CaptureError, match=r"someone\.mp4"):
        run({"ingest": folder}, LandmarksParams(backend="dlib"), tmp_path / "out", Context())


def test_synthetic_captures_use_their_truth(tmp_path: Path) -> None:
    folder = capture(tmp_path / "in", np.zeros((2, 3, 8, 8, 3), np.uint8), "synthetic")
    truth = np.random.default_rng(0).uniform(0, 8, (2, 3, 68, 3)).astype(np.float32)
    write_arrays(folder / "truth" / "truth.zarr", {"landmarks": truth})
    run({"ingest": folder}, LandmarksParams(), tmp_path / "out", Context())
    points = read_array(tmp_path / "out" / "landmarks.zarr", "points")
    np.testing.assert_array_equal(points, truth)
    assert read_meta(tmp_path / "out")["backend"] == "exact"


def test_missing_face_alignment_weights_are_named_and_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_network(monkeypatch)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(WeightsError, match="2DFAN4-11f355bf06"):
        detect("face_alignment", frames)


def test_missing_3d_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_network(monkeypatch)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(WeightsError, match="3DFAN4-7835d9f11d"):
        detect_3d(frames)
    fan.checkpoints().mkdir(parents=True)
    (fan.checkpoints() / fan.WEIGHTS_3D).touch()
    with pytest.raises(WeightsError, match="depth-2a464da4ea"):
        detect_3d(frames)


def test_a_weights_file_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fan.checkpoints().mkdir(parents=True)
    torch.save({"state_dict": Trap()}, fan.checkpoints() / fan.WEIGHTS)
    with pytest.raises(WeightsError, match="plain tensors"):
        detect("face_alignment", np.zeros((1, 64, 64, 3), np.uint8))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.slow
def test_3d_face_alignment_runs_offline_on_weights_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from face_alignment.models import FAN, ResNetDepth

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fan.checkpoints().mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(FAN(4).state_dict(), fan.checkpoints() / fan.WEIGHTS_3D)
    depth = {f"module.{name}": value for name, value in ResNetDepth().state_dict().items()}
    torch.save({"state_dict": depth}, fan.checkpoints() / fan.WEIGHTS_DEPTH)
    forbid_network(monkeypatch)
    # Random weights put the points anywhere; here only their way through counts.
    monkeypatch.setattr(dlib68, "plausible_face", lambda _: True)
    folder = capture(tmp_path / "in", portrait(256, 256)[None, None])
    params = LandmarksParams(backend="face_alignment_3d")
    run({"ingest": folder}, params, tmp_path / "out", Context())
    assert read_meta(tmp_path / "out")["weights_sha256"].count(",") == 1
    for name, shape in (("points", (1, 1, 68, 3)), ("depth", (1, 1, 68))):
        assert np.isfinite(read_array(tmp_path / "out" / "landmarks.zarr", name, shape)).all()


@pytest.mark.slow
def test_face_alignment_runs_offline_on_weights_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from face_alignment.models import FAN

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fan.checkpoints().mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(FAN(4).state_dict(), fan.checkpoints() / fan.WEIGHTS)
    forbid_network(monkeypatch)
    # Random weights put the points anywhere; here only their way through counts.
    monkeypatch.setattr(dlib68, "plausible_face", lambda _: True)
    folder = capture(tmp_path / "in", portrait(256, 256)[None, None])
    run({"ingest": folder}, LandmarksParams(), tmp_path / "out", Context())
    assert read_meta(tmp_path / "out")["backend"] == "face_alignment"
    points = read_array(tmp_path / "out" / "landmarks.zarr", "points", (1, 1, 68, 3))
    assert np.isfinite(points).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["man_greenscreen_512", "man_grey_480", "woman_plain_512", "speech_834x884"]
)
def test_landmarks_are_found_in_the_real_clips(shared: Path, tmp_path: Path, name: str) -> None:
    from stages import ingest
    from tests.faceclips import write_subject

    raw = write_subject(tmp_path / "raw", "clip", [f"{name}.mp4"])
    (raw / f"{name}.mp4").write_bytes((shared / "captures" / f"{name}.mp4").read_bytes())
    ingest.run({"raw": raw}, ingest.IngestParams(), tmp_path / "ingest", Context())
    run({"ingest": tmp_path / "ingest"}, LandmarksParams(), tmp_path / "out", Context())
    assert read_meta(tmp_path / "out")["found"] >= 0.98
