"""Promises of expression synthesis: the same expression, other people, exact where truth is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from headworks.artifacts import read_array, read_meta, read_table, write_arrays, write_meta
from headworks.cameras import orbit
from headworks.errors import CaptureError, WeightsError
from headworks.expressions.crops import face_crop
from headworks.expressions.drivers import choose_drivers, face_angles
from headworks.expressions.people import SyntheticPeople
from headworks.expressions.quality import LARGEST_DIFFERENCE, mouth_difference
from headworks.heads import HeadPose, load_head
from headworks.tracks import POSE_FIELDS, Tracking, load_truth
from stages import synthesis
from stages.contract import Context
from stages.expressions import ExpressionsParams, assets, run
from tests.faceclips import tree
from tests.test_liveportrait import TINY, tiny_states, write_weights

SMALL = {"size": 48, "texture": 128, "people": 2, "frames": 2}


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic person of the population, three expressions from two sides."""
    root = tmp_path_factory.mktemp("member")
    (root / "subject.json").write_text(
        json.dumps(
            {"kind": "population", "files": [], "consent": None, "licence": None, "seed": 101}
        )
    )
    params = synthesis.SynthesisParams(
        population_size=96, population_expressions=3, population_cameras=2, texture=128
    )
    synthesis.run({"raw": root}, params, root / "synthesis", Context())
    return root / "synthesis"


def as_clip(member: Path, root: Path) -> dict[str, Path]:
    """The same frames as a user's clip, tracked without error."""
    capture = root / "ingest"
    shutil.copytree(member, capture)
    facts = json.loads((capture / "truth" / "truth.json").read_text())
    shutil.rmtree(capture / "truth")
    write_meta(capture, "capture", {"subject_kind": "clip", "setting": "monocular"})
    truth = member / "truth" / "truth.zarr"
    write_arrays(root / "landmarks" / "landmarks.zarr", {"points": read_array(truth, "landmarks")})
    write_meta(root / "landmarks", "landmarks", {})
    names = ("identity", "expression", "viewmats", "Ks", "valid", *POSE_FIELDS)
    arrays = {name: read_array(truth, name) for name in names}
    write_arrays(root / "tracking" / "tracking.zarr", arrays)
    head = {"head": facts["head"], "head_digest": facts["head_digest"]}
    write_meta(root / "tracking", "tracking", head)
    return {name: root / name for name in ("ingest", "landmarks", "tracking")}


def test_pictures_are_other_people_with_exactly_the_drivers_expression(
    member: Path, tmp_path: Path
) -> None:
    params = ExpressionsParams(**SMALL)
    for name in "ab":
        run({"synthesis": member}, params, tmp_path / name, Context(seed=4))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    meta = read_meta(tmp_path / "a", "expressions")
    assert meta["backend"] == "exact"
    assert meta["exact"] is True
    table = read_table(tmp_path / "a" / "expressions.parquet")
    assert table["t"].to_list() == [0, 0, 2, 2]
    rgb = read_array(tmp_path / "a" / "expressions.zarr", "rgb", (2, 2, 48, 48, 3))
    alpha = read_array(tmp_path / "a" / "expressions.zarr", "alpha", (2, 2, 48, 48))
    looks = read_array(tmp_path / "a" / "expressions.zarr", "appearances", (2, 48, 48, 3))
    truth = load_truth(member)
    people = SyntheticPeople.draw(4, 2, 48, 128)
    for row in table.iter_rows(named=True):
        shown = people.show(row["person"], truth.expression[row["t"]], truth.pose[[row["t"]]])
        np.testing.assert_array_equal(rgb[row["n"], row["k"]], shown.rgb)
        np.testing.assert_array_equal(alpha[row["n"], row["k"]], shown.alpha)
    for n in range(2):
        assert len(set(table.filter(n=n)["person"])) == 2
    # The first frame of a member is neutral, the last is not.
    first, last = table.row(0, named=True), table.row(2, named=True)
    np.testing.assert_array_equal(rgb[0, 0], looks[first["person"]])
    assert np.abs(rgb[1, 0].astype(int) - looks[last["person"]]).max() > 30


