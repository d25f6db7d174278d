"""A report about two toys, evaluated and re-enacted."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from stages.contract import Context
from stages.evaluate import EvaluateParams
from stages.evaluate import run as evaluate
from stages.reenact import ReenactParams
from stages.reenact import run as reenact
from stages.report import ReportParams, run
from tests.tinycapture import toy_head_known, write_subject
from tests.toyhead import toy_head

ROLES = ("ingest", "matting", "landmarks", "tracking", "fit", "evaluate")
PERSON = {"speaker": "person-2.html", "photo <b>&1": "person-1.html"}
PAGES = ("index.html", *PERSON.values())
QUICK = EvaluateParams(
    texture_size=32, preview_side=64, orbit_frames=4, sweep_frames=2, picture_frames=2
)
ODD_NAME = "photo <b>&1"


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    root = tmp_path_factory.mktemp("subjects")
    collected: dict[str, dict[str, Path]] = {role: {} for role in ROLES}
    for name, folder, times, setting in (
        ("speaker", "a", 14, "monocular"), (ODD_NAME, "b", 1, "photo")
    ):  # fmt: skip
        folders = write_subject(root / folder, times, setting=setting)
        folders["evaluate"] = root / folder / "evaluate"
        with toy_head_known():
            evaluate(folders, QUICK, folders["evaluate"], Context())
        for role in ROLES:
            collected[role][name] = folders[role]
    collected["reenact"] = {}
    tracked = collected["tracking"]
    for number, name in enumerate(tracked):
        own = {role: collected[role][name] for role in ("ingest", "matting", "fit")}
        others = {n: folder for n, folder in tracked.items() if n != name}
        out = collected["reenact"][name] = root / f"reenact-{number}"
        acted = {**own, "tracking": {"": tracked[name], **others}}
        with toy_head_known(), patch("headworks.heads.load_exact", lambda *_: toy_head()):
            reenact(acted, ReenactParams(side=32), out, Context())
    return collected


@pytest.fixture(scope="session")
def report(inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    run(inputs, ReportParams(title="Two <heads>"), out, Context())
    return out
