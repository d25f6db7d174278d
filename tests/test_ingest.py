"""Promises of ingest: what becomes of photos, clips, synthetic captures and broken files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.artifacts import read_array, read_meta, read_table, write_arrays, write_meta
from headworks.errors import CaptureError
from headworks.formats.crops import Crop, apply_crop, choose_crop, content_rectangle
from headworks.formats.media import read_clip, read_photo
from headworks.images import resize
from stages.contract import Context
from stages.ingest import IngestParams, _sample, run
from tests.faceclips import (
    moving,
    portrait,
    tree,
    turn_clip,
    write_clip,
    write_photo,
    write_subject,
)

SMALL = IngestParams(size=128)


def ingest(raw: Path, out: Path, params: IngestParams = SMALL, **inputs: Path) -> Path:
    run({"raw": raw, **inputs}, params, out, Context())
    return out


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A subject with one clip of ten frames."""
    raw = write_subject(tmp_path_factory.mktemp("raw"), "clip", ["talk.mp4"])
    write_clip(raw / "talk.mp4", moving(10))
    return raw


def test_working_frames_are_the_recorded_square_of_the_source(clip: Path, tmp_path: Path) -> None:
    out = ingest(clip, tmp_path / "out")
    table = read_table(out / "frames.parquet")
    rgb = read_array(out / "frames.zarr", "rgb", (10, 1, 128, 128, 3))
    assert table.select("crop_x", "crop_y", "crop_side").n_unique() == 1
    source = list(read_clip(clip / "talk.mp4"))
    for row, frame in zip(table.iter_rows(named=True), rgb[:, 0]):
        x, y, side = int(row["crop_x"]), int(row["crop_y"]), int(row["crop_side"])
        expected = source[row["frame"]].rgb[y : y + side, x : x + side]
        np.testing.assert_array_equal(frame, resize(expected, 128, 128))


def test_face_boxes_follow_the_face(tmp_path: Path) -> None:
    raw = write_subject(tmp_path / "raw", "clip", ["walk.mp4"])
    write_clip(raw / "walk.mp4", moving(6, step=10))
    table = read_table(ingest(raw, tmp_path / "out") / "frames.parquet")
    middle = (table["face_x0"] + table["face_x1"]).to_numpy() / 2
    # The detector's boxes come in steps of several pixels.
    assert middle[-1] - middle[0] == pytest.approx(50 * 128 / table["crop_side"][0], abs=7)


def test_the_end_of_a_clip_is_held_out(clip: Path, tmp_path: Path) -> None:
    table = read_table(ingest(clip, tmp_path / "out") / "frames.parquet")
    assert table["split"].to_list() == ["train"] * 8 + ["test"] * 2


def test_stride_and_limit_choose_frames_of_the_source(clip: Path, tmp_path: Path) -> None:
    params = IngestParams(size=128, stride=3, max_frames=3)
    out = ingest(clip, tmp_path / "out", params)
    table = read_table(out / "frames.parquet")
    assert table["frame"].to_list() == [0, 3, 6]
    np.testing.assert_allclose(table["time_s"], [0, 0.12, 0.24], atol=1e-6)
    assert read_meta(out)["fps"] == pytest.approx(25 / 3)


def test_equal_input_gives_equal_bytes(clip: Path, tmp_path: Path) -> None:
    first, second = ingest(clip, tmp_path / "a"), ingest(clip, tmp_path / "b")
    assert tree(first) == tree(second)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    lying = np.ascontiguousarray(np.rot90(portrait(), 1))
    write_photo(tmp_path / "raw" / "up.png", portrait())
    write_photo(tmp_path / "raw" / "lying.png", lying, orientation=6)
    raw = write_subject(tmp_path / "raw", "photos", ["up.png", "lying.png"])
    out = ingest(raw, tmp_path / "out")
    rgb = read_array(out / "frames.zarr", "rgb")
    np.testing.assert_array_equal(rgb[0], rgb[1])
    table = read_table(out / "frames.parquet")
    assert table["split"].unique().to_list() == ["train"]
    assert table["sequence"].n_unique() == 2
    assert read_meta(out)["setting"] == "photo"


def test_rotation_metadata_of_a_clip_is_applied(tmp_path: Path) -> None:
    upright = moving(3)
    path = write_clip(tmp_path / "t.mp4", [np.rot90(f, 1) for f in upright])
    turn_clip(path)
    for frame, expected in zip(read_clip(path), upright):
        assert np.abs(frame.rgb.astype(int) - expected).mean() < 3


def test_times_of_a_variable_frame_rate_are_kept(tmp_path: Path) -> None:
    milliseconds = [0, 40, 200, 240, 1000]
    path = write_clip(tmp_path / "vfr.mp4", moving(5), milliseconds=milliseconds)
    times = [frame.time_s for frame in read_clip(path)]
    np.testing.assert_allclose(times, np.array(milliseconds) / 1000, atol=1e-3)


