"""GASP against its baselines and without its parts, on people that no prior has seen.

    python benchmarks/gasp.py --out study                 # some hours on 2 cores; can be killed
    python benchmarks/gasp.py --out study --subjects 2 --only photo
    python benchmarks/gasp.py --out study --set prior.steps=2000 --table
    python benchmarks/gasp.py --out try --dev              # other people: to tune on

Renders people (`gasp_people.py`), trains the priors, fits every held-out person by GASP,
GaussianAvatars, FlashAvatar and a textured mesh from one photo, a clip and a rig, and prints the
paper's comparisons beside its numbers, with 95 % bootstrap intervals over the people. All methods
see the same pictures, the same exact tracking and the same head model. What is done is kept in
the folder; a killed run goes on where it was. `--table` computes nothing and prints what there
is. Writes `study.json` and `index.html` with the pictures beside it. Leaves with status 1 when a
bar is not met.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from gasp_cells import Fit, Prior, Study, fit, prior_file, result_file, train
from gasp_people import SETTINGS, Setting, Sizes
from gasp_table import ABLATED, ABLATIONS, BASELINES, COUNTS, MAIN_UV, UV_SIZES, report

from pipelines.params import load_params
from stages.registry import STAGES

TRAIN_SEED, HELD_SEED, DEV_SEED = 5000, 7000, 7100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--subjects", type=int, default=8, help="held-out people")
    parser.add_argument("--people", type=int, default=COUNTS[-1], help="people of the main prior")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--only", default="", help="settings, by commas: photo,monocular,multiview")
    parser.add_argument("--skip-priors", action="store_true", help="only the main prior")
    parser.add_argument("--skip-ablations", action="store_true")
    parser.add_argument(
        "--dev", action="store_true", help="people to tune on, not those of the test"
    )
    parser.add_argument("--table", action="store_true", help="compute nothing, print what there is")
    parser.add_argument(
        "--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="over the preset"
    )
    args = parser.parse_args()
    study = make_study(args.out, args.set)
    main_prior = prior_of(args.people, MAIN_UV)
    priors = [main_prior]
    if not args.skip_priors:
        priors += [prior_of(n, MAIN_UV) for n in COUNTS if n != args.people]
        priors += [prior_of(args.people, uv) for uv in UV_SIZES if uv != MAIN_UV]
    settings = [s for s in SETTINGS if not args.only or s in args.only.split(",")]
    start = DEV_SEED if args.dev else HELD_SEED
    subjects = list(range(start, start + args.subjects))
    fits = plan(subjects, settings, main_prior, priors, not args.skip_ablations)
    if not args.table:
        compute(study, priors, fits, args.jobs)
    return report(study, subjects, priors, fits)


def make_study(folder: Path, overrides: list[str]) -> Study:
    """The numbers of preset `study`, with overrides as `headworks run --set` takes them."""
    from pipelines.presets import preset_overrides

    params = load_params(Path("/nonexistent"), STAGES, [*preset_overrides("study"), *overrides])
    return Study(
        sizes=Sizes(),
        prior=params.section("prior"),
        fit=params.section("fit"),
        gaussian_avatars=params.section("gaussian_avatars"),
        flash_avatar=params.section("flash_avatar"),
        seed=params.seed,
        folder=folder,
    )


def prior_of(people: int, uv_size: int) -> Prior:
    """The prior of the first so many people: fewer people are a part of more."""
    return Prior(tuple(range(TRAIN_SEED, TRAIN_SEED + people)), uv_size)


def plan(
    subjects: list[int], settings: list[Setting], main: Prior, priors: list[Prior], ablate: bool
) -> list[Fit]:
    """All fits, the most important first."""
    cells = [Fit(s, k, "full", main) for k in settings for s in subjects]
    cells += [Fit(s, k, m, None) for k in settings for m in BASELINES for s in subjects]
    if "photo" in settings:
        cells += [Fit(s, "photo", "textured_mesh", None) for s in subjects]
        cells += [Fit(s, "photo", "painted", main) for s in subjects]
    ablated = [k for k in ABLATED if k in settings] if ablate else []
    cells += [Fit(s, k, a, main) for k in ablated for a in ABLATIONS for s in subjects]
    cells += [Fit(s, k, "full", p) for p in priors[1:] for k in ablated for s in subjects]
    return cells


def compute(study: Study, priors: list[Prior], fits: list[Fit], jobs: int) -> None:
    """Run all cells that are not done; a fit waits for its prior."""
    todo: list[Prior | Fit] = [p for p in priors if not prior_file(p, study).exists()]
    todo += [f for f in fits if not result_file(f, study).exists()]
    total, done, start = len(todo), 0, time.monotonic()
    print(f"{total} of {len(priors) + len(fits)} cells to do", flush=True)
    context = get_context("spawn")
    running: dict[Future[None], Prior | Fit] = {}
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        while todo or running:
            for cell in list(todo):
                if len(running) >= jobs:
                    break
                needed = cell.prior if isinstance(cell, Fit) else None
                if needed is not None and not prior_file(needed, study).exists():
                    continue
                todo.remove(cell)
                running[pool.submit(work, cell, study)] = cell
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                running.pop(future)
                future.result()
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
