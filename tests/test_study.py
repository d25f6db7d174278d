"""The study of GASP's comparisons: a workspace's rig by the paper's protocol, and its table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import gasp
import gasp_workspace
from gasp_cells import Fit, Prior
from gasp_table import Bar, compare
from gasp_workspace import Protocol, _every, subject_in

from headworks.artifacts import read_meta, write_arrays, write_meta
from headworks.errors import ArtifactError
from headworks.formats.nersemble import CORNERS, FRONTAL
from headworks.metrics.study import SCHEMA, read_study
from headworks.tracks import POSE_FIELDS, load_truth
from pipelines.params import default_text
from pipelines.subjects import add_subject
from pipelines.workspace import Workspace
from stages.contract import Context
from stages.ingest import IngestParams
from stages.ingest import run as ingest
from stages.matting import MattingParams
from stages.matting import run as matte
from stages.registry import STAGES
from stages.synthesis import SynthesisParams
from stages.synthesis import run as synthesize

TINY = (
    "prior.steps=8", "prior.width=8", "prior.uv_size=24", "prior.code_dim=4", "prior.depth=1",
    "fit.inversion_steps=2", "fit.decoder_steps=2", "fit.refine_steps=3", "fit.uv_size=null",
    "fit.photo_refine_steps=2", "gaussian_avatars.steps=3", "gaussian_avatars.photo_steps=3",
    "flash_avatar.steps=3", "flash_avatar.photo_steps=3", "flash_avatar.uv_size=24",
    "flash_avatar.width=8",
)  # fmt: skip


def test_strides_count_the_source_s_frames_and_start_anew_in_every_sequence() -> None:
    kept = [("A", 0), ("A", 4), ("A", 8), ("A", 12), ("B", 0), ("B", 4)]
    rows = [{"sequence": s, "frame": f, "t": t} for t, (s, f) in enumerate(kept)]
    assert _every(rows, 1) == {0, 1, 2, 3, 4, 5}
    assert _every(rows, 10) == {0, 3, 4}
    assert _every(rows, 5) == {0, 2, 3, 4}


def test_a_participant_of_the_paper_has_another_frontal_camera() -> None:
    protocol = Protocol()
    assert len(protocol.training) == 12
    assert protocol.frontal_camera("nersemble_057") == "222200038"
    assert protocol.frontal_camera("036") == FRONTAL
    assert Protocol(frontal="x").frontal_camera("057") == "x"


def test_a_study_computes_its_table_row_by_row_and_a_prior_when_it_is_needed() -> None:
    main, fewer, finer = Prior(("a", "b"), 64), Prior(("a",), 64), Prior(("a", "b"), 128)
    fits = gasp.plan(["p", "q"], ["photo", "multiview"], main, [main, fewer, finer], ablate=True)
    assert len(set(fits)) == len(fits)
    rows = list(dict.fromkeys((f.setting, f.variant, f.prior) for f in fits))
    assert [f for row in rows for f in fits if (f.setting, f.variant, f.prior) == row] == fits
    assert [row[:2] for row in rows[:2]] == [("photo", "full"), ("photo", "gaussian_avatars")]
    cells = gasp.queue([main, fewer, finer], fits)
    assert cells[0] == main
    assert [c for c in cells if isinstance(c, Fit)] == fits
    for prior in (main, fewer, finer):
        following = cells[cells.index(prior) + 1]
        assert isinstance(following, Fit)
        assert following.prior == prior
    assert gasp.queue([main, fewer], fits[:2]) == [main, *fits[:2], fewer], "even without a fit"


def test_people_without_a_group_of_views_do_not_enter_its_comparison() -> None:
    bar = Bar("x", "-", "photo", ("side", "back"), ("a", None), ("b", None), 0)
    there = {"back": {"psnr_full": 3.0}}
    found = {
        Fit("p", "photo", "a", None).name: {"scores": there},
        Fit("p", "photo", "b", None).name: {"scores": {"back": {"psnr_full": 1.0}}},
        Fit("q", "photo", "a", None).name: {"scores": there},
        Fit("q", "photo", "b", None).name: {"scores": {}},
    }
    outcome = compare(bar, ["p", "q"], found)
    assert outcome is not None
    assert (outcome[0].mean, outcome[1]) == (2.0, 1)
    assert compare(bar, ["q"], found) is None


def test_a_study_s_file_says_what_was_compared_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    picture = {
        "person": "7000", "setting": "photo", "variant": "full", "prior": "prior-64-uv64",
        "file": "fits/a.png", "groups": ["train"], "psnr": {"train": 30.0}, "flip": {"train": 0.1},
    }  # fmt: skip
    line = {"what": "x", "paper": "+5.9", "bar": 3, "mean": 4.0, "low": 3.5, "high": 4.5,
            "people": 8, "met": True}  # fmt: skip
    facts = {"schema": SCHEMA, "cells": 1, "of": 2, "lines": [line, {**line, "mean": None}],
             "pictures": [picture]}  # fmt: skip
    file = tmp_path / "study.json"
    file.write_text(json.dumps(facts))
    result = read_study(tmp_path)
    assert (result.done, result.planned, result.lines[0].met) == (1, 2, True)
    assert result.pictures[0].file == tmp_path / "fits/a.png"
    for wrong, words in (
        ({**facts, "pictures": [{**picture, "file": "../a.png"}]}, "outside of the study"),
        ({**facts, "schema": "headworks.study/0"}, "expected 'headworks.study/1'"),
        ({"schema": SCHEMA}, "not a readable study"),
    ):
        file.write_text(json.dumps(wrong))
        with pytest.raises(ArtifactError, match=words):
            read_study(tmp_path)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A rig of NeRSemble's layout, tracked exactly, and three people for a prior."""
    root = tmp_path_factory.mktemp("study")
    made, data = root / "made", root / "data"
    actor = SynthesisParams(
        rig="nersemble", export="nersemble", size=144, sequences="EMO-1,EXP-2,FREE",
        sequence_frames=2, sequence_seconds=1.0, texture=256, supersampling=1,
    )  # fmt: skip
    people = SynthesisParams(
        population_rig="hemisphere", population_views=4, population_size=48, texture=256,
        supersampling=1,
    )  # fmt: skip
    _subject(made / "raw", "synthetic", 9)
    synthesize({"raw": made / "raw"}, actor, made / "out", Context())
    add_subject(Workspace(root).layout, "s036", [made / "out" / "nersemble"], licence="CC0")
    folders = {role: data / role / "s036" for role in ("ingest", "matting", "tracking")}
    ingest({"raw": data / "raw" / "s036"}, IngestParams(size=64), folders["ingest"], Context())
    matte({"ingest": folders["ingest"]}, MattingParams(), folders["matting"], Context())
    _track_exactly(made / "out", folders["ingest"], folders["tracking"])
    for i in range(3):
        _subject(data / "raw" / f"people-{i}", "population", 20 + i)
        out = data / "synthesis" / f"people-{i}"
        synthesize({"raw": data / "raw" / f"people-{i}"}, people, out, Context())
    (root / "params.yaml").write_text(default_text(STAGES, TINY))
    return root


