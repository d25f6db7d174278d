"""Whatever is deleted, damaged, full, read-only or late: a run ends with the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Toys, fill
from test_engine_crash import invariants

from headworks.errors import HeadworksError
from pipelines.doctor import checks, mend_all
from pipelines.gc import collect, find_garbage
from pipelines.ledger import Ledger
from pipelines.locks import Lock
from pipelines.rebuild import rebuild
from pipelines.verify import verify


def newest_base(toys: Toys) -> Path:
    """The ledger's newest table."""
    folder = toys.open().layout.hidden / "ledger"
    return max(folder.glob("base-*.parquet"), key=lambda path: path.stat().st_mtime_ns)


def test_a_lost_ledger_comes_back_from_manifests_and_nothing_is_computed(
    ran: Toys, clean: dict[str, bytes]
) -> None:
    before = {row["key"]: row for row in ran.rows()}
    shutil.rmtree(ran.root / ".headworks" / "ledger")
    assert any("headworks doctor --mend" in text for _, _, text in checks(ran.open()))
    said = ran.cli("doctor", "--mend")
    assert said.returncode == 0, said.stderr
    assert "11 events from manifests" in said.stdout
    ran.forget_computed()
    summary = ran.run()
    assert set(ran.statuses(summary).values()) == {"ok"}
    assert ran.computed() == []
    assert ran.published() == clean
    after = {row["key"]: row for row in ran.rows()}
    assert set(after) == set(before)
    for key, row in after.items():
        assert {**row, "pid": None} == {**before[key], "pid": None}


def test_a_lost_ledger_and_cache_come_back_from_what_is_published(
    ran: Toys, clean: dict[str, bytes]
) -> None:
    shutil.rmtree(ran.root / ".headworks")
    shutil.rmtree(ran.root / ".dvc" / "cache")
    assert rebuild(ran.open()) == [
        "took 11 results from data/ into the cache",
        "took 11 events from manifests into the ledger",
    ]
    ran.forget_computed()
    assert ran.run().exit_code == 0
    assert ran.computed() == []
    assert ran.published() == clean


@pytest.mark.parametrize(
    "lose",
    [
        ".headworks",
        ".headworks/ledger",
        ".headworks/published",
        ".headworks/code.json",
        ".dvc/cache",
        "data/read",
        "data/join/a",
        "data/join/a/artifact.json",
        "data/join/a.manifest.json",
        "data/join/_index.json",
    ],
)
def test_whatever_is_deleted_a_run_gives_the_same_bytes(
    ran: Toys, clean: dict[str, bytes], lose: str
) -> None:
    path = ran.root / lose
    assert path.exists()
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert ran.run().exit_code == 0
    assert ran.published() == clean
    assert verify(ran.open()).damage == []


