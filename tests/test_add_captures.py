"""headworks add recognises layouts and says so; ingest keeps cameras, mattes, splits, plates."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from headworks.artifacts import read_array, read_meta, read_table
from headworks.cameras import Camera
from headworks.errors import HeadworksError
from headworks.formats import nersemble
from headworks.synthetic.rigs import nersemble_rig, squared
from pipelines.captures import add_captures
from pipelines.layout import Layout
from stages.contract import Context
from stages.ingest import IngestParams
from stages.ingest import run as ingest
from stages.matting import MattingParams
from stages.matting import run as matting
from tests.faceclips import moving, portrait, write_clip, write_photo
from tests.layoutfolders import (
    SERIALS,
    cameras,
    flame,
    mask,
    picture,
    save,
    write_frames,
    write_tsinghua,
    write_vhap,
)

FACE = np.array([0.0, -0.01, 0.09])
SIZE = 64


def add(root: Path, folder: Path, name: str = "actor", forced: str | None = None) -> list:
    return add_captures(Layout(root), name, [folder], None, None, None, "CC0", forced)


def ingested(root: Path, name: str = "actor", **options: float) -> Path:
    out = root / f"capture-{name}"
    ingest({"raw": root / "data" / "raw" / name}, IngestParams(size=SIZE, **options), out,
           Context())  # fmt: skip
    return out


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures of these tests show no face: every camera finds one in its middle."""

    def found(rgb: np.ndarray, side: int | None = None) -> np.ndarray:
        height, width = rgb.shape[:2]
        half = 0.2 * width
        box = [width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half, 1]
        return np.array([box], np.float32)

    monkeypatch.setattr("headworks.landmarks.faces.detect_faces", found)
    monkeypatch.setattr("stages.ingest._SMALLEST_FACE", 8)


def straight(rig: dict[str, Camera]) -> dict[str, Camera]:
    """The cameras with the lens in the middle, where `seen` finds the face."""
    return {
        n: Camera(c.viewmat, np.array([[c.K[0, 0], 0, c.width / 2], [0, c.K[1, 1], c.height / 2],
                                       [0, 0, 1]]), c.width, c.height)
        for n, c in rig.items()
    }  # fmt: skip


def same_pixels(out: Path, rig: dict[str, Camera]) -> None:
    """Ground-truth cameras survive: a point is where the crop of its true pixel is, to 1e-6."""
    table = read_table(out / "frames.parquet")
    described = {c["name"]: c for c in read_meta(out, "capture")["cameras"]}
    assert described.keys() == rig.keys()
    for c, name in enumerate(described):
        camera = rig[name]
        ours = Camera(described[name]["viewmat"], described[name]["K"], SIZE, SIZE)
        np.testing.assert_allclose(ours.viewmat, camera.viewmat, atol=1e-9)
        row = table.filter((table["c"] == c) & (table["t"] == 0)).row(0, named=True)
        assert row["camera"] == name
        wanted = camera.project(FACE)[:2] - [row["crop_x"], row["crop_y"]]
        np.testing.assert_allclose(
            ours.project(FACE)[:2], wanted * SIZE / row["crop_side"], atol=1e-6
        )


def test_a_vhap_export_is_ingested_with_cameras_mattes_splits_and_parameters(
    tmp_path: Path, seen: None
) -> None:
    rig = straight(cameras())
    ((subject, lines),) = add(tmp_path, write_vhap(tmp_path / "306_EMO", rig=rig))
    assert subject.kind == "multiview"
    assert lines[0] == "layout: vhap (306_EMO)"
    out = ingested(tmp_path)
    same_pixels(out, rig)
    table = read_table(out / "frames.parquet")
    held = table.filter(table["given_split"] == "val")
    assert set(held["camera"]) == {SERIALS[1]}
    assert set(table.filter(table["given_split"] != "train")["split"]) == {"test"}
    meta = read_meta(out, "capture")
    assert meta["layout"] == "vhap"
    assert read_array(out / "parameters.zarr", "expr", (5, 100)).dtype == np.float32
    jaw = read_array(out / "parameters.zarr", "jaw_pose")
    np.testing.assert_array_equal(jaw[3], flame(3)["jaw_pose"][0])
    matting({"ingest": out}, MattingParams(), tmp_path / "mattes", Context())
    assert read_meta(tmp_path / "mattes")["backend"] == "given"
    alpha = read_array(tmp_path / "mattes" / "mattes.zarr", "alpha", (5, 3, SIZE, SIZE))
    row = table.row(0, named=True)
    x, y, side = (int(row[n]) for n in ("crop_x", "crop_y", "crop_side"))
    part = mask(0)[max(y, 0) : y + side, max(x, 0) : x + side]
    # Beyond the picture there is nobody.
    assert alpha[0, 0].mean() == pytest.approx(part.sum() / side**2, rel=0.03)
    # The parameters of each picture are those of its own place in the capture.
    assert meta["parameters"] == sorted([*flame(0)])


