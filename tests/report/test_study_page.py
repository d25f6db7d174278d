"""A study that the report names gets a page, and counts for whether the report is up to date."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headworks.errors import ArtifactError
from headworks.metrics.study import SCHEMA
from stages.contract import Context
from stages.registry import STAGES
from stages.report import ReportParams, run
from tests.report.test_report import Page

REPORT = next(s for s in STAGES if s.name == "report")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two people fitted by two methods, with pictures, and one of a smaller prior."""
    folder = tmp_path / "study"
    (folder / "fits").mkdir(parents=True)
    rng = np.random.default_rng(0)
    pictures = []
    for person, variant, prior in (
        ("7000", "gaussian_avatars", None), ("7000", "full", "prior-64-uv64"),
        ("7000", "full", "prior-4-uv64"), ("7001 <b>", "full", "prior-64-uv64"),
    ):  # fmt: skip
        path = folder / "fits" / f"{len(pictures)}.png"
        Image.fromarray(rng.integers(0, 255, (32, 48, 3), np.uint8)).save(path)
        pictures.append({
            "person": person, "setting": "photo", "variant": variant, "prior": prior,
            "file": f"fits/{path.name}", "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "groups": ["train", "back"], "psnr": {"train": 31.25, "back": 19.5},
            "flip": {"train": 0.1, "back": 0.2},
        })  # fmt: skip
    # As a study writes them: the main prior's come first.
    pictures.sort(key=lambda p: p["prior"] != "prior-64-uv64")
    line = {"what": "photo: over <others>", "paper": "+5.9", "bar": 3, "mean": 4.125, "low": 3.5,
            "high": 4.5, "people": 8, "met": True}  # fmt: skip
    means = [{"psnr_full": x} for x in (17.5, 18.25)]
    trend = {"family": "people", "setting": "photo", "sizes": [4, 64], "means": means,
             "monotone": True, "flat": False}  # fmt: skip
    facts = {"schema": SCHEMA, "cells": 4, "of": 9, "pictures": pictures, "trends": [trend],
             "lines": [line, {"what": "rig", "paper": "-0.3", "bar": -1, "met": None}]}  # fmt: skip
    (folder / "study.json").write_text(json.dumps(facts))
    return folder / "study.json"


def test_a_study_s_table_and_pictures_stand_on_a_page_of_their_own(
    inputs, study: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    run(inputs, ReportParams(study=str(study)), out, Context())
    assert 'href="study.html"' in (out / "index.html").read_text()
    html = (out / "study.html").read_text()
    page = Page(html)
    for told in ("photo: over &lt;others&gt;", "+4.12", "+3.50 to +4.50", "met", "not run",
                 "4 of 9 fits", "4: 17.50, 64: 18.25", "Person 7001 &lt;b&gt;"):  # fmt: skip
        assert told in html
    shown = [r for r in page.references if r.startswith("pictures/")]
    assert len(shown) == 3, "the smaller prior's are numbers only"
    assert all((out / name).is_file() for name in shown)
    assert len(list((out / "pictures" / "study").iterdir())) == 3
    assert page.images_without_alt == 0
    assert html.index("GASP.</b>") < html.index("GaussianAvatars.</b>")


def test_a_changed_picture_of_a_study_is_an_error(inputs, study: Path, tmp_path: Path) -> None:
    Image.new("RGB", (48, 32)).save(study.parent / "fits" / "1.png")
    with pytest.raises(ArtifactError, match="not the picture that"):
        run(inputs, ReportParams(study=str(study)), tmp_path / "out", Context())
    with pytest.raises(ArtifactError, match="not a readable study"):
        run(inputs, ReportParams(study=str(tmp_path / "study.json")), tmp_path / "out", Context())


def test_the_study_s_digest_enters_the_report_s_key(study: Path, tmp_path: Path) -> None:
    assert REPORT.assets(ReportParams()) == {}
    named = {"study.json": study}
    assert REPORT.assets(ReportParams(study=str(study))) == named
    assert REPORT.assets(ReportParams(study=str(study.parent))) == named
    assert REPORT.assets(ReportParams(study=str(tmp_path / "none"))) == {"study.json": None}