def _subject(folder: Path, kind: str, seed: int) -> None:
    folder.mkdir(parents=True)
    (folder / "subject.json").write_text(json.dumps({"kind": kind, "files": [], "seed": seed}))


def _track_exactly(made: Path, capture: Path, out: Path) -> None:
    truth, cameras = load_truth(made), read_meta(capture, "capture")["cameras"]
    times, count = len(truth), len(cameras)
    Ks = np.tile(np.array([c["K"] for c in cameras]), (times, 1, 1, 1))
    pose = {name: getattr(truth.pose, name).numpy() for name in POSE_FIELDS}
    write_arrays(
        out / "tracking.zarr",
        {
            "identity": truth.identity.numpy(), "expression": truth.expression.numpy(), **pose,
            "viewmats": np.array([c["viewmat"] for c in cameras]), "Ks": Ks,
            "valid": np.ones(times, bool), "view_weights": np.ones((times, count), np.float32),
        },
    )  # fmt: skip
    write_meta(out, "tracking", {"head": truth.head, "head_digest": truth.head_digest})


@pytest.mark.slow
def test_a_workspace_s_rig_serves_as_the_paper_has_it(workspace: Path) -> None:
    held = subject_in(workspace, "s036", Protocol(rig_every=1, clip_every=1, test_every=1))
    cameras = [c["name"] for c in read_meta(workspace / "data/ingest/s036", "capture")["cameras"]]
    front = cameras.index(FRONTAL)
    corners = {cameras.index(name) for name in CORNERS}
    training, free = {0, 1, 2, 3}, {4, 5}
    pairs = {k: [held.pairs[i] for i in v] for k, v in {**held.train, **held.test}.items()}
    assert pairs["photo"] == [(0, front)]
    assert set(pairs["monocular"]) == {(t, front) for t in training}
    assert set(pairs["multiview"]) == {(t, c) for t in training for c in range(16)}
    assert set(pairs["extreme"]) == {(t, c) for t in free for c in corners}
    assert set(pairs["front"]) == {(t, front) for t in free}
    views = held.views(held.train["monocular"])
    assert len(views) == 4
    assert np.array_equal(views.alpha[1], held.alpha[held.train["monocular"][1]])
    # The tracked head covers the matte: the cameras are those of the cut pictures.
    t, c = held.pairs[held.train["photo"][0]]
    camera = held.tracking.camera(t, c, 64, 64)
    with torch.no_grad():
        points = camera.project(held.tracking.vertices(held.head, [t])[0].numpy())[:, :2]
    inside = [(0 <= x < 64) and (0 <= y < 64) and held.alpha[held.train["photo"][0]][int(y), int(x)]
              > 0 for x, y in points[:2000:50]]  # fmt: skip
    assert np.mean(inside) > 0.9
    # Without the paper's sequences the capture's own splits serve, and what is tested is not seen.
    for other in (Protocol(training=(), test="", test_every=1, rig_every=1), Protocol(test="")):
        own = subject_in(workspace, "s036", other)
        tested = {i for index in own.test.values() for i in index}
        assert tested
        assert not tested & {i for index in own.train.values() for i in index}
    with pytest.raises(ArtifactError, match="no camera nowhere"):
        subject_in(workspace, "s036", Protocol(frontal="nowhere"))