def test_black_bars_stay_out_of_the_crop(tmp_path: Path) -> None:
    frames = []
    for frame in moving(6):
        barred = np.zeros((320, 240, 3), np.uint8)
        barred[40:280] = frame
        frames.append(barred)
    raw = write_subject(tmp_path / "raw", "clip", ["bars.mp4"])
    write_clip(raw / "bars.mp4", frames)
    row = read_table(ingest(raw, tmp_path / "out") / "frames.parquet").row(0, named=True)
    assert row["crop_y"] >= 40
    assert row["crop_y"] + row["crop_side"] <= 280


def test_a_dark_background_is_no_bar() -> None:
    frame = np.full((60, 80, 3), 8, np.uint8)
    frame[:, 30:50] = 120
    assert content_rectangle([frame])[1::2] == (0, 60)


def test_the_largest_of_several_faces_is_taken_and_noted(tmp_path: Path) -> None:
    image = np.full((400, 560, 3), 128, np.uint8)
    image[150:390, 20:260] = portrait()
    image[80:380, 260:560] = portrait(300, 300)
    raw = write_subject(tmp_path / "raw", "photo", ["two.png"])
    write_photo(raw / "two.png", image)
    out = ingest(raw, tmp_path / "out")
    row = read_table(out / "frames.parquet").row(0, named=True)
    assert row["crop_x"] + row["crop_side"] / 2 > 300
    assert any("2 faces" in note for note in read_meta(out)["notes"])


def test_the_source_is_named_with_its_digest(clip: Path, tmp_path: Path) -> None:
    import hashlib

    (source,) = read_meta(ingest(clip, tmp_path / "out"))["source"]
    content = (clip / "talk.mp4").read_bytes()
    assert source["sha256"] == hashlib.sha256(content).hexdigest()
    assert (source["file"], source["size"], source["codec"]) == ("talk.mp4", len(content), "h264")


