"""Any stage runs with any head: from synthesis to evaluation with imported models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headworks.artifacts import read_array, read_meta
from headworks.errors import ArtifactError
from headworks.heads import load_head
from headworks.heads.importers import import_head
from headworks.tracks import Tracking, load_tracking, load_truth
from stages import fit, ingest, landmarks, matting, prior, synthesis, tracking
from stages.contract import Context
from stages.evaluate import EvaluateParams
from stages.evaluate import run as evaluate
from tests.heads import standins

SMALL = {
    "size": 64, "expressions": 3, "cameras": 3, "test_cameras": 1, "population_size": 48,
    "population_expressions": 2, "population_cameras": 2, "texture": 128, "supersampling": 1,
    "clip_size": 192, "clip_frames": 14, "clip_fps": 7.0,
}  # fmt: skip
PRIOR = {"uv_size": 32, "steps": 12, "code_dim": 4, "width": 16, "depth": 2}
FIT = {
    "uv_size": 32, "inversion_steps": 4, "decoder_steps": 4, "refine_steps": 8,
    "photo_refine_steps": 8,
}  # fmt: skip
EVALUATE = {
    "max_frames": 2, "flip_frames": 0, "fd_frames": 0, "picture_frames": 1, "video_frames": 2,
    "preview_side": 64, "orbit_frames": 4, "sweep_frames": 2, "texture_size": 64,
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """An imported head, two of its people, and the prior that they taught."""

    root: Path
    head: str
    members: dict[str, Path]
    prior: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADWORKS_HEADS", str(root / "heads"))
        load_head.cache_clear()
        standins.write_flame_npz(root / "flame.npz")
        standins.write_flame_neighbours(root)
        head = import_head("flame", root / "flame.npz", "tiny").record.name
        members = {f"p{i}": _synthesised(root, head, "population", i) for i in range(2)}
        yield World(root, head, members, _prior(root, members))
    load_head.cache_clear()


def _subject(folder: Path, kind: str, seed: int) -> Path:
    folder.mkdir(parents=True)
    body = {"kind": kind, "files": [], "seed": seed, "consent": None, "licence": None}
    (folder / "subject.json").write_text(json.dumps(body))
    return folder


def _synthesised(root: Path, head: str, kind: str, seed: int) -> Path:
    raw = _subject(root / "raw" / f"{kind}-{seed}", kind, seed)
    out = root / f"synthesis-{kind}-{seed}"
    params = synthesis.SynthesisParams(head=head, **SMALL)
    synthesis.run({"raw": raw}, params, out, Context(seed))
    return out


def _prior(root: Path, members: dict[str, Path]) -> Path:
    prior.run({"synthesis": members}, prior.PriorParams(**PRIOR), root / "prior", Context())
    return root / "prior"


def _tracked(root: Path, head: str, made: Path, raw: Path) -> dict[str, Any]:
    """Inputs of fit and evaluate, but the prior."""
    folders = {n: root / n for n in ("ingest", "matting", "landmarks", "tracking")}
    size = ingest.IngestParams(size=64 if "clip" not in raw.name else 192)
    ingest.run({"raw": raw, "synthesis": made}, size, folders["ingest"], Context())
    for module, params in (
        (matting, matting.MattingParams(backend="exact")),
        (landmarks, landmarks.LandmarksParams(backend="exact")),
    ):
        name = module.__name__.partition(".")[2]
        module.run({"ingest": folders["ingest"]}, params, folders[name], Context())
    small = tracking.TrackingParams(
        head=head, keyframes=4, pixel_rounds=0, photometric_passes=0, photometric_size=48
    )
    tracking.run(folders, small, folders["tracking"], Context())
    return folders


def _avatar(root: Path, folders: dict[str, Any], made_prior: Path) -> dict[str, Any]:
    inputs = {**folders, "prior": made_prior}
    fit.run(inputs, fit.FitParams(**FIT), root / "fit", Context())
    inputs = {**folders, "fit": root / "fit"}
    evaluate(inputs, EvaluateParams(**EVALUATE), root / "evaluate", Context())
    return read_meta(root / "evaluate", "metrics")


def _whole_way(root: Path, head: str, kind: str, made_prior: Path) -> dict[str, Any]:
    made = _synthesised(root, head, kind, 7)
    folders = _tracked(root, head, made, root / "raw" / f"{kind}-7")
    facts = _avatar(root, folders, made_prior)
    for folder, artifact in (
        (root / "tracking", "tracking"), (made_prior, "prior"), (root / "fit", "avatar"),
    ):  # fmt: skip
        meta = read_meta(folder, artifact)
        assert (meta["head"], meta["head_digest"]) == (head, load_head(head).digest)
    return facts


def test_every_stage_runs_with_an_imported_head(world: World, tmp_path: Path) -> None:
    facts = _whole_way(tmp_path, world.head, "synthetic", world.prior)
    assert facts["methods"][0] == "gasp"
    jaw = read_array(tmp_path / "tracking" / "tracking.zarr", "jaw")
    opened = read_array(tmp_path / "synthesis-synthetic-7" / "truth" / "truth.zarr", "jaw")
    np.testing.assert_array_equal(jaw, opened)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["synthetic", "synthetic_clip"])
def test_every_stage_runs_with_ict(
    kind: str, tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shared / "data" / "ict_facekit.npz"
    if not path.is_file():
        pytest.skip(f"no ICT-FaceKit file at {path}")
    monkeypatch.setenv("HEADWORKS_HEADS", str(tmp_path / "heads"))
    import_head("ict", path)
    members = {f"p{i}": _synthesised(tmp_path, "ict", "population", i) for i in range(2)}
    _whole_way(tmp_path, "ict", kind, _prior(tmp_path, members))
    load_head.cache_clear()


def test_a_clip_is_tracked_with_signed_expressions(world: World, tmp_path: Path) -> None:
    made = _synthesised(tmp_path, world.head, "synthetic_clip", 7)
    _tracked(tmp_path, world.head, made, tmp_path / "raw" / "synthetic_clip-7")
    expression = read_array(tmp_path / "tracking" / "tracking.zarr", "expression")
    assert expression.min() < -0.05
    assert np.abs(expression).max() <= 3.0
    head = load_head(world.head)

    def opening(track: Tracking) -> np.ndarray:
        marks = head.landmarks(track.vertices(head, list(range(len(track)))))
        return (marks[:, 62] - marks[:, 66]).norm(dim=-1).numpy() * 1000

    truth, found = opening(load_truth(made)), opening(load_tracking(tmp_path / "tracking"))
    assert np.ptp(truth) > 3
    assert np.corrcoef(found, truth)[0, 1] > 0.9
    residuals = read_meta(tmp_path / "tracking", "tracking")["residuals"]
    assert residuals["landmark_error_inner_iod_mean"] < 0.05


def test_a_prior_of_another_head_is_refused_with_what_to_do(world: World, tmp_path: Path) -> None:
    made = _synthesised(tmp_path, "procedural", "synthetic", 7)
    folders = _tracked(tmp_path, "procedural", made, tmp_path / "raw" / "synthetic-7")
    inputs = {**folders, "prior": world.prior}
    with pytest.raises(ArtifactError, match=r"'tiny'.*'procedural'.*synthesis\.head"):
        fit.run(inputs, fit.FitParams(**FIT), tmp_path / "fit", Context())
    wrong = tracking.TrackingParams(head=world.head)
    with pytest.raises(ArtifactError, match=r"tracking\.head"):
        tracking.run(folders, wrong, tmp_path / "again", Context())
    members = {"a": world.members["p0"], "b": made}
    with pytest.raises(ArtifactError, match=r"different head models.*synthesis\.head"):
        prior.run({"synthesis": members}, prior.PriorParams(**PRIOR), tmp_path / "p", Context())


def test_a_reimported_head_that_changed_is_noticed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = synthesis.SynthesisParams(head=world.head)
    before = synthesis.assets(params)
    monkeypatch.setenv("HEADWORKS_HEADS", str(tmp_path / "heads"))
    assert list(synthesis.assets(params).values()) == [None]
    import_head("flame", world.root / "flame.npz", world.head, expressions=10)
    after = synthesis.assets(params)
    assert after.keys() == before.keys()
    assert {p.name for p in after.values() if p} != {p.name for p in before.values() if p}
    assert tracking.assets(tracking.TrackingParams(head=world.head)) == after
    assert tracking.assets(tracking.TrackingParams()) == {}
    load_head.cache_clear()
    with pytest.raises(ArtifactError, match="another version of the head model 'tiny'"):
        prior.run(
            {"synthesis": world.members}, prior.PriorParams(**PRIOR), tmp_path / "p", Context()
        )
    load_head.cache_clear()
