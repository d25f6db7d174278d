"""matting: how much of each pixel is the person."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.contract import Context, Inputs, Params


class MattingParams(Params):
    """Parameters of `matting`."""

    backend: Literal["auto", "exact", "rembg", "colour_key", "plain"] = Field(
        "auto",
        description="auto: exact where truth is known, colour_key before a screen of one colour, "
        "else rembg if its weights are at hand, else plain",
    )


def run(inputs: Inputs, params: MattingParams, out: Path, context: Context) -> None:
    """Write the mattes of one capture.

    Args:
        inputs: "ingest": a capture. params: see `MattingParams`. out: folder to write.
        context: progress.
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
    from headworks.matting import plain

    capture = Path(inputs["ingest"])
    meta = read_meta(capture, "capture")
    rgb = open_arrays(capture / "frames.zarr")["rgb"]
    table = read_table(capture / "frames.parquet").sort("t", "c")
    boxes = table.select("face_x0", "face_y0", "face_x1", "face_y1").to_numpy()
    boxes = boxes.reshape(rgb.shape[0], rgb.shape[1], 4)
    cameras = range(rgb.shape[1])
    alpha = np.stack([plain.estimate(np.asarray(rgb[:, c]), boxes[:, c]) for c in cameras], 1)
    share = alpha.astype(np.float32) / 255
    rows = {
        "t": table["t"],
        "c": table["c"],
        "quality": np.abs(2 * share - 1).mean((2, 3)).ravel(),
        "coverage": share.mean((2, 3)).ravel(),
    }
    write_arrays(out / "mattes.zarr", {"alpha": alpha})
    write_table(out / "mattes.parquet", pl.DataFrame(rows))
    write_meta(out, "mattes", {"backend": "plain", "weights_sha256": None, "reason": "default"})
