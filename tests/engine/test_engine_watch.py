"""A run can be watched; every state names the next step; weights count."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Toys

from headworks.errors import HeadworksError
from pipelines.options import Outcome, Silent
from pipelines.plan import Decision, Unit
from pipelines.run import Options, run
from pipelines.watch import Tracker, expected_seconds, running, state_text
from pipelines.workspace import Workspace


def test_a_run_can_be_watched_from_another_terminal(toys: Toys, tmp_path: Path) -> None:
    toys.params("read: {wait_s: 0.7}")
    process = subprocess.Popen(
        toys.command("run", "--orchestrator", "none", "--jobs", "1"),
        cwd=toys.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    layout = toys.open().layout
    _wait_for(lambda: "reading" in json.dumps(running(layout)))
    process.send_signal(signal.SIGSTOP)  # nobody races with the other terminal
    try:
        said = tmp_path / "said.txt"
        with said.open("w") as out:
            watching = subprocess.Popen(
                toys.command("status", "--watch"), cwd=toys.root, stdout=out
            )
        _wait_for(lambda: "reading" in said.read_text())
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.wait() == watching.wait() == 0
    assert "read       [" in said.read_text()
    # When the run has ended, what there is then is said.
    assert "next: headworks audit a" in said.read_text()
    assert running(layout) == []


def _wait_for(holds: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


def test_time_left_comes_from_what_units_took_and_cache_hits_are_counted(toys: Toys) -> None:
    layout = toys.open().layout
    layout.make()
    (layout.runs / "r").mkdir()
    tracker = Tracker(Silent(), layout, "r", {"read": 10.0}, jobs=2)
    units = {
        Unit(stage, name): Decision(Unit(stage, name), "run")
        for stage in ("read", "double")
        for name in "abc"
    }
    tracker.begin(units)
    assert tracker.eta_s() is None, "nobody knows how long double takes"
    tracker.finished(Unit("double", "a"), Outcome("ran", 4.0))
    assert tracker.eta_s() == pytest.approx((3 * 10 + 2 * 4) / 2)
    tracker.progress(Unit("read", "a"), 0.5, "half")
    assert tracker.eta_s() == pytest.approx((2.5 * 10 + 2 * 4) / 2)
    tracker.finished(Unit("double", "b"), Outcome("hit"))
    tracker.finished(Unit("double", "c"), Outcome("restored"))
    assert tracker.eta_s() == pytest.approx(2.5 * 10 / 2)
    text = "\n".join(state_text(tracker.state()))
    assert "3/3  2 cached, 1 ran" in text
    assert "read/a  50% half" in text
    assert "about 12 s left" in text


def test_expectations_come_from_the_ledger(ran: Toys) -> None:
    ledger = ran.open().ledger.refresh()
    found = expected_seconds(ledger, ["read", "nothing"])
    assert set(found) == {"read"}
    assert found["read"] >= 0.0


def test_every_state_names_the_next_step(make_toys: Callable[..., Toys]) -> None:
    toys = make_toys("steps")
    for words in ("status", "plan", "run"):
        assert "next: headworks add" in toys.cli(words).stdout, words
    toys.add("a")
    assert "next: headworks run" in toys.cli("status").stdout
    partial = toys.cli("run", "--stage", "read", "--orchestrator", "none").stdout
    assert "next: headworks run   (4 other units" in partial
    toys.add("bad", b"bad capture")
    toys.cli("run", "--orchestrator", "none")
    for words in ("status", "plan"):
        assert "--retry-failed" in toys.cli(words).stdout, words


def test_adding_outside_a_workspace_says_that_it_makes_one(tmp_path: Path, toys: Toys) -> None:
    import skimage.io

    place = tmp_path / "elsewhere"
    place.mkdir()
    toys.root = place
    skimage.io.imsave(place / "x.png", _picture(), check_contrast=False)
    done = toys.cli("add", "x", "x.png")
    assert done.returncode == 0, done.stderr
    assert f"made a workspace of {place}" in done.stdout
    assert "made a workspace" not in toys.cli("add", "y", "x.png").stdout


def _picture():  # type: ignore[no-untyped-def]
    import numpy as np

    return np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3)


def test_weights_that_come_go_or_change_make_their_stage_stale(
    toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.bin"
    monkeypatch.setenv("TOY_WEIGHTS", str(weights))
    toys.run()

    def state() -> tuple[str, str]:
        decision = toys.open().plan()[Unit("double", "a")]
        return decision.state, "; ".join(decision.reasons)

    assert state()[0] == "ok"
    weights.write_bytes(b"weights")
    assert state() == ("run", f"weights: toy absent -> {_sha(b'weights')}")
    toys.run()
    assert state()[0] == "ok"
    manifest = json.loads((toys.root / "data/double/a.manifest.json").read_text())
    assert list(manifest["assets"]) == ["toy"]
    weights.write_bytes(b"others")
    assert state()[1] == f"weights: toy {_sha(b'weights')} -> {_sha(b'others')}"
    weights.unlink()
    assert state()[0] == "ok", "the result without weights is known"


def _sha(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()[:12]


def test_a_registry_may_limit_the_time_of_a_stage(toys: Toys) -> None:
    import toystages

    toys.add("slow", b"sleep" * 20)
    registry = [
        replace(stage, timeout_s=1.0) if stage.name == "read" else stage
        for stage in toystages.STAGES
    ]
    summary = run(
        Workspace(toys.root, registry),
        Options(orchestrator="none", jobs=2, subjects=("slow",), stages=("read",)),
    )
    assert summary.outcomes[Unit("read", "slow")].kind == "timeout"


def test_options_that_make_no_sense_are_refused(toys: Toys) -> None:
    for words in (["--timeout", "-1"], ["--jobs", "-1"]):
        assert toys.cli("run", *words).returncode == 2
    assert toys.cli("verify", "--sample", "0").returncode == 2
    assert toys.cli("gc", "--keep-days", "-1").returncode == 2
    with pytest.raises(HeadworksError, match="lineage"):
        toys.run(lineage="/nowhere/at/all")
