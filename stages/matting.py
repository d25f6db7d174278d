"""matting: how much of each pixel is the person."""

from __future__ import annotations

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
        "plate before known backgrounds, colour_key before a screen of one colour, else plain",
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
        open_arrays,
        read_meta,
        read_table,
        write_arrays,
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
    if backend == "exact":
        alpha = _exact(capture, (times, cameras, *rgb.shape[2:4]))
    elif backend == "given":
        alpha = _given(capture, (times, cameras, *rgb.shape[2:4]))
    else:
        boxes = boxes.reshape(times, cameras, 4)
        alpha = _estimated(rgb, boxes, runs, backend, weights, plates, context)
    quality = np.empty((times, cameras), np.float32)
    for c in range(cameras):
        for span in runs:
            quality[span, c] = matte_quality(alpha[span, c])
    rows = {
        "t": table["t"],
        "c": table["c"],
        "quality": quality.ravel(),
        "coverage": (alpha.mean((2, 3)) / 255).ravel().astype(np.float32),
    }
    write_arrays(out / "mattes.zarr", {"alpha": alpha})
    write_table(out / "mattes.parquet", pl.DataFrame(rows))
    digest = weights_digest(backend, weights)
    write_meta(out, "mattes", {"backend": backend, "weights_sha256": digest, "reason": reason})
    if params.overlay and meta["subject_kind"] != "population":
        from headworks.overlays import matte_picture, write_overlay

        write_overlay(
            out / "overlay.mp4",
            (times, cameras),
            lambda t, c: matte_picture(np.asarray(rgb[t, c]), alpha[t, c]),
            meta.get("fps"),
        )
    context.progress(1.0, f"{backend}: {reason}")


def _exact(capture: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    from headworks.artifacts import read_array
    from headworks.errors import ArtifactError

    truth = capture / "truth" / "truth.zarr"
    if not truth.is_dir():
        raise ArtifactError(f"{truth}: no truth here; set `matting.backend` to auto")
    return read_array(truth, "alpha", shape)


def _given(capture: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Mattes that lay beside the pictures, or were their alpha channel."""
    from headworks.artifacts import read_array
    from headworks.errors import ArtifactError

    given = capture / "given.zarr"
    if not given.is_dir():
        raise ArtifactError(f"{given}: no mattes came along; set `matting.backend` to auto")
    return read_array(given, "alpha", shape)


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
) -> NDArray[np.uint8]:
    """Alpha [T, C, H, W], each sequence and camera for itself."""
    import numpy as np

    from headworks.matting import estimate_alpha

    times, cameras = rgb.shape[:2]
    alpha = np.empty(rgb.shape[:4], np.uint8)
    done = 0
    for c in range(cameras):
        for span in runs:
            length = span.stop - span.start

            def progress(part: float, done: int = done, length: int = length) -> None:
                context.progress((done + part * length) / (times * cameras), backend)

            frames = np.asarray(rgb[span, c])
            plate = None if plates is None else plates[c]
            alpha[span, c] = estimate_alpha(
                frames, boxes[span, c], backend, progress, weights, plate
            )
            done += length
    return alpha
