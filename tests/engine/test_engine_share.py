"""Results travel; a second machine computes nothing; accepted code keeps results."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TOYS, Toys

from headworks.errors import HeadworksError
from pipelines.accept import accept
from pipelines.remote import pull, push


def add_remote(toys: Toys, url: Path | str, name: str = "shelf") -> None:
    """Make a folder (or URL) the workspace's default DVC remote."""
    config = toys.root / ".dvc" / "config"
    text = config.read_text().replace("[core]\n", f"[core]\n    remote = {name}\n")
    config.write_text(f"{text}['remote \"{name}\"']\n    url = {url}\n")


@pytest.fixture
def shelf(ran: Toys, tmp_path: Path) -> Path:
    """A remote with everything of a workspace."""
    folder = tmp_path / "shelf"
    add_remote(ran, folder)
    push(ran.open())
    return folder


def test_a_second_machine_runs_nothing_after_a_pull(
    shelf: Path, make_toys: Callable[..., Toys], clean: dict[str, bytes]
) -> None:
    other = make_toys("second")
    add_remote(other, shelf)
    moved = pull(other.open())
    assert moved.subjects == ["a", "b", "c"]
    other.forget_computed()
    summary = other.run()
    assert set(other.statuses(summary).values()) == {"ok"}
    assert other.computed() == []
    assert {k: v for k, v in other.published().items() if not k.endswith("_index.json")} == {
        k: v for k, v in clean.items() if not k.endswith("_index.json")
    }
    assert other.published() == clean


def test_what_two_machines_did_comes_together(
    shelf: Path, ran: Toys, make_toys: Callable[..., Toys]
) -> None:
    other = make_toys("second")
    add_remote(other, shelf)
    pull(other.open())
    other.add("d")
    other.run()
    push(other.open())
    assert len(list((shelf / "headworks" / "ledger").iterdir())) == 1
    moved = pull(ran.open())
    assert moved.subjects == ["d"]
    ran.forget_computed()
    ran.run()
    assert ran.computed() == []
    assert ran.published() == other.published()


def test_pushing_again_moves_nothing(shelf: Path, ran: Toys) -> None:
    moved = push(ran.open())
    assert (moved.objects, moved.events) == (0, 0)
    assert pull(ran.open()).objects == 0


def test_a_missing_remote_is_told_with_the_command_that_adds_one(ran: Toys) -> None:
    with pytest.raises(HeadworksError, match="dvc remote add"):
        push(ran.open())
    done = ran.cli("push", "nowhere")
    assert done.returncode == 2
    assert "dvc remote add" in done.stderr


def test_a_damaged_object_at_the_remote_does_not_come_in(
    shelf: Path, ran: Toys, make_toys: Callable[..., Toys]
) -> None:
    row = next(row for row in ran.rows() if row["stage"] == "double")
    from pipelines.store import object_path, read_tree

    tree = read_tree(ran.open().layout.objects, str(row["out_oid"]))
    assert tree is not None
    path = object_path(shelf / "files" / "md5", tree["numbers/value.json"])
    path.chmod(0o644)
    path.write_bytes(b"9" * path.stat().st_size)
    other = make_toys("second")
    add_remote(other, shelf)
    with pytest.raises(HeadworksError, match="damaged at the remote"):
        pull(other.open())
    assert not object_path(other.open().layout.objects, tree["numbers/value.json"]).exists()


def test_a_damaged_ledger_at_the_remote_is_told(
    shelf: Path, make_toys: Callable[..., Toys]
) -> None:
    for path in (shelf / "headworks" / "ledger").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    other = make_toys("second")
    add_remote(other, shelf)
    with pytest.raises(HeadworksError, match="not a readable ledger"):
        pull(other.open())


