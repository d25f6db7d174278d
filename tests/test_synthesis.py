"""Synthetic people look like people to a real detector, and their truth is exact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headworks.artifacts import open_arrays, read_meta, read_table
from headworks.cameras import Camera, intrinsics, orbit
from headworks.errors import CaptureError
from headworks.heads import HeadPose, load_head
from headworks.images import to_uint8
from headworks.seeds import generator
from headworks.synthetic import Person, make_person, person_scene, render_person
from headworks.synthetic.capture import held_out, ring
from headworks.synthetic.motion import coefficients, talking
from headworks.synthetic.traits import draw_traits
from headworks.tracks import read_tracking
from stages.contract import Context
from stages.synthesis import SynthesisParams, run

SMALL = SynthesisParams(
    size=96, expressions=4, cameras=4, test_cameras=1, population_size=64,
    population_expressions=2, population_cameras=3, clip_size=128, clip_frames=6, texture=256,
)  # fmt: skip


def frontal(size: int, height_m: float = 0.36) -> Camera:
    return Camera(
        orbit(0, 0, 1.0, (0, -0.02, 0)), intrinsics(size / height_m, size, size), size, size
    )


def synthesize(folder: Path, kind: str, seed: int = 5, params: SynthesisParams = SMALL) -> Path:
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "subject.json").write_text(json.dumps({"kind": kind, "files": [], "seed": seed}))
    out = folder / kind
    run({"raw": raw}, params, out, Context())
    return out


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def multiview(tmp_path_factory) -> Path:
    return synthesize(tmp_path_factory.mktemp("synthesis"), "synthetic")


def test_dlib_takes_frontal_renders_for_faces_and_agrees_about_landmarks():
    dlib = pytest.importorskip("dlib")
    from headworks.landmarks.dlib68 import weights_path

    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(weights_path()))
    errors = []
    for seed in range(40, 45):
        picture = render_person(make_person(seed, 512), frontal(256))
        image = to_uint8(picture.over((0.85, 0.86, 0.88)))
        found = detector(image, 0)
        assert len(found) == 1, f"person {seed}"
        shape = predictor(image, found[0])
        points = np.array([(p.x + 0.5, p.y + 0.5) for p in shape.parts()])
        true = picture.landmarks[:, :2]
        interocular = np.linalg.norm(true[36] - true[45])
        errors.append(np.linalg.norm(points - true, axis=1).mean() / interocular)
    assert np.median(errors) < 0.055


def test_different_seeds_are_different_people_and_one_seed_is_one_person():
    a, again, b = make_person(1, 128), make_person(1, 128), make_person(2, 128)
    assert torch.equal(a.identity, again.identity)
    assert np.array_equal(a.albedo, again.albedo)
    assert not torch.equal(a.identity, b.identity)
    assert np.abs(a.albedo - b.albedo).mean() > 0.01


def person_with(wanted: Callable[[dict], bool], texture: int = 128) -> Person:
    seed = next(s for s in range(400) if wanted(draw_traits(generator(s, "person")).attributes))
    return make_person(seed, texture)


def test_beard_follows_the_chin_and_stays_on_the_skin():
    from scipy.spatial import cKDTree

    person = person_with(lambda a: a["beard"] == "full")
    head = person.space.head
    jaw = torch.from_numpy(coefficients(head, {"jawOpen": 1.0}).astype(np.float32))
    closed, opened = person_scene(person), person_scene(person, jaw)
    which = [s.kind for s in closed.strands].index("beard")
    before, after = closed.strands[which].points, opened.strands[which].points
    assert np.linalg.norm(after - before, axis=2).max() > 0.02
    for scene, hairs in ((closed, before), (opened, after)):
        tree = cKDTree(scene.surfaces[0].vertices)
        assert tree.query(hairs[:, 0])[0].max() < 0.014, "no root hangs in the air"


def test_hair_turns_with_the_head_and_long_hair_rests_on_the_shoulders():
    person = person_with(lambda a: a["hair"] == "long straight")
    pose = HeadPose.zeros(1)
    turned = replace(pose, neck=torch.tensor([[0.0, 0.5, 0.0]]))
    rest = person_scene(person).strands[0].points
    moved = person_scene(person, None, turned).strands[0].points
    shift = np.linalg.norm(moved - rest, axis=2)
    assert np.median(shift[:, 0]) > 0.02, "roots turn with the scalp"
    low = rest[..., 1] < -0.24
    assert low.any()
    assert shift[low].max() < 1e-4, "what lies on the chest stays there"


def test_alpha_is_the_covered_share_of_each_pixel():
    person = make_person(7, 128)
    small = render_person(person, frontal(64), supersampling=4)
    large = render_person(person, frontal(256), supersampling=1)
    mean = large.alpha.reshape(64, 4, 64, 4).mean((1, 3))
    assert np.array_equal(small.alpha, mean)
    assert set(np.unique(large.alpha)) == {0.0, 1.0}
    assert 0.2 < small.alpha.mean() < 0.8
    assert ((small.alpha > 0) & (small.alpha < 1)).any()


def test_landmarks_behind_the_head_are_not_visible():
    person = make_person(7, 128)
    front = render_person(person, frontal(128)).landmarks[:, 2]
    back = render_person(person, Camera(orbit(np.pi, 0, 1.0), frontal(128).K, 128, 128)).landmarks[
        :, 2
    ]
    assert front[27:68].min() == 1
    assert back.max() == 0


def test_truth_landmarks_are_projections_of_truth_tracking(multiview):
    truth = json.loads((multiview / "truth" / "truth.json").read_text())
    head = load_head(truth["head"])
    assert truth["head_digest"] == head.digest
    assert tuple(truth["expression_names"]) == head.expression_names
    tracking = read_tracking(multiview / "truth" / "truth.zarr", head.name, head.digest)
    marks = open_arrays(multiview / "truth" / "truth.zarr")["landmarks"][...]
    vertices = tracking.vertices(head, np.arange(len(tracking)))
    points = head.landmarks(vertices).double().numpy()
    for t in range(marks.shape[0]):
        for c in range(marks.shape[1]):
            pixels = tracking.camera(t, c, 96, 96).project(points[t])[:, :2]
            assert np.abs(pixels - marks[t, c, :, :2]).max() < 0.01


def test_multiview_capture_obeys_the_contract(multiview):
    meta = read_meta(multiview, "synthesis")
    table = read_table(multiview / "frames.parquet")
    rgb = open_arrays(multiview / "frames.zarr")["rgb"]
    alpha = open_arrays(multiview / "truth" / "truth.zarr")["alpha"][...]
    assert rgb.shape == (4, 4, 96, 96, 3)
    assert rgb.dtype == np.uint8
    assert alpha.shape == (4, 4, 96, 96)
    assert len(table) == 16
    assert len(meta["cameras"]) == 4
    assert meta["setting"] == "multiview"
    test = table.filter(table["split"] == "test")
    held = set(table.filter(table["sequence"] != "FREE").join(test, on=["t", "c"])["c"].to_list())
    assert len(held) == 1, "one camera is held out over all training sequences"
    assert set(table.filter(table["sequence"] == "FREE")["split"].to_list()) == {"test"}
    # Outside the person there is nothing but the backdrop, so the picture is one over white.
    assert (rgb[...][alpha == 0] == 255).all()


def test_population_members_are_seen_from_all_sides(tmp_path):
    out = synthesize(tmp_path, "population")
    table = read_table(out / "frames.parquet")
    assert set(table["split"].to_list()) == {"train"}
    views = open_arrays(out / "truth" / "truth.zarr")["viewmats"][...]
    depth = [(-v[:3, :3].T @ v[:3, 3])[2] for v in views]
    assert min(depth) < 0 < max(depth)


def test_clip_is_a_plain_video_with_truth_beside_it(tmp_path):
    import av

    out = synthesize(tmp_path, "synthetic_clip")
    with av.open(str(out / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert float(stream.average_rate) == 25
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 6
    assert frames[0].shape == (128, 128, 3)
    alpha = open_arrays(out / "truth" / "truth.zarr")["alpha"][...]
    assert alpha.shape == (6, 1, 128, 128)
    outside = np.stack(frames)[alpha[:, 0] == 0].astype(np.float64)
    assert outside.std() > 1, "the wall has texture and noise"
    assert not (out / "frames.zarr").exists()


def test_same_seed_gives_the_same_bytes(tmp_path):
    for kind in ("population", "synthetic_clip"):
        first = digests(synthesize(tmp_path / "a", kind))
        assert first == digests(synthesize(tmp_path / "b", kind))
        assert first != digests(synthesize(tmp_path / "c", kind, seed=6))


def test_a_talking_head_speaks_blinks_and_turns_smoothly():
    head = load_head("procedural")
    motion = talking(head, 100, 25.0, np.random.default_rng(0))
    jaw = motion.expression[:, head.expression_index("jawOpen")]
    blink = motion.expression[:, head.expression_index("eyeBlinkLeft")]
    yaw = motion.pose.neck[:, 1]
    assert jaw.max() > 0.25
    assert jaw.min() == 0
    assert blink.max() > 0.9
    assert (blink < 0.05).float().mean() > 0.5
    assert yaw.max() - yaw.min() > 0.3
    assert yaw.diff().abs().max() < 0.08, "no jumps between frames"
    assert motion.expression.min() >= 0
    assert motion.expression.max() <= 1.5


def test_held_out_cameras_are_spread_and_leave_the_rest():
    assert held_out(12, 3) == [2, 6, 10]
    assert held_out(5, 0) == []
    assert len(ring(12, 64)) == 12


def test_a_subject_without_seed_is_a_clear_error(tmp_path):
    (tmp_path / "subject.json").write_text(json.dumps({"kind": "synthetic", "files": []}))
    with pytest.raises(CaptureError, match="seed"):
        run({"raw": tmp_path}, SMALL, tmp_path / "out", Context())
