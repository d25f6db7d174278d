"""What the tracking stage promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from headworks.artifacts import read_meta, read_table, write_arrays, write_meta, write_table
from headworks.errors import ArtifactError, CaptureError
from headworks.tracks import POSE_FIELDS, load_tracking
from stages.contract import Context
from stages.tracking import TrackingParams, run
from tests.tracking.scene import SIDE, Scene, pictures, procedural, scene

T = 10
FAST = TrackingParams(photometric_passes=0, pixel_rounds=1, keyframes=6)


def write_inputs(
    root: Path, of: Scene, landmarks: np.ndarray, kind: str = "clip", cameras: int = 1
) -> dict[str, Path]:
    rgb, alpha = pictures(of)
    t = len(rgb)

    def views(array: np.ndarray) -> np.ndarray:
        return np.repeat(array[:, None], cameras, 1)

    rows = t * cameras
    table = pl.DataFrame(
        {
            "sequence": ["clip"] * rows,
            "t": np.repeat(np.arange(t, dtype=np.int32), cameras),
            "c": np.tile(np.arange(cameras, dtype=np.int32), t),
            "frame": np.repeat(np.arange(t, dtype=np.int32), cameras),
            "crop_x": np.full(rows, 100, np.float32),
            "crop_y": np.full(rows, 0, np.float32),
            "crop_side": np.full(rows, 2 * SIDE, np.float32),
        }
    )
    folders = {role: root / role for role in ("ingest", "matting", "landmarks")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    write_arrays(folders["ingest"] / "frames.zarr", {"rgb": views(rgb)})
    write_table(folders["ingest"] / "frames.parquet", table)
    write_meta(
        folders["ingest"],
        "capture",
        {
            "setting": "monocular", "subject_kind": kind, "fps": 25.0,
            "cameras": [{"name": str(c)} for c in range(cameras)],
            "source": [{"file": "clip.mp4", "width": 640, "height": 2 * SIDE}],
        },
    )  # fmt: skip
    write_arrays(folders["matting"] / "mattes.zarr", {"alpha": views(alpha)})
    write_meta(folders["matting"], "mattes")
    points = landmarks.copy()
    points[..., :2] += SIDE / 2
    write_arrays(
        folders["landmarks"] / "landmarks.zarr", {"points": views(points.astype(np.float32))}
    )
    write_meta(folders["landmarks"], "landmarks")
    return folders


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Path]:
    root = tmp_path_factory.mktemp("tracking")
    of = scene(T, noise_px=0.3)
    landmarks = of.landmarks.copy()
    landmarks[4] = np.nan
    run(write_inputs(root, of, landmarks), FAST, root / "out", Context())
    return of, root / "out"


def test_the_artifact_is_what_the_contract_says(tracked: tuple[Scene, Path]) -> None:
    of, out = tracked
    head, tracking = of.head, load_tracking(out)
    assert (tracking.head, tracking.head_digest) == ("procedural", head.digest)
    assert tracking.identity.shape == (len(head.identity_basis),)
    assert tracking.expression.shape == (T, len(head.expression_names))
    for name in POSE_FIELDS:
        expected = (T, 2, 3) if name == "eyes" else (T, 3)
        assert tuple(getattr(tracking.pose, name).shape) == expected
    assert tracking.viewmats.shape == (1, 4, 4)
    assert tracking.Ks.shape == (T, 1, 3, 3)
    assert tracking.viewmats.dtype == tracking.Ks.dtype == np.float64
    meta = read_meta(out, "tracking")
    assert meta["expression_names"] == list(head.expression_names)
    assert meta["backend"] == "monocular"
    table = read_table(out / "tracking.parquet")
    assert table["t"].to_list() == list(range(T))
    assert table["landmark_error_iod"].drop_nans().mean() < 0.05
    assert meta["residuals"]["landmark_error_iod_mean"] == pytest.approx(
        table["landmark_error_iod"].drop_nans().mean(), abs=1e-5
    )


def test_a_frame_without_landmarks_is_flagged_and_filled(tracked: tuple[Scene, Path]) -> None:
    _, out = tracked
    tracking, table = load_tracking(out), read_table(out / "tracking.parquet")
    assert tracking.valid.tolist() == [t != 4 for t in range(T)]
    assert table["flag"].to_list() == ["no_face,interpolated" if t == 4 else "" for t in range(T)]
    assert np.isnan(table["landmark_error_px"][4])
    assert tracking.weights[4] == 0
    assert tracking.weights[[0, 1, 2]].min() > 0.5
    neck = tracking.pose.neck.numpy() + tracking.pose.rotation.numpy()
    assert np.abs(neck[4] - (neck[3] + neck[5]) / 2).max() < 0.05


def test_the_principal_point_is_the_source_images_middle(tracked: tuple[Scene, Path]) -> None:
    _, out = tracked
    # A source of 640 x 320 cut at x = 100 with side 320 to SIDE pixels.
    np.testing.assert_allclose(load_tracking(out).Ks[:, 0, :2, 2], [[(320 - 100) / 2, 160 / 2]] * T)


def test_equal_inputs_give_equal_bytes(tracked: tuple[Scene, Path], tmp_path: Path) -> None:
    of, out = tracked
    landmarks = of.landmarks.copy()
    landmarks[4] = np.nan
    run(write_inputs(tmp_path, of, landmarks), FAST, tmp_path / "again", Context())
    files = [p.relative_to(out) for p in sorted(out.rglob("*")) if p.is_file()]
    assert files
    for file in files:
        assert (out / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


def test_no_landmarks_at_all_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    of = scene(2)
    folders = write_inputs(tmp_path, of, np.full_like(of.landmarks, np.nan))
    with pytest.raises(CaptureError, match=r"landmarks.*no frame of 2"):
        run(folders, FAST, tmp_path / "out", Context())


def test_several_cameras_without_calibration_are_refused(tmp_path: Path) -> None:
    of = scene(1)
    folders = write_inputs(tmp_path, of, of.landmarks, cameras=2)
    with pytest.raises(CaptureError, match="0, 1 are not calibrated"):
        run(folders, FAST, tmp_path / "out", Context())


def _with_truth(root: Path, of: Scene, digest: str) -> dict[str, Path]:
    folders = write_inputs(root, of, of.landmarks, kind="synthetic", cameras=2)
    t, side = len(of.truth), SIDE
    K = np.array([[of.truth.focal, 0, side / 2], [0, of.truth.focal, side / 2], [0, 0, 1]])
    zeros = np.zeros((t, 3), np.float32)
    view = np.diag([1.0, -1, -1, 1])
    view[2, 3] = 0.8
    truth = folders["ingest"] / "truth"
    truth.mkdir()
    write_arrays(
        truth / "truth.zarr",
        {
            "identity": of.truth.identity.astype(np.float32),
            "expression": of.truth.expression.astype(np.float32),
            "rotation": zeros, "translation": zeros, "neck": zeros, "neck_translation": zeros,
            "jaw": zeros, "eyes": np.zeros((t, 2, 3), np.float32),
            "viewmats": np.stack([view, view]),
            "Ks": np.broadcast_to(K, (t, 2, 3, 3)), "valid": np.ones(t, bool),
        },
    )  # fmt: skip
    (truth / "truth.json").write_text(json.dumps({"head": "procedural", "head_digest": digest}))
    return folders


def test_synthetic_captures_keep_their_truth(tmp_path: Path) -> None:
    of = scene(2)
    folders = _with_truth(tmp_path, of, procedural().digest)
    run(folders, FAST, tmp_path / "out", Context())
    tracking = load_tracking(tmp_path / "out")
    np.testing.assert_array_equal(tracking.expression, of.truth.expression.astype(np.float32))
    np.testing.assert_array_equal(tracking.viewmats[:, 2, 3], 0.8)
    assert read_meta(tmp_path / "out", "tracking")["backend"] == "exact"
    assert len(read_table(tmp_path / "out" / "tracking.parquet")) == 4


def test_truth_of_another_head_model_is_refused(tmp_path: Path) -> None:
    folders = _with_truth(tmp_path, scene(1), "0" * 64)
    with pytest.raises(ArtifactError, match="synthesise again"):
        run(folders, FAST, tmp_path / "out", Context())
