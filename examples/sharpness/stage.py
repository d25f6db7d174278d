"""How sharp is every frame of a capture? A stage in thirty lines."""

from pathlib import Path

from pydantic import Field

from stages.contract import Context, Inputs, Params


class SharpnessParams(Params):
    """Section `sharpness` of params.yaml."""

    blurred_below: float = Field(20.0, ge=0, description="variance of the Laplacian that is blur")


def run(inputs: Inputs, params: SharpnessParams, out: Path, context: Context) -> None:
    """Measure every frame.

    Args:
        inputs: "ingest": a capture. params: see `SharpnessParams`. out: folder to write.
        context: seed, threads, progress.
    """
    import cv2
    import polars as pl

    from headworks.artifacts import open_arrays, write_meta, write_table

    frames = open_arrays(inputs["ingest"] / "frames.zarr")["rgb"]
    rows = []
    for t in range(frames.shape[0]):
        for c in range(frames.shape[1]):
            grey = cv2.cvtColor(frames[t, c], cv2.COLOR_RGB2GRAY)
            value = float(cv2.Laplacian(grey, cv2.CV_64F).var())
            rows.append(
                {"t": t, "c": c, "sharpness": value, "blurred": value < params.blurred_below}
            )
        context.progress((t + 1) / frames.shape[0], f"frame {t + 1}")
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / "sharpness.parquet", pl.DataFrame(rows))
    write_meta(out, "sharpness", {"frames": len(rows), "blurred": sum(r["blurred"] for r in rows)})