def test_background_plates_go_through_the_same_crop_as_the_frames(
    tmp_path: Path, seen: None
) -> None:
    rig = straight(cameras())
    folder = write_tsinghua(tmp_path / "031", rig=rig)
    for i, serial in enumerate(rig):  # the plate shows what step 1 shows
        save(folder / "background" / f"image_{serial}.jpg", picture(1, i))
    add(tmp_path, folder)
    out = ingested(tmp_path)
    same_pixels(out, rig)
    plates = read_array(out / "background.zarr", "rgb", (3, SIZE, SIZE, 3))
    frames = read_array(out / "frames.zarr", "rgb")
    np.testing.assert_array_equal(plates, frames[1])
    assert not np.array_equal(plates, frames[0])


def test_nersembles_plates_are_corrected_and_scaled_like_its_videos(
    tmp_path: Path, seen: None
) -> None:
    rig = straight(cameras())
    folder = tmp_path / "017"
    colour = {serial: 0.8 * np.eye(3) for serial in rig}
    nersemble.write_calibration(folder, rig, colour)
    for i, serial in enumerate(rig):
        nersemble.write_recording(folder, "FREE", serial, [picture(t, i) for t in (0, 1)], crf=1)
        small = np.kron(picture(1, i), np.ones((2, 2, 1), np.uint8))
        nersemble.write_plate(folder, serial, small)
    ((_, lines),) = add(tmp_path, folder)
    assert "besides: 3 colour calibrations, 3 background plates" in lines
    out = ingested(tmp_path)
    plates = read_array(out / "background.zarr", "rgb", (3, SIZE, SIZE, 3)).astype(int)
    frames = read_array(out / "frames.zarr", "rgb")
    assert np.abs(plates - frames[1]).mean() < 4
    assert np.abs(plates - frames[0]).mean() > 12


def test_clips_of_frames_keep_their_numbers_and_become_monocular(
    tmp_path: Path, seen: None
) -> None:
    for name in ("Clip+x+P0+C0+F7-18", "Clip+x+P0+C1+F40-51", "Clip+x+P1+C0+F7-18"):
        write_frames(tmp_path / "vfhq" / name, count=12)
    added = add(tmp_path, tmp_path / "vfhq", "vfhq")
    assert [s.name for s, _ in added] == ["vfhq-x-P0", "vfhq-x-P1"]
    assert {s.kind for s, _ in added} == {"clip"}
    out = ingested(tmp_path, "vfhq-x-P0", stride=5)
    table = read_table(out / "frames.parquet")
    assert table["frame"].to_list() == [7, 12, 17] * 2
    assert table["sequence"].n_unique() == 2
    meta = read_meta(out, "capture")
    assert (meta["setting"], meta["cameras"][0]["K"], meta["fps"]) == ("monocular", None, None)
    assert [s["pictures"] for s in meta["source"]] == [12, 12]
    assert (meta["source"][0]["width"], meta["source"][0]["height"]) == (64, 64)


def test_a_forced_layout_wins_over_what_a_folder_looks_like(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "few", count=4)
    ((subject, _),) = add(tmp_path, folder, "as_photos")
    assert subject.kind == "photos"
    ((subject, lines),) = add(tmp_path, folder, "as_clip", "frames")
    assert subject.kind == "clip"
    assert "sequence few: 4 frames, 64 x 64" in lines
    with pytest.raises(HeadworksError, match=r"transforms_train.json: missing"):
        add(tmp_path, folder, "no", "vhap")
    with pytest.raises(HeadworksError, match="not a clip, but a photos"):
        add(tmp_path, folder, "no", "clip")
    with pytest.raises(HeadworksError, match="one folder"):
        add(tmp_path, folder / "00000007.png", "no", "frames")
    assert not (tmp_path / "data" / "raw" / "no").exists()


