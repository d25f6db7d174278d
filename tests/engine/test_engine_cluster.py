"""The same run on a cluster of processes on this machine; workers may die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Toys
from test_engine_crash import invariants

from headworks.errors import HeadworksError
from pipelines.options import Options
from pipelines.run import run
from pipelines.workspace import Workspace

pytest.importorskip("distributed")


class Cluster:
    """A scheduler and workers, each a process of its own.

    Args:
        folder: for their files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self._contact = folder / "scheduler.json"
        flags = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        self._start("scheduler", *flags)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                self.address = json.loads(self._contact.read_text())["address"]
                return
            except (OSError, ValueError, KeyError):
                time.sleep(0.1)
        raise RuntimeError("no scheduler")

    def _start(self, kind: str, *flags: str) -> subprocess.Popen[bytes]:
        log = open(self.folder / f"{kind}{len(self.processes)}.txt", "wb")  # noqa: SIM115
        command = [sys.executable, "-m", "dask", kind, "--scheduler-file", str(self._contact)]
        process = subprocess.Popen(
            [*command, *flags], stdout=log, stderr=log, cwd=self.folder, start_new_session=True
        )
        self.processes.append(process)
        return process

    def worker(self, *flags: str) -> subprocess.Popen[bytes]:
        """Start a worker and wait until the scheduler knows it."""
        from distributed import Client

        place = str(self.folder / f"space{len(self.processes)}")
        process = self._start(
            "worker", "--nthreads", "1", "--no-nanny", "--no-dashboard",
            "--local-directory", place, *flags,
        )  # fmt: skip
        with Client(self.address, timeout=30, set_as_default=False) as client:
            client.wait_for_workers(len(self.processes) - 1, timeout=60)
        return process

    def stop(self) -> None:
        """End everything."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path, toys: Toys) -> Iterator[Cluster]:
    """A scheduler without workers."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    made = Cluster(folder)
    yield made
    made.stop()


def test_a_cluster_gives_the_same_bytes_and_survives_the_loss_of_a_worker(
    cluster: Cluster, toys: Toys, clean: dict[str, bytes]
) -> None:
    with pytest.raises(HeadworksError, match="no workers there"):
        toys.run(cluster=cluster.address)
    victim = cluster.worker()
    cluster.worker()
    toys.params("read: {wait_s: 1.0}")

    def kill_when_busy() -> None:
        until = time.monotonic() + 60
        while not toys.computed() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.3)
        os.killpg(victim.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_when_busy)
    killer.start()
    summary = toys.run(cluster=cluster.address, jobs=0)
    killer.join()
    assert victim.wait() == -signal.SIGKILL
    assert summary.exit_code == 0, toys.statuses(summary)
    invariants(toys)
    assert toys.published() == clean
    # What the lost worker had begun was begun again, and nothing else.
    again = Counter(toys.computed())
    assert max(again.values()) <= 2
    assert len([unit for unit, count in again.items() if count > 1]) <= 1


@pytest.mark.slow
def test_a_stage_goes_where_its_resources_are(cluster: Cluster, toys: Toys) -> None:
    import toystages

    registry = [
        replace(stage, resources={"GPU": 0.5}) if stage.name == "double" else stage
        for stage in toystages.STAGES
    ]
    options = Options(orchestrator="none", cluster=cluster.address)
    cluster.worker()
    with pytest.raises(HeadworksError, match=r"double needs .*GPU.*0\.5"):
        run(Workspace(toys.root, registry), options)
    gpu = cluster.worker("--resources", "GPU=1", "--name", "with-gpu")
    summary = run(Workspace(toys.root, registry), options)
    assert summary.exit_code == 0
    rows = [row for row in toys.rows() if row["stage"] == "double"]
    assert len(rows) == 3
    parents = {_parent(gpu.pid, int(str(row["pid"]))) for row in rows}
    assert parents == {True}


def _parent(parent: int, pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rsplit(")", 1)[1].split()[1]) == parent


@pytest.mark.slow
def test_an_address_where_nobody_answers_is_told(toys: Toys) -> None:
    done = toys.cli("run", "--cluster", "tcp://127.0.0.1:1", "--orchestrator", "none")
    assert done.returncode == 2
    assert "no scheduler answers" in done.stderr