def test_faces_fill_their_pictures_alike() -> None:
    people = SyntheticPeople.draw(0, 2, 64, 128)
    rest = torch.zeros(len(load_head("procedural").expression_names))
    for i in range(2):
        points = people.show(i, rest).landmarks[:, :2]
        low, high = points.min(0), points.max(0)
        assert (high - low).max() == pytest.approx(64 / 2.3, rel=0.02)
        assert (low + high)[0] / 2 == pytest.approx(32, abs=1)


def test_a_clip_without_weights_uses_tracked_coefficients_and_says_so(
    member: Path, tmp_path: Path
) -> None:
    inputs = as_clip(member, tmp_path)
    params = ExpressionsParams(**SMALL, weights=str(tmp_path / "none"))
    run(inputs, params, tmp_path / "out", Context(seed=4))
    meta = read_meta(tmp_path / "out", "expressions")
    assert meta["backend"] == "synthetic"
    assert meta["exact"] is False
    assert "tracked coefficients" in meta["reason"]
    # Tracked without error, the pictures are the exact ones.
    run({"synthesis": member}, ExpressionsParams(**SMALL), tmp_path / "exact", Context(seed=4))
    np.testing.assert_array_equal(
        read_array(tmp_path / "out" / "expressions.zarr", "rgb"),
        read_array(tmp_path / "exact" / "expressions.zarr", "rgb"),
    )
    wanted = params.model_copy(update={"backend": "liveportrait"})
    with pytest.raises(WeightsError, match=r"spade_generator\.pth"):
        run(inputs, wanted, tmp_path / "no", Context())


def test_liveportrait_takes_over_where_its_weights_are(
    member: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headworks.expressions.liveportrait import model

    inputs = as_clip(member, tmp_path)
    write_weights(tmp_path / "weights", tiny_states())
    monkeypatch.setattr(model, "Config", lambda: TINY)
    monkeypatch.setattr(model, "SIDE", 64)
    monkeypatch.setattr("headworks.expressions.portraits.SIDE", 64)
    small = {**SMALL, "weights": str(tmp_path / "weights"), "per_frame": 1}
    made = []
    for name, mode in (("a", "absolute"), ("b", "relative")):
        params = ExpressionsParams(**small, mode=mode)
        run(inputs, params, tmp_path / name, Context(seed=4))
        made.append(read_array(tmp_path / name / "expressions.zarr", "rgb", (2, 1, 48, 48, 3)))
    assert not np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0][0], made[0][1])
    meta = read_meta(tmp_path / "a", "expressions")
    assert meta["backend"] == "liveportrait"
    assert set(meta["weights_sha256"]) == {path.name for path in assets(params).values() if path}
    table = read_table(tmp_path / "a" / "expressions.parquet")
    # Weights by rule draw no face: nothing may pass as the same expression.
    assert not table["kept"].any()
    assert table["angle"].max() < np.deg2rad(40)
    assert not (tmp_path / "a" / "expressions.zarr" / "alpha").exists()


def test_a_folder_without_portraits_is_named(member: Path, tmp_path: Path) -> None:
    inputs = as_clip(member, tmp_path)
    write_weights(tmp_path / "weights", tiny_states())
    (tmp_path / "portraits").mkdir()
    params = ExpressionsParams(
        **SMALL, weights=str(tmp_path / "weights"), appearances=str(tmp_path / "portraits")
    )
    with pytest.raises(CaptureError, match="portraits"):
        run(inputs, params, tmp_path / "out", Context())


def test_no_driving_frames_are_an_empty_artifact(member: Path, tmp_path: Path) -> None:
    run({"synthesis": member}, ExpressionsParams(**{**SMALL, "frames": 0}), tmp_path, Context())
    assert len(read_table(tmp_path / "expressions.parquet")) == 0
    assert read_array(tmp_path / "expressions.zarr", "rgb").shape == (0, 2, 48, 48, 3)


