"""What the engine costs when there is nothing, little or much to do, beside plain DVC.

Run: python benchmarks/engine.py [--subjects 1000] [--large 10000] [--dvc 1000] [--folder DIR]

Prints: a run with nothing to do; adding one subject to many and to ten; the plan of a large
workspace with its memory, before the caches are warm and after; each beside plain DVC with one
stage per subject, and how plain DVC's own plan grows. `--large 0` and `--dvc 0` leave those out.

Workspaces are written as runs would have left them (benchmarks/engine_workspace.py), in memory
where there is room (`/dev/shm`; `--folder` says otherwise): half a million small files, whose
writing to a disk and reading from it would otherwise be what is timed. What is measured are whole
processes, wall time and processor time, children included. What was written is flushed before
anything is timed; few and many take turns, so that what disturbs the machine disturbs both; ratios
are of medians.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
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
    spread = f"  ({min(rows)[0]:.2f} to {max(rows)[0]:.2f} s)" if repeats > 1 else ""
    print(f"{what:58} {wall:7.2f} s  {cpu:7.2f} s CPU  {memory:6.0f} MB{spread}", flush=True)
    return wall


HEADWORKS = ("-m", "pipelines.cli")


def prepared(folder: Path, subjects: int, tracked: bool = False) -> Path:
    """A workspace, written unless it is there.

    By a process of its own: a child's peak memory counts that of the process which starts it.
    """
    if not (folder / ".headworks" / "ledger").is_dir():
        writer = get_context("spawn").Process(target=build, args=(folder, subjects, tracked))
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit(f"{folder}: no workspace written, exit code {writer.exitcode}")
    return folder


def nothing_to_do(folder: Path, subjects: int) -> None:
    """A run and a plan of a workspace that is up to date."""
    units = 9 * subjects
    words = f"{subjects} subjects ({units} units)"
    show(f"{words}: first plan", folder, *HEADWORKS, "plan", repeats=1)
    show(f"{words}: plan", folder, *HEADWORKS, "plan", repeats=5)
    show(f"{words}: run, nothing to do", folder, *HEADWORKS, "run", repeats=5)


def one_more(folder: Path) -> tuple[float, float, float, float]:
    """Add a subject and run.

    Returns:
        Wall seconds of `add` and of `run`, CPU seconds of each.
    """
    name = f"x{time.time_ns()}"
    clip = folder / "new.mp4"
    clip.write_bytes(name.encode() * 10)
    code = (
        "import sys; from pathlib import Path; from pipelines.layout import Layout;"
        "from pipelines.subjects import add_subject;"
        "add_subject(Layout(Path.cwd()), sys.argv[1], [Path('new.mp4')])"
    )
    added = measure(folder, "-c", code, name)
    ran = measure(folder, *HEADWORKS, "run", "--orchestrator", "none", "--jobs", "1")
    return added[0], ran[0], added[1], ran[1]


def adding(folder: Path, few: int, many: int, tracked: bool, repeats: int = 7) -> None:
    """One subject more, beside few and beside many, in turns."""
    words = ", dvc.lock kept up to date" if tracked else ""
    places = {
        n: prepared(folder / f"add{n}{'t' if tracked else ''}", n, tracked) for n in (few, many)
    }
    for place in places.values():
        for _ in range(2):  # the first one fills the caches, of which the second profits
            one_more(place)
    before = {n: count_files(place) for n, place in places.items()}
    os.sync()
    rows: dict[int, list[tuple[float, ...]]] = {few: [], many: []}
    for number in range(repeats):
        for count in (few, many) if number % 2 else (many, few):
            rows[count].append(one_more(places[count]))
    walls, cpus = {}, {}
    for count, found in rows.items():
        wall = [row[0] + row[1] for row in found]
        walls[count] = statistics.median(wall)
        cpus[count] = statistics.median(row[2] + row[3] for row in found)
        add, run = (statistics.median(column) for column in list(zip(*found))[:2])
        print(
            f"one subject more beside {count:5}{words}: {walls[count]:6.2f} s "
            f"({min(wall):.2f} to {max(wall):.2f}; add {add:.2f}, run {run:.2f}), "
            f"{cpus[count]:.2f} s CPU",
            flush=True,
        )
        after = count_files(places[count])
        grown = ", ".join(
            f"{name} {(after[name] - n) / repeats:.0f}" for name, n in before[count].items()
        )
        print(f"  files of one subject more (9 units of 2 files): {grown}", flush=True)
    print(
        f"  ratio of medians{words}: {walls[many] / walls[few]:.2f} of wall time, "
        f"{cpus[many] / cpus[few]:.2f} of CPU time (bar 1.5)",
        flush=True,
    )


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
                f"  {1000 * more:.2f} ms per unit more: EXTRAPOLATED, not measured, 90,000 units "
                f"would take {(more * (90_000 - 9 * count) + wall) / 60:.0f} min if it went on so"
            )
        last = (count, wall)


def dvc_adding(folder: Path, few: int, many: int) -> None:
    """The same with plain DVC."""
    times = {}
    for count in (few, many):
        place = folder / f"dvc{count}"
        shutil.rmtree(place, ignore_errors=True)
        dvc_workspace(place, count)
        show(f"DVC, {count} subjects in {count} stages: repro, nothing to do", place,
             "-m", "dvc", "repro", "-q", repeats=1)  # fmt: skip
        show(f"DVC, {count} subjects in {count} stages: status", place,
             "-m", "dvc", "status", "-q", repeats=1)  # fmt: skip
        (place / "raw" / "new").write_bytes(b"new")
        _dvc_stages(place, [*(f"s{n}" for n in range(count)), "new"])
        times[count], _, _ = measure(place, "-m", "dvc", "repro", "-q")
        print(f"DVC, one subject more beside {count:5}: {times[count]:6.2f} s", flush=True)
    print(f"  ratio, plain DVC: {times[many] / times[few]:.2f}")


def roomy() -> Path | None:
    """Where workspaces lie in memory; None where there is no room for them."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or not os.access(shared, os.W_OK):
        return None
    return shared if shutil.disk_usage(shared).free > 10 << 30 else None


