"""Prefect shows and retries; it never decides."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import Toys


def ask(url: str, what: str) -> Any:
    request = urllib.request.Request(
        f"{url}/{what}/filter", data=b"{}", headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read())


def test_a_server_out_of_reach_costs_a_warning_and_nothing_else(toys: Toys) -> None:
    done = toys.cli("run", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 0
    assert "ran 11" in done.stdout
    assert done.stdout.count("no Prefect server answers at http://127.0.0.1:9/api") == 1


def test_a_prefect_that_breaks_in_the_middle_fails_no_unit(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second task is lost by Prefect, the flow itself ends with an error."""
    from pipelines import prefect_flow

    class Future:
        def __init__(self, lost: bool) -> None:
            self.lost = lost

        def add_done_callback(self, call: Any) -> None:
            call(self)

    class Task:
        def __init__(self, submitter: Any) -> None:
            self.submitter = submitter
            self.count = 0

        def submit(self, name: str) -> Future:
            self.count += 1
            if self.count % 3 == 0:
                raise ConnectionError("the server has gone")
            if self.count % 3 == 1:
                self.submitter.supervise(name)
            return Future(self.count % 3 == 2)

    def flow(layout: Any, attempts: Any, loop: Any, plain: Any, *rest: Any) -> None:
        submitter = prefect_flow._TaskSubmitter(attempts, loop, plain)
        submitter.task = Task(submitter)
        loop.run(submitter)
        raise RuntimeError("the flow's end could not be told")

    monkeypatch.setattr(prefect_flow, "_flow", flow)
    monkeypatch.setattr(prefect_flow.PrivateServer, "begin", lambda self: None)
    summary = toys.run(orchestrator="prefect")
    assert summary.exit_code == 0
    assert summary.count("ran") == 11
    assert len(toys.computed()) == 11
    assert len(summary.notes) == 1


@pytest.mark.slow
def test_a_run_needs_no_server_set_up_first(toys: Toys) -> None:
    toys.add("x", b"flaky", suffix=".mp4")
    toys.add("y", b"bad", suffix=".mp4")
    home = toys.root / "home"
    home.mkdir()
    done = toys.cli("run", HOME=str(home))
    assert done.returncode == 3
    assert "note:" not in done.stdout
    assert "refect" not in done.stdout + done.stderr
    assert toys.computed().count("read x") == 2
    assert not (home / ".prefect").exists()
    left = subprocess.run(
        ["pgrep", "-f", "pipelines.prefect_server"], capture_output=True, text=True, check=False
    )
    mine = [p for p in left.stdout.split() if str(toys.root) in _cwd(p)]
    assert not mine


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_no_server_and_no_worker(toys: Toys, number: int) -> None:
    toys.params("read: {wait_s: 60}")
    process = subprocess.Popen(
        toys.command("run"),
        cwd=toys.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 180
    while not toys.computed() and time.monotonic() < until:
        time.sleep(0.1)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(children) >= 2, "a worker and a server"
    process.send_signal(number)
    assert process.wait(20) == (-number if number == signal.SIGKILL else 130)
    until = time.monotonic() + 10
    while any(_cwd(pid) for pid in children) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(_cwd(pid) for pid in children)


def _cwd(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


@pytest.mark.slow
def test_a_run_shows_in_the_configured_server(toys: Toys, tmp_path: Path) -> None:
    toys.add("x", b"flaky", suffix=".mp4")
    toys.add("y", b"bad", suffix=".mp4")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        from pipelines.prefect_server import answers

        until = time.monotonic() + 180
        while not answers(url) and time.monotonic() < until:
            time.sleep(0.3)
        done = toys.cli("run", "--json", PREFECT_API_URL=url)
        assert done.returncode == 3, done.stderr
        summary = json.loads(done.stdout)
        (flow,) = ask(url, "flow_runs")
        assert flow["name"] == summary["run_id"]
        assert flow["state_type"] == "FAILED"
        expected = {
            f"{u['stage']}/{u['subject']}": u["status"]
            for u in summary["units"]
            if u["status"] != "blocked"
        }
        until = time.monotonic() + 30
        while time.monotonic() < until:
            tasks = {task["name"]: task for task in ask(url, "task_runs")}
            if {t["state_type"] for t in tasks.values()} <= {"COMPLETED", "FAILED"}:
                break
            time.sleep(0.5)
        assert set(tasks) == set(expected)
        for name, status in expected.items():
            wanted = "FAILED" if status == "failed" else "COMPLETED"
            assert tasks[name]["state_type"] == wanted, name
        assert tasks["read/x"]["run_count"] == 2
        assert tasks["read/y"]["run_count"] == 1
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)
