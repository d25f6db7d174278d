"""Add a stage to the DAG: it is planned, cached, resumed and audited like every other.

The stage is `sharpness/stage.py`, its registry `sharpness/__init__.py`, both beside this file.

python examples/05_new_stage.py OUT
"""

import os
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here))
# Workers are processes of their own: they find the package and the registry in the environment.
os.environ["PYTHONPATH"] = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
os.environ["HEADWORKS_REGISTRY"] = "sharpness:STAGES"

import polars as pl  # noqa: E402
from PIL import Image  # noqa: E402
from skimage.data import astronaut  # noqa: E402

from pipelines.options import Options  # noqa: E402
from pipelines.run import run  # noqa: E402
from pipelines.setup import ensure_workspace  # noqa: E402
from pipelines.subjects import add_subject  # noqa: E402
from pipelines.workspace import Workspace  # noqa: E402

if __name__ == "__main__":
    out = Path(sys.argv[1])
    (out / "new_stage").mkdir(parents=True, exist_ok=True)
    workspace = Workspace(out / "new_stage")
    ensure_workspace(workspace)
    Image.fromarray(astronaut()).save(out / "photo.png")
    add_subject(workspace.layout, "astronaut", (out / "photo.png",))
    for overrides in ((), (), ("sharpness.blurred_below=1000",)):
        options = Options(stages=("sharpness",), overrides=overrides, jobs=1, orchestrator="none")
        summary = run(workspace, options)
        status = {str(unit): outcome.status for unit, outcome in summary.outcomes.items()}
        table = pl.read_parquet(
            workspace.layout.root / "data/sharpness/astronaut/sharpness.parquet"
        )
        print(status)
        print(table.row(0, named=True))
