"""The same run on a cluster of processes on this machine; workers may die."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
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
from pipelines.options import Options, read_needs
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

    def private(self) -> list[Path]:
        """Folders in which workers without the workspace computed."""
        return sorted(self.folder.glob("space*/**/headworks-*/.dvc/cache/files/md5"))

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
    killer = threading.Thread(target=_kill_when_busy, args=(toys, victim))
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
def test_prefect_supervises_what_a_cluster_computes(
    cluster: Cluster, toys: Toys, clean: dict[str, bytes]
) -> None:
    toys.add("x", b"flaky", suffix=".mp4")
    cluster.worker()
    summary = toys.run(cluster=cluster.address, orchestrator="prefect", jobs=0)
    assert summary.exit_code == 0, toys.statuses(summary)
    assert summary.notes == [], "Prefect was there to the end"
    assert toys.computed().count("read x") == 2
    published = toys.published()
    for name, data in clean.items():
        if not name.startswith("report/") and not name.endswith("_index.json"):
            assert published[name] == data, name


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
    asked = replace(options, needs=("double.GPU=0.25",))
    with pytest.raises(HeadworksError, match=r"double needs .*GPU.*0\.25"):
        run(toys.open(), asked)
    gpu = cluster.worker("--resources", "GPU=1", "--name", "with-gpu")
    summary = run(Workspace(toys.root, registry), options)
    assert summary.exit_code == 0
    rows = [row for row in toys.rows() if row["stage"] == "double"]
    assert len(rows) == 3
    parents = {_parent(gpu.pid, int(str(row["pid"]))) for row in rows}
    assert parents == {True}


def test_what_a_run_asks_for_comes_over_what_a_stage_needs() -> None:
    import toystages

    registry = [replace(toystages.STAGES[0], resources={"GPU": 0.5, "RAM": 2}), toystages.STAGES[2]]
    asked = read_needs(["read.GPU=1", "double.TPU=0.25"], registry)
    assert asked == {"read": {"GPU": 1.0, "RAM": 2}, "double": {"TPU": 0.25}}
    assert registry[0].resources == {"GPU": 0.5, "RAM": 2}
    for wrong in ("read", "read=1", "reed.GPU=1", "read.GPU=0", "read.GPU=-1", "read.GPU=nan"):
        with pytest.raises(HeadworksError, match=r"STAGE\.RESOURCE=AMOUNT"):
            read_needs([wrong], registry)


def _parent(parent: int, pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rsplit(")", 1)[1].split()[1]) == parent


@pytest.mark.slow
def test_an_address_where_nobody_answers_is_told(toys: Toys) -> None:
    done = toys.cli("run", "--cluster", "tcp://127.0.0.1:1", "--orchestrator", "none")
    assert done.returncode == 2
    assert "no scheduler answers" in done.stderr


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a folder in a bucket of an S3 server on this machine."""
    pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("dvc_s3")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
    }.items():
        monkeypatch.setenv(name, value)
    with open(tmp_path / "s3.txt", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        boto3.client("s3").create_bucket(Bucket="heads")
        yield "s3://heads/shelf"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


SECRET = "a-secret-that-nobody-may-find"


def test_machines_that_share_only_a_bucket_give_the_same_bytes_and_may_be_lost(
    bucket: str, cluster: Cluster, toys: Toys, clean: dict[str, bytes], tmp_path: Path
) -> None:
    """Workers see neither the workspace's path nor each other's folders."""
    victim = cluster.worker()
    cluster.worker()
    with pytest.raises(HeadworksError, match="cannot be written"):
        toys.run(cluster=cluster.address, storage="s3://no-such-bucket/shelf")
    toys.params("read: {wait_s: 0.7}")
    killer = threading.Thread(target=_kill_when_busy, args=(toys, victim))
    killer.start()
    summary = toys.run(cluster=cluster.address, storage=bucket, jobs=0)
    killer.join()
    assert victim.wait() == -signal.SIGKILL
    assert summary.exit_code == 0, toys.statuses(summary)
    invariants(toys)
    assert toys.published() == clean
    assert cluster.private(), "computed elsewhere than in a folder of the worker's own"
    log = next(toys.open().layout.runs.glob("*/log/read.a.1.txt"))
    assert log.exists()
    # Switching back is free, and needs no cluster.
    toys.forget_computed()
    assert toys.run().count("ok") == 11
    # The same place is a remote: a machine that never saw the cluster takes its results.
    from pipelines.remote import pull, push

    assert push(toys.open(), bucket).events > 0
    other = Toys(tmp_path / "other")
    other.params("read: {wait_s: 0.7}")
    pull(other.open(), bucket)
    assert other.run().count("ok") == 11
    assert other.published() == clean
    assert toys.computed() == []
    # Who is forgotten is gone from there, too.
    from pipelines.afar import storages
    from pipelines.forget import forget

    assert storages(toys.open().layout) == [bucket]
    assert forget(toys.open(), "a", [bucket])["at_remotes"][bucket] > 0
    import boto3

    client = boto3.client("s3")
    for item in client.list_objects_v2(Bucket="heads")["Contents"]:
        body = client.get_object(Bucket="heads", Key=item["Key"])["Body"].read()
        assert b"a" * 50 not in body
        assert b'"a/' not in body
    # Credentials stay in the surroundings.
    for root in (toys.root, cluster.folder):
        for path in root.rglob("*"):
            if path.is_file():
                assert SECRET.encode() not in path.read_bytes(), path


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    from pipelines.shelf import check_url

    with pytest.raises(HeadworksError, match="leave credentials out") as told:
        check_url(f"s3://key:{SECRET}@heads/shelf")
    assert SECRET not in str(told.value)
    for url in (f"s3://key:a/{SECRET}@heads/shelf", f"https://heads/shelf?sig={SECRET}"):
        with pytest.raises(HeadworksError, match="leave credentials out") as told:
            check_url(url)
        assert SECRET not in str(told.value)
    with pytest.raises(HeadworksError, match="absolute path"):
        check_url("shelf")


def _kill_when_busy(toys: Toys, victim: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while not toys.computed() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.3)
    os.killpg(victim.pid, signal.SIGKILL)
