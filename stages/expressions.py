"""expressions: for driving frames, pictures of other people with the same expression."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stages.contract import Context, Inputs, Params

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headworks.expressions.drivers import Driver
    from headworks.expressions.made import Made
    from headworks.tracks import Tracking

_SHEET_ROWS = 8


class ExpressionsParams(Params):
    """Parameters of `expressions`."""

    backend: Literal["auto", "exact", "liveportrait", "synthetic"] = Field(
        "auto",
        description="auto: exact (synthetic people with the true coefficients) where truth is "
        "known, else liveportrait if its weights are at hand, else synthetic (synthetic people "
        "with the tracked coefficients)",
    )
    frames: int = Field(
        8, ge=0, le=100_000, description="driving frames, spread over the training frames; 0: none"
    )
    per_frame: int = Field(2, ge=1, le=16, description="pictures of each driving frame")
    people: int = Field(3, ge=1, le=1000, description="synthetic people who lend their looks")
    size: int = Field(128, ge=32, le=512, description="side of the pictures, pixels")
    texture: int = Field(512, ge=128, le=4096, description="texels per side of a person's albedo")
    appearances: str = Field(
        "",
        description="liveportrait: folder of portrait photos whose people lend their looks, from "
        "the workspace; empty: synthetic people",
    )
    mode: Literal["absolute", "relative"] = Field(
        "absolute",
        description="liveportrait: replace the expression of the portrait, or add the driver's "
        "change since its most neutral driving frame",
    )
    weights: str = Field(
        "weights",
        description="folder that holds liveportrait/ as published (docs/expressions.md), from the "
        "workspace",
    )


def assets(params: ExpressionsParams) -> dict[str, Path | None]:
    """The checkpoints and portraits that the backend, or the choice of it, depends on."""
    from headworks.errors import HeadworksError
    from headworks.expressions.liveportrait import BASE, weights_files
    from headworks.networks.files import weights_folder

    if params.backend not in ("auto", "liveportrait"):
        return {}
    found: dict[str, Path | None]
    try:
        found = dict(weights_files(weights_folder(params.weights)))
    except HeadworksError:
        found = dict.fromkeys(BASE)
    if params.appearances:
        folder = weights_folder(params.appearances)
        found |= {f"portrait {p.name}": p for p in sorted(folder.glob("*")) if p.is_file()}
    return found


def run(inputs: Inputs, params: ExpressionsParams, out: Path, context: Context) -> None:
    """Write the pictures of one capture's driving frames.

    Args:
        inputs: "ingest", "landmarks" and "tracking" of a capture, or "synthesis" of a member of
            the population. params: see `ExpressionsParams`. out: folder to write.
        context: seed, threads, progress.

    Raises:
        WeightsError: LivePortrait was asked for and its weights are absent or not those.
        CaptureError: a folder of portraits was named that holds none.
        ArtifactError: exact coefficients were asked for where there is no truth.
    """
    import numpy as np
    import torch

    from headworks.artifacts import open_arrays, read_meta, read_table, write_meta
    from headworks.expressions.drivers import FRONTAL, choose_drivers
    from headworks.images import resize
    from headworks.pictures import beside, save_png
    from headworks.seeds import generator
    from headworks.tracks import load_tracking, load_truth

    torch.set_num_threads(context.threads)
    capture = Path(inputs["ingest"] if "ingest" in inputs else inputs["synthesis"])
    backend, reason = _choose(params, read_meta(capture)["subject_kind"])
    tracking = load_truth(capture) if backend == "exact" else load_tracking(inputs["tracking"])
    table = read_table(capture / "frames.parquet").sort("t", "c")
    rgb = open_arrays(capture / "frames.zarr")["rgb"]
    points = _landmarks(inputs, capture)
    rows = table.filter(table["split"] == "train").select("t", "c").rows()
    pairs = [(int(t), int(c)) for t, c in rows]
    if backend == "liveportrait":
        pairs = [(t, c) for t, c in pairs if np.isfinite(points[t, c]).all()]
    largest = FRONTAL if backend == "liveportrait" else np.inf
    drivers = choose_drivers(tracking, pairs, params.frames, largest)
    rng = generator(context.seed, "expressions", "draw")
    make = _with_portraits if backend == "liveportrait" else _with_people
    made, choices, facts = make(tracking, drivers, rgb, points, params, rng, context)
    _write(out, table, drivers, choices, made, points, facts["kept_below"])
    pictures = [np.asarray(rgb[d.t, d.c]) for d in drivers[:_SHEET_ROWS]]
    if pictures:
        rows_of = [[resize(p, params.size, params.size), *m] for p, m in zip(pictures, made.rgb)]
        save_png(str(out / "samples.png"), np.concatenate([beside(r) for r in rows_of]))
    write_meta(
        out,
        "expressions",
        {"backend": backend, "reason": reason, "exact": backend == "exact", **facts},
    )
    context.progress(1.0, f"{backend}: {reason}")


def _choose(params: ExpressionsParams, kind: str) -> tuple[str, str]:
    """The backend and why it was chosen."""
    if params.backend != "auto":
        return params.backend, "asked for in the parameters"
    if kind in ("synthetic", "population"):
        return "exact", "a synthetic capture carries its true coefficients"
    from headworks.errors import WeightsError
    from headworks.expressions.liveportrait import weights_files
    from headworks.networks.files import weights_folder

    try:
        weights_files(weights_folder(params.weights))
    except WeightsError:
        return "synthetic", (
            "no weights of LivePortrait; the tracked coefficients, with the errors of tracking, "
            "drive synthetic people"
        )
    return "liveportrait", "its weights are at hand"


def _landmarks(inputs: Inputs, capture: Path) -> NDArray[np.float32]:
    """Landmarks of the capture's frames [T, C, 68, 3], estimated or true."""
    from headworks.artifacts import read_array

    if "landmarks" in inputs:
        return read_array(Path(inputs["landmarks"]) / "landmarks.zarr", "points")
    return read_array(capture / "truth" / "truth.zarr", "landmarks")


