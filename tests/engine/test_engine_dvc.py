"""DVC and the engine do the same work and agree about it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Toys

from pipelines.dvcsync import dvc_yaml
from stages.registry import STAGES


def dvc(toys: Toys, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run dvc as a user does who has activated no environment."""
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=toys.root,
        env={**os.environ, "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def tracked(make_toys: Callable[..., Toys]) -> Toys:
    """Toys with dvc.yaml."""
    made = make_toys("tracked", dvc=True)
    for name, suffix in (("a", ".png"), ("c", ".mp4")):
        made.add(name, suffix=suffix)
    return made


def test_dvc_yaml_is_the_generated_one() -> None:
    assert (ROOT / "dvc.yaml").read_text() == dvc_yaml(STAGES, ROOT)


def test_dvc_yaml_has_one_stage_per_step() -> None:
    import yaml

    body = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    assert list(body["stages"]) == [stage.name for stage in STAGES]


def test_dvc_agrees_after_a_run_and_repro_has_nothing_to_do(tracked: Toys) -> None:
    summary = tracked.run()
    assert summary.stages == ["read", "teach", "double", "join", "report"]
    assert "up to date" in dvc(tracked, "status").stdout
    repro = dvc(tracked, "repro")
    assert repro.returncode == 0
    assert "headworks run" not in repro.stdout
    assert tracked.run().stages == []
    assert "a.mean" in dvc(tracked, "metrics", "show").stdout
    assert dvc(tracked, "plots", "show").returncode == 0
    dag = dvc(tracked, "dag").stdout
    assert all(name in dag for name in ("read", "double", "teach", "join", "report"))


def test_repro_runs_what_a_parameter_made_stale(tracked: Toys) -> None:
    tracked.run()
    params = (tracked.root / "params.yaml").read_text()
    tracked.params(params.replace("offset: 0", "offset: 4"))
    tracked.forget_computed()
    repro = dvc(tracked, "repro")
    assert repro.returncode == 0, repro.stderr
    assert sorted(tracked.computed()) == ["join a", "join c", "report all"]
    assert tracked.run().count("ok") == 8
    assert "up to date" in dvc(tracked, "status").stdout


@pytest.mark.slow
def test_repro_from_nothing_does_the_same_work_as_run(
    tracked: Toys, make_toys: Callable[..., Toys]
) -> None:
    other = make_toys("other", dvc=True)
    for name, suffix in (("a", ".png"), ("c", ".mp4")):
        other.add(name, suffix=suffix)
    tracked.run()
    repro = dvc(other, "repro")
    assert repro.returncode == 0, repro.stderr
    assert other.published() == tracked.published()
    assert "up to date" in dvc(other, "status").stdout
    assert other.run().count("ok") == 8


def test_a_failed_unit_fails_repro_and_leaves_the_lock(tracked: Toys) -> None:
    tracked.run()
    lock = (tracked.root / "dvc.lock").read_bytes()
    tracked.add("x", b"bad", suffix=".mp4")
    assert dvc(tracked, "repro").returncode != 0
    assert (tracked.root / "dvc.lock").read_bytes() == lock


def test_the_quick_way_writes_the_lock_that_dvc_would(
    tracked: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked.run()
    lock = tracked.root / "dvc.lock"
    quick = lock.read_text()
    lock.unlink()

    def broken(*arguments: object) -> bool:
        raise AttributeError("DVC changed")

    monkeypatch.setattr("pipelines.dvcsync._fast", broken)
    tracked.run()
    assert lock.read_text() == quick


def test_switching_back_gives_the_lock_back(tracked: Toys) -> None:
    tracked.run()
    lock = (tracked.root / "dvc.lock").read_bytes()
    params = (tracked.root / "params.yaml").read_text()
    tracked.params(params.replace("factor: 2.0", "factor: 3.0"))
    tracked.run()
    assert (tracked.root / "dvc.lock").read_bytes() != lock
    tracked.params(params)
    tracked.run()
    assert (tracked.root / "dvc.lock").read_bytes() == lock


def test_raw_captures_belong_to_dvc(tracked: Toys) -> None:
    tracked.run()
    assert (tracked.root / "data" / "raw.dvc").exists()
    capture = tracked.root / "data/raw/a/capture.png"
    content = capture.read_bytes()
    capture.unlink()
    assert dvc(tracked, "checkout", "data/raw.dvc").returncode == 0
    assert capture.read_bytes() == content
    assert Path(ROOT / ".gitignore").read_text().count("/data/*")
