"""SIGKILL at any moment, several runs at once: nothing torn, nothing computed twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter

import pytest
from conftest import Toys

from pipelines.store import Objects
from pipelines.verify import verify

STEPS = ("before_compute", "computed", "stored", "committed", "checked_out", "old_moved", "renamed")


def invariants(toys: Toys) -> None:
    """What must hold at any moment, whatever happened."""
    workspace = toys.open()
    objects = Objects(workspace.layout.objects)
    rows = toys.rows()
    for row in rows:
        assert objects.whole(str(row["out_oid"])), f"{row['stage']}/{row['subject']} is torn"
    twice = {key: n for key, n in Counter(row["key"] for row in rows).items() if n > 1}
    assert not twice, "a finished unit was computed again"
    for stage in workspace.registry:
        folder = workspace.layout.data / stage.name
        for artifact in folder.iterdir() if folder.is_dir() else ():
            if artifact.is_dir():
                assert (artifact / "artifact.json").exists(), f"{artifact} is torn"


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_killed_at_any_step_leaves_nothing_torn(
    toys: Toys, clean: dict[str, bytes], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWORKS_FAULT", step)
    toys.run(stages=["read"], subjects=["a"])
    monkeypatch.delenv("HEADWORKS_FAULT")
    invariants(toys)
    summary = toys.run()
    assert summary.exit_code == 0
    invariants(toys)
    assert toys.published() == clean


def kill_at_random(toys: Toys, rounds: int, seed: int, together: int = 1) -> None:
    generator = random.Random(seed)
    for _ in range(rounds):
        command = toys.command("run", "--orchestrator", "none", "--jobs", "2")
        quiet = subprocess.DEVNULL
        running = [
            subprocess.Popen(command, cwd=toys.root, stdout=quiet, stderr=quiet)
            for _ in range(together)
        ]
        time.sleep(generator.uniform(0.25, 1.4))
        for process in running:
            process.kill()
            process.wait()
        invariants(toys)


def test_runs_killed_at_random_finish_with_the_same_bytes(
    toys: Toys, clean: dict[str, bytes]
) -> None:
    toys.params("read: {wait_s: 0.05}")
    kill_at_random(toys, 8, seed=1)
    assert toys.run().exit_code == 0
    invariants(toys)
    assert toys.published() == clean


@pytest.mark.slow
def test_killed_as_often_as_asked_for(toys: Toys, clean: dict[str, bytes]) -> None:
    """`HEADWORKS_KILLS=200 pytest -m slow -k as_often`: the figure in docs/engine.md."""
    count = int(os.environ.get("HEADWORKS_KILLS", "30"))
    seed = int(os.environ.get("HEADWORKS_KILLS_SEED", "0"))
    for part in range(0, count, 5):
        # Other params every time: there is always something to compute.
        toys.params(f"read: {{wait_s: {0.02 + (seed + part) / 1e5}}}")
        kill_at_random(toys, min(5, count - part), seed + part, together=1 + part // 5 % 2)
        if part % 20 == 15:
            assert toys.run().exit_code == 0
            invariants(toys)
            assert toys.published() == clean
    assert toys.run().exit_code == 0
    invariants(toys)
    assert toys.published() == clean
    assert verify(toys.open(), everything=True).damage == []


@pytest.mark.slow
def test_many_pairs_of_runs_killed_at_random(toys: Toys, clean: dict[str, bytes]) -> None:
    for seed in range(12):
        toys.params(f"read: {{wait_s: {0.01 + seed / 1000}}}")
        kill_at_random(toys, 4, seed, together=2)
        assert toys.run().exit_code == 0
        invariants(toys)
        assert toys.published() == clean


def test_two_runs_at_once_compute_each_unit_once(toys: Toys, clean: dict[str, bytes]) -> None:
    toys.params("read: {wait_s: 0.2}")
    command = toys.command("run", "--orchestrator", "none", "--jobs", "2")
    running = [
        subprocess.Popen(command, cwd=toys.root, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert Counter(toys.computed()).most_common(1)[0][1] == 1
    invariants(toys)
    assert toys.published() == clean


def test_workers_die_with_the_run(toys: Toys) -> None:
    toys.params("read: {wait_s: 30}")
    process = subprocess.Popen(
        toys.command("run", "--orchestrator", "none"),
        cwd=toys.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 20
    while not toys.computed() and time.monotonic() < until:
        time.sleep(0.05)
    assert toys.computed(), "nothing began"
    workers = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert workers
    process.kill()
    process.wait()
    until = time.monotonic() + 5
    while any(_alive(int(pid)) for pid in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_alive(int(pid)) for pid in workers)


def test_an_interrupted_run_says_so_and_goes_on_later(toys: Toys) -> None:
    toys.params("read: {wait_s: 30}")
    process = subprocess.Popen(
        toys.command("run", "--orchestrator", "none"),
        cwd=toys.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 20
    while not toys.computed() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=15)[1]
    assert process.returncode == 130
    assert "stopped" in said
    toys.params("")
    assert toys.run().exit_code == 0


def test_no_space_left_is_told_and_repairs_itself(
    toys: Toys, clean: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWORKS_RESERVE_MB", str(10**9))
    summary = toys.run()
    assert summary.exit_code == 7
    assert toys.computed() == []
    monkeypatch.setenv("HEADWORKS_RESERVE_MB", "1")
    assert toys.run().exit_code == 0
    assert toys.published() == clean


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
