"""A synthetic rig in NeRSemble's layout comes back through ingest with its ground truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headworks.artifacts import open_arrays, read_meta, read_table
from headworks.cameras import Camera
from headworks.errors import CaptureError
from headworks.formats import nersemble
from headworks.formats.multiview import crop_around, locate_face
from headworks.formats.rig import Recording, Rig, Source
from headworks.synthetic.rigs import nersemble_rig
from headworks.tracks import load_truth
from pipelines.subjects import add_subject
from pipelines.workspace import Workspace
from stages.contract import Context
from stages.ingest import IngestParams
from stages.ingest import run as ingest
from stages.ingest_multiview import _looked_at
from stages.synthesis import SynthesisParams
from stages.synthesis import run as synthesize

SIZE, SEED = 144, 9
PARAMS = SynthesisParams(
    rig="nersemble", export="nersemble", size=SIZE, sequences="EMO-1,FREE", sequence_frames=2,
    sequence_seconds=1.0, texture=256, supersampling=1, clip_size=192, photo_size=320,
)  # fmt: skip


def write_subject(folder: Path, kind: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "subject.json").write_text(json.dumps({"kind": kind, "files": [], "seed": SEED}))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("rig")
    synthesize({"raw": write_subject(root / "raw", "synthetic")}, PARAMS, root / "out", Context())
    return root / "out"


@pytest.fixture(scope="module")
def ingested(made, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("ingest")
    workspace = Workspace(root)
    subject = add_subject(workspace.layout, "actor", [made / "nersemble"], licence="CC0")
    assert subject.kind == "multiview"
    out = root / "capture"
    ingest({"raw": workspace.layout.raw / "actor"}, IngestParams(size=96), out, Context())
    return out


def test_the_square_capture_and_the_exported_recordings_are_the_same_pictures(made):
    from headworks.formats.media import read_clip

    person = nersemble.read_participant(made / "nersemble")
    table = read_table(made / "frames.parquet")
    rgb = open_arrays(made / "frames.zarr")["rgb"]
    alpha = open_arrays(made / "truth" / "truth.zarr")["alpha"]
    assert set(person.sequences) == {"EMO-1-shout+laugh", "FREE"}
    assert table["camera"].unique().sort().to_list() == sorted(nersemble.SERIALS)
    for serial in (nersemble.FRONTAL, nersemble.CORNERS[0]):
        rows = table.filter((table["sequence"] == "FREE") & (table["camera"] == serial))
        t, c = rows["t"].to_list(), rows["c"][0]
        videos = person.sequences["FREE"]
        for i, frame in enumerate(read_clip(videos.videos[serial])):
            top = (frame.rgb.shape[0] - SIZE) // 2
            part = frame.rgb[top : top + SIZE].astype(int)
            assert np.abs(part - rgb[t[i], c]).mean() < 3, "lossy, but the same"
        for i, frame in enumerate(read_clip(videos.alphas[serial])):
            part = frame.rgb[(frame.rgb.shape[0] - SIZE) // 2 :][:SIZE, :, 0].astype(int)
            assert np.abs(part - alpha[t[i], c]).mean() < 3
    held = set(table.filter((table["split"] == "test") & (table["sequence"] != "FREE"))["camera"])
    assert held == set(nersemble.CORNERS)


def test_truth_projects_to_the_same_place_in_every_ingested_frame(made, ingested):
    meta = read_meta(ingested, "capture")
    assert meta["setting"] == "multiview"
    assert len(meta["cameras"]) == 16
    table = read_table(ingested / "frames.parquet")
    source = {c["name"]: c for c in read_meta(made, "synthesis")["cameras"]}
    point = np.array([0.01, 0.02, 0.09])
    frames = open_arrays(ingested / "frames.zarr")["rgb"][...]
    truth = open_arrays(made / "frames.zarr")["rgb"][...]
    top = (nersemble_rig(SIZE)[nersemble.FRONTAL].height - SIZE) // 2
    for c, described in enumerate(meta["cameras"]):
        ours = Camera(described["viewmat"], described["K"], 96, 96)
        true = Camera(source[described["name"]]["viewmat"], source[described["name"]]["K"],
                      SIZE, SIZE)  # fmt: skip
        row = table.filter((table["c"] == c) & (table["t"] == 0)).row(0, named=True)
        pixel = ours.project(point)[:2] * row["crop_side"] / 96 + [row["crop_x"], row["crop_y"]]
        assert np.abs(pixel - (true.project(point)[:2] + np.array([0, top]))).max() < 1e-3
        # And the picture is there: both show the same colour around the point.
        x, y = np.round(ours.project(point)[:2]).astype(int)
        u, v = np.round(true.project(point)[:2]).astype(int)
        near = frames[0, c, y - 3 : y + 3, x - 3 : x + 3].mean((0, 1))
        wanted = truth[0, c, v - 3 : v + 3, u - 3 : u + 3].mean((0, 1))
        assert np.abs(near - wanted).max() < 25
    split = table.group_by("split").len()
    assert set(split["split"]) == {"train", "test"}
    assert set(table.filter(table["sequence"] == "FREE")["split"]) == {"test"}
    assert {s["file"].split("/")[0] for s in meta["source"]} == {"calibration", "sequences"}


def test_the_rigs_truth_is_that_of_its_sequences(made):
    track = load_truth(made)
    assert len(track) == 4
    assert not (made / "truth" / "clip.mp4").exists()
    table = read_table(made / "frames.parquet")
    assert table.filter(table["c"] == 0)["time_s"].to_list() == [0.0, 0.5, 0.0, 0.5]


def test_the_face_is_where_rays_meet_and_disagreeing_cameras_are_named():
    cameras = nersemble_rig(200)
    face = np.array([0.01, -0.02, 0.07])
    boxes = {}
    for serial in nersemble.SERIALS[4:12]:
        camera = cameras[serial]
        x, y, z = camera.project(face)
        half = 0.075 * camera.K[0, 0] / z
        boxes[serial] = np.array([x - half, y - half, x + half, y + half])
    point, width = locate_face(cameras, boxes)
    assert np.allclose(point, face, atol=1e-6)
    assert width == pytest.approx(0.15, abs=1e-3)
    crop = crop_around(cameras[nersemble.FRONTAL], point, 0.3)
    assert crop.side == pytest.approx(2 * np.ptp(boxes[nersemble.FRONTAL][::2]), rel=0.05)
    flipped = {s: Camera(np.diag([1.0, -1, -1, 1]) @ c.viewmat, c.K, c.width, c.height)
               for s, c in cameras.items()}  # fmt: skip
    with pytest.raises(CaptureError, match="OpenCV"):
        locate_face(flipped, boxes)
    with pytest.raises(CaptureError, match="two or more"):
        locate_face(cameras, dict(list(boxes.items())[:1]))


@pytest.fixture
def flashing(tmp_path, monkeypatch):
    """A rig of 24 x 24 pictures, in which a face is found where they are not black."""

    def find(rgb, side):
        value = float(rgb[0, 0, 0])
        return np.array([[value, 1, value + 5, 6, 1]]) if value else np.zeros((0, 5))

    def rig(*brightness):
        sources = {}
        for name, values in zip("abc", brightness, strict=True):
            files = []
            for i, value in enumerate(values):
                files.append(tmp_path / f"{name}{i}.png")
                Image.fromarray(np.full((24, 24, 3), value, np.uint8)).save(files[-1])
            sources[name] = Source(tuple(files))
        K = np.array([[30.0, 0, 12], [0, 30, 12], [0, 0, 1]])
        cameras = {name: Camera(np.eye(4), K, 24, 24) for name in "abc"}
        return Rig("own", "flashing", cameras, {"one": Recording("one", sources)})

    monkeypatch.setattr("headworks.landmarks.faces.detect_faces", find)
    return rig


def test_a_face_that_nobody_sees_at_first_is_found_at_the_first_moment_of_two_cameras(flashing):
    rig = flashing([0, 0, 9, 11, 15], [0, 7, 0, 12, 16], [0, 0, 0, 0, 17])
    _, boxes, _ = _looked_at(rig)
    assert {name: box[0] for name, box in boxes.items()} == {"a": 11, "b": 12}


def test_a_face_that_two_cameras_never_see_at_once_is_an_error_for_people(flashing):
    cameras, boxes, _ = _looked_at(flashing([0, 0, 9], [0, 7, 0], [0, 0, 0]))
    with pytest.raises(CaptureError, match="1 of 3 cameras"):
        locate_face(cameras, boxes)


def test_a_synthetic_photo_is_ingested_as_a_users_with_truth_beside_it(tmp_path):
    raw = write_subject(tmp_path / "raw", "synthetic_photo")
    synthesize({"raw": raw}, PARAMS, tmp_path / "made", Context())
    assert (tmp_path / "made" / "photo.png").is_file()
    ingest({"raw": raw, "synthesis": tmp_path / "made"}, IngestParams(size=96),
           tmp_path / "out", Context())  # fmt: skip
    meta = read_meta(tmp_path / "out", "capture")
    assert meta["setting"] == "photo"
    table = read_table(tmp_path / "out" / "frames.parquet")
    assert table["split"].to_list() == ["train"]
    marks = open_arrays(tmp_path / "out" / "truth" / "truth.zarr")["landmarks"][0, 0]
    row = table.row(0, named=True)
    inner = marks[17:, :2].mean(0)
    middle = [(row["face_x0"] + row["face_x1"]) / 2, (row["face_y0"] + row["face_y1"]) / 2]
    assert np.abs(inner - middle).max() < 12
