"""Promises of the reconstruction: cameras from pictures, points and normals on the surface."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from headworks.artifacts import (
    read_array,
    read_meta,
    read_table,
    write_arrays,
    write_meta,
    write_table,
)
from headworks.cameras import Camera
from headworks.errors import CaptureError, HeadworksError
from headworks.heads import load_head
from headworks.reconstruct import patch_match
from headworks.reconstruct.alignment import align_to_cameras, align_to_head
from headworks.reconstruct.calibration import calibrate
from headworks.reconstruct.clouds import PointCloud, in_mattes, table_cloud, with_normals
from headworks.reconstruct.features import match_features
from headworks.reconstruct.sparse import triangulate_features
from headworks.reconstruct.stereo import choose_sources
from stages.contract import Context
from stages.reconstruct import ReconstructParams, run
from tests import ballscene

SIDE, CAMERAS, TIMES = 144, 8, 2


@pytest.fixture(scope="module")
def cameras() -> list[Camera]:
    return ballscene.rig(CAMERAS, SIDE)


@pytest.fixture(scope="module")
def frames(cameras: list[Camera]) -> tuple[np.ndarray, np.ndarray]:
    return ballscene.pictures(cameras, TIMES)


def face_marks() -> np.ndarray:
    """Landmarks of the canonical head, of about the ball's size and place: [68, 3]."""
    head = load_head("procedural")
    return head.landmarks(head.template[None])[0].numpy().astype(np.float64)


def capture(
    folder: Path, cameras: list[Camera], frames: tuple[np.ndarray, np.ndarray], known: bool = True
) -> dict[str, Path]:
    """Ingest, matting and landmarks of the ball (which carries a head's landmarks)."""
    rgb, alpha = frames
    times, count = alpha.shape[:2]
    inputs = {name: folder / name for name in ("ingest", "matting", "landmarks")}
    write_arrays(inputs["ingest"] / "frames.zarr", {"rgb": rgb})
    rows = [
        {"sequence": "s", "t": t, "c": c, "split": "train", "crop_x": 0.0, "crop_y": 0.0,
         "crop_side": float(SIDE)}
        for t in range(times) for c in range(count)
    ]  # fmt: skip
    write_table(inputs["ingest"] / "frames.parquet", pl.DataFrame(rows))
    described = [
        {"name": f"{c}", "width": SIDE, "height": SIDE,
         "K": camera.K.tolist() if known else None,
         "viewmat": camera.viewmat.tolist() if known else None}
        for c, camera in enumerate(cameras)
    ]  # fmt: skip
    write_meta(
        inputs["ingest"],
        "capture",
        {"subject_kind": "multiview", "setting": "multiview", "cameras": described},
    )
    write_arrays(inputs["matting"] / "mattes.zarr", {"alpha": alpha})
    marks = np.stack([camera.project(face_marks()) for camera in cameras])
    marks[..., 2] = 1.0
    points = np.broadcast_to(marks, (times, *marks.shape)).astype(np.float32)
    write_arrays(inputs["landmarks"] / "landmarks.zarr", {"points": points})
    return inputs


@pytest.fixture(scope="module")
def reconstructed(
    tmp_path_factory: pytest.TempPathFactory,
    cameras: list[Camera],
    frames: tuple[np.ndarray, np.ndarray],
) -> Path:
    folder = tmp_path_factory.mktemp("known")
    params = ReconstructParams(dense_sources=3, dense_window=2)
    run(capture(folder, cameras, frames), params, folder / "out", Context())
    return folder / "out"


def off_the_ball(points: np.ndarray) -> np.ndarray:
    """Millimetres."""
    return 1e3 * np.abs(np.linalg.norm(points, axis=1) - ballscene.RADIUS)


def test_features_become_points_on_the_surface_at_their_own_time(reconstructed: Path) -> None:
    cloud = table_cloud(read_table(reconstructed / "points.parquet"))
    sparse = cloud[~cloud.dense]
    assert (np.bincount(sparse.t, minlength=TIMES) > 40).all()
    assert np.median(off_the_ball(sparse.points)) < 0.5
    assert np.percentile(off_the_ball(sparse.points), 90) < 3
    sure = sparse.confidence > np.median(sparse.confidence)
    assert off_the_ball(sparse[sure].points).mean() < off_the_ball(sparse[~sure].points).mean()


