"""Promises of the mattes: accuracy against known alpha, choice of backend, nothing fetched."""

from __future__ import annotations

import base64
import tracemalloc
from pathlib import Path

import cv2
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
from headworks.errors import ArtifactError, CaptureError, WeightsError
from headworks.matting import choose_backend, colour_key, estimate_alpha, matte_quality, plain
from headworks.matting import rembg_session as rembg_backend
from headworks.matting.plate import background_plate, fill
from stages.contract import Context
from stages.matting import MattingParams, run
from tests.faceclips import forbid_network, tree, write_subject

# A network of one layer that answers with the mean of the channels, as an ONNX file.
LUMINANCE = base64.b64decode(
    "CAg6cwowCgF4EgF5IgpSZWR1Y2VNZWFuKgsKBGF4ZXNAAaABByoPCghrZWVwZGltcxgBoAECEgFnWh0KAXgSGAoW"
    "CAESEgoCCAEKAggDCgMIwAIKAwjAAmIdCgF5EhgKFggBEhIKAggBCgIIAQoDCMACCgMIwAJCAhAN"
)
SIDE = 160
EYE_WHITE = (0.84, 0.84, 0.82)


def person(shift: float = 0.0, hair: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A painted head with hair, neck and shoulders: colours [H, W, 3], alpha [H, W], face box."""
    scale = 4
    n = SIDE * scale
    y, x = (np.mgrid[:n, :n] + 0.5) / scale
    x = x - shift
    colour = np.zeros((n, n, 3))
    alpha = np.zeros((n, n))

    def paint(where: np.ndarray, rgb: tuple[float, float, float]) -> None:
        colour[where] = rgb
        alpha[where] = 1

    paint(((x - 80) / 62) ** 2 + ((y - 165) / 42) ** 2 < 1, (0.16, 0.17, 0.24))
    paint(((x - 80) / (38 * hair)) ** 2 + ((y - 68) / 46) ** 2 < 1, (0.20, 0.13, 0.09))
    paint((abs(x - 80) < 17) & (y > 90) & (y < 132), (0.72, 0.53, 0.44))
    paint(((x - 80) / 30) ** 2 + ((y - 80) / 38) ** 2 < 1, (0.80, 0.60, 0.50))
    for eye in (61, 99):
        paint(((x - eye) / 6) ** 2 + ((y - 74) / 4) ** 2 < 1, EYE_WHITE)
    colour = cv2.resize(colour * alpha[..., None], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(alpha, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    colour = colour / np.maximum(alpha, 1e-6)[..., None]
    return colour, alpha, np.array([50.0 + shift, 58, 110 + shift, 118])


def clip_before(
    background: np.ndarray, times: int = 6, hair: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames [T, H, W, 3], alpha [T, H, W] and boxes [T, 4] of a person moving before a picture."""
    rng = np.random.default_rng(0)
    frames, alphas, boxes = [], [], []
    for t in range(times):
        colour, alpha, box = person(4.0 * (t - times / 2), hair)
        frame = colour * alpha[..., None] + background * (1 - alpha[..., None])
        frame = frame + 0.01 * rng.standard_normal(frame.shape)
        frames.append(np.rint(np.clip(frame, 0, 1) * 255).astype(np.uint8))
        alphas.append(alpha)
        boxes.append(box)
    return np.stack(frames), np.stack(alphas), np.stack(boxes)


def wall() -> np.ndarray:
    """A grey-green wall in uneven light."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    light = 0.9 - 0.25 * y + 0.1 * x
    return light[..., None] * np.array([0.66, 0.70, 0.68])


def shelves() -> np.ndarray:
    """A bright wall with darker boards and a few things on them."""
    picture = np.full((SIDE, SIDE, 3), 0.82)
    picture[40:46] = picture[100:106] = 0.62
    picture[20:40, 8:20] = (0.2, 0.35, 0.6)
    picture[75:100, 138:152] = (0.7, 0.6, 0.25)
    return cv2.GaussianBlur(picture, (0, 0), 2)


def screen(colour: tuple[float, float, float]) -> np.ndarray:
    """A screen with a brighter middle."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    light = 1 - 0.25 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    return light[..., None] * np.array(colour)


def mean_difference(alpha: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(alpha / 255.0 - truth).mean())


@pytest.mark.parametrize("colour", [(0.25, 0.62, 0.38), (0.1, 0.25, 0.75)])
def test_colour_key_recovers_alpha_before_a_screen(colour: tuple[float, float, float]) -> None:
    frames, truth, boxes = clip_before(screen(colour))
    assert choose_backend([frames])[0] == "colour_key"
    assert mean_difference(estimate_alpha(frames, boxes, "colour_key"), truth) < 0.01


@pytest.mark.parametrize("background", [wall(), shelves()], ids=["wall", "shelves"])
def test_plain_recovers_alpha_before_a_still_background(background: np.ndarray) -> None:
    frames, truth, boxes = clip_before(background)
    assert choose_backend([frames])[0] == "plain"
    alpha = estimate_alpha(frames, boxes, "plain")
    assert mean_difference(alpha, truth) < 0.01
    inside, outside = truth == 1, truth == 0
    assert (alpha[inside] > 127).mean() > 0.995
    assert (alpha[outside] < 128).mean() > 0.995


def test_plain_recovers_alpha_in_a_single_photo() -> None:
    frames, truth, boxes = clip_before(wall(), 1)
    assert mean_difference(estimate_alpha(frames, boxes, "plain"), truth) < 0.015


def test_plain_keeps_hair_that_stands_out_far() -> None:
    frames, truth, boxes = clip_before(wall(), hair=1.7)
    # The detector's boxes come in steps of 20 %: take a small one.
    boxes = boxes + np.array([8, 8, -8, -8])
    assert mean_difference(estimate_alpha(frames, boxes, "plain"), truth) < 0.01


def test_gaps_are_closed_in_the_face_and_left_beside_it() -> None:
    mask = np.ones((100, 100), bool)
    mask[:5] = False
    eye, earring = (slice(45, 50), slice(40, 46)), (slice(60, 68), slice(80, 84))
    mask[eye] = mask[earring] = False
    closed = plain.close_face(mask, np.array([25.0, 25, 75, 75]))
    assert closed[eye].all()
    assert not closed[earring].any()
    assert not closed[:5].any()


def test_plain_mattes_have_soft_edges() -> None:
    frames, truth, boxes = clip_before(wall())
    alpha = estimate_alpha(frames, boxes, "plain")
    half = (truth > 0.3) & (truth < 0.7)
    share = ((alpha[half] > 25) & (alpha[half] < 230)).mean()
    assert share > 0.6


def test_plain_repeats_itself_exactly() -> None:
    frames, _, boxes = clip_before(wall(), 3)
    cv2.setRNGSeed(123)
    first = plain.estimate(frames, boxes)
    cv2.setRNGSeed(7)
    np.testing.assert_array_equal(first, plain.estimate(frames, boxes))


def test_plain_does_without_some_of_the_boxes() -> None:
    frames, truth, boxes = clip_before(wall())
    boxes[[0, 3]] = np.nan
    assert mean_difference(estimate_alpha(frames, boxes, "plain"), truth) < 0.01
    boxes[:] = np.nan
    with pytest.raises(CaptureError, match="face box"):
        estimate_alpha(frames, boxes, "plain")


def test_grey_and_patterned_backgrounds_are_no_screen() -> None:
    for background in (wall(), shelves()):
        frames, _, boxes = clip_before(background, 2)
        assert colour_key.screen_colour(frames) is None
        with pytest.raises(CaptureError, match="saturated"):
            estimate_alpha(frames, boxes, "colour_key")


def test_the_plate_is_the_background_wherever_it_was_uncovered() -> None:
    background = shelves()
    frames, truth, _ = clip_before(background, 12)
    masks = truth > 0.5
    plate = background_plate(frames, masks, 3.0)
    seen = (cv2.dilate(masks.min(0).astype(np.uint8), np.ones((13, 13))) == 0) & ~masks.all(0)
    assert np.abs(plate - background)[seen].mean() < 0.01


def test_filling_keeps_what_is_known_and_continues_constants() -> None:
    known = np.random.default_rng(0).random((37, 50)) < 0.1
    image = np.where(known[..., None], np.float32(0.3), 0).repeat(3, -1).astype(np.float32)
    np.testing.assert_allclose(fill(image, known), 0.3, atol=1e-6)
    one = fill(image[..., :1], known)
    assert one.shape == (37, 50, 1)


def test_quality_falls_with_doubt_and_with_jumps() -> None:
    disc = ((np.mgrid[:64, :64] - 32) ** 2).sum(0) < 400
    sharp = np.repeat(disc[None].astype(np.uint8) * 255, 4, 0)
    np.testing.assert_allclose(matte_quality(sharp), 1)
    assert (matte_quality(sharp // 2) < 0.2).all()
    jumping = sharp.copy()
    jumping[2] = np.roll(jumping[2], 25, 1)
    quality = matte_quality(jumping)
    assert quality[2] < 0.4
    assert quality[0] == 1
    assert (matte_quality(np.zeros_like(sharp)) == 0).all()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of rembg's, and no way into the network."""
    for name in ("U2NET_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REMBG_HOME", str(tmp_path / "rembg"))
    forbid_network(monkeypatch)
    return tmp_path / "rembg"


def seed_model(folder: Path, content: bytes = LUMINANCE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "u2netp.onnx"
    path.write_bytes(content)
    return path


def test_rembg_is_used_when_its_weights_are_at_hand_and_opens_no_connection(home: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 40, (2, 96, 96, 3), np.uint8)
    frames[:, 30:70, 30:70] += 200
    assert choose_backend([frames])[0] == "plain"
    seed_model(home / "models" / "u2netp")
    assert choose_backend([frames])[0] == "rembg"
    alpha = estimate_alpha(frames, np.full((2, 4), np.nan), "rembg")
    assert (alpha[:, 34:66, 34:66] > 200).all()
    assert (alpha[:, :24] < 60).all()


def test_rembg_weights_are_looked_for_where_rembg_looks(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rembg.sessions.u2netp import U2netpSession

    places = {
        "REMBG_HOME": tmp_path / "a",
        "U2NET_HOME": tmp_path / "b",
        "XDG_DATA_HOME": tmp_path / "c",
    }
    monkeypatch.delenv("REMBG_HOME")
    for variable, folder in places.items():
        with monkeypatch.context() as scope:
            scope.setenv(variable, str(folder))
            root = folder / "rembg" if variable == "XDG_DATA_HOME" else folder
            legacy = {"U2NET_HOME": folder, "XDG_DATA_HOME": folder / ".u2net"}.get(
                variable, tmp_path / "home" / ".u2net"
            )
            for place in (legacy, root / "models" / "u2netp"):
                path = seed_model(place)
                theirs = U2netpSession.resolve_existing("u2netp.onnx")
                assert theirs == str(path)
                assert rembg_backend.weights_path("u2netp") == ("u2netp", path)
            for place in (legacy, root / "models" / "u2netp"):
                (place / "u2netp.onnx").unlink()


def test_rembg_without_weights_says_which_file_is_missing(home: Path) -> None:
    with pytest.raises(WeightsError, match="birefnet-portrait"):
        estimate_alpha(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 4)), "rembg")


@pytest.mark.parametrize("name", ["bria-rmbg", "withoutbg", "atlascloud"])
def test_non_commercial_and_remote_models_are_refused(home: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=name):
        rembg_backend.weights_path(name)


def test_damaged_rembg_weights_are_named(home: Path) -> None:
    path = seed_model(home / "models" / "u2netp", b"not a network")
    with pytest.raises(WeightsError, match=path.name):
        estimate_alpha(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 4)), "rembg")


def capture(
    folder: Path, frames: np.ndarray, boxes: np.ndarray, kind: str, sequences: list[str]
) -> Path:
    """A capture artifact with one camera."""
    corners = dict(zip(("face_x0", "face_y0", "face_x1", "face_y1"), boxes.T))
    times = np.arange(len(frames))
    table = {"sequence": sequences, "t": times, "c": 0 * times, **corners}
    write_arrays(folder / "frames.zarr", {"rgb": frames[:, None]})
    pl.DataFrame(table).write_parquet(folder / "frames.parquet")
    write_meta(folder, "capture", {"subject_kind": kind, "setting": "monocular"})
    return folder


def test_stage_writes_the_contract_and_equal_bytes(home: Path, tmp_path: Path) -> None:
    frames, truth, boxes = clip_before(wall(), 4)
    folder = capture(tmp_path / "in", frames, boxes, "clip", ["s"] * 4)
    for name in "ab":
        run({"ingest": folder}, MattingParams(), tmp_path / name, Context())
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    meta = read_meta(tmp_path / "a", "mattes")
    assert meta["backend"] == "plain"
    assert meta["weights_sha256"] is None
    assert "rembg" in meta["reason"]
    alpha = read_array(tmp_path / "a" / "mattes.zarr", "alpha", (4, 1, SIDE, SIDE))
    assert mean_difference(alpha[:, 0], truth) < 0.01
    table = read_table(tmp_path / "a" / "mattes.parquet")
    assert table.columns == ["t", "c", "quality", "coverage"]
    assert table["coverage"].to_numpy() == pytest.approx(truth.mean((1, 2)), abs=0.01)


def test_sequences_with_different_backgrounds_do_not_mix(home: Path, tmp_path: Path) -> None:
    first, second = clip_before(wall(), 4), clip_before(1 - wall(), 4)
    frames, truth, boxes = (np.concatenate(pair) for pair in zip(first, second))
    folder = capture(tmp_path / "in", frames, boxes, "clip", ["a"] * 4 + ["b"] * 4)
    run({"ingest": folder}, MattingParams(), tmp_path / "out", Context())
    alpha = read_array(tmp_path / "out" / "mattes.zarr", "alpha")[:, 0]
    assert mean_difference(alpha, truth) < 0.01


def test_synthetic_captures_use_their_truth_and_others_have_none(
    home: Path, tmp_path: Path
) -> None:
    frames, truth, boxes = clip_before(wall(), 2)
    folder = capture(tmp_path / "in", frames, boxes, "synthetic", ["a", "b"])
    with pytest.raises(ArtifactError, match="no truth"):
        run({"ingest": folder}, MattingParams(backend="exact"), tmp_path / "no", Context())
    exact = (truth[:, None] * 255).astype(np.uint8)
    write_arrays(folder / "truth" / "truth.zarr", {"alpha": exact})
    run({"ingest": folder}, MattingParams(), tmp_path / "out", Context())
    np.testing.assert_array_equal(read_array(tmp_path / "out" / "mattes.zarr", "alpha"), exact)
    assert read_meta(tmp_path / "out")["backend"] == "exact"


@pytest.mark.parametrize("backend", ["colour_key", "plain"])
def test_real_green_screen_agrees_with_a_green_difference_matte(
    shared: Path, home: Path, tmp_path: Path, backend: str
) -> None:
    from stages import ingest

    name = "man_greenscreen_512.mp4"
    raw = write_subject(tmp_path / "raw", "clip", [name])
    (raw / name).write_bytes((shared / "captures" / name).read_bytes())
    ingest.run({"raw": raw}, ingest.IngestParams(stride=8), tmp_path / "in", Context())
    run({"ingest": tmp_path / "in"}, MattingParams(backend=backend), tmp_path / "out", Context())
    rgb = read_array(tmp_path / "in" / "frames.zarr", "rgb")[:, 0] / 255.0
    alpha = read_array(tmp_path / "out" / "mattes.zarr", "alpha")[:, 0]
    green = rgb[..., 1] - np.maximum(rgb[..., 0], rgb[..., 2])
    level = np.median(green[:, :8])
    truth = 1 - np.clip((green / level - 0.1) / 0.8, 0, 1)
    assert mean_difference(alpha, truth) < 0.03


@pytest.mark.parametrize("background", [wall(), shelves()], ids=["wall", "shelves"])
def test_a_captured_background_gives_mattes_without_weights_or_a_face_box(
    background: np.ndarray,
) -> None:
    frames, truth, boxes = clip_before(background)
    empty = np.rint(255 * background).astype(np.uint8)
    assert choose_backend([frames], None, plates=True)[0] == "plate"
    unseen = np.full_like(boxes, np.nan)
    alpha = estimate_alpha(frames, unseen, "plate", plate=empty)
    assert mean_difference(alpha, truth) < 0.004
    with pytest.raises(CaptureError, match="clean picture"):
        estimate_alpha(frames, boxes, "plate")


def test_a_background_of_another_place_is_refused_by_name() -> None:
    frames = np.full((2, 40, 40, 3), 250, np.uint8)
    with pytest.raises(CaptureError, match="empty scene"):
        estimate_alpha(frames, np.full((2, 4), np.nan), "plate", plate=np.zeros_like(frames[0]))


def test_hairs_narrower_than_a_pixel_are_half_there_before_a_captured_background() -> None:
    background = wall()
    frames, _, boxes = clip_before(background, 1)
    y, x = np.mgrid[:SIDE, :SIDE]
    hair = (x > 118) & (x < 127) & (x % 4 == 2) & (y > 30) & (y < 60)
    colour = np.array([0.20, 0.13, 0.09])
    mixed = 0.5 * colour + 0.5 * frames[0][hair] / 255
    frames[0][hair] = np.rint(255 * mixed).astype(np.uint8)
    empty = np.rint(255 * background).astype(np.uint8)
    alpha = estimate_alpha(frames, boxes, "plate", plate=empty)[0] / 255
    assert alpha[hair].mean() == pytest.approx(0.5, abs=0.15)
    between = (x > 118) & (x < 127) & (x % 4 == 0) & (y > 32) & (y < 58)
    assert alpha[between].mean() < 0.05


def test_mattes_of_a_rig_are_written_camera_by_camera(tmp_path: Path) -> None:
    """Memory of the stage does not grow with the number of cameras."""
    times, size, peaks = 6, 128, {}
    rng = np.random.default_rng(0)
    for cameras in (2, 12):
        folder = tmp_path / f"in{cameras}"
        rgb = np.zeros((times, cameras, size, size, 3), np.uint8)
        given = rng.integers(0, 255, rgb.shape[:4], np.uint8)
        write_arrays(folder / "frames.zarr", {"rgb": rgb})
        write_arrays(folder / "given.zarr", {"alpha": given})
        rows = [
            {"t": t, "c": c, "sequence": "s", **{f"face_{a}{e}": 1.0 for e in "01" for a in "xy"}}
            for t in range(times) for c in range(cameras)
        ]  # fmt: skip
        write_table(folder / "frames.parquet", pl.DataFrame(rows))
        write_meta(folder, "capture", {"subject_kind": "multiview", "setting": "multiview"})
        tracemalloc.start()
        params = MattingParams(overlay=False)
        run({"ingest": folder}, params, tmp_path / f"out{cameras}", Context())
        peaks[cameras] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        alpha = read_array(tmp_path / f"out{cameras}" / "mattes.zarr", "alpha")
        np.testing.assert_array_equal(alpha, given)
    assert peaks[12] - peaks[2] < 0.3 * 10 * times * size * size