def broken_files(folder: Path) -> dict[str, tuple[str, str]]:
    """file -> (kind, a word its error must hold)."""
    write_photo(folder / "half.png", portrait())
    (folder / "half.png").write_bytes((folder / "half.png").read_bytes()[:20_000])
    write_clip(folder / "cut.mp4", moving(12))
    whole = (folder / "cut.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    write_clip(folder / "headless.mp4", moving(6))
    (folder / "headless.mp4").write_bytes((folder / "headless.mp4").read_bytes()[:300])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.mp4").write_text("this is not a video")
    (folder / "text.jpg").write_text("this is not a photo")
    noise = np.random.default_rng(0).integers(0, 255, (6, 240, 240, 3), np.uint8)
    write_clip(folder / "noise.mp4", list(noise))
    write_photo(folder / "noise.png", noise[0])
    tiny = np.full((400, 400, 3), 90, np.uint8)
    tiny[150:230, 150:230] = portrait(80, 80)
    write_photo(folder / "tiny.png", tiny)
    return {
        "half.png": ("photo", "broken"),
        "cut.mp4": ("clip", "video"),
        "headless.mp4": ("clip", "video"),
        "empty.mp4": ("clip", "empty"),
        "empty.jpg": ("photo", "empty"),
        "text.mp4": ("clip", "not a video"),
        "text.jpg": ("photo", "not a photo"),
        "noise.mp4": ("clip", "no face"),
        "noise.png": ("photo", "no face"),
        "tiny.png": ("photo", "pixels wide"),
    }


def test_unusable_files_are_named_with_their_fault(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, (kind, fault) in broken_files(raw).items():
        write_subject(raw, kind, [name])
        with pytest.raises(CaptureError, match=name) as error:
            ingest(raw, tmp_path / "out")
        assert fault in str(error.value), name


@pytest.mark.parametrize("name", ["gone.mp4", "../outside.mp4", "/etc/hostname"])
def test_files_missing_or_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    raw = write_subject(tmp_path / "raw", "clip", [name])
    (tmp_path / "outside.mp4").write_bytes(b"x")
    with pytest.raises(CaptureError, match=Path(name).name):
        ingest(raw, tmp_path / "out")


def test_transparency_is_put_over_white(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 4), np.uint8)
    write_photo(tmp_path / "clear.png", image)
    assert (read_photo(tmp_path / "clear.png")[0] == 255).all()


def test_sampling_keeps_few_frames_spread_over_a_stream_of_unknown_length() -> None:
    class Numbered:
        def __init__(self, n: int) -> None:
            self.rgb, self.alpha = n, None

    for length in (1, 24, 25, 500):
        kept, count, _ = _sample(Numbered(n) for n in range(length))
        assert count == length
        assert len(kept) <= 24
        assert kept[0] == 0
        assert kept[-1] >= 0.8 * (length - 1)
        assert len(set(np.diff(kept))) <= 1


@given(
    st.integers(100, 800),
    st.integers(100, 800),
    st.floats(0.2, 0.8),
    st.floats(0.2, 0.8),
    st.floats(0.1, 0.9),
)
@settings(max_examples=60, deadline=None)
def test_crops_stay_inside_the_image_wherever_it_can_hold_the_head(
    width: int, height: int, x: float, y: float, size: float
) -> None:
    side = size * min(width, height)
    centre = np.array([x * width, y * height])
    box = np.concatenate([centre - side / 2, centre + side / 2])
    crop = choose_crop(box[None], (0, 0, width, height))
    if min(width, height) >= 1.6 * side:
        assert crop.x >= 0
        assert crop.y >= 0
        assert crop.x + crop.side <= width
        assert crop.y + crop.side <= height
    assert crop.side <= max(width, height)
    assert crop.side <= 2.6 * side + 1


def test_padding_repeats_the_edge() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    padded = apply_crop(image, Crop(-2, 0, 4), 4)
    np.testing.assert_array_equal(padded[:, 0], image[:, 0])
    np.testing.assert_array_equal(padded[:, 2:], image[:, :2])


def truth_of(frames: int, side: int) -> dict[str, np.ndarray]:
    """A point that moves before the camera, its disc and its landmarks, in the clip's pixels."""
    K = np.array([[300, 0, side / 2], [0, 300, side / 2], [0, 0, 1.0]])
    points = np.stack([np.linspace(-0.1, 0.1, frames), np.full(frames, 0.05), np.ones(frames)], -1)
    pixels = (points @ K.T)[:, :2]
    y, x = np.mgrid[:side, :side] + 0.5
    disc = [(x - px) ** 2 + (y - py) ** 2 < 20**2 for px, py in pixels]
    landmarks = np.ones((frames, 1, 68, 3), np.float32)
    landmarks[:, 0, :, :2] = pixels[:, None]
    return {
        "alpha": np.stack(disc)[:, None].astype(np.uint8) * 255,
        "landmarks": landmarks,
        "Ks": np.broadcast_to(K, (frames, 1, 3, 3)).copy(),
        "viewmats": np.eye(4)[None],
        "identity": np.arange(3, dtype=np.float32),
        "translation": points.astype(np.float32),
    }


def test_truth_of_a_synthetic_clip_follows_the_crop(tmp_path: Path) -> None:
    synthesis = tmp_path / "synthesis"
    synthesis.mkdir()
    write_clip(synthesis / "clip.mp4", moving(6))
    write_arrays(synthesis / "truth" / "truth.zarr", truth_of(6, 240))
    (synthesis / "truth" / "truth.json").write_text("{}")
    write_meta(synthesis, "synthesis")
    raw = write_subject(tmp_path / "raw", "synthetic_clip", [], seed=1)
    params = IngestParams(size=128, stride=2)
    out = ingest(raw, tmp_path / "out", params, synthesis=synthesis)
    truth = out / "truth" / "truth.zarr"
    alpha = read_array(truth, "alpha", (3, 1, 128, 128)) / 255.0
    landmarks = read_array(truth, "landmarks", (3, 1, 68, 3))
    Ks = read_array(truth, "Ks", (3, 1, 3, 3))
    points = read_array(truth, "translation", (3, 3))
    assert read_array(truth, "identity").tolist() == [0, 1, 2]
    y, x = np.mgrid[:128, :128] + 0.5
    for t in range(3):
        projected = Ks[t, 0] @ points[t]
        np.testing.assert_allclose(landmarks[t, 0, 0, :2], projected[:2], atol=1e-3)
        area = alpha[t, 0].sum()
        centroid = [(alpha[t, 0] * x).sum() / area, (alpha[t, 0] * y).sum() / area]
        np.testing.assert_allclose(centroid, projected[:2], atol=0.2)


def test_a_synthetic_capture_passes_through(tmp_path: Path) -> None:
    synthesis = tmp_path / "synthesis"
    rgb = np.random.default_rng(0).integers(0, 255, (2, 3, 16, 16, 3), np.uint8)
    write_arrays(synthesis / "frames.zarr", {"rgb": rgb})
    pl.DataFrame({"t": [0]}).write_parquet(synthesis / "frames.parquet")
    write_arrays(synthesis / "truth" / "truth.zarr", {"identity": np.zeros(3)})
    cameras = [{"name": "00", "width": 16, "height": 16, "K": None, "viewmat": None}]
    write_meta(synthesis, "synthesis", {"setting": "multiview", "cameras": cameras})
    raw = write_subject(tmp_path / "raw", "synthetic", [], seed=1)
    out = ingest(raw, tmp_path / "out", synthesis=synthesis)
    np.testing.assert_array_equal(read_array(out / "frames.zarr", "rgb"), rgb)
    assert read_array(out / "truth" / "truth.zarr", "identity").shape == (3,)
    meta = read_meta(out, "capture")
    assert (meta["setting"], meta["cameras"]) == ("multiview", cameras)
    assert meta["subject_kind"] == "synthetic"
    json.dumps(meta, allow_nan=False)
