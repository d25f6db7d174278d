"""The stage `prior` as several processes: `torchrun` starts this module, which runs the stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stages.contract import Context, Inputs

if TYPE_CHECKING:
    from stages.prior import PriorParams


def run_in_ranks(
    processes: int, inputs: Inputs, params: PriorParams, out: Path, context: Context
) -> None:
    """Run the stage in processes that train together; the first one writes `out`.

    Raises:
        HeadworksError: a process failed; what it said stands above.
    """
    from headworks.errors import HeadworksError
    from headworks.synthetic.film import scratch_folder

    with scratch_folder(context.scratch) as scratch:
        spec = {
            "inputs": {name: str(path) for name, path in inputs["synthesis"].items()},
            "params": params.model_dump(mode="json"),
            "out": str(out),
            "seed": context.seed,
            "threads": context.threads,
            "scratch": str(scratch),
        }
        file = scratch / "ranks.json"
        file.write_text(json.dumps(spec))
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            f"--nproc-per-node={processes}", "-m", "stages.prior_ranks", str(file),
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": str(context.threads)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as peers:
            assert peers.stdout is not None
            try:
                for line in peers.stdout:
                    done, _, text = line.rstrip("\n").partition("\t")
                    if text:
                        context.progress(float(done), text)
            except BaseException:
                peers.terminate()  # torchrun ends its processes
                raise
    if peers.returncode:
        raise HeadworksError(
            f"prior: one of {processes} processes failed (torchrun left with {peers.returncode}); "
            "its message stands above. `prior.processes` 1 trains in a single one"
        )


def main(file: Path) -> None:
    """One of the processes."""
    from stages.prior import PriorParams, run

    spec = json.loads(file.read_text())
    first = os.environ["RANK"] == "0"

    def tell(done: float, text: str) -> None:
        # A pipe that nobody reads any more raises, and so nothing outlives the stage.
        if first:
            print(f"{done}\t{text}", flush=True)

    context = Context(spec["seed"], spec["threads"], tell, Path(spec["scratch"]))
    people = {name: Path(path) for name, path in spec["inputs"].items()}
    run({"synthesis": people}, PriorParams(**spec["params"]), Path(spec["out"]), context)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