def test_a_cut_video_is_refused_when_it_is_added(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "cut.mp4", moving(20))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.9)])
    with pytest.raises(HeadworksError, match=r"cut.mp4.*cut short"):
        add(tmp_path, path)
    rig = straight(cameras())
    folder = tmp_path / "017"
    nersemble.write_calibration(folder, rig)
    for serial in rig:
        nersemble.write_recording(folder, "FREE", serial, [picture(t, 0) for t in range(12)])
    video = folder / "sequences" / "FREE" / "images" / f"cam_{SERIALS[1]}.mp4"
    video.write_bytes(video.read_bytes()[: int(video.stat().st_size * 0.8)])
    with pytest.raises(HeadworksError, match=video.name):
        add(tmp_path, folder)
    assert not (tmp_path / "data" / "raw" / "actor").exists()


def test_the_alpha_channel_of_photos_is_their_matte(tmp_path: Path) -> None:
    y, x = np.mgrid[:240, :240]
    alpha = np.where((x - 120) ** 2 + (y - 130) ** 2 < 100**2, 255, 0).astype(np.uint8)
    write_photo(tmp_path / "me.png", np.dstack([portrait(), alpha]))
    ((_, lines),) = add(tmp_path, tmp_path / "me.png")
    assert lines == ["a photo: 240 x 240"]
    out = ingested(tmp_path)
    row = read_table(out / "frames.parquet").row(0, named=True)
    left, top, side = (int(row[n]) for n in ("crop_x", "crop_y", "crop_side"))
    given = read_array(out / "given.zarr", "alpha", (1, 1, SIZE, SIZE))[0, 0]
    part = alpha[top : top + side, left : left + side]
    assert given.mean() == pytest.approx(part.mean(), abs=1)
    rgb = read_array(out / "frames.zarr", "rgb")[0, 0]
    assert (rgb[given == 0] > 250).all(), "what is transparent stands over white"
    assert json.loads((out / "artifact.json").read_text())["setting"] == "photo"


def test_memory_does_not_grow_with_the_length_of_a_rigs_recording(
    tmp_path: Path, seen: None
) -> None:
    rig = {serial: squared(c)[0] for serial, c in nersemble_rig(48).items()}
    peaks, size = {}, 128
    for frames in (2, 10):
        raw = tmp_path / f"raw-{frames}"
        write_tsinghua(raw / "031", frames, rig)
        (raw / "subject.json").write_text('{"kind": "multiview", "layout": "multiview-3dmm"}')
        out = tmp_path / f"out-{frames}"
        tracemalloc.start()
        ingest({"raw": raw}, IngestParams(size=size), out, Context())
        peaks[frames] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    more_pictures = 8 * 16 * size * size * 3
    assert more_pictures > 6e6
    assert peaks[10] - peaks[2] < 0.1 * more_pictures
    assert read_array(out / "frames.zarr", "rgb").shape == (10, 16, size, size, 3)
    assert len([p for p in out.rglob("*") if p.is_file()]) <= 24


def test_several_peoples_clips_are_added_all_or_none(tmp_path: Path) -> None:
    folders = [tmp_path / "vfhq" / f"Clip+x+P{n}+C0+F7-18" for n in (0, 1, 2)]
    for folder in folders:
        write_frames(folder, count=12)
    broken = sorted(folders[2].iterdir())[5]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-40])
    raw = tmp_path / "data" / "raw"
    with pytest.raises(HeadworksError, match=broken.name):
        add(tmp_path, tmp_path / "vfhq", "vfhq")
    assert not list(raw.iterdir()), "the first two must not stay"
    broken.write_bytes(whole)
    # Also where what is in the way is found only when all have been copied.
    write_frames(tmp_path / "other", count=11)
    add(tmp_path, tmp_path / "other", "vfhq-x-P2")
    with pytest.raises(HeadworksError, match="another subject of that name"):
        add(tmp_path, tmp_path / "vfhq", "vfhq")
    assert [p.name for p in raw.iterdir()] == ["vfhq-x-P2"]
    assert not list((tmp_path / ".headworks" / "tmp").iterdir())


