"""Captures in the layouts of others, read by readers written from the formats' descriptions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from headworks.artifacts import write_arrays, write_meta, write_table
from headworks.errors import CaptureError
from headworks.formats.capture_export import export_nersemble, export_vhap, open_capture
from headworks.formats.layouts import find_captures, read_raw
from headworks.formats.vhap_flame import flame_parameters
from headworks.heads.base import HeadModel, HeadPose
from headworks.tracks import Tracking
from tests.heads import standins
from tests.layoutfolders import SERIALS, SIDE, cameras, flame, mask, picture

SEQUENCES = ("EMO-1-shout+laugh", "FREE")
STEPS = 3
POINT = np.array([0.02, -0.03, 0.08])


def write_capture(root: Path, sequences: int = 2, parameters: bool = False) -> Path:
    """Artifacts of ingest and matting: the last camera and the sequence FREE are held out."""
    rig = cameras()
    times = sequences * STEPS
    rows = [
        {"sequence": SEQUENCES[t // STEPS], "t": t, "c": c, "frame": 2 * (t % STEPS),
         "camera": name, "time_s": 0.1 * t, "crop_x": 0.0, "crop_y": 0.0,
         "crop_side": float(SIDE), "split": "test" if t >= STEPS or c == 2 else "train"}
        for t in range(times) for c, name in enumerate(rig)
    ]  # fmt: skip
    rgb = np.stack([[picture(t, c) for c in range(3)] for t in range(times)])
    alpha = np.stack([[mask(t)] * 3 for t in range(times)])
    for name in ("ingest", "matting"):
        (root / name).mkdir(parents=True)
    write_arrays(root / "ingest" / "frames.zarr", {"rgb": rgb})
    write_arrays(root / "matting" / "mattes.zarr", {"alpha": alpha})
    narrow = {"t": pl.Int32, "c": pl.Int32, "frame": pl.Int32}
    write_table(root / "ingest" / "frames.parquet", pl.DataFrame(rows, schema_overrides=narrow))
    described = [{"name": n, "width": SIDE, "height": SIDE, "K": c.K.tolist(),
                  "viewmat": c.viewmat.tolist()} for n, c in rig.items()]  # fmt: skip
    meta = {"setting": "multiview", "cameras": described, "fps": 24.0}
    if parameters:
        told = [flame(t) for t in range(times)]
        arrays = {n: np.stack([f[n].reshape(-1) for f in told])
                  for n in told[0] if n != "static_offset"}  # fmt: skip
        arrays["static_offset"] = told[0]["static_offset"][0]
        write_arrays(root / "ingest" / "parameters.zarr", arrays)
        meta["parameters"] = sorted(arrays)
    write_meta(root / "ingest", "capture", meta)
    return root


def exported(root: Path, folder: Path, **options: bool) -> list[str]:
    known = open_capture(root / "ingest", root / "matting", None)
    return export_vhap(known, "actor", folder, **options)


TOP = {"frames", "cx", "cy", "fl_x", "fl_y", "h", "w", "camera_angle_x", "camera_angle_y",
       "timestep_indices", "camera_indices"}  # fmt: skip
FRAME = {"timestep_index", "timestep_index_original", "timestep_id", "camera_index", "camera_id",
         "fl_x", "fl_y", "cx", "cy", "h", "w", "camera_angle_x", "camera_angle_y",
         "transform_matrix", "file_path", "fg_mask_path"}  # fmt: skip


def opengl_pixel(frame: dict, point: np.ndarray) -> np.ndarray:
    """Where a NeRF reader sees a point: pixel x from the left, y from the TOP."""
    x, y, z = (np.linalg.inv(frame["transform_matrix"]) @ np.append(point, 1))[:3]
    assert z < 0, "in front is negative z with OpenGL axes"
    u = frame["fl_x"] * x / -z + frame["cx"]
    from_below = frame["fl_y"] * y / -z + frame["cy"]
    return np.array([u, frame["h"] - from_below])


def gaussian_avatars_pixel(frame: dict, point: np.ndarray) -> np.ndarray:
    """GaussianAvatars' reader: field of view along x, square pixels, the lens in the middle."""
    pose = np.array(frame["transform_matrix"])
    pose[:3, 1:3] *= -1
    x, y, z = (np.linalg.inv(pose) @ np.append(point, 1))[:3]
    focal = frame["w"] / (2 * np.tan(frame["camera_angle_x"] / 2))
    return np.array([focal * x / z + frame["w"] / 2, focal * y / z + frame["h"] / 2])


