"""A synthesis that is killed goes on with the frames and the people that it had."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from headworks.artifacts import open_arrays
from pipelines.run import Options, run
from pipelines.setup import init_workspace
from pipelines.subjects import add_subject
from pipelines.workspace import Workspace
from stages.registry import stage

SMALL = """
synthesis: {population_size: 48, population_expressions: 2, population_cameras: 2, texture: 128}
"""


def synthesised(root: Path) -> tuple[Workspace, dict[str, str]]:
    workspace = Workspace(root, (stage("synthesis"),))
    summary = run(workspace, Options(jobs=1, orchestrator="none"))
    return workspace, {unit.subject: o.status for unit, o in summary.outcomes.items()}


@pytest.mark.slow
def test_a_killed_population_goes_on_with_the_people_and_frames_that_it_had(
    tmp_path, monkeypatch
) -> None:
    workspace = Workspace(tmp_path, (stage("synthesis"),))
    init_workspace(workspace)
    (tmp_path / "dvc.yaml").unlink()
    (tmp_path / "params.yaml").write_text(SMALL)
    add_subject(workspace.layout, "one", kind="population", seed=1)
    assert synthesised(tmp_path)[1] == {"one": "ran"}
    add_subject(workspace.layout, "two", kind="population", seed=2)
    monkeypatch.setenv("HEADWORKS_FAULT", "computed")
    synthesised(tmp_path)
    monkeypatch.delenv("HEADWORKS_FAULT")
    (film,) = (workspace.layout.scratch / "synthesis.two").iterdir()
    assert np.load(film / "done.npy").all(), "its frames outlived the kill"
    # What a later attempt takes over is what lies there: a mark in it shows.
    frames = np.load(film / "rgb.npy", mmap_mode="r+")
    frames[0, 0, 0, 0] = (1, 2, 3)
    frames.flush()
    started = time.time()
    assert synthesised(tmp_path)[1].get("two") == "ran"
    rgb = open_arrays(workspace.layout.artifact("synthesis", "two") / "frames.zarr")["rgb"]
    assert rgb[0, 0, 0, 0].tolist() == [1, 2, 3]
    first = workspace.layout.artifact("synthesis", "one") / "artifact.json"
    assert first.stat().st_mtime < started, "the first person was left alone"
    assert not (workspace.layout.scratch / "synthesis.two").exists()