@pytest.mark.parametrize("garbage", [b"[1, 2]", pytest.param(b"", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "damage",
    [
        "ledger",
        ".headworks/published/join/a.json",
        ".headworks/code.json",
        ".headworks/fingerprints.json",
        "data/join/a.manifest.json",
        "data/join/_index.json",
        "data/join/a/numbers/value.json",
    ],
)
def test_whatever_is_overwritten_a_run_gives_the_same_bytes(
    ran: Toys, clean: dict[str, bytes], damage: str, garbage: bytes
) -> None:
    path = newest_base(ran) if damage == "ledger" else ran.root / damage
    path.write_bytes(garbage)
    assert ran.run().exit_code == 0
    assert ran.published() == clean
    invariants_of_stored(ran)


def invariants_of_stored(toys: Toys) -> None:
    """Everything that units rely on is whole."""
    assert verify(toys.open()).damage == []


def test_a_torn_ledger_is_written_anew_by_the_doctor(ran: Toys) -> None:
    path = newest_base(ran)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert ran.open().ledger.refresh().torn
    lines = mend_all(ran.open())
    assert any("11 events from manifests" in line for line in lines)
    assert ran.open().ledger.refresh().torn == 0
    assert mend_all(ran.open()) == ["nothing to mend"]


def test_a_clock_put_back_does_not_confuse_what_is_newest(
    ran: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ran.open().layout.hidden / "ledger"
    first = Ledger(folder)
    first.append("claim", key="k1x", stage="double", subject="a", run_id="1")
    now = time.time_ns()
    monkeypatch.setattr("pipelines.ledger.time.time_ns", lambda: now - 10**15)
    second = Ledger(folder)
    second.append("claim", key="k1y", stage="double", subject="a", run_id="2")
    assert Ledger(folder).refresh().claim("double", "a") == "k1y"
    first.close()
    second.close()
    Ledger(folder).compact()
    assert Ledger(folder).refresh().claim("double", "a") == "k1y"


def test_a_run_with_the_clock_put_back_finishes_and_settles(
    toys: Toys, clean: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert toys.run(stages=["read"]).exit_code == 0
    real = time.time_ns
    monkeypatch.setattr("pipelines.ledger.time.time_ns", lambda: real() - 10**16)
    assert toys.run().exit_code == 0
    assert set(toys.statuses(toys.run()).values()) == {"ok"}
    events = toys.open().ledger.refresh().events
    toys.run()
    assert toys.open().ledger.refresh().events == events
    assert toys.published() == clean


def test_a_unit_that_takes_too_long_is_ended_and_the_others_are_not(toys: Toys) -> None:
    toys.add("slow", b"sleep" * 20)
    summary = toys.run(timeout_s=1.5, jobs=2)
    statuses = toys.statuses(summary)
    assert statuses["read/slow"] == "failed"
    assert "took longer than the 1.5 s" in summary.outcomes[("read", "slow")].message
    assert statuses["join/a"] == "ran"
    assert summary.exit_code == 3
    invariants(toys)
    # It may pass another time: nobody has to ask for it.
    assert toys.open().plan()[("read", "slow")].state == "run"


def test_children_of_a_unit_that_is_ended_die_with_it(toys: Toys, tmp_path: Path) -> None:
    toys.add("child", b"child" * 20)
    toys.run(timeout_s=1.5, subjects=["child"], stages=["read"])
    pids = [int(pid) for pid in (tmp_path / "marks" / "children").read_text().split()]
    assert pids
    until = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own, that is soon full."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_told_and_after_making_room_the_bytes_are_the_same(
    make_toys: Callable[..., Toys],
    clean: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADWORKS_RESERVE_MB", "0")
    with small_disk(tmp_path / "disk", "3m"):
        toys = fill(make_toys("disk/workspace"))
        ballast = toys.root / "ballast"
        rounds = 0
        for free in (16, 48, 96, 160):
            stat = os.statvfs(toys.root)
            room = stat.f_bavail * stat.f_frsize - free * 1024
            if room > 0:
                ballast.write_bytes(b"x" * room)
            done = toys.cli("run", "--orchestrator", "none", "--jobs", "1")
            ballast.unlink(missing_ok=True)
            if done.returncode == 0:
                break
            rounds += 1
            assert done.returncode in (1, 3, 7), done.stderr
            invariants(toys)
        assert rounds >= 1, "the disk was never full"
        assert toys.cli("run", "--orchestrator", "none").returncode == 0
        invariants(toys)
        assert toys.published() == clean
        assert verify(toys.open()).damage == []


def test_a_read_only_workspace_can_be_asked_and_refuses_to_run_clearly(
    make_toys: Callable[..., Toys], ran: Toys, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "20m"):
        root = tmp_path / "disk" / "workspace"
        shutil.copytree(ran.root, root)
        toys = Toys.__new__(Toys)
        toys.root = root
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        for words in (["plan"], ["status"], ["audit", "join/a"], ["verify"]):
            done = toys.cli(*words)
            assert done.returncode == 0, (words, done.stderr)
        done = toys.cli("run", "--orchestrator", "none")
        assert done.returncode == 2
        assert "read-only" in done.stderr.lower()
        subprocess.run(["mount", "-o", "remount,rw", str(tmp_path / "disk")], check=True)
        assert toys.cli("run", "--orchestrator", "none").returncode == 0


def test_garbage_is_listed_first_and_what_is_needed_stays(
    ran: Toys, clean: dict[str, bytes]
) -> None:
    ran.params("double: {factor: 3}")
    ran.run()
    assert find_garbage(ran.open()).objects == {}
    found = find_garbage(ran.open(), keep_days=0, min_age_h=0)
    assert len(found.results) == 7
    assert found.bytes > 0
    assert find_garbage(ran.open(), keep_days=0, min_age_h=0).objects == found.objects
    collect(ran.open(), keep_days=0, min_age_h=0)
    assert find_garbage(ran.open(), keep_days=0, min_age_h=0).objects == {}
    assert verify(ran.open(), everything=True).damage == []
    assert set(ran.statuses(ran.run()).values()) == {"ok"}
    ran.params("")
    ran.forget_computed()
    assert ran.run().exit_code == 0
    assert len(ran.computed()) == 7
    assert ran.published() == clean


def test_gc_waits_for_nobody_and_touches_nothing_during_a_run(ran: Toys) -> None:
    with (
        Lock(ran.open().layout.locks / "runs", shared=True),
        pytest.raises(HeadworksError, match="run is going on"),
    ):
        collect(ran.open())