def main() -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=1000)
    parser.add_argument("--large", type=int, default=10_000, help="subjects of the large plan")
    parser.add_argument("--dvc", type=int, default=1000, help="subjects of plain DVC")
    parser.add_argument("--folder", type=Path, help="where to work; kept, so that it is built once")
    parser.add_argument("--build", action="store_true", help="only write the workspaces")
    arguments = parser.parse_args()
    clock = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=roomy()) as scratch:
        folder = (arguments.folder or Path(scratch)).resolve()
        folder.mkdir(exist_ok=True)
        for place, count, tracked in (
            *((f"add{n}", n, False) for n in (10, arguments.subjects)),
            *((f"add{n}t", n, True) for n in (10, arguments.subjects)),
            *((("large", arguments.large, False),) if arguments.large else ()),
        ):
            prepared(folder / place, count, tracked)
        os.sync()
        print(f"workspaces in {folder}, after {time.perf_counter() - clock:.0f} s", flush=True)
        if arguments.build:
            return
        show("an empty Python process", folder, "-c", "pass", repeats=5)
        nothing_to_do(folder / f"add{arguments.subjects}", arguments.subjects)
        for tracked in (False, True):
            adding(folder, 10, arguments.subjects, tracked)
        if arguments.large:
            units = 9 * arguments.large
            words = f"{arguments.large} subjects ({units} units)"
            show(f"{words}: first plan", folder / "large", *HEADWORKS, "plan", repeats=1)
            os.sync()
            show(f"{words}: plan", folder / "large", *HEADWORKS, "plan", repeats=5)
        if arguments.dvc:
            dvc_adding(folder, 10, arguments.dvc)
            dvc_plan(folder)
        print(f"all in {time.perf_counter() - clock:.0f} s", flush=True)


if __name__ == "__main__":
    main()