@pytest.mark.slow
def test_the_same_command_runs_on_a_workspace(workspace: Path, tmp_path: Path, capsys) -> None:
    arguments = ["--out", str(tmp_path / "out"), "--workspace", str(workspace), "--subjects",
                 "s036", "--counts", "2", "--uv-sizes", "16", "--jobs", "1",
                 "--only", "photo,multiview"]  # fmt: skip
    gasp.main(arguments)
    facts = json.loads((tmp_path / "out" / "study.json").read_text())
    assert facts["cells"] == facts["of"]
    means = {line["what"]: line.get("mean") for line in facts["lines"]}
    assert means["rig: against GaussianAvatars"] is not None
    assert means["photo, back of the head: FLIP below a textured mesh's"] is None, "not seen there"
    assert means["photo: with stage 1, unseen views"] is not None, "of the extreme views alone"
    assert {t["family"] for t in facts["trends"]} == {"people", "UV"}
    assert all((tmp_path / "out" / p["file"]).is_file() for p in facts["pictures"])
    result = read_study(tmp_path / "out")
    assert (result.done, len(result.pictures)) == (facts["cells"], facts["cells"])
    assert {p.groups for p in result.pictures} == {("train", "front", "extreme")}
    names = gasp_workspace.population(workspace)
    assert facts["priors"][0]["recipe"]["people"] == names
    # All is done: the same command computes nothing.
    capsys.readouterr()
    gasp.main(arguments)
    assert capsys.readouterr().out.startswith("0 of ")
