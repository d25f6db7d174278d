"""Foreign captures: recognised, read with their exact cameras, refused where they are not whole."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headworks.cameras import Camera
from headworks.errors import CaptureError
from headworks.formats import clip_folders, gagavatar_track
from headworks.formats.layouts import check_pictures, find_captures, read_raw
from headworks.formats.rig import Rig, described, read_source
from headworks.formats.vhap import read_parameters, read_vhap
from tests.layoutfolders import (
    SERIALS,
    SIDE,
    cameras,
    flame,
    mask,
    picture,
    save,
    tree_md5,
    vhap_frame,
    write_frames,
    write_tsinghua,
    write_vhap,
)


def brought_in(folder: Path, target: Path) -> Rig:
    """Found, copied and read again, as `headworks add` does."""
    (capture,) = find_captures(folder)
    target.mkdir()
    capture.copy(target)
    return read_raw(target, capture.layout)


def same_cameras(rig: Rig, wanted: dict[str, Camera]) -> None:
    assert rig.cameras.keys() == wanted.keys()
    for name, camera in wanted.items():
        np.testing.assert_allclose(rig.cameras[name].viewmat, camera.viewmat, atol=1e-9)
        np.testing.assert_allclose(rig.cameras[name].K, camera.K, atol=1e-9)
        assert (rig.cameras[name].width, rig.cameras[name].height) == (camera.width, camera.height)


def test_vhap_cameras_pictures_masks_splits_and_flame_are_read(tmp_path: Path) -> None:
    rig = brought_in(write_vhap(tmp_path / "306_EMO"), tmp_path / "raw")
    same_cameras(rig, cameras())
    assert rig.calibrated
    recording = rig.recordings["306_EMO"]
    for i, serial in enumerate(SERIALS):
        source = recording.sources[serial]
        expected = ["val" if i == 1 else "train"] * 4 + ["test"]
        assert list(source.split) == expected
        for t, frame in enumerate(read_source(source)):
            np.testing.assert_array_equal(frame.rgb, picture(t, i))
            np.testing.assert_array_equal(frame.alpha, mask(t))
    parameters = read_parameters(recording.parameters[2])
    for name, value in flame(2).items():
        np.testing.assert_array_equal(parameters[name], value)
    text = "\n".join(described(rig))
    for words in ("vhap", "cameras: 3", "5 frames, 64 x 64", "masks: given", "8 train, 4 val"):
        assert words in text


def test_vhap_principal_points_are_measured_from_the_lower_edge(tmp_path: Path) -> None:
    rig = read_vhap(write_vhap(tmp_path / "x"))
    stored = json.loads((tmp_path / "x" / "transforms_train.json").read_text())["frames"][0]
    assert rig.cameras[SERIALS[0]].K[1, 2] == pytest.approx(SIDE - stored["cy"])
    assert abs(stored["cy"] - SIDE / 2) > 4


def test_a_vhap_union_reads_the_sequences_beside_it_and_only_those(tmp_path: Path) -> None:
    for name in ("306_EMO-1", "306_FREE"):
        write_vhap(tmp_path / "set" / name, steps=3)
    union = tmp_path / "set" / "UNION10_306"
    union.mkdir()
    frames = [
        vhap_frame(step, i, serial, camera, f"../{name}/")
        for k, name in enumerate(("306_EMO-1", "306_FREE"))
        for step in range(3)
        for i, (serial, camera) in enumerate(cameras().items())
    ]
    for n, frame in enumerate(frames):
        frame["timestep_index"] = n // 3
    for split, rows in (("train", frames[:9]), ("test", frames[9:])):
        (union / f"transforms_{split}.json").write_text(json.dumps({"frames": rows}))
    with pytest.raises(CaptureError, match="outside"):
        read_vhap(union)
    (union / "sequences_trainval.txt").write_text("EMO-1\n")
    rig = brought_in(union, tmp_path / "raw")
    assert list(rig.recordings) == ["306_EMO-1", "306_FREE"]
    assert set(rig.recordings["306_FREE"].sources[SERIALS[0]].split) == {"test"}
    assert len(next(rig.sources()).files) == 3
    # Folders beside a union are its sequences, not whatever else a user keeps there.
    save(tmp_path / "set" / "private" / "me.png", picture(0, 0))
    with pytest.raises(CaptureError, match="outside"):
        read_vhap(edited(union, file_path="../private/me.png"))


def test_tsinghua_cameras_pictures_masks_and_plates_are_read(tmp_path: Path) -> None:
    rig = brought_in(write_tsinghua(tmp_path / "031"), tmp_path / "raw")
    same_cameras(rig, cameras())
    source = rig.recordings["031"].sources[SERIALS[1]]
    assert len(source.files) == 3
    assert all("lowres" not in p.name and "visible" not in p.name for p in source.files)
    frame = list(read_source(source))[2]
    assert np.abs(frame.rgb.astype(int) - picture(2, 1)).mean() < 4
    assert frame.alpha is not None
    # JPEG rings around a mask's edge are cut off: far from the edge it is exactly none or all.
    inner, outer = mask(2) > 0, mask(2) == 0
    assert (frame.alpha[30:34, 30:34] == 255).all()
    assert (frame.alpha[:8, :8] == 0).all()
    assert inner.sum() + outer.sum() == SIDE**2
    assert set(rig.plates) == set(SERIALS)


def test_a_moving_camera_is_refused(tmp_path: Path) -> None:
    folder = write_tsinghua(tmp_path / "x")
    path = folder / "cameras" / "0002" / f"camera_{SERIALS[0]}.npz"
    camera = cameras()[SERIALS[0]]
    np.savez(path, extrinsic=camera.viewmat[:3] + 0.01 * np.eye(3, 4)[:, ::-1],
             intrinsic=camera.K)  # fmt: skip
    with pytest.raises(CaptureError, match=path.name):
        find_captures(folder)
    folder = write_vhap(tmp_path / "y")
    body = json.loads((folder / "transforms_train.json").read_text())
    body["frames"][2]["transform_matrix"][0][3] += 0.01
    (folder / "transforms_train.json").write_text(json.dumps(body))
    with pytest.raises(CaptureError, match="moves"):
        find_captures(folder)


def test_vfhq_clips_of_one_person_are_one_capture(tmp_path: Path) -> None:
    names = ("Clip+aBc_9+P0+C0+F10-21", "Clip+aBc_9+P0+C1+F40-51", "Clip+aBc_9+P1+C0+F10-21")
    for name in names:
        write_frames(tmp_path / "vfhq" / name)
    found = find_captures(tmp_path / "vfhq")
    assert [c.label for c in found] == ["aBc_9-P0", "aBc_9-P1"]
    (tmp_path / "raw").mkdir()
    found[0].copy(tmp_path / "raw")
    rig = read_raw(tmp_path / "raw", found[0].layout)
    assert list(rig.recordings) == list(names[:2])
    assert not rig.calibrated
    frames = list(read_source(rig.recordings[names[0]].sources["0"], stride=5))
    assert [f.index for f in frames] == [7, 12, 17]
    np.testing.assert_array_equal(frames[1].rgb, picture(12, 0))


def test_photos_are_no_clip_and_a_clip_is_no_photos(tmp_path: Path) -> None:
    assert find_captures(write_frames(tmp_path / "few", count=9)) == []
    assert len(find_captures(write_frames(tmp_path / "few", count=9), "frames")) == 1
    scattered = tmp_path / "scattered"
    for n in (3, 17, 18, 40, 41, 77, 80, 104, 200, 310, 999):
        save(scattered / f"IMG_{n:04d}.jpg", picture(n, 0))
    assert find_captures(scattered) == []
    assert len(find_captures(write_frames(tmp_path / "many"))) == 1


def encoded(image: np.ndarray, kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind)
    return content.getvalue()


def write_track(folder: Path, values: dict[str, bytes], records: object = None) -> Path:
    lmdb = pytest.importorskip("lmdb")
    (folder / "img_lmdb").mkdir(parents=True)
    with (
        lmdb.open(str(folder / "img_lmdb"), map_size=1 << 24) as base,
        base.begin(write=True) as transaction,
    ):
        for key, value in values.items():
            transaction.put(key.encode(), value)
    if records is not None:
        (folder / "optim.pkl").write_bytes(pickle.dumps(records))
    return folder


def record(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {n: rng.normal(size=k).astype(np.float32) for n, k in gagavatar_track.CODES.items()}
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    made["transform_matrix"] = np.concatenate([turn, rng.normal(size=(3, 1))], 1).astype("f4")
    return made


def test_gagavatar_tracks_become_clips_with_what_was_tracked(tmp_path: Path) -> None:
    keys = [f"{v:06d}_{n}" for v in (3, 4) for n in range(10, 13)]
    values = {k: encoded(picture(i, 0), "PNG") for i, k in enumerate(keys)}
    values[keys[0]] = encoded(picture(0, 0), "JPEG")
    values = {k: encoded(picture(i, 0), "PNG") for i, k in enumerate(keys)}
    folder = write_track(tmp_path / "gaga", values, {k: record(i) for i, k in enumerate(keys)})
    splits = {"train": keys[:2] + keys[3:], "val": [], "test": keys[2:3]}
    (folder / "dataset.json").write_text(json.dumps(splits))
    found = find_captures(folder)
    assert [c.label for c in found] == ["000003", "000004"]
    (tmp_path / "raw").mkdir()
    found[0].copy(tmp_path / "raw")
    rig = read_raw(tmp_path / "raw", found[0].layout)
    (recording,) = rig.recordings.values()
    source = recording.sources["0"]
    assert source.frames == (10, 11, 12)
    assert source.split == ("train", "train", "test")
    np.testing.assert_array_equal(list(read_source(source))[1].rgb, picture(1, 0))
    with np.load(recording.parameters[0]) as stored:
        np.testing.assert_array_equal(stored["expcode"][2], record(2)["expcode"])
        pose, K = stored["viewmats"][1], stored["K"]
    # A point in the tracker's units, by its own row-vector convention: X R + T, then to pixels.
    point, told = np.array([0.3, -0.2, 0.4]), record(1)["transform_matrix"].astype(float)
    seen = point @ told[:, :3] + told[:, 3]
    theirs = 256 - 256 * gagavatar_track.FOCAL_NDC * seen[:2] / seen[2]
    ours = K @ (pose[:3, :3] @ (point / 5) + pose[:3, 3])
    np.testing.assert_allclose(ours[:2] / ours[2], theirs, rtol=1e-5)


class Evil:
    def __reduce__(self) -> tuple:
        return (os.system, ("touch executed",))


def test_pickles_in_tracks_execute_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = {f"000001_{n}": encoded(picture(n, 0), "PNG") for n in range(3)}
    folder = write_track(tmp_path / "a", values, {"000001_0": Evil()})
    (tmp_path / "raw").mkdir()
    with pytest.raises(CaptureError, match="refused"):
        find_captures(folder)[0].copy(tmp_path / "raw")
    values["000001_1"] = pickle.dumps(Evil())
    folder = write_track(tmp_path / "b", values)
    (tmp_path / "raw2").mkdir()
    with pytest.raises(CaptureError, match="000001_1"):
        find_captures(folder)[0].copy(tmp_path / "raw2")
    assert not (tmp_path / "executed").exists()


def edited(folder: Path, split: str = "train", **fields: object) -> Path:
    path = folder / f"transforms_{split}.json"
    body = json.loads(path.read_text())
    body["frames"][0].update(fields)
    path.write_text(json.dumps(body))
    return folder


@pytest.mark.parametrize("key", ["file_path", "fg_mask_path", "flame_param_path"])
@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "images/../../secret.png",
                                  "a\0b", 7, "images/link.png"])  # fmt: skip
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, key: str, name: object) -> None:
    folder = write_vhap(tmp_path / "x", steps=2)
    save(tmp_path / "secret.png", picture(0, 0))
    (folder / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(CaptureError, match=r"outside|no file name"):
        read_vhap(edited(folder, **{key: name}))


def test_links_out_of_listed_folders_are_refused(tmp_path: Path) -> None:
    secret = save(tmp_path / "secret.jpg", picture(0, 0))
    folder = write_tsinghua(tmp_path / "x")
    path = folder / "images" / "0001" / f"image_{SERIALS[0]}.jpg"
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(CaptureError, match="outside"):
        find_captures(folder)
    clip = write_frames(tmp_path / "clip")
    (clip / "00000007.png").unlink()
    (clip / "00000007.png").symlink_to(secret)
    (tmp_path / "raw").mkdir()
    with pytest.raises(CaptureError, match="outside"):
        find_captures(clip)[0].copy(tmp_path / "raw")


@pytest.mark.parametrize(
    "fields",
    [
        {"timestep_index": 10**30}, {"timestep_index": -1}, {"camera_index": 1.5},
        {"w": 10**9}, {"h": 0}, {"fl_x": float("nan")}, {"fl_x": -3.0}, {"cx": "8"},
        {"transform_matrix": [[1, 0], [0, 1]]},
        {"transform_matrix": np.diag([1.0, 1, -1, 1]).tolist()},
        {"file_path": "images/99999_00.png"}, {"seg_mask_path": "x"},
    ],
)  # fmt: skip
def test_impossible_numbers_are_refused_with_their_place(tmp_path: Path, fields: dict) -> None:
    folder = edited(write_vhap(tmp_path / "x", steps=2), **fields)
    with pytest.raises(CaptureError, match=r"transforms_train\.json"):
        read_vhap(folder)


def test_pictures_cut_short_or_of_another_size_are_found_before_anything_is_copied(
    tmp_path: Path,
) -> None:
    folder = write_vhap(tmp_path / "x", steps=3)
    path = folder / "images" / "00002_01.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CaptureError, match=r"00002_01.png: the picture is cut short"):
        check_pictures(read_vhap(folder))
    save(path, picture(0, 0, SIDE // 2))
    with pytest.raises(CaptureError, match=r"00002_01.png: 32 x 32"):
        check_pictures(read_vhap(folder))


def without(folder: Path, name: str) -> Path:
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def test_half_a_layout_is_one_error_that_names_what_is_missing(tmp_path: Path) -> None:
    vhap = write_vhap(tmp_path / "vhap", steps=2)
    for split in ("train", "val", "test"):
        without(vhap, f"transforms_{split}.json")
    (tmp_path / "nersemble" / "sequences" / "FREE" / "images").mkdir(parents=True)
    (tmp_path / "nersemble" / "sequences" / "FREE" / "images" / "cam_1.mp4").write_bytes(b"x")
    (tmp_path / "gaga").mkdir()
    (tmp_path / "gaga" / "optim.pkl").write_bytes(b"x")
    (tmp_path / "nerf").mkdir()
    (tmp_path / "nerf" / "transforms.json").write_text('{"frames": [{"file_path": "a.png"}]}')
    wanted = {
        vhap: "transforms_train.json: missing",
        tmp_path / "nersemble": r"calibration/camera_params.json: missing",
        without(write_tsinghua(tmp_path / "t"), "cameras"): "cameras: missing",
        without(write_tsinghua(tmp_path / "u"), "images"): "images: missing",
        without(write_tsinghua(tmp_path / "v"), f"cameras/0001/camera_{SERIALS[1]}.npz"):
            f"camera_{SERIALS[1]}.npz: missing",
        tmp_path / "gaga": "data.mdb: missing",
        tmp_path / "nerf": "timestep_index",
        without(write_vhap(tmp_path / "w", steps=2), "images/00001_00.png"): "00001_00.png",
    }  # fmt: skip
    for folder, words in wanted.items():
        with pytest.raises(CaptureError, match=words):
            find_captures(folder)


def test_copies_are_byte_for_byte_and_hold_nothing_else(tmp_path: Path) -> None:
    folder = write_vhap(tmp_path / "seq", steps=2)
    (folder / "notes.txt").write_text("private")
    brought_in(folder, tmp_path / "raw")
    copied, original = tree_md5(tmp_path / "raw" / "seq"), tree_md5(folder)
    assert original.pop("notes.txt")
    assert copied == original


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    folder = write_tsinghua(tmp_path / "x")
    path = folder / "cameras" / "0000" / f"camera_{SERIALS[0]}.npz"
    for content in (b"", b"PK\x05\x06 no archive", pickle.dumps(Evil())):
        path.write_bytes(content)
        with pytest.raises(CaptureError, match=path.name):
            find_captures(folder)
    np.savez_compressed(path, extrinsic=np.zeros((3000, 3000)), intrinsic=np.eye(3))
    with pytest.raises(CaptureError, match="unpacks to"):
        find_captures(folder)


def test_splits_that_leave_out_a_frame_are_an_error(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip")
    (clip / clip_folders.SPLIT_FILE).write_text(json.dumps({"train": [7, 8]}))
    with pytest.raises(CaptureError, match="frame 9 is in no split"):
        clip_folders.read_clips([clip], "x")
