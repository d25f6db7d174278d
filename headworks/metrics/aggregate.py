"""Means over frames, sequences and subjects, and bootstrap intervals that respect who is who."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

RESAMPLES = 10_000
BLOCK = 25
"""Frames of one block in the interval over frames of a single subject."""
_GROUP = ("method", "metric", "scope", "protocol")


class Interval(NamedTuple):
    """A mean with its 95 % interval (None where it cannot be estimated)."""

    mean: float
    low: float | None
    high: float | None


class Comparison(NamedTuple):
    """A paired difference first - second: mean, 95 % interval, share of resamples above zero."""

    mean: float
    low: float | None
    high: float | None
    share_above_zero: float | None


def bootstrap_interval(
    values: Sequence[float] | NDArray[np.floating], seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Mean over subjects with a percentile interval; no interval for one subject.

    Args:
        values: [S] one per subject. seed: of the resampling.
    """
    values = _finite(values)
    if len(values) == 1:
        return Interval(float(values[0]), None, None)
    means = values[_resample(len(values), seed, resamples)].mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))


def paired_bootstrap(
    first: Sequence[float] | NDArray[np.floating],
    second: Sequence[float] | NDArray[np.floating],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare two methods on the same subjects.

    Args:
        first: [S] values of one method, one per subject. second: [S] of the other, same order.

    Raises:
        ValueError: for different lengths.
    """
    first, second = _finite(first), _finite(second)
    if len(first) != len(second):
        raise ValueError(f"paired values of different counts: {len(first)} and {len(second)}")
    difference = first - second
    if len(difference) == 1:
        return Comparison(float(difference[0]), None, None, None)
    means = difference[_resample(len(difference), seed, resamples)].mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Comparison(float(difference.mean()), float(low), float(high), float((means > 0).mean()))


def frames_interval(
    values: Sequence[float] | NDArray[np.floating],
    seed: int = 0,
    resamples: int = RESAMPLES,
    block: int = BLOCK,
) -> Interval:
    """Mean over the frames of ONE subject with a moving-block bootstrap interval.

    Neighbouring frames resemble each other, so whole blocks are resampled.

    Args:
        values: [T] in time order. block: frames per block; shorter sequences have no interval.
    """
    values = _finite(values)
    count = len(values)
    if count <= block:
        return Interval(float(values.mean()), None, None)
    rng = np.random.Generator(np.random.PCG64(seed))
    blocks = -(-count // block)
    starts = rng.integers(0, count - block + 1, (resamples, blocks))
    index = (starts[..., None] + np.arange(block)).reshape(resamples, -1)[:, :count]
    low, high = np.percentile(values[index].mean(1), (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))


def subject_means(rows: pl.DataFrame) -> pl.DataFrame:
    """Mean of one subject per method, metric, scope and protocol.

    Every (sequence, camera) weighs the same however many frames it has; `micro` is the plain mean
    over frames, which most published tables print.

    Args:
        rows: columns method, sequence, camera, metric, scope, protocol, value (null: no value),
            reason.

    Returns:
        Columns method, metric, scope, protocol, mean, micro, n, n_null, n_failed; sorted.
    """
    import polars as pl

    group = list(_GROUP)
    views = rows.group_by([*group, "sequence", "camera"]).agg(pl.col("value").mean())
    means = views.group_by(group).agg(mean=pl.col("value").mean())
    counts = rows.group_by(group).agg(
        micro=pl.col("value").mean(),
        n=pl.col("value").count(),
        n_null=pl.col("value").null_count(),
        n_failed=(pl.col("value").is_not_null() & pl.col("reason").is_not_null()).sum(),
    )
    return means.join(counts, on=group).sort(group)


def nested_means(means: pl.DataFrame) -> dict[str, Any]:
    """{protocol: {method: {metric or metric_scope: value}}} of plain numbers; nulls are left out.

    Args:
        means: what `subject_means` returns.
    """
    out: dict[str, Any] = {}
    for row in means.iter_rows(named=True):
        if row["mean"] is None:
            continue
        name = row["metric"] if row["scope"] == "full" else f"{row['metric']}_{row['scope']}"
        values = out.setdefault(row["protocol"], {}).setdefault(row["method"], {})
        values[name] = round(float(row["mean"]), 6)
    return out


def _finite(values: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) == 0 or not np.isfinite(array).all():
        raise ValueError("expected at least one finite value per subject")
    return array


def _resample(count: int, seed: int, resamples: int) -> NDArray[np.int64]:
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.integers(0, count, (resamples, count))
