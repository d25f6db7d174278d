"""GASP against its baselines and without its parts, on people that no prior has seen.

    python benchmarks/gasp.py --out study                 # some hours on 2 cores; can be killed
    python benchmarks/gasp.py --out study --subjects 2 --only photo
    python benchmarks/gasp.py --out study --set prior.steps=2000 --table
    python benchmarks/gasp.py --out try --dev              # other people: to tune on
    python benchmarks/gasp.py --out study --tracking tracked    # the pipeline's tracker finds heads
    python benchmarks/gasp.py --out paper --workspace FOLDER --preset paper --subjects 036,037,...

Renders people (`gasp_people.py`), trains the priors, fits every held-out person by GASP,
GaussianAvatars, FlashAvatar and a textured mesh from one photo, a clip and a rig, and prints the
paper's comparisons beside its numbers, with 95 % bootstrap intervals over the people. All methods
see the same pictures, the same exact tracking and the same head model. What is done is kept in
the folder; a killed run goes on where it was. `--table` computes nothing and prints what there
is. Writes `study.json` and `index.html` with the pictures beside it (docs/gasp.md). Leaves with
status 1 when a bar is not met or a cell failed, with 3 when cells of a bar are missing. Cells are
computed row by row of the table, the most important first.

With `--workspace`, subjects are captures that the workspace's pipeline has tracked, with
NeRSemble's sequences and cameras (`gasp_workspace.py`); priors learn from its population, its own
prior is taken over, and numbers are those of its params.yaml.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from gasp_cells import Fit, Name, Prior, Study, fit, prior_file, result_file, train
from gasp_people import SETTINGS, Setting, Sizes
from gasp_table import ABLATIONS, BASELINES, COUNTS, MAIN_UV, UV_SIZES, report
from gasp_workspace import Protocol, population

from headworks.formats.nersemble import CORNERS
from pipelines.params import load_params
from stages.registry import STAGES

TRAIN_SEED, HELD_SEED, DEV_SEED = 5000, 7000, 7100


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument(
        "--subjects", default="8", help="held-out people: how many, or a workspace's, by commas"
    )
    parser.add_argument("--people", type=int, help="people of the main prior; all of a workspace's")
    parser.add_argument("--counts", type=_numbers, help="people of the other priors, by commas")
    parser.add_argument("--uv-sizes", type=_numbers, help="UV maps of the other priors, by commas")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--only", default="", help="settings, by commas: photo,monocular,multiview")
    parser.add_argument("--skip-priors", action="store_true", help="only the main prior")
    parser.add_argument("--skip-ablations", action="store_true")
    parser.add_argument(
        "--dev", action="store_true", help="people to tune on, not those of the test"
    )
    parser.add_argument(
        "--tracking", choices=("exact", "tracked"), default="exact",
        help="heads of the held-out people: the true ones, or what the tracker finds",
    )  # fmt: skip
    parser.add_argument("--workspace", type=Path, help="whose subjects and population to take")
    parser.add_argument("--preset", help="numbers; study, or with --workspace those of params.yaml")
    parser.add_argument("--frontal", default="", help="a workspace's frontal camera [NeRSemble's]")
    parser.add_argument(
        "--extreme", default=",".join(CORNERS), help="a workspace's test cameras, by commas"
    )
    parser.add_argument("--table", action="store_true", help="compute nothing, print what there is")
    parser.add_argument(
        "--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="over the preset"
    )
    args = parser.parse_args(arguments)
    study = make_study(
        args.out, args.set, args.preset, args.workspace, args.tracking == "tracked",
        Protocol(frontal=args.frontal, extreme=tuple(args.extreme.split(","))),
    )  # fmt: skip
    main_uv = MAIN_UV if study.workspace is None else int(study.prior["uv_size"])
    everyone = COUNTS[-1] if study.workspace is None else len(population(study.workspace))
    people = args.people or everyone
    main_prior = prior_of(people, main_uv, study.workspace)
    priors = [main_prior]
    if not args.skip_priors:
        counts, sizes = args.counts or COUNTS, args.uv_sizes or UV_SIZES
        priors += [prior_of(n, main_uv, study.workspace) for n in counts if n < people]
        priors += [prior_of(people, uv, study.workspace) for uv in sizes if uv != main_uv]
    settings = [s for s in SETTINGS if not args.only or s in args.only.split(",")]
    fits = plan(
        subjects_of(args.subjects, args.dev, study.workspace), settings, main_prior, priors,
        not args.skip_ablations,
    )  # fmt: skip
    failed = [] if args.table else compute(study, priors, fits, args.jobs)
    status = report(study, list(dict.fromkeys(f.subject for f in fits)), priors, fits)
    if failed:
        print(f"failed, with the errors above: {', '.join(failed)}")
    return 1 if failed else status


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def subjects_of(text: str, dev: bool, workspace: Path | None) -> list[Name]:
    """Held-out people: the first so many of the study's own, or those named of a workspace."""
    if workspace is not None:
        if text.isdigit() and not (workspace / "data" / "tracking" / text).is_dir():
            raise SystemExit("--subjects: name those of the workspace, by commas")
        return list(text.split(","))
    if not text.isdigit():
        raise SystemExit("--subjects: how many of the study's own people")
    start = DEV_SEED if dev else HELD_SEED
    return list(range(start, start + int(text)))


