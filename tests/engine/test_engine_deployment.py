"""The files that start the engine at a site do so, as far as loopback goes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from conftest import Toys

from pipelines.params import parse_yaml

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "deployment"


def slurm_cluster() -> ModuleType:
    """docs/deployment/slurm/cluster.py."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("slurm_cluster", FOLDER / "slurm" / "cluster.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_workers_are_asked_for_from_slurm_by_a_sound_script(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    module = slurm_cluster()
    words = ["/shared/workspace", "--gpus", "1", "--partition", "gpu", "--cpus", "6"]
    with module.make_cluster(module.parse(words)) as cluster:
        script = cluster.job_script()
        port = cluster.scheduler_address.rsplit(":", 1)[1]
    (tmp_path / "job.sh").write_text(script)
    subprocess.run(["bash", "-n", str(tmp_path / "job.sh")], check=True)
    for line in ("-p gpu", "--cpus-per-task=6", "--gpus-per-task=1", "-t 12:00:00"):
        assert f"#SBATCH {line}\n" in script
    assert "export HEADWORKS_ROOT=/shared/workspace" in script
    assert f":{port} " in script
    assert "--nthreads 1" in script
    assert "--resources GPU=1" in script


@pytest.mark.slow
def test_the_batch_script_runs_a_workspace_to_its_end(
    toys: Toys, tmp_path: Path, clean: dict[str, bytes]
) -> None:
    """Slurm itself is played: `srun` starts one task on this machine."""
    pytest.importorskip("distributed")
    tools = tmp_path / "tools"
    tools.mkdir()
    python = sys.executable
    for name, text in {
        "srun": 'exec "$@"',
        "dask": f'exec {python} -m dask "$@"',
        "headworks": f'exec {python} -m pipelines.cli "$@" --orchestrator none',
        "python": f'exec {python} "$@"',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    process = subprocess.Popen(
        ["bash", str(FOLDER / "slurm" / "headworks.sbatch"), str(toys.root)],
        env={
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "7",
            "SLURM_NTASKS": "1",
            "TMPDIR": str(tmp_path),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said = process.communicate(timeout=240)[0]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said
    assert "ran 11" in said
    assert toys.published() == clean
    assert not list((toys.root / ".headworks").glob("dask-*.json")), "the contact file was left"


def test_the_cluster_of_pods_fits_together() -> None:
    text = (FOLDER / "kubernetes" / "workers.yaml").read_text()
    bodies = [parse_yaml(part, "workers.yaml") for part in re.split(r"^---$", text, flags=re.M)]
    kinds = {(body["kind"], body["metadata"]["name"]): body for body in bodies}
    service = kinds["Service", "headworks-scheduler"]
    worker = kinds["Deployment", "headworks-worker"]["spec"]["template"]["spec"]
    (container,) = worker["containers"]
    port = service["spec"]["ports"][0]["port"]
    assert f"tcp://headworks-scheduler:{port}" in container["command"]
    claim = worker["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert ("PersistentVolumeClaim", claim) in kinds
    (mount,) = container["volumeMounts"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment["HEADWORKS_ROOT"] == mount["mountPath"]


@pytest.mark.slow
def test_the_pool_of_pods_is_one_that_prefect_makes_jobs_of() -> None:
    """By prefect-kubernetes' own model, with the variables that the deployment sets."""
    worker = pytest.importorskip("prefect_kubernetes.worker")
    from prefect.utilities.templating import apply_values

    template = json.loads((FOLDER / "kubernetes" / "work-pool.json").read_text())
    body = parse_yaml((FOLDER / "prefect" / "prefect.yaml").read_text(), "prefect.yaml")
    (deployment,) = [d for d in body["deployments"] if d["name"] == "nightly-kubernetes"]
    known = template["variables"]["properties"]
    asked = {"command": "prefect flow-run execute", **deployment["work_pool"]["job_variables"]}
    assert set(asked) <= set(known)
    values = {name: one["default"] for name, one in known.items() if "default" in one} | asked
    filled = apply_values(template["job_configuration"], values)
    made = worker.KubernetesWorkerJobConfiguration.model_validate(filled)
    pod = made.job_manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "headworks:latest"
    assert container["volumeMounts"][0]["mountPath"] == deployment["parameters"]["workspace"]
    assert pod["volumes"][0]["name"] == container["volumeMounts"][0]["name"]
    text = (FOLDER / "kubernetes" / "workers.yaml").read_text()
    assert f"claimName: {pod['volumes'][0]['persistentVolumeClaim']['claimName']}" in text


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """URL of a Prefect server on this machine."""
    from pipelines.prefect_server import answers

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
        env=prefect_environment(tmp_path, None),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}/api"
    try:
        until = time.monotonic() + 420
        while not answers(url) and time.monotonic() < until:
            time.sleep(0.3)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def prefect_environment(folder: Path, url: str | None) -> dict[str, str]:
    """Variables of a Prefect of its own."""
    return {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **({"PREFECT_API_URL": url} if url else {}),
    }


@pytest.mark.slow
def test_a_deployment_runs_a_workspace_to_its_end_and_shows_tables_and_pictures(
    server: str, make_toys: Callable[..., Toys], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_engine_prefect import ask

    monkeypatch.setenv("HEADWORKS_REGISTRY", "toystages.pictured:STAGES")
    toys = make_toys("deployed")
    toys.params("")
    for name in ("a", "b"):
        toys.add(name)
    environment = {
        **prefect_environment(tmp_path, server),
        "HEADWORKS_DEPLOYMENT_DIR": str(FOLDER / "prefect"),
        "HEADWORKS_WORKSPACE": str(toys.root),
    }

    def prefect(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *words],
            env=environment,
            cwd=FOLDER / "prefect",
            capture_output=True,
            text=True,
            timeout=420,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    prefect("work-pool", "create", "heads", "--type", "process")
    template = FOLDER / "kubernetes" / "work-pool.json"
    prefect(
        "work-pool", "create", "heads-kubernetes", "--type", "kubernetes",
        "--base-job-template", str(template),
    )  # fmt: skip
    prefect("deploy", "--prefect-file", str(FOLDER / "prefect" / "prefect.yaml"), "--all")
    assert {d["name"] for d in ask(server, "deployments")} == {"nightly", "nightly-kubernetes"}
    prefect("deployment", "run", "headworks/nightly")
    prefect("worker", "start", "--pool", "heads", "--run-once")
    until = time.monotonic() + 420
    while time.monotonic() < until:
        runs = {run["name"]: run for run in ask(server, "flow_runs")}
        if len(runs) == 2 and {r["state_type"] for r in runs.values()} == {"COMPLETED"}:
            break
        time.sleep(1.0)
    assert {r["state_type"] for r in runs.values()} == {"COMPLETED"}
    for name in ("a", "b"):
        assert (toys.root / "data" / "paint" / name / "first.png").is_file()
    artifacts = {a["key"]: a for a in ask(server, "artifacts")}
    assert artifacts["headworks-units"]["type"] == "table"
    rows = json.loads(artifacts["headworks-units"]["data"])
    assert {(r["stage"], r["subject"], r["status"]) for r in rows} == {
        ("paint", "a", "ran"),
        ("paint", "b", "ran"),
    }
    for name in ("a", "b"):
        picture = artifacts[f"headworks-paint-{name}"]
        assert picture["type"] == "image"
        assert picture["data"].startswith("data:image/jpeg;base64,")
        assert "first, second" in picture["description"]


@pytest.mark.slow
def test_a_forgotten_face_is_not_at_the_prefect_server_either(
    server: str, make_toys: Callable[..., Toys], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_engine_prefect import ask

    monkeypatch.setenv("HEADWORKS_REGISTRY", "toystages.pictured:STAGES")
    environment = prefect_environment(tmp_path, server)

    def shown(run: str) -> list[str]:
        (flow,) = (f for f in ask(server, "flow_runs") if f["name"] == run)
        found = [a for a in ask(server, "artifacts") if a["flow_run_id"] == flow["id"]]
        return sorted(a["key"] for a in found)

    runs = []
    for folder in ("ours", "theirs"):
        toys = make_toys(folder)
        toys.params("")
        for name in ("ann", "bob"):
            toys.add(name)
        done = toys.cli("run", "--json", **environment)
        assert done.returncode == 0, done.stderr
        runs.append(json.loads(done.stdout)["run_id"])
    everything = ["headworks-paint-ann", "headworks-paint-bob", "headworks-stages"]
    everything.append("headworks-units")
    assert [shown(run) for run in runs] == [everything] * 2

    told = toys.cli("forget", "ann", **environment).stdout
    assert f"would go at {server}: 2 artifacts" in told
    gone = json.loads(toys.cli("forget", "ann", "--yes", "--json", **environment).stdout)
    assert gone["at_prefect"] == {"server": server, "answers": True, "deleted": 2}
    assert shown(runs[1]) == ["headworks-paint-bob", "headworks-stages"]
    assert shown(runs[0]) == everything, "another workspace's person of that name"


def test_a_prefect_server_that_does_not_answer_is_named(
    ran: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://me:secret@127.0.0.1:9/api")
    told = ran.cli("forget", "a").stdout
    (line,) = (line for line in told.splitlines() if "Prefect" in line)
    assert "127.0.0.1:9" in line
    assert "does NOT answer" in line
    gone = ran.cli("forget", "a", "--yes", "--json")
    assert json.loads(gone.stdout)["at_prefect"]["answers"] is False
    assert "secret" not in told + gone.stdout