def test_pictures_may_be_followed_by_what_cameras_append(tmp_path: Path) -> None:
    folder = tmp_path / "031"
    write_tsinghua(folder, 2, straight(cameras()))
    first = sorted(folder.glob("images/*/image_2*.jpg"))[0]
    whole = first.read_bytes()
    film = np.random.default_rng(0).integers(0, 255, 300_000, np.uint8).tobytes()
    first.write_bytes(whole + film.replace(b"\xff\xd9", b"  "))
    ((subject, _),) = add(tmp_path, folder)
    assert subject.kind == "multiview"
    # A preview in the header has an end of its own, which is not the picture's.
    preview = b"\xff\xe1" + (2 + len(whole[:5000])).to_bytes(2, "big") + whole[:5000]
    first.write_bytes(whole[:2] + preview + whole[2:-300])
    with pytest.raises(HeadworksError, match="cut short"):
        add(tmp_path, folder, "cut")


def rig_folder(folder: Path, sequences: int = 2) -> Path:
    """Three cameras' videos of one face, and pictures of the empty scene."""
    for s in range(sequences):
        for i, name in enumerate(("left", "front", "right")):
            (folder / f"take{s}").mkdir(parents=True, exist_ok=True)
            write_clip(folder / f"take{s}" / f"{name}.mp4", moving(4, step=1 + i))
    for name in ("left", "front", "right"):
        save(folder / "background" / f"{name}.png", np.full((240, 240, 3), 90, np.uint8))
    return folder


def test_a_rig_without_calibration_is_recognised_and_ingested(tmp_path: Path) -> None:
    ((subject, lines),) = add(tmp_path, rig_folder(tmp_path / "rig"))
    assert subject.kind == "multiview"
    assert lines[:2] == ["layout: rig (rig)", "cameras: 3 (front, left, right), uncalibrated"]
    assert "besides: 3 background plates" in lines
    assert any(line.startswith("guessed: 3 cameras") and "forget" in line for line in lines)
    out = ingested(tmp_path)
    meta = read_meta(out, "capture")
    assert meta["setting"] == "multiview"
    for camera in meta["cameras"]:
        assert (camera["K"], camera["viewmat"]) == (None, None)
        assert (camera["source_width"], camera["source_height"]) == (240, 240)
    assert read_array(out / "frames.zarr", "rgb").shape == (8, 3, SIZE, SIZE, 3)
    plates = read_array(out / "background.zarr", "rgb", (3, SIZE, SIZE, 3))
    assert (np.abs(plates.astype(int) - 90) < 3).all()
    table = read_table(out / "frames.parquet")
    assert set(table["sequence"]) == {"take0", "take1"}
    # Each sequence's end is for tests, of every camera.
    assert table.filter(split="test")["t"].unique().to_list() == [3, 7]
    matting({"ingest": out}, MattingParams(), tmp_path / "mattes", Context())
    assert read_meta(tmp_path / "mattes")["backend"] == "plate"


def test_folders_of_pictures_are_a_rig_where_their_names_say_cameras(tmp_path: Path) -> None:
    for name in ("cam_01", "cam_02", "cam_03"):
        write_frames(tmp_path / "rig" / name, count=12)
    ((subject, lines),) = add(tmp_path, tmp_path / "rig")
    assert (subject.kind, lines[0]) == ("multiview", "layout: rig (rig)")
    assert "sequence rig: 12 frames, 64 x 64" in lines
    for name in ("anna", "bert", "cora"):
        write_frames(tmp_path / "people" / name, count=12)
    assert len(add(tmp_path, tmp_path / "people", "people")) == 3
    ((subject, lines),) = add(tmp_path, tmp_path / "people", "cameras", "rig")
    assert subject.kind == "multiview"
    assert not any(line.startswith("guessed") for line in lines)
    sorted((tmp_path / "rig" / "cam_02").iterdir())[0].unlink()
    with pytest.raises(HeadworksError, match=r"different numbers of pictures .*cam_02: 11"):
        add(tmp_path, tmp_path / "rig", "uneven", "rig")
    with pytest.raises(HeadworksError, match="no rig: expected a video"):
        add(tmp_path, tmp_path / "rig" / "cam_01", "one", "rig")