def test_plain_dvc_pull_finds_everything(
    make_toys: Callable[..., Toys], tmp_path: Path, clean: dict[str, bytes]
) -> None:
    toys = make_toys("tracked", dvc=True)
    toys.add("a")
    toys.run()
    add_remote(toys, tmp_path / "shelf")
    push(toys.open())
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("dvc.yaml", "dvc.lock", "params.yaml"):
        shutil.copy(toys.root / name, clone / name)
    (clone / ".dvc").mkdir()
    shutil.copy(toys.root / ".dvc" / "config", clone / ".dvc" / "config")
    (clone / "data").mkdir()
    shutil.copy(toys.root / "data" / "raw.dvc", clone / "data" / "raw.dvc")
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "pull"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (clone / "data" / "raw" / "a" / "capture.png").is_file()
    assert (clone / "data" / "join" / "a" / "artifact.json").is_file()


def test_a_workspace_that_was_copied_is_up_to_date(ran: Toys, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    shutil.copytree(ran.root, target, copy_function=shutil.copyfile)
    done = subprocess.run(
        [*ran.command("plan")], cwd=target, capture_output=True, text=True, check=True
    )
    assert "nothing to do" in done.stdout, done.stdout


@pytest.fixture
def own_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the toy stages that a test may edit."""
    folder = tmp_path / "code"
    shutil.copytree(TOYS / "toystages", folder / "toystages")
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root}:{folder}")
    return folder / "toystages"


def test_accepted_code_keeps_results_and_says_who_and_when(
    toys: Toys, own_stages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWORKS_USER", "somebody")
    assert toys.cli("run", "--orchestrator", "none").returncode == 0
    path = own_stages / "double.py"
    path.write_text(path.read_text().replace("number * params.factor", "params.factor * number"))
    assert "code changed: toystages.double" in toys.cli("plan").stdout
    done = toys.cli("accept", "double", "--reason", "the same product")
    assert done.returncode == 0, done.stderr
    assert "3 results are kept" in done.stdout
    assert "nothing to do" in toys.cli("plan").stdout
    assert '"who": "somebody"' in toys.cli("audit", "double/a", "--json").stdout
    # A result made by accepted code says which code it was really made by.
    toys.add("d")
    assert toys.cli("run", "--orchestrator", "none").returncode == 0
    rows = {row["subject"]: row for row in toys.rows() if row["stage"] == "double"}
    assert rows["d"]["code"] == rows["a"]["code"]
    assert rows["d"]["code_seen"] not in (None, rows["d"]["code"])
    path.write_text(path.read_text().replace("params.factor * number", "params.factor + number"))
    assert "code changed" in toys.cli("plan").stdout


def test_there_must_be_something_to_accept(ran: Toys) -> None:
    with pytest.raises(HeadworksError, match="nothing to accept"):
        accept(ran.open(), "double")
    with pytest.raises(HeadworksError, match="no stage"):
        accept(ran.open(), "treble")


@pytest.mark.slow
def test_a_bucket_serves_like_a_folder(
    ran: Toys, make_toys: Callable[..., Toys], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 as `dvc-s3` speaks it, to a server on this machine."""
    pytest.importorskip("dvc_s3")
    server_of = pytest.importorskip("moto.server")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = server_of.ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        import boto3

        boto3.client("s3", endpoint_url=url).create_bucket(Bucket="heads")
        add_bucket(ran, url)
        push(ran.open())
        assert push(ran.open()).objects == 0
        other = make_toys("second")
        add_bucket(other, url)
        assert pull(other.open()).subjects == ["a", "b", "c"]
        other.forget_computed()
        assert set(other.statuses(other.run()).values()) == {"ok"}
        assert other.computed() == []
        from pipelines.forget import forget

        told = forget(ran.open(), "a", ["shelf"])
        assert told["at_remotes"]["shelf"] > 0
        listed = boto3.client("s3", endpoint_url=url).list_objects_v2(Bucket="heads")
        oids = {"".join(item["Key"].split("/")[-2:]) for item in listed["Contents"]}
        assert hashlib.md5(b"a" * 50, usedforsecurity=False).hexdigest() not in oids
    finally:
        server.stop()


def add_bucket(toys: Toys, endpoint: str) -> None:
    """Make a bucket on this machine the default remote."""
    add_remote(toys, "s3://heads/store")
    config = toys.root / ".dvc" / "config"
    config.write_text(config.read_text() + f"    endpointurl = {endpoint}\n")