def test_vhap_readers_see_the_same_points_in_the_same_pixels(tmp_path: Path) -> None:
    root = write_capture(tmp_path / "a", sequences=1)
    exported(root, tmp_path / "out")
    found = {}
    for split in ("train", "val", "test"):
        body = json.loads((tmp_path / "out" / f"transforms_{split}.json").read_text())
        if body["frames"]:
            assert body.keys() == TOP
        for frame in body["frames"]:
            assert frame.keys() == FRAME
            assert frame["file_path"] == (
                f"images/{frame['timestep_index']:05d}_{frame['camera_index']:02d}.png"
            )
            found[frame["timestep_index"], frame["camera_id"]] = (split, frame)
    assert len(found) == STEPS * 3
    for (step, serial), (split, frame) in found.items():
        assert split == ("val" if serial == SERIALS[2] else "train")
        assert frame["timestep_index_original"] == 2 * step
        true = cameras()[serial]
        image = np.asarray(Image.open(tmp_path / "out" / frame["file_path"]))
        matte = np.asarray(Image.open(tmp_path / "out" / frame["fg_mask_path"]))
        assert image.shape == (frame["h"], frame["w"], 3)
        assert matte.shape == image.shape[:2]
        assert matte.dtype == np.uint8
        # The picture lies somewhere in the padded one: find it by its matte.
        ys, xs = np.nonzero(matte)
        ty, tx = np.nonzero(mask(step))
        moved = np.array([xs.min() - tx.min(), ys.min() - ty.min()])
        wanted = true.project(POINT)[:2] + moved
        np.testing.assert_allclose(opengl_pixel(frame, POINT), wanted, atol=1e-6)
        np.testing.assert_allclose(gaussian_avatars_pixel(frame, POINT), wanted, atol=0.26)
        x, y = moved
        part = image[y : y + SIDE, x : x + SIDE]
        inner = mask(step) == 255
        index = SERIALS.index(serial)
        np.testing.assert_array_equal(part[inner], picture(step, index)[inner])
        assert (part[mask(step) == 0] == 255).all()


def test_kept_principal_points_are_said_to_be_off(tmp_path: Path) -> None:
    root = write_capture(tmp_path / "a", sequences=1)
    lines = exported(root, tmp_path / "out", centred=False)
    assert any("principal points up to 7 pixels off" in line for line in lines)
    frame = json.loads((tmp_path / "out" / "transforms.json").read_text())["frames"][0]
    wanted = cameras()[SERIALS[0]].project(POINT)[:2]
    np.testing.assert_allclose(opengl_pixel(frame, POINT), wanted, atol=1e-6)