def tracking_of(yaws: list[float], azimuths: list[float]) -> Tracking:
    pose = HeadPose.zeros(len(yaws))
    pose.neck[:, 1] = torch.tensor(yaws)
    viewmats = np.stack([orbit(a, 0.0, 1.0, (0.0, 0.0, 0.0)) for a in azimuths])
    shape = (len(yaws), len(azimuths), 3, 3)
    return Tracking(
        "procedural", "", torch.zeros(2), torch.zeros(len(yaws), 3), pose,
        np.ones(len(yaws), bool), viewmats, np.broadcast_to(np.eye(3), shape),
    )  # fmt: skip


def test_drivers_look_at_their_camera_and_are_spread_over_time() -> None:
    tracking = tracking_of([0.0, 0.5, 1.2, -0.5, 0.0], [-0.5, 0.0, 0.5])
    angles = face_angles(tracking)
    np.testing.assert_allclose(angles[1], [1.0, 0.5, 0.0], atol=1e-3)
    pairs = [(t, c) for t in range(5) for c in range(3)]
    chosen = choose_drivers(tracking, pairs, 10, largest=0.6)
    assert [(d.t, d.c) for d in chosen] == [(0, 1), (1, 2), (3, 0), (4, 1)]
    assert [d.t for d in choose_drivers(tracking, pairs, 3)] == [0, 2, 4]
    tracking.valid[0] = False
    assert [d.t for d in choose_drivers(tracking, [(0, 1), (1, 1)], 3)] == [1]


def face(jaw: float = 0.0) -> np.ndarray:
    """The procedural head's landmarks in pixels."""
    head = load_head("procedural")
    expression = torch.zeros(1, len(head.expression_names))
    expression[0, head.expression_index("jawOpen")] = jaw
    identity = torch.zeros(1, len(head.identity_basis))
    points = head.landmarks(head.vertices(identity, expression))[0].numpy()
    return np.column_stack([points[:, 0], -points[:, 1]]) * 1000 + 200


def test_the_mouths_difference_sees_the_expression_and_not_the_place() -> None:
    turn, same = np.array([[0.6, -0.8], [0.8, 0.6]]), face()
    assert mouth_difference(same, same @ turn.T * 1.7 + 30) == pytest.approx(0, abs=1e-6)
    assert mouth_difference(same, face(0.1)) < LARGEST_DIFFERENCE
    assert mouth_difference(same, face(0.9)) > LARGEST_DIFFERENCE
    unknown = same.copy()
    unknown[50] = np.nan
    assert np.isnan(mouth_difference(same, unknown))


def test_crops_are_upright_and_lead_back() -> None:
    points = face()
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    tilted = (points - 200) @ turn.T + 210
    matrix = face_crop(tilted).matrix(256)
    inside = np.column_stack([tilted, np.ones(68)]) @ matrix.T
    eyes = (inside[[36, 39]].mean(0) + inside[[42, 45]].mean(0)) / 2
    mouth = inside[[48, 54]].mean(0)
    assert mouth[0] == pytest.approx(eyes[0], abs=0.01)
    assert mouth[1] > eyes[1]
    straight = np.column_stack([points, np.ones(68)]) @ face_crop(points).matrix(256).T
    np.testing.assert_allclose(inside, straight, atol=0.05)
    low, high = straight[:, :2].min(0), straight[:, :2].max(0)
    assert (high - low).max() == pytest.approx(256 / 2.3)
    # A window that moves up shows the face further down.
    assert (low + high)[1] / 2 == pytest.approx(128 + 0.125 * 256, abs=0.1)
    level = face_crop(tilted, upright=False)
    np.testing.assert_array_equal(level.axes, np.eye(2))


def test_a_cut_shows_what_the_matrix_says() -> None:
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[60:64, 80:84] = 255
    points = np.random.default_rng(0).uniform(40, 100, (68, 2))
    crop = face_crop(points)
    picture = crop.cut(frame, 96)
    y, x = np.nonzero(picture[..., 0] > 120)
    seen = np.array([x.mean() + 0.5, y.mean() + 0.5])
    expected = crop.matrix(96) @ [82, 62, 1]
    np.testing.assert_allclose(seen, expected[:2], atol=0.5)