def make_study(
    folder: Path,
    overrides: list[str],
    preset: str | None = None,
    workspace: Path | None = None,
    tracked: bool = False,
    protocol: Protocol | None = None,
) -> Study:
    """The numbers of a preset or of a workspace, with overrides as `headworks run --set` has them.

    Args:
        folder: of the study. overrides: `section.key=value`. preset: its name; by default `study`,
            and with a workspace none, its params.yaml says all.
    """
    from pipelines.presets import preset_overrides

    file = Path("/nonexistent") if workspace is None else workspace / "params.yaml"
    preset = preset or ("study" if workspace is None else None)
    named = preset_overrides(preset) if preset else ()
    params = load_params(file, STAGES, [*named, *overrides])
    return Study(
        sizes=Sizes(),
        prior=params.section("prior"),
        fit=params.section("fit"),
        gaussian_avatars=params.section("gaussian_avatars"),
        flash_avatar=params.section("flash_avatar"),
        seed=params.seed,
        folder=folder,
        tracked=tracked,
        workspace=workspace,
        protocol=protocol or Protocol(),
    )


def prior_of(people: int, uv_size: int, workspace: Path | None = None) -> Prior:
    """The prior of the first so many people: fewer people are a part of more."""
    names: list[Name] = list(range(TRAIN_SEED, TRAIN_SEED + people))
    if workspace is not None:
        names = list(population(workspace)[:people])
    return Prior(tuple(names), uv_size)


def plan(
    subjects: list[Name], settings: list[Setting], main: Prior, priors: list[Prior], ablate: bool
) -> list[Fit]:
    """All fits, the most important first: whoever stops early has whole rows of the table."""

    def row(setting: Setting, variant: str, prior: Prior | None) -> list[Fit]:
        return [Fit(s, setting, variant, prior) for s in subjects if setting in settings]

    def ablations(setting: Setting) -> list[Fit]:
        return [f for a in ABLATIONS if ablate for f in row(setting, a, main)]

    def others(setting: Setting) -> list[Fit]:
        return [f for p in priors[1:] if ablate for f in row(setting, "full", p)]

    first, second = BASELINES
    cells = row("photo", "full", main)
    cells += [f for b in BASELINES for f in row("photo", b, None)]
    cells += row("photo", "textured_mesh", None)
    for setting in ("multiview", "monocular"):
        cells += row(setting, "full", main) + row(setting, first, None)
    cells += ablations("photo") + others("photo")
    cells += [f for k in ("monocular", "multiview") for f in row(k, second, None)]
    cells += ablations("monocular") + others("monocular") + row("photo", "painted", main)
    return cells


def queue(priors: list[Prior], fits: list[Fit]) -> list[Prior | Fit]:
    """All cells in the order of their start: a prior right before the first fit that needs it."""
    cells: list[Prior | Fit] = []
    for cell in fits:
        if cell.prior is not None and cell.prior not in cells:
            cells.append(cell.prior)
        cells.append(cell)
    return cells + [p for p in priors if p not in cells]


def compute(study: Study, priors: list[Prior], fits: list[Fit], jobs: int) -> list[str]:
    """Run all cells that are not done; a fit waits for its prior, and the others go on meanwhile.

    Returns:
        Names of the cells that failed, whose errors were printed; the others are not held up.
    """

    def file(cell: Prior | Fit) -> Path:
        return prior_file(cell, study) if isinstance(cell, Prior) else result_file(cell, study)

    def ready(cell: Prior | Fit) -> bool:
        prior = cell.prior if isinstance(cell, Fit) else None
        return prior is None or prior_file(prior, study).exists()

    todo = [cell for cell in queue(priors, fits) if not file(cell).exists()]
    total, done, start = len(todo), 0, time.monotonic()
    print(f"{total} of {len(priors) + len(fits)} cells to do", flush=True)
    failed: list[str] = []
    running: dict[Future[None], Prior | Fit] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        while True:
            for cell in [c for c in todo if ready(c)][: jobs - len(running)]:
                todo.remove(cell)
                running[pool.submit(work, cell, study)] = cell
            if not running:
                return failed + [cell.name for cell in todo]  # whose prior failed
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                cell = running.pop(future)
                try:
                    future.result()
                except BrokenProcessPool:
                    raise
                except Exception:
                    traceback.print_exc()
                    failed.append(cell.name)
                done += 1
                spent = time.monotonic() - start
                print(f"  {done} of {total} cells, {spent / 60:.0f} min", flush=True)


def work(cell: Prior | Fit, study: Study) -> None:
    """One cell, in a process of its own."""
    torch.set_num_threads(1)
    if isinstance(cell, Prior):
        train(cell, study, _now_and_then())
    else:
        fit(cell, study, lambda text: print(text, flush=True))


def _now_and_then(seconds: float = 30.0) -> Callable[[str], None]:
    last = [0.0]

    def say(text: str) -> None:
        if time.monotonic() - last[0] > seconds:
            last[0] = time.monotonic()
            print(text, flush=True)

    return say


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
