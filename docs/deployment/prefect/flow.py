"""A Prefect deployment's flow: bring a workspace up to date."""

from __future__ import annotations

import os
import subprocess
import sys

from prefect import flow


@flow(name="headworks", log_prints=True)
def headworks(
    workspace: str,
    cluster: str | None = None,
    storage: str | None = None,
    push_to: str | None = None,
) -> None:
    """Run, and share what came out.

    Args:
        workspace: its folder. cluster: address of a Dask scheduler, None to compute here.
        storage: URL that the cluster's machines reach, where they do not see the workspace.
        push_to: name of a DVC remote to push to afterwards, None for none.
    """
    command = [sys.executable, "-m", "pipelines.cli"]
    environment = {**os.environ, "HEADWORKS_ROOT": workspace}
    where = ["--cluster", cluster] if cluster else []
    where += ["--storage", storage] if storage else []
    subprocess.run([*command, "run", *where], cwd=workspace, env=environment, check=True)
    if push_to:
        subprocess.run([*command, "push", push_to], cwd=workspace, env=environment, check=True)