def test_what_vhap_export_writes_our_reader_reads_with_sequences_and_splits(
    tmp_path: Path,
) -> None:
    root = write_capture(tmp_path / "a", parameters=True)
    lines = exported(root, tmp_path / "out", centred=False)
    assert not any("flame_param" in line for line in lines)
    union = tmp_path / "out" / "UNION2_actor"
    (capture,) = find_captures(union)
    (tmp_path / "raw").mkdir()
    capture.copy(tmp_path / "raw")
    rig = read_raw(tmp_path / "raw", capture.layout)
    assert list(rig.recordings) == list(SEQUENCES)
    assert set(rig.recordings["FREE"].sources[SERIALS[0]].split) == {"test"}
    assert set(rig.recordings[SEQUENCES[0]].sources[SERIALS[2]].split) == {"val"}
    for name, camera in cameras().items():
        np.testing.assert_allclose(rig.cameras[name].viewmat, camera.viewmat, atol=1e-12)
        np.testing.assert_allclose(rig.cameras[name].K, camera.K, atol=1e-9)
    names = {"shape": (300,), "expr": (1, 100), "rotation": (1, 3), "neck_pose": (1, 3),
             "jaw_pose": (1, 3), "eyes_pose": (1, 6), "translation": (1, 3),
             "static_offset": (1, 5143, 3)}  # fmt: skip
    for path in [*rig.recordings["FREE"].parameters, union / "canonical_flame_param.npz"]:
        with np.load(path) as stored:
            assert {n: stored[n].shape for n in stored.files} == names
            assert all(stored[n].dtype == np.float32 for n in stored.files)
    with np.load(rig.recordings["FREE"].parameters[1]) as stored:
        np.testing.assert_array_equal(stored["rotation"], flame(STEPS + 1)["rotation"])
    assert (union / "sequences_trainval.txt").read_text() == f"{SEQUENCES[0]}\n"
    frame = json.loads((union / "transforms_test.json").read_text())["frames"][0]
    assert "timestep_id" not in frame
    assert frame["timestep_index"] == STEPS


def test_nersemble_readers_get_videos_mattes_and_one_calibration(tmp_path: Path) -> None:
    root = write_capture(tmp_path / "a")
    known = open_capture(root / "ingest", root / "matting", None)
    lines = export_nersemble(known, tmp_path / "out", "017")
    assert any("intrinsics per camera" in line for line in lines)
    folder = tmp_path / "out" / "017"
    told = json.loads((folder / "calibration" / "camera_params.json").read_text())
    import av

    for c, serial in enumerate(SERIALS):
        K = np.array(told["intrinsics"][serial])
        W = np.array(told["world_2_cam"][serial])
        view = (W @ np.append(POINT, 1))[:3]
        pixel = (K @ view / view[2])[:2]
        np.testing.assert_allclose(pixel, cameras()[serial].project(POINT)[:2], atol=1e-6)
        for k, sequence in enumerate(SEQUENCES):
            path = folder / "sequences" / sequence / "images" / f"cam_{serial}.mp4"
            with av.open(str(path)) as video:
                frames = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
                assert float(video.streams.video[0].average_rate) == pytest.approx(24)
            assert len(frames) == STEPS
            wanted = picture(k * STEPS + 1, c).astype(int)
            assert np.abs(frames[1] - wanted).mean() < 6
            assert (path.parents[1] / "alpha_maps" / path.name).is_file()
    text = (tmp_path / "out" / "metadata_sequences.csv").read_text()
    assert text.splitlines()[0] == "ID,wears_glasses,EMO-1-shout+laugh,FREE"


def test_squares_go_back_to_where_they_were_cut_out_of_shared_intrinsics(tmp_path: Path) -> None:
    root = write_capture(tmp_path / "a", sequences=1)
    table = pl.read_parquet(root / "ingest" / "frames.parquet")
    # Squares of 80, 96 and 112 pixels at places of their own, out of pictures with one K.
    K = np.array([[300.0, 0, 90], [0, 300.0, 130], [0, 0, 1]])
    places = [(12, 40, 80), (20, 33, 96), (30, 60, 112)]
    meta = json.loads((root / "ingest" / "artifact.json").read_text())
    for camera, (x, y, side) in zip(meta["cameras"], places):
        zoom = SIDE / side
        camera["K"] = (np.diag([zoom, zoom, 1]) @ (K - [[0, 0, x], [0, 0, y], [0, 0, 0]])).tolist()
    (root / "ingest" / "artifact.json").write_text(json.dumps(meta))
    columns = [pl.Series(n, [float(places[c][i]) for c in table["c"]])
               for i, n in enumerate(("crop_x", "crop_y", "crop_side"))]  # fmt: skip
    table.with_columns(columns).write_parquet(root / "ingest" / "frames.parquet")
    export_nersemble(open_capture(root / "ingest", None, None), tmp_path / "out")
    told = json.loads((tmp_path / "out/000/calibration/camera_params.json").read_text())
    np.testing.assert_allclose(told["intrinsics"], K, atol=1e-9)
    assert (told["width"], told["height"]) == (180, 260)


