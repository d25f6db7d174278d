"""The main job from nothing to a report, and what it costs to do nothing again.

    python benchmarks/main_job.py [WORKSPACE]          # a new or an existing workspace

Runs `headworks demo` (bar: 15 minutes on two cores), then `headworks run` with nothing to do (bar:
5 s, no unit runs), then plans with one number of `fit` changed (bar: fit, evaluate and report are
stale, nothing else). Leaves with status 1 when a bar is not met.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bars import cpu_name

DEMO_S, NOTHING_S = 15 * 60, 5.0
STALE = {"fit", "evaluate", "report"}


def headworks(workspace: Path, *arguments: str) -> tuple[float, str]:
    """Wall seconds and standard output of one command.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    start = time.perf_counter()
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    done = subprocess.run(command, cwd=workspace, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - start, done.stdout


def main() -> int:
    """Print the three figures; 0 when every bar holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", nargs="?", type=Path)
    given = parser.parse_args().workspace
    workspace = given or Path(tempfile.mkdtemp(prefix="headworks-"))
    print(f"{cpu_name()}, workspace {workspace}")
    demo, _ = headworks(workspace, "demo")
    print(f"headworks demo            {demo:7.1f} s   {demo / DEMO_S:5.2f} of the bar")
    nothing, text = headworks(workspace, "run", "--json")
    ran = json.loads(text)["counts"].get("ran", 0)
    print(
        f"headworks run, no work    {nothing:7.1f} s   {nothing / NOTHING_S:5.2f} of the bar, "
        f"{ran} ran"
    )
    _, text = headworks(workspace, "plan", "--json", "--set", "fit.refine_rate=0.9")
    units = json.loads(text)["units"]
    stale = {unit["stage"] for unit in units if unit["state"] not in ("ok", "restore")}
    print(f"stale after fit.refine_rate=0.9: {', '.join(sorted(stale))}")
    met = demo < DEMO_S and nothing < NOTHING_S and not ran and stale == STALE
    print("every bar is met" if met else "a bar is not met")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