def test_dense_points_lie_on_the_surface_with_its_normals(reconstructed: Path) -> None:
    cloud = table_cloud(read_table(reconstructed / "points.parquet"))
    dense = cloud[cloud.dense]
    assert len(dense) > 2500
    assert np.median(off_the_ball(dense.points)) < 0.3
    assert np.percentile(off_the_ball(dense.points), 95) < 2
    true = dense.points / np.linalg.norm(dense.points, axis=1, keepdims=True)
    angle = np.degrees(np.arccos(np.clip((dense.normals * true).sum(1), -1, 1)))
    assert np.median(angle) < 12
    assert (dense.views >= 3).all()
    assert ((dense.confidence > 0) & (dense.confidence <= 1)).all()


def test_the_artifact_keeps_its_contract(reconstructed: Path, cameras: list[Camera]) -> None:
    meta = read_meta(reconstructed, "reconstruction")
    assert (meta["calibration"], meta["aligned_to"]) == ("known", "capture")
    np.testing.assert_allclose(meta["cameras"][3]["viewmat"], cameras[3].viewmat)
    assert meta["dense_backend"] == ("colmap" if patch_match.available() else "cpu")
    table = read_table(reconstructed / "points.parquet")
    assert table.columns == [
        "t", "x", "y", "z", "nx", "ny", "nz", "r", "g", "b", "confidence", "views", "dense"
    ]  # fmt: skip
    assert table["t"].is_sorted()
    assert len(table) == meta["sparse_points"] + meta["dense_points"]
    marks = read_array(reconstructed / "landmarks3d.zarr", "points", (TIMES, 68, 3))
    assert 1e3 * np.abs(marks - face_marks()).max() < 0.1
    assert read_array(reconstructed / "landmarks3d.zarr", "confidence", (TIMES, 68)).min() > 0.9
    assert read_array(reconstructed / "landmarks3d.zarr", "residual", (TIMES, 68)).max() < 0.1


