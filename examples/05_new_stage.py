"""Add a stage to the DAG: it is planned, cached, resumed and audited like every other.

The stage is `sharpness/stage.py`, its registry `sharpness/__init__.py`, both beside this file.

python examples/05_new_stage.py OUT
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(out: Path) -> None:
    """Run the stage three times: anew, unchanged, with another number."""
    import polars as pl
    from PIL import Image
    from skimage.data import astronaut

    from pipelines.options import Options
    from pipelines.run import run
    from pipelines.setup import ensure_workspace
    from pipelines.subjects import add_subject
    from pipelines.workspace import Workspace

    (out / "new_stage").mkdir(parents=True, exist_ok=True)
    workspace = Workspace(out / "new_stage")
    ensure_workspace(workspace)
    Image.fromarray(astronaut()).save(out / "photo.png")
    add_subject(workspace.layout, "astronaut", (out / "photo.png",))
    for overrides in ((), (), ("sharpness.blurred_below=1000",)):
        options = Options(stages=("sharpness",), overrides=overrides, jobs=1, orchestrator="none")
        summary = run(workspace, options)
        status = {str(unit): outcome.status for unit, outcome in summary.outcomes.items()}
        made = workspace.layout.root / "data" / "sharpness" / "astronaut"
        table = pl.read_parquet(made / "sharpness.parquet")
        print(status)
        print(table.row(0, named=True))


if __name__ == "__main__":
    # Workers are processes of their own: they find package and registry in the environment.
    sys.path.insert(0, str(HERE))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    os.environ["HEADWORKS_REGISTRY"] = "sharpness:STAGES"
    main(Path(sys.argv[1]))
