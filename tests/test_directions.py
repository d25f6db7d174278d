"""Latent directions: what a linear SVM finds among codes, and what moving along it does."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from headworks.artifacts import read_meta, write_meta
from headworks.avatars.binding import bind_uv, initial_gaussians
from headworks.avatars.gasp import directions
from headworks.avatars.gasp.decoder import GaussianPrior
from headworks.avatars.gasp.directions import (
    BETAS,
    Mirror,
    find_directions,
    fit_svm,
    held_out_accuracy,
    strip,
)
from headworks.avatars.gasp.file import save_prior
from headworks.errors import ArtifactError
from stages.contract import Context
from stages.directions import DirectionsParams, run
from tests.toyhead import toy_head

SIZE = 24


def codes_of(people: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes whose labels follow one direction: codes [P, 8], labels [P], the direction [8]."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=8)
    true /= np.linalg.norm(true)
    yes = np.arange(people) % 2 == 0
    codes = 0.1 * rng.normal(size=(people, 8)) + 0.25 * np.where(yes, 1, -1)[:, None] * true
    return codes, yes, true


def attributes(yes: np.ndarray) -> list[dict[str, object]]:
    return [
        {"age": 70.0 if y else 20.0, "beard": "none", "hair_length_mm": 200.0 if y else 20.0}
        for y in yes
    ]


def test_the_svm_minimises_its_objective() -> None:
    codes, yes, _ = codes_of(30)
    noisy = yes ^ (np.arange(30) % 7 == 0)
    svm = fit_svm(codes, noisy)
    scale = np.sqrt(np.mean((codes - codes.mean(0)) ** 2))

    def objective(w: np.ndarray, b: float) -> float:
        slack = np.maximum(0, 1 - np.where(noisy, 1, -1) * (codes @ w + b))
        return float((scale * w) @ (scale * w) / 2 + (slack**2).sum())

    best, rng = objective(svm.w, svm.b), np.random.default_rng(1)
    for _ in range(200):
        step = 0.05 * rng.normal(size=9) * np.append(np.abs(svm.w) + 0.1, 1)
        assert objective(svm.w + step[:8], svm.b + step[8]) >= best - 1e-7


def test_the_direction_of_a_planted_label_is_found() -> None:
    codes, yes, true = codes_of(80)
    found, without = find_directions(torch.from_numpy(codes), attributes(yes), 0)
    age = found[0]
    assert age.label.attribute == "age"
    assert float(age.normal @ true) > 0.9
    assert np.linalg.norm(age.normal) == pytest.approx(1.0)
    assert age.accuracy is not None
    assert age.accuracy > 0.9
    assert without["beard"] == "all 80 people answer it alike"
    decisions = [
        float(
            fit_svm(codes, yes).decision(age.edit(torch.zeros(8).double(), beta).numpy()[None])[0]
        )
        for beta in BETAS
    ]
    assert all(b > a for a, b in pairwise(decisions))
    moved = age.edit(torch.zeros(8).double(), 2.0).norm()
    assert float(moved) == pytest.approx(2 * age.spread)


def test_labels_that_mean_nothing_are_guessed_at_chance() -> None:
    scores = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        codes, yes = rng.normal(size=(60, 32)), rng.random(60) < 0.4
        scores.append(held_out_accuracy(codes, yes, seed))
    assert 0.35 < np.mean(scores) < 0.65


def test_few_people_are_said_to_be_too_few() -> None:
    codes, yes, _ = codes_of(6)
    found, _ = find_directions(torch.from_numpy(codes), attributes(yes), 0)
    assert found[0].accuracy is None
    assert "6 people (3 with the rarer answer) are too few for cross validation" in found[0].why


@pytest.fixture(scope="module")
def prior_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    head = toy_head()
    binding = bind_uv(head, SIZE)
    prior = GaussianPrior(initial_gaussians(head, binding), 6, 8, 16, 2, 0)
    codes, yes, _ = codes_of(6)
    with torch.no_grad():
        prior.codes.copy_(torch.from_numpy(codes))
    root = tmp_path_factory.mktemp("prior")
    (root / "prior").mkdir()
    save_prior(root / "prior" / "prior.safetensors", prior, binding)
    members = {}
    for n, facts in enumerate(attributes(yes)):
        folder = root / f"people-{n}"
        (folder / "truth").mkdir(parents=True)
        (folder / "truth" / "truth.json").write_text(json.dumps({"attributes": facts}))
        members[folder.name] = folder
    write_meta(
        root / "prior", "prior",
        {"members": sorted(members), "head": "toy", "head_digest": head.digest},
    )  # fmt: skip
    return root / "prior", members


def test_the_stage_writes_strips_measures_and_says_what_it_found(
    prior_folder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from PIL import Image

    monkeypatch.setattr("headworks.heads.load_exact", lambda *_: toy_head())
    prior, members = prior_folder
    inputs = {"prior": prior, "synthesis": members}
    outs = [tmp_path / "a", tmp_path / "b"]
    for out in outs:
        run(inputs, DirectionsParams(side=32), out, Context())
    assert read_meta(outs[0])["directions"] == ["age.png", "hair_length_mm.png"]
    assert Image.open(outs[0] / "age.png").size == (7 * 32, 2 * 32)
    told = json.loads((outs[0] / "directions.json").read_text())
    assert told["directions"][0]["accuracy"] is None
    assert "too few" in capsys.readouterr().out
    for file in sorted(p.name for p in outs[0].iterdir()):
        assert (outs[0] / file).read_bytes() == (outs[1] / file).read_bytes(), file
    with pytest.raises(ArtifactError, match="run the prior again"):
        run({**inputs, "synthesis": {}}, DirectionsParams(), tmp_path / "c", Context())


def test_what_is_measured_is_what_changed(prior_folder) -> None:
    from headworks.avatars.gasp.file import load_prior

    prior, binding = load_prior(prior_folder[0] / "prior.safetensors")
    head = toy_head()
    before = Mirror(head, prior, binding, 48).sight(prior.codes[0].detach())
    scalp = head.region_faces("scalp")[binding.faces]
    with torch.no_grad():
        prior.template["colors"][scalp] += 2.0
        prior.template["log_scales"] += 0.3
    after = Mirror(head, prior, binding, 48).sight(prior.codes[0].detach())
    assert after.scalp > before.scalp + 0.1
    assert after.area > before.area
    assert abs(after.skin - before.skin) < 1e-6
    assert strip([before, after]).shape == (96, 96, 3)


def test_the_report_shows_a_strip_per_label(
    prior_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.report.codes import shown_directions

    monkeypatch.setattr("headworks.heads.load_exact", lambda *_: toy_head())
    prior, members = prior_folder
    run(
        {"prior": prior, "synthesis": members}, DirectionsParams(side=32), tmp_path / "d", Context()
    )
    shown, items = shown_directions(tmp_path / "d")
    assert [s["label"] for s in shown["strips"]] == [
        label.name for label in directions.LABELS if label.attribute in ("age", "hair_length_mm")
    ]
    for s, item in zip(shown["strips"], items, strict=True):
        assert item.source.is_file()
        assert item.target == s["target"]
        assert "too few" in s["people"]


def test_a_stage_that_collects_a_dataset_gets_it_as_all_and_does_without(tmp_path: Path) -> None:
    from pipelines.plan import Dep, Graph, Unit
    from pipelines.subjects import Subject
    from stages.registry import STAGES

    people = {n: Subject(n, "population", n, {}) for n in ("people-000", "people-001")}
    graph = Graph(STAGES, people)
    assert Unit("report", "all") not in graph.deps  # nobody to report on
    graph = Graph(STAGES, {**people, "me": Subject("me", "clip", "me", {})})
    wanted = Dep("directions", "all", Unit("directions", "all"), True)
    assert wanted in graph.deps[Unit("report", "all")]