def test_an_uncalibrated_rig_is_calibrated_in_metres_and_head_axes(
    tmp_path: Path, cameras: list[Camera], frames: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs = capture(tmp_path, cameras, frames, known=False)
    run(inputs, ReconstructParams(dense_steps=0), tmp_path / "a", Context())
    meta = read_meta(tmp_path / "a", "reconstruction")
    assert (meta["calibration"], meta["aligned_to"]) == ("estimated", "head")
    found = [Camera(np.array(c["viewmat"]), np.array(c["K"]), SIDE, SIDE) for c in meta["cameras"]]
    # The ball's landmarks are the canonical head's: the estimated world must be the true one. So
    # few and small pictures leave the focal length, and with it the distance, open by some percent.
    off = [np.linalg.norm(a.centre - b.centre) for a, b in zip(found, cameras)]
    assert 1e3 * np.median(off) < 30
    _, left = align_to_cameras(found, cameras)
    assert 1e3 * np.median(left) < 2.5
    assert found[0].K[0, 0] == pytest.approx(cameras[0].K[0, 0], rel=0.03)
    cloud = table_cloud(read_table(tmp_path / "a" / "points.parquet"))
    assert np.median(off_the_ball(cloud.points)) < 1.5
    run(inputs, ReconstructParams(dense_steps=0), tmp_path / "b", Context())
    for name in ("points.parquet", "artifact.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_cameras_that_are_unknown_cannot_be_taken_as_known(
    tmp_path: Path, cameras: list[Camera], frames: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs = capture(tmp_path, cameras, frames, known=False)
    with pytest.raises(CaptureError, match="unknown"):
        run(inputs, ReconstructParams(cameras="known"), tmp_path / "out", Context())


def test_pictures_without_features_are_refused_with_advice(
    tmp_path: Path, cameras: list[Camera], frames: tuple[np.ndarray, np.ndarray]
) -> None:
    plain = np.full_like(frames[0][:1], 128)
    inputs = capture(tmp_path, cameras, (plain, frames[1][:1]), known=False)
    with pytest.raises(CaptureError, match="larger or sharper"):
        run(inputs, ReconstructParams(), tmp_path / "out", Context())


def test_one_camera_is_no_rig(
    tmp_path: Path, cameras: list[Camera], frames: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs = capture(tmp_path, cameras[:1], (frames[0][:1, :1], frames[1][:1, :1]))
    with pytest.raises(CaptureError, match="two or more"):
        run(inputs, ReconstructParams(), tmp_path / "out", Context())


def test_held_out_cameras_are_not_looked_through(
    tmp_path: Path, cameras: list[Camera], frames: tuple[np.ndarray, np.ndarray]
) -> None:
    rgb, alpha = frames[0][:1].copy(), frames[1][:1]
    rgb[:, 3] = 0
    inputs = capture(tmp_path, cameras, (rgb, alpha))
    path = inputs["ingest"] / "frames.parquet"
    table = read_table(path).with_columns(
        split=pl.when(pl.col("c") == 3).then(pl.lit("test")).otherwise(pl.col("split"))
    )
    write_table(path, table)
    params = ReconstructParams(dense_steps=0)
    run(inputs, params, tmp_path / "black", Context())
    write_arrays(inputs["ingest"] / "frames.zarr", {"rgb": frames[0][:1]})
    run(inputs, params, tmp_path / "seen", Context())
    files = [tmp_path / name / "points.parquet" for name in ("black", "seen")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert read_array(tmp_path / "seen" / "landmarks3d.zarr", "views").max() == CAMERAS - 1


def test_alignment_undoes_any_similarity_and_leaves_pictures_alone(cameras: list[Camera]) -> None:
    from headworks.reconstruct.alignment import Similarity

    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    away = Similarity(7.0, turn, np.array([3.0, -2.0, 5.0]))
    moved = [away.camera(c) for c in cameras]
    back, left = align_to_cameras([*moved[:-1], None], cameras)
    assert left[:-1].max() < 1e-9
    assert np.isnan(left[-1])
    points = rng.uniform(-0.05, 0.05, (20, 3))
    for was, now in zip(cameras, moved):
        again = back.camera(now)
        np.testing.assert_allclose(again.viewmat, was.viewmat, atol=1e-9)
        np.testing.assert_allclose(
            now.project(away.points(points))[:, :2], was.project(points)[:, :2], atol=1e-6
        )
    marks = away.points(face_marks())[None]
    to_head, step = align_to_head(marks, np.ones((1, 68)), face_marks())
    assert step == 0
    np.testing.assert_allclose(to_head.points(marks[0]), face_marks(), atol=1e-9)


def test_only_features_of_one_time_are_matched(
    cameras: list[Camera], frames: tuple[np.ndarray, np.ndarray]
) -> None:
    rgb, alpha = frames

    def frame(t: int, c: int) -> tuple[np.ndarray, np.ndarray]:
        return rgb[t, c], alpha[t, c]

    features = match_features(frame, [0, 1], range(3))
    for (a, b), matches in features.matches.items():
        times = features.times[a][matches[:, 0]], features.times[b][matches[:, 1]]
        np.testing.assert_array_equal(*times)
        assert set(times[0]) == {0, 1}
    inside = alpha[0, 0][features.xy[0][:, 1].astype(int), features.xy[0][:, 0].astype(int)]
    assert (inside[features.times[0] == 0] > 127).all()


def test_sources_are_neither_too_near_nor_too_far(cameras: list[Camera]) -> None:
    for c, chosen in enumerate(choose_sources(cameras, np.zeros(3), 4)):
        assert c not in chosen
        for s in chosen:
            cosine = cameras[c].centre @ cameras[s].centre / ballscene.DISTANCE**2
            assert 7 < np.degrees(np.arccos(cosine)) < 50


def test_points_outside_a_matte_are_not_in_the_hull(
    cameras: list[Camera], frames: tuple[np.ndarray, np.ndarray]
) -> None:
    points = np.array([[0, 0, 0.08], [0, 0, 0.16], [0.07, 0, 0]])
    kept = in_mattes(points, list(frames[1][0]), cameras)
    np.testing.assert_array_equal(kept, [True, False, True])


def test_normals_of_bare_points_come_from_their_neighbours() -> None:
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((3000, 3))
    directions = directions[directions[:, 2] > 0]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    count = len(directions)
    bare = PointCloud(
        np.zeros(count, np.int32), (0.09 * directions).astype(np.float32),
        np.full((count, 3), np.nan, np.float32), np.zeros((count, 3), np.uint8),
        np.ones(count, np.float32), np.full(count, 2, np.int32), np.zeros(count, bool),
    )  # fmt: skip
    normals = with_normals(bare, np.array([[0, 0, 1.0]])).normals
    known = np.isfinite(normals).all(1)
    assert known.mean() > 0.9
    assert np.median((normals[known] * directions[known]).sum(1)) > 0.99


def test_colmaps_dense_workspace_is_laid_out_and_its_points_are_read(
    tmp_path: Path, cameras: list[Camera], frames: tuple[np.ndarray, np.ndarray]
) -> None:
    rgb, alpha = frames
    features = match_features(lambda t, c: (rgb[t, c], alpha[t, c]), [0], range(4), 1, cameras[:4])
    model, _ = triangulate_features(features, cameras[:4])
    folder = tmp_path / "dense"
    folder.mkdir()
    made = patch_match.write_workspace(folder, list(rgb[0, :4]), list(alpha[0, :4]), model)
    assert sorted(p.name for p in (made / "images").iterdir()) == [f"00{c}.png" for c in range(4)]
    assert (made / "stereo" / "patch-match.cfg").is_file()
    assert (made / "sparse" / "cameras.bin").is_file()
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 2\n"
    header += "".join(f"property float {n}\n" for n in ("x", "y", "z", "nx", "ny", "nz"))
    header += "".join(f"property uchar {n}\n" for n in ("red", "green", "blue")) + "end_header\n"
    body = b"".join(
        np.array([i, 2, 3, 0, 0, 1], "<f4").tobytes() + bytes([9, 8, 7]) for i in range(2)
    )
    (tmp_path / "fused.ply").write_bytes(header.encode() + body)
    vis = np.array([2], "<u8").tobytes() + np.array([2, 0, 1, 3, 0, 1, 2], "<u4").tobytes()
    (tmp_path / "fused.ply.vis").write_bytes(vis)
    cloud = patch_match.read_fused(tmp_path / "fused.ply", 5)
    np.testing.assert_array_equal(cloud.points, [[0, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(cloud.views, [2, 3])
    assert set(cloud.t) == {5}
    (tmp_path / "fused.ply").write_bytes(header.encode() + body[:20])
    with pytest.raises(HeadworksError, match="ends before"):
        patch_match.read_fused(tmp_path / "fused.ply", 5)


def test_colmaps_dense_stereo_without_cuda_says_what_to_do(
    cameras: list[Camera], frames: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch_match, "available", lambda: False)
    with pytest.raises(HeadworksError, match="dense_backend"):
        patch_match.dense_cloud([], [], None, 0)  # type: ignore[arg-type]


def test_a_camera_without_features_is_placed_by_the_faces_landmarks(
    tmp_path: Path, cameras: list[Camera], frames: tuple[np.ndarray, np.ndarray]
) -> None:
    rgb = frames[0].copy()
    rgb[:, 5] = 128
    inputs = capture(tmp_path, cameras, (rgb, frames[1]), known=False)
    run(inputs, ReconstructParams(dense_steps=0), tmp_path / "out", Context())
    meta = read_meta(tmp_path / "out", "reconstruction")
    assert meta["notes"] == ["camera 5: too few features, placed by the face's landmarks"]
    found = [Camera(np.array(c["viewmat"]), np.array(c["K"]), SIDE, SIDE) for c in meta["cameras"]]
    _, left = align_to_cameras(found, cameras)
    assert 1e3 * left[5] < 15
    # Where nobody sees it by landmarks either, it is named rather than left out silently.
    marks = read_array(inputs["landmarks"] / "landmarks.zarr", "points").copy()
    marks[:, 5] = np.nan
    write_arrays(inputs["landmarks"] / "landmarks.zarr", {"points": marks})
    with pytest.raises(CaptureError, match="cameras 5 see nothing that the others see"):
        run(inputs, ReconstructParams(dense_steps=0), tmp_path / "none", Context())


def test_cameras_with_pictures_of_different_sizes_are_calibrated_together(
    cameras: list[Camera], frames: tuple[np.ndarray, np.ndarray]
) -> None:
    rgb, alpha = frames
    features = match_features(lambda t, c: (rgb[t, c], alpha[t, c]), [0, 1], range(CAMERAS))
    # Every other camera's pictures are twice as large.
    factors = [1 + c % 2 for c in range(CAMERAS)]
    larger = replace(features, xy=tuple(f * xy for f, xy in zip(factors, features.xy)))
    found = calibrate(larger, [(f * SIDE, f * SIDE) for f in factors])
    _, left = align_to_cameras(found.cameras, cameras)
    assert 1e3 * np.median(left) < 20
    focal = [camera.K[0, 0] for camera in found.cameras if camera is not None]
    assert focal == pytest.approx(np.array(factors) * cameras[0].K[0, 0], rel=0.1)
