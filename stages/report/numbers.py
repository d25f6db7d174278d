"""metrics.json (nested plain numbers) and metrics.csv (long form): what DVC compares and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stages.report.gather import SubjectReport

COLUMNS = ("subject", "setting", "protocol", "method", "metric", "scope", "value", "micro", "n")


def write_numbers(subjects: Sequence[SubjectReport], out: Path) -> None:
    """Write metrics.json, metrics.csv and psnr.csv.

    metrics.json: {subject: {method: {metric: value}}} of each subject's leading protocol;
    metrics.csv: every mean in every protocol; psnr.csv: PSNR of every measured picture.
    """
    import polars as pl

    nested = {s.name: s.values for s in subjects}
    text = json.dumps(nested, indent=1, sort_keys=True, allow_nan=False)
    (out / "metrics.json").write_text(text + "\n")
    tables, frames = [], []
    for s in subjects:
        who = (pl.lit(s.name).alias("subject"), pl.lit(s.setting).alias("setting"))
        tables.append(s.means.rename({"mean": "value"}).with_columns(*who).select(COLUMNS))
        psnr = (pl.col("metric") == "psnr") & (pl.col("scope") == "full")
        frames.append(
            s.rows.filter(psnr & pl.col("value").is_not_null())
            .with_columns(pl.lit(s.name).alias("subject"))
            .select("subject", "method", "sequence", "camera", "frame", "value")
        )
    for name, parts in (("metrics.csv", tables), ("psnr.csv", frames)):
        table = pl.concat(parts) if parts else pl.DataFrame()
        table.write_csv(out / name, float_precision=6)
