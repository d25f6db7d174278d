"""What the engine costs when there is nothing, or much, to do.

Run: python benchmarks/engine.py [--units 9000]

Prints: wall time of `headworks run` and `headworks plan` with nothing to do, beside `dvc status`
on the same workspace and an empty Python process; time of the plan of a synthetic ledger; time per
computed unit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOYS = ROOT / "tests" / "toys"
sys.path[:0] = [str(ROOT), str(TOYS)]


def seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """Median wall time."""
    times = []
    for _ in range(repeats):
        clock = time.perf_counter()
        call()
        times.append(time.perf_counter() - clock)
    return statistics.median(times)


def process(folder: Path, *arguments: str) -> Callable[[], object]:
    """A call that runs Python with these arguments."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(TOYS),
        "HEADWORKS_REGISTRY": "toystages:STAGES",
        "DVC_NO_ANALYTICS": "1",
    }
    command = [sys.executable, *arguments]
    return lambda: subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True
    )


def no_op(folder: Path, subjects: int) -> None:
    """A workspace of toy stages: a first run, then nothing to do."""
    import toystages

    from pipelines.run import Options, run
    from pipelines.setup import init_workspace
    from pipelines.subjects import add_subject
    from pipelines.workspace import Workspace

    os.environ["PYTHONPATH"] = str(TOYS)
    workspace = Workspace(folder, toystages.STAGES)
    init_workspace(workspace)
    for n in range(subjects):
        clip = folder / "clip.mp4"
        clip.write_bytes(f"{n}".encode() * 100)
        add_subject(workspace.layout, f"s{n}", [clip] if n else [_photo(folder)])
    clock = time.perf_counter()
    summary = run(Workspace(folder, toystages.STAGES), Options(orchestrator="none"))
    first = time.perf_counter() - clock
    count = summary.count("ran")
    print(f"first run of {count} units: {first:.2f} s, {first / count * 1e3:.0f} ms per unit")
    empty = seconds(process(folder, "-c", "pass"))
    dvc = seconds(process(folder, "-m", "dvc", "status"))
    print(f"empty Python process            {empty:6.2f} s")
    for verb in ("run", "plan", "--help"):
        took = seconds(process(folder, "-m", "pipelines.cli", verb))
        words = f"{took / empty:5.1f} x Python, {took / dvc:4.2f} x dvc status"
        print(f"headworks {verb:6} nothing to do  {took:6.2f} s   {words}")
    print(f"dvc status                      {dvc:6.2f} s")


def _photo(folder: Path) -> Path:
    path = folder / "photo.png"
    path.write_bytes(b"photo")
    return path


def big_plan(folder: Path, units: int) -> None:
    """The plan of a ledger of many units, built without computing them."""
    import toystages

    from pipelines.keys import recipe, recipe_key
    from pipelines.ledger import Ledger
    from pipelines.params import load_params
    from pipelines.plan import Graph, Planner, make_plan
    from pipelines.subjects import Subject

    registry = toystages.STAGES
    subjects = {
        f"s{n}": Subject(f"s{n}", "clip" if n else "photo", f"{n:032x}.dir", {})
        for n in range(units // 3)
    }
    graph = Graph(registry, subjects)
    params = load_params(folder / "absent.yaml", registry)
    code = {stage.name: "c" * 64 for stage in registry}
    ledger = Ledger(folder / "ledger")
    oids: dict[tuple[str, str], str] = {}
    published: dict[tuple[str, str], str] = {}
    sync, os.fsync = os.fsync, lambda handle: None  # type: ignore[assignment]
    for number, (unit, deps) in enumerate(graph.deps.items()):
        rows = [
            (d.role, d.member, oids[d.unit] if d.unit else subjects[unit.subject].oid) for d in deps
        ]
        made = recipe(unit.stage, 1, "c" * 64, params.section(unit.stage), params.seed, rows)
        oids[unit] = published[unit] = f"{number:032x}.dir"
        ledger.append(
            "ok",
            key=recipe_key(made),
            stage=unit.stage,
            subject=unit.subject,
            version=1,
            code="c" * 64,
            params_json="{}",
            seed=0,
            inputs=made["inputs"],
            out_oid=oids[unit],
        )
    os.fsync = sync
    ledger.close()
    ledger.compact()

    def plan() -> None:
        planner = Planner(
            graph=graph,
            params=params,
            ledger=Ledger(folder / "ledger").refresh(),
            code=code,
            whole=lambda oid: True,
            published=lambda stage, subject: published[stage, subject],
        )
        decisions = make_plan(planner)
        assert {d.state for d in decisions.values()} == {"ok"}

    took = seconds(plan)
    empty = seconds(process(folder, "-c", "pass"))
    words = f"{took / empty:.1f} x an empty Python process"
    print(f"ledger and plan of {len(graph.deps)} units: {took:.2f} s, {words}")


def main() -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=9000)
    parser.add_argument("--subjects", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        no_op(Path(folder), arguments.subjects)
    with tempfile.TemporaryDirectory() as folder:
        big_plan(Path(folder), arguments.units)


if __name__ == "__main__":
    main()
