"""matting: how much of each pixel is the person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.contract import Context, Inputs, Params

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MattingParams(Params):
    """Parameters of `matting`."""

    backend: Literal[
        "auto",
        "exact",
        "given",
        "background_matting",
        "rvm",
        "rembg",
        "plate",
        "colour_key",
        "plain",
    ] = Field(
        "auto",
        description="auto: exact where truth is known, given where the capture came with mattes; "
        "else, where weights are at hand, "
        "background_matting before known backgrounds, rvm for clips, rembg for photos; else "
        "colour_key before a screen of one colour, plate before known backgrounds, else plain",
    )
    weights: str = Field(
        "weights",
        description="folder of downloaded checkpoints (rvm_resnet50.pth, pytorch_resnet50.pth; "
        "docs/matting.md), from the workspace; rembg has a folder of its own",
    )
    overlay: bool = Field(
        True, description="write overlay.mp4, the mattes' cut (not of populations)"
    )


def assets(params: MattingParams) -> dict[str, Path | None]:
    """The checkpoints that the backend, or the choice of it, depends on."""
    from headworks.matting import weights_at_hand
    from headworks.networks.files import weights_folder

    found = weights_at_hand(weights_folder(params.weights))
    return {n: p for n, p in found.items() if params.backend in ("auto", n)}


def run(inputs: Inputs, params: MattingParams, out: Path, context: Context) -> None:
    """Write the mattes of one capture.

    Args:
        inputs: "ingest": a capture. params: see `MattingParams`. out: folder to write.
        context: progress.

    Raises:
        CaptureError: the backend asked for cannot work on these frames.
        WeightsError: a backend was asked for whose weights are absent.
        ArtifactError: exact mattes were asked for where there is no truth.
    """
    import numpy as np
    import polars as pl

    from headworks.artifacts import (
        ImageStack,
        open_arrays,
        read_meta,
        read_table,
        write_meta,
        write_table,
    )
    from headworks.formats.sequences import sequence_runs
    from headworks.matting import choose_backend, matte_quality, weights_digest
    from headworks.networks.files import weights_folder

    capture = Path(inputs["ingest"])
    meta = read_meta(capture, "capture")
    table = read_table(capture / "frames.parquet").sort("t", "c")
    rgb = open_arrays(capture / "frames.zarr")["rgb"]
    times, cameras = rgb.shape[:2]
    boxes = table.select("face_x0", "face_y0", "face_x1", "face_y1").to_numpy()
    runs = sequence_runs(table.filter(c=0)["sequence"].to_list())

    weights = weights_folder(params.weights)
    plates = _plates(capture, (cameras, *rgb.shape[2:]))
    backend: str = params.backend
    reason = "asked for in the parameters"
    if backend == "auto":
        if meta["subject_kind"] in ("synthetic", "population"):
            backend, reason = "exact", "a synthetic capture carries its true mattes"
        elif (capture / "given.zarr").is_dir():
            backend, reason = "given", "the capture came with mattes"
        else:
            sequences = [np.asarray(rgb[span, 0]) for span in runs]
            backend, reason = choose_backend(sequences, weights, plates is not None)
    known = {"exact": capture / "truth" / "truth.zarr", "given": capture / "given.zarr"}
    if backend in known:
        parts = _known(known[backend], backend, rgb.shape[:4], runs)
    else:
        boxes = boxes.reshape(times, cameras, 4)
        parts = _estimated(rgb, boxes, runs, backend, weights, plates, context)
    quality = np.empty((times, cameras), np.float32)
    coverage = np.empty((times, cameras), np.float32)
    # One camera's mattes of one sequence at a time: a long recording by many never sits in memory.
    with ImageStack(out / "mattes.zarr", "alpha", rgb.shape[:4]) as stack:
        for span, c, alpha in parts:
            for t, matte in zip(range(span.start, span.stop), alpha, strict=True):
                stack.write(t, c, matte)
            quality[span, c] = matte_quality(alpha)
            coverage[span, c] = alpha.mean((1, 2)) / 255
    rows = {
        "t": table["t"],
        "c": table["c"],
        "quality": quality.ravel(),
        "coverage": coverage.ravel(),
    }
    write_table(out / "mattes.parquet", pl.DataFrame(rows))
    digest = weights_digest(backend, weights)
    write_meta(out, "mattes", {"backend": backend, "weights_sha256": digest, "reason": reason})
    if params.overlay and meta["subject_kind"] != "population":
        from headworks.overlays import matte_picture, write_overlay

        mattes = open_arrays(out / "mattes.zarr")["alpha"]
        write_overlay(
            out / "overlay.mp4",
            (times, cameras),
            lambda t, c: matte_picture(np.asarray(rgb[t, c]), np.asarray(mattes[t, c])),
            meta.get("fps"),
        )
    context.progress(1.0, f"{backend}: {reason}")


def _known(
    path: Path, backend: str, shape: tuple[int, ...], runs: list[slice]
) -> Iterator[tuple[slice, int, NDArray[np.uint8]]]:
    """Mattes that are the truth, lay beside the pictures, or were their alpha channel."""
    import numpy as np

    from headworks.artifacts import open_arrays
    from headworks.errors import ArtifactError

    if not path.is_dir():
        what = "no truth here" if backend == "exact" else "no mattes came along"
        raise ArtifactError(f"{path}: {what}; set `matting.backend` to auto")
    stored = open_arrays(path)
    if "alpha" not in stored or stored["alpha"].shape != shape or stored["alpha"].dtype != np.uint8:
        raise ArtifactError(f"{path}: expected alpha of uint8 {shape}; run the stage before again")
    for c in range(shape[1]):
        for span in runs:
            yield span, c, np.asarray(stored["alpha"][span, c])


def _plates(capture: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The cameras' clean backgrounds [C, H, W, 3], where the capture has them."""
    from headworks.artifacts import read_array

    path = capture / "background.zarr"
    return read_array(path, "rgb", shape) if path.is_dir() else None


def _estimated(
    rgb: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    runs: list[slice],
    backend: str,
    weights: Path,
    plates: NDArray[np.uint8] | None,
    context: Context,
) -> Iterator[tuple[slice, int, NDArray[np.uint8]]]:
    """Alpha [T, H, W] of each sequence and camera, made for itself."""
    import numpy as np

    from headworks.matting import estimate_alpha

    times, cameras = rgb.shape[:2]
    done = 0
    for c in range(cameras):
        for span in runs:
            length = span.stop - span.start

            def progress(part: float, done: int = done, length: int = length) -> None:
                context.progress((done + part * length) / (times * cameras), backend)

            frames = np.asarray(rgb[span, c])
            plate = None if plates is None else plates[c]
            found = estimate_alpha(frames, boxes[span, c], backend, progress, weights, plate)
            yield span, c, found
            done += length
