"""The files that start the engine at a site can be read by what they are for."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

from pipelines.params import parse_yaml

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "deployment"


def test_the_batch_script_is_sound_and_calls_what_there_is() -> None:
    script = FOLDER / "slurm" / "headworks.sbatch"
    subprocess.run(["bash", "-n", str(script)], check=True)
    from pipelines.options import Options

    assert "headworks run --cluster" in script.read_text()
    assert hasattr(Options(), "cluster")


def test_the_deployment_names_a_flow_and_its_parameters() -> None:
    body = parse_yaml((FOLDER / "prefect" / "prefect.yaml").read_text(), "prefect.yaml")
    (deployment,) = body["deployments"]
    file, _, name = deployment["entrypoint"].partition(":")
    tree = ast.parse((FOLDER / "prefect" / file).read_text())
    flow = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    known = {argument.arg for argument in flow.args.args}
    assert set(deployment["parameters"]) <= known
    assert deployment["work_pool"]["name"]


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
