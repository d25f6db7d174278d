"""What the engine costs when there is nothing, little or much to do, beside plain DVC.

Run: python benchmarks/engine.py [--subjects 1000] [--large 10000] [--dvc 1000] [--folder DIR]

Prints: a run with nothing to do; the plan of a large workspace with its memory, after the caches
are warm and before; adding one subject to many and to ten; each beside plain DVC with one stage per
subject, and how plain DVC's own plan grows. `--large 0` and `--dvc 0` leave those out. Workspaces
are written as runs would have left them (benchmarks/engine_workspace.py); what is measured are
whole processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engine_workspace import ROOT, TOYS, build

PYTHON = sys.executable


def environment(registry: str) -> dict[str, str]:
    """Variables under which the toy stages are found."""
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{TOYS}",
        "HEADWORKS_REGISTRY": registry,
        "HEADWORKS_RESERVE_MB": "1",
        "DVC_NO_ANALYTICS": "1",
    }


def measure(
    folder: Path, *arguments: str, registry: str = "toystages.chain:STAGES"
) -> tuple[float, float, float]:
    """Run Python with these arguments.

    Returns:
        Wall seconds, CPU seconds, peak memory in MB.
    """
    clock = time.perf_counter()
    process = subprocess.Popen(
        [PYTHON, *arguments],
        cwd=folder,
        env=environment(registry),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{arguments}: exit code {process.returncode}\n{said.decode()}")
    wall = time.perf_counter() - clock
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def show(what: str, folder: Path, *arguments: str, repeats: int = 3) -> float:
    """Measure some times and print medians.

    Returns:
        Median wall seconds.
    """
    rows = [measure(folder, *arguments) for _ in range(repeats)]
    wall, cpu, memory = (statistics.median(column) for column in zip(*rows))
    print(f"{what:58} {wall:7.2f} s  {cpu:7.2f} s CPU  {memory:6.0f} MB", flush=True)
    return wall


HEADWORKS = ("-m", "pipelines.cli")


def prepared(folder: Path, subjects: int, tracked: bool = False) -> Path:
    """A workspace, written unless it is there."""
    if not (folder / ".headworks" / "ledger").is_dir():
        build(folder, subjects, tracked)
    return folder


def nothing_to_do(folder: Path, subjects: int) -> None:
    """A run and a plan of a workspace that is up to date."""
    units = 9 * subjects
    prepared(folder, subjects)
    words = f"{subjects} subjects ({units} units)"
    show(f"{words}: first plan", folder, *HEADWORKS, "plan", repeats=1)
    show(f"{words}: plan", folder, *HEADWORKS, "plan")
    show(f"{words}: run, nothing to do", folder, *HEADWORKS, "run")


def one_more(folder: Path, name: str) -> float:
    """Add a subject and run.

    Returns:
        Wall seconds of `add` and `run` together.
    """
    clip = folder / "new.mp4"
    clip.write_bytes(name.encode() * 10)
    code = (
        "import sys; from pathlib import Path; from pipelines.layout import Layout;"
        "from pipelines.subjects import add_subject;"
        "add_subject(Layout(Path.cwd()), sys.argv[1], [Path('new.mp4')])"
    )
    added, _, _ = measure(folder, "-c", code, name)
    ran, _, _ = measure(folder, *HEADWORKS, "run", "--orchestrator", "none", "--jobs", "1")
    return added + ran


def adding(folder: Path, few: int, many: int, tracked: bool) -> None:
    """One subject more, beside few and beside many."""
    times = {}
    words = ", dvc.lock kept up to date" if tracked else ""
    for count in (few, many):
        place = prepared(folder / f"add{count}{'t' if tracked else ''}", count, tracked)
        one_more(place, f"w{time.time_ns()}")
        before = count_files(place)
        times[count] = statistics.median(one_more(place, f"x{time.time_ns()}") for _ in range(3))
        print(f"one subject more beside {count:5}{words}: {times[count]:7.2f} s", flush=True)
        after = count_files(place)
        grown = ", ".join(f"{name} {(after[name] - n) / 3:.0f}" for name, n in before.items())
        print(f"files of one subject more (9 units of 2 files): {grown}", flush=True)
    print(f"ratio {times[many] / times[few]:.2f}")


def count_files(folder: Path) -> dict[str, int]:
    """Files by where they lie; logs and progress of runs apart."""
    places = {
        "data/": folder / "data",
        ".headworks/published": folder / ".headworks" / "published",
        "cache": folder / ".dvc" / "cache",
        "of the run": folder / ".headworks" / "runs",
    }
    return {
        name: sum(len(files) for _, _, files in os.walk(place)) for name, place in places.items()
    }


def dvc_workspace(folder: Path, subjects: int, steps: int = 1) -> None:
    """Plain DVC with one stage per subject (and step, in a row), up to date."""
    import hashlib

    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    for name in ("raw", *(f"out{k}" for k in range(steps))):
        (folder / name).mkdir()
    lock = ["schema: '2.0'", "stages:"]
    for n in range(subjects):
        data = f"capture {n}".encode()
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        (folder / "raw" / f"s{n}").write_bytes(data)
        cached = folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(data)
        cached.chmod(0o444)
        for k in range(steps):
            read, out = f"{_dvc_input(k)}/s{n}", f"out{k}/s{n}"
            (folder / out).write_bytes(data)
            lock += [f"  fit{k}@s{n}:", f"    cmd: cp {read} {out}", "    deps:"]
            lock += [f"    - path: {read}", "      hash: md5", f"      md5: {md5}"]
            lock += [f"      size: {len(data)}", "    outs:", f"    - path: {out}"]
            lock += ["      hash: md5", f"      md5: {md5}", f"      size: {len(data)}"]
    (folder / "dvc.lock").write_text("\n".join(lock) + "\n")
    _dvc_stages(folder, [f"s{n}" for n in range(subjects)], steps)


def _dvc_input(step: int) -> str:
    return "raw" if step == 0 else f"out{step - 1}"


def _dvc_stages(folder: Path, names: list[str], steps: int = 1) -> None:
    text = "stages:\n"
    for k in range(steps):
        text += (
            f"  fit{k}:\n    foreach: {json.dumps(names)}\n    do:\n"
            f"      cmd: cp {_dvc_input(k)}/${{item}} out{k}/${{item}}\n"
            f"      deps: ['{_dvc_input(k)}/${{item}}']\n      outs: ['out{k}/${{item}}']\n"
        )
    (folder / "dvc.yaml").write_text(text)


def dvc_plan(folder: Path, sizes: tuple[int, ...] = (30, 60, 120)) -> None:
    """What DVC takes to say what is stale, nine stages per subject, at sizes that it can do."""
    last = (0, 0.0)
    for count in sizes:
        place = folder / f"dvcplan{count}"
        if not place.is_dir():
            dvc_workspace(place, count, 9)
        words = f"DVC, {count} subjects ({9 * count} units), one stage each: status"
        wall = show(words, place, "-m", "dvc", "status", "-q", repeats=1)
        if last[0]:
            more = (wall - last[1]) / (9 * (count - last[0]))
            print(
                f"  {1000 * more:.2f} ms per unit more: 90,000 units would take "
                f"{(more * (90_000 - 9 * count) + wall) / 60:.0f} min if it went on like that"
            )
        last = (count, wall)


def dvc_adding(folder: Path, few: int, many: int) -> None:
    """The same with plain DVC."""
    times = {}
    for count in (few, many):
        place = folder / f"dvc{count}"
        dvc_workspace(place, count)
        show(f"DVC, {count} subjects in {count} stages: repro, nothing to do", place,
             "-m", "dvc", "repro", "-q", repeats=1)  # fmt: skip
        show(f"DVC, {count} subjects in {count} stages: status", place,
             "-m", "dvc", "status", "-q", repeats=1)  # fmt: skip
        (place / "raw" / "new").write_bytes(b"new")
        _dvc_stages(place, [*(f"s{n}" for n in range(count)), "new"])
        times[count], _, _ = measure(place, "-m", "dvc", "repro", "-q")
        print(f"DVC, one subject more beside {count:5}: {times[count]:7.2f} s", flush=True)
    print(f"DVC, ratio {times[many] / times[few]:.2f}")


def main() -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=1000)
    parser.add_argument("--large", type=int, default=10_000, help="subjects of the large plan")
    parser.add_argument("--dvc", type=int, default=1000, help="subjects of plain DVC")
    parser.add_argument("--folder", type=Path, help="where to work; kept, so that it is built once")
    parser.add_argument("--build", action="store_true", help="only write the workspaces")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(exist_ok=True)
        for place, count, tracked in (
            ("some", arguments.subjects, False),
            *((f"add{n}", n, False) for n in (10, arguments.subjects)),
            *((f"add{n}t", n, True) for n in (10, arguments.subjects)),
            *((("large", arguments.large, False),) if arguments.large else ()),
        ):
            prepared(folder / place, count, tracked)
        if arguments.build:
            return
        show("an empty Python process", folder, "-c", "pass")
        nothing_to_do(folder / "some", arguments.subjects)
        for tracked in (False, True):
            adding(folder, 10, arguments.subjects, tracked)
        if arguments.large:
            large = prepared(folder / "large", arguments.large)
            units = 9 * arguments.large
            words = f"{arguments.large} subjects ({units} units)"
            show(f"{words}: first plan", large, *HEADWORKS, "plan", repeats=1)
            show(f"{words}: plan", large, *HEADWORKS, "plan")
        if arguments.dvc:
            dvc_adding(folder, 10, arguments.dvc)
            dvc_plan(folder)


if __name__ == "__main__":
    main()