def test_an_uncalibrated_capture_needs_its_tracking(tmp_path: Path) -> None:
    root = write_capture(tmp_path / "a", sequences=1)
    meta = json.loads((root / "ingest" / "artifact.json").read_text())
    meta["cameras"][1]["K"] = None
    (root / "ingest" / "artifact.json").write_text(json.dumps(meta))
    with pytest.raises(CaptureError, match="headworks run --stage tracking"):
        open_capture(root / "ingest", None, None)


def small_flame(origin: np.ndarray) -> tuple[dict[str, np.ndarray], HeadModel]:
    """FLAME's arrays of 60 vertices at random, and the head model that an import makes of them."""
    rng = np.random.default_rng(0)
    count, kept = 60, 5
    weights = rng.uniform(size=(count, 5))
    weights[20:, 0] = 0  # the head, which the root moves through the neck only
    regressor = rng.uniform(size=(5, count))
    arrays = {
        "v_template": 0.1 * rng.normal(size=(count, 3)),
        "shapedirs": 0.01 * rng.normal(size=(count, 3, kept + 100)),
        "posedirs": 0.001 * rng.normal(size=(count, 3, 36)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
    }
    shapes = arrays["shapedirs"].transpose(2, 0, 1)
    moved = np.einsum("jv,kvc->kjc", arrays["J_regressor"], shapes)

    def real(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array, np.float32))

    none = torch.zeros(0, 3, dtype=torch.long)
    head = HeadModel(
        name="small", template=real(arrays["v_template"] - origin),
        identity_basis=real(shapes[:kept]), expression_basis=real(shapes[kept:]),
        expression_names=tuple(f"expression{k:03d}" for k in range(100)), faces=none,
        face_regions=none[:, 0], uvs=torch.zeros(0, 2), faces_uv=none,
        landmark_faces=torch.zeros(68, dtype=torch.long), landmark_bary=torch.zeros(68, 3),
        joints=real(arrays["J_regressor"] @ arrays["v_template"] - origin),
        joint_identity=real(moved[:kept]), joint_expression=real(moved[kept:]),
        skin_weights=real(arrays["weights"]),
        pose_basis=real(arrays["posedirs"].transpose(2, 0, 1)),
        expression_signed=(True,) * 100,
    )  # fmt: skip
    return arrays, head


@pytest.mark.parametrize("shifted", [False, True])
def test_flames_own_equations_put_the_head_where_it_was_tracked(shifted: bool) -> None:
    origin = np.array([0.01, 0.03, -0.02])
    arrays, head = small_flame(origin)
    rng = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(*shape, generator=rng)

    shift = normal(2, 3) if shifted else torch.zeros(2, 3)
    pose = HeadPose(normal(2, 3), normal(2, 3), normal(2, 3), shift, normal(2, 3), normal(2, 2, 3))
    track = Tracking(
        "small", head.digest, normal(5), normal(2, 100), pose, np.ones(2, bool), np.eye(4)[None],
        np.eye(3)[None, None].repeat(2, 0),
    )  # fmt: skip
    rows, notes = flame_parameters(head, origin.tolist(), track)
    assert (["torsos" in n for n in notes] == [True]) if shifted else not notes
    for t, told in enumerate(rows):
        betas = np.concatenate([told["shape"][:5], told["expr"][0]]).astype(float)
        angles = np.stack([told["rotation"][0], told["neck_pose"][0], told["jaw_pose"][0],
                           *told["eyes_pose"].reshape(2, 3)]).astype(float)  # fmt: skip
        theirs = standins.flame_forward(arrays, betas, angles, told["translation"][0].astype(float))
        ours = track.vertices(head, [t])[0].numpy()
        # Where the neck shifts, the head stays in place and the torso gives way.
        kept = slice(20, None) if shifted else slice(None)
        np.testing.assert_allclose(ours[kept], theirs[kept], atol=5e-6)
