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

    backend: Literal["auto", "exact", "rembg", "colour_key", "plain"] = Field(
        "auto",
        description="auto: exact where truth is known, else rembg if its weights are at hand, else "
        "colour_key before a screen of one colour, else plain",
    )


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
    import polars as pl

    from headworks.artifacts import (
        open_arrays,
        read_meta,
        read_table,
        write_arrays,
        write_meta,
        write_table,
    )
    from headworks.matting import matte_quality, weights_digest

    capture = Path(inputs["ingest"])
    meta = read_meta(capture, "capture")
    table = read_table(capture / "frames.parquet").sort("t", "c")
    rgb = open_arrays(capture / "frames.zarr")["rgb"]
    times, cameras = rgb.shape[:2]
    boxes = table.select("face_x0", "face_y0", "face_x1", "face_y1").to_numpy()
    sequential = meta["setting"] != "photo"

    backend, reason = params.backend, "asked for in the parameters"
    if backend == "auto" and meta["subject_kind"] in ("synthetic", "population"):
        backend, reason = "exact", "a synthetic capture carries its true mattes"
    if backend == "exact":
        alpha = _exact(capture, (times, cameras, *rgb.shape[2:4]))
    else:
        alpha, backend, reason = _estimated(
            rgb, boxes.reshape(times, cameras, 4), backend, reason, sequential, context
        )
    quality = [matte_quality(alpha[:, c], sequential) for c in range(cameras)]
    rows = {
        "t": table["t"],
        "c": table["c"],
        "quality": pl.Series([q[t] for t in range(times) for q in quality], dtype=pl.Float32),
        "coverage": pl.Series((alpha.mean((2, 3)) / 255).ravel(), dtype=pl.Float32),
    }
    write_arrays(out / "mattes.zarr", {"alpha": alpha})
    write_table(out / "mattes.parquet", pl.DataFrame(rows))
    digest = weights_digest(backend)
    write_meta(out, "mattes", {"backend": backend, "weights_sha256": digest, "reason": reason})
    context.progress(1.0, f"{backend}: {reason}")


def _exact(capture: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    from headworks.artifacts import read_array
    from headworks.errors import ArtifactError

    truth = capture / "truth" / "truth.zarr"
    if not truth.is_dir():
        raise ArtifactError(f"{truth}: no truth here; set `matting.backend` to auto")
    return read_array(truth, "alpha", shape)


def _estimated(
    rgb: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    backend: str,
    reason: str,
    sequential: bool,
    context: Context,
) -> tuple[NDArray[np.uint8], str, str]:
    """Alpha [T, C, H, W] with one backend for all cameras, its name, and why it was chosen."""
    import numpy as np

    from headworks.matting import choose_backend, estimate_alpha

    cameras = rgb.shape[1]
    if backend == "auto":
        backend, reason = choose_backend(np.asarray(rgb[:, 0]))
    alphas = []
    for c in range(cameras):

        def progress(done: float, c: int = c) -> None:
            context.progress((c + done) / cameras, f"{backend}: camera {c}")

        frames = np.asarray(rgb[:, c])
        alphas.append(estimate_alpha(frames, boxes[:, c], backend, sequential, progress))
    return np.stack(alphas, 1), backend, reason
