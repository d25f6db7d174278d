"""A workspace from Python: add a person, run some stages, change a number, ask for the origin.

python examples/04_pipeline.py OUT
"""

import sys
from pathlib import Path

from pipelines.audit import audit_tree
from pipelines.options import Options
from pipelines.run import run
from pipelines.setup import ensure_workspace
from pipelines.subjects import add_subject
from pipelines.workspace import Workspace

if __name__ == "__main__":  # workers import this file again
    folder = Path(sys.argv[1]) / "workspace"
    folder.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(folder)
    ensure_workspace(workspace)
    add_subject(workspace.layout, "ada", kind="synthetic", seed=1, licence="CC0-1.0")
    small = (
        "synthesis.size=128",
        "synthesis.texture=256",
        "synthesis.cameras=3",
        "synthesis.test_cameras=1",
        "synthesis.expressions=2",
    )

    def landmarks(*overrides: str) -> None:
        options = Options(
            stages=("landmarks",), overrides=(*small, *overrides), jobs=1, orchestrator="none"
        )
        summary = run(workspace, options)
        done = {str(unit): outcome.status for unit, outcome in summary.outcomes.items()}
        print(f"exit {summary.exit_code}: {done}")

    landmarks()  # everything runs
    landmarks()  # nothing does
    landmarks("synthesis.expressions=3")  # one expression more
    landmarks()  # back again: restored, not computed

    tree = audit_tree(workspace, "landmarks/ada")

    def told(node: dict, depth: int = 0) -> None:
        name = node["stage"] if "stage" in node else f"raw data, licence {node['licence']}"
        digest = node["out_oid"] if "out_oid" in node else node["oid"]
        print("  " * depth + f"{name}: {digest}")
        for inputs in node.get("inputs", ()):
            told(inputs, depth + 1)

    for root in tree["roots"]:
        told(root)
