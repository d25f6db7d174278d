"""A run whose workers are Slurm jobs of their own, that come and go with the queue.

python cluster.py /shared/workspace --jobs 8 --partition gpu --gpus 1      (pip: dask-jobqueue)
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from typing import Any


def make_cluster(arguments: argparse.Namespace) -> Any:
    """The scheduler here, and the script by which its workers are asked for."""
    from dask_jobqueue import SLURMCluster

    gpus = arguments.gpus
    return SLURMCluster(
        queue=arguments.partition,
        account=arguments.account,
        cores=1,  # one unit at a time per worker; its threads are job_cpu
        processes=1,
        job_cpu=arguments.cpus,
        memory=arguments.memory,
        walltime=arguments.walltime,
        job_name="headworks-worker",
        job_extra_directives=[f"--gpus-per-task={gpus}"] if gpus else [],
        worker_extra_args=["--resources", f"GPU={gpus}"] if gpus else [],
        job_script_prologue=[f"export HEADWORKS_ROOT={shlex.quote(arguments.workspace)}"],
        python=sys.executable,
        scheduler_options={"dashboard_address": None},
    )


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=os.path.abspath)
    parser.add_argument("--jobs", type=int, default=4, help="Slurm jobs, one worker each")
    parser.add_argument("--cpus", type=int, default=4)
    parser.add_argument("--memory", default="16GB")
    parser.add_argument("--walltime", default="12:00:00")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--partition")
    parser.add_argument("--account")
    return parser.parse_args(words)


def main() -> int:
    """Ask for workers, wait for the first, run."""
    from distributed import Client

    arguments = parse()
    with make_cluster(arguments) as cluster, Client(cluster) as client:
        cluster.scale(jobs=arguments.jobs)
        client.wait_for_workers(1)
        command = [sys.executable, "-m", "pipelines.cli", "run"]
        where = ["--cluster", cluster.scheduler_address, "--jobs", str(arguments.jobs)]
        return subprocess.run([*command, *where], cwd=arguments.workspace, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