_Result = tuple["Made", "NDArray[np.int64]", dict[str, Any]]


def _with_people(
    tracking: Tracking,
    drivers: list[Driver],
    rgb: Any,
    points: NDArray[np.float32],
    params: ExpressionsParams,
    rng: np.random.Generator,
    context: Context,
) -> _Result:
    """Synthetic people with the drivers' coefficients."""
    from headworks.expressions.made import draw_choices
    from headworks.expressions.people import SyntheticPeople, make_with_people
    from headworks.heads import load_exact

    times = [d.t for d in drivers]
    # On the driver's own head model the coefficients mean the same for everybody.
    load_exact(tracking.head, tracking.head_digest, "tracking")
    people = SyntheticPeople.draw(
        context.seed, params.people, params.size, params.texture, tracking.head
    )
    choices = draw_choices(rng, len(drivers), params.per_frame, params.people)
    made = make_with_people(
        people, tracking.expression[times], tracking.pose[times], choices, context.progress
    )
    who = [
        {"name": f"synthetic-{i}", "seed": seed, **person.attributes}
        for i, (seed, person) in enumerate(zip(people.seeds, people.people))
    ]
    facts = {"people": who, "weights_sha256": None, "kept_below": None}
    return made, choices, facts


def _with_portraits(
    tracking: Tracking,
    drivers: list[Driver],
    rgb: Any,
    points: NDArray[np.float32],
    params: ExpressionsParams,
    rng: np.random.Generator,
    context: Context,
) -> _Result:
    """Portraits moved by LivePortrait."""
    import numpy as np

    from headworks.expressions.liveportrait import weights_files
    from headworks.expressions.liveportrait.model import load
    from headworks.expressions.made import draw_choices
    from headworks.expressions.portraits import (
        Portrait,
        Transfer,
        make_with_portraits,
        portrait_files,
        read_portrait,
    )
    from headworks.expressions.quality import LARGEST_DIFFERENCE
    from headworks.networks.files import file_digest, weights_folder

    folder = weights_folder(params.weights)
    who: list[dict[str, Any]]
    if params.appearances:
        files = portrait_files(weights_folder(params.appearances))
        portraits = [read_portrait(path) for path in files]
        who = [{"name": path.name, "sha256": file_digest(path)} for path in files]
    else:
        from headworks.expressions.liveportrait.model import SIDE
        from headworks.expressions.people import SyntheticPeople

        people = SyntheticPeople.draw(context.seed, params.people, SIDE, params.texture)
        portraits = [Portrait(f"synthetic-{i}", p) for i, p in enumerate(people.at_rest())]
        who = [{"name": p.name, "seed": seed} for p, seed in zip(portraits, people.seeds)]
    choices = draw_choices(rng, len(drivers), params.per_frame, len(portraits))
    # The frame with the least expression stands for the neutral face.
    strength = np.linalg.norm(tracking.expression.numpy(), axis=1)
    neutral = int(np.argmin([strength[d.t] for d in drivers])) if drivers else 0
    frames = [np.asarray(rgb[d.t, d.c]) for d in drivers]
    shape = (len(drivers), *rgb.shape[2:])
    made = make_with_portraits(
        Transfer(load(folder), portraits),
        np.array(frames, np.uint8).reshape(shape),
        np.array([points[d.t, d.c] for d in drivers]),
        choices,
        params.size,
        params.mode,
        neutral,
        context.progress,
    )
    digests = {path.name: file_digest(path) for path in weights_files(folder).values()}
    facts = {
        "people": who,
        "weights_sha256": digests,
        "mode": params.mode,
        "kept_below": LARGEST_DIFFERENCE,
    }
    return made, choices, facts


def _write(
    out: Path,
    table: Any,
    drivers: list[Driver],
    choices: NDArray[np.int64],
    made: Made,
    points: NDArray[np.float32],
    kept_below: float | None,
) -> None:
    """The arrays, and a row per picture."""
    import polars as pl

    from headworks.artifacts import write_arrays, write_table
    from headworks.expressions.quality import mouth_difference

    arrays: dict[str, NDArray[Any]] = {
        "rgb": made.rgb,
        "landmarks": made.landmarks,
        "appearances": made.appearances,
    }
    if made.alpha is not None:
        arrays["alpha"] = made.alpha
    write_arrays(out / "expressions.zarr", arrays)
    sequences = dict(zip(table["t"].to_list(), table["sequence"].to_list()))
    rows = []
    for n, d in enumerate(drivers):
        for k, person in enumerate(choices[n]):
            difference = mouth_difference(points[d.t, d.c], made.landmarks[n, k])
            # NaN (no face found) is not below anything.
            kept = kept_below is None or difference <= kept_below
            rows.append((n, k, d.t, d.c, sequences[d.t], int(person), d.angle, difference, kept))
    columns = {
        "n": pl.Int32, "k": pl.Int32, "t": pl.Int32, "c": pl.Int32, "sequence": pl.String,
        "person": pl.Int32, "angle": pl.Float32, "mouth_difference": pl.Float32,
        "kept": pl.Boolean,
    }  # fmt: skip
    write_table(out / "expressions.parquet", pl.DataFrame(rows, columns, orient="row"))
