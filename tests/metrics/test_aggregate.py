"""Means and intervals weigh people, not frames."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from headworks.metrics.aggregate import (
    bootstrap_interval,
    frames_interval,
    nested_means,
    paired_bootstrap,
    subject_means,
)

VALUES = [21.3, 22.8, 19.9, 24.1, 20.5, 23.0, 18.7, 22.2]


def test_bootstrap_hits_the_golden_interval() -> None:
    interval = bootstrap_interval(VALUES, seed=0)
    assert interval.mean == pytest.approx(21.5625)
    assert interval.low == pytest.approx(20.3875, abs=1e-9)
    assert interval.high == pytest.approx(22.7, abs=1e-9)


def test_one_subject_has_no_interval() -> None:
    assert bootstrap_interval([3.0]) == (3.0, None, None)


def test_paired_comparison_sees_a_small_but_constant_gain() -> None:
    better = [v + 0.3 for v in VALUES]
    result = paired_bootstrap(better, VALUES)
    assert result.low == pytest.approx(0.3)
    assert result.high == pytest.approx(0.3)
    assert result.share_above_zero == 1


def test_frames_interval_is_wider_than_independent_frames_would_say() -> None:
    rng = np.random.default_rng(0)
    slow = np.repeat(rng.standard_normal(12), 25) + 0.01 * rng.standard_normal(300)
    blocks = frames_interval(slow)
    naive = bootstrap_interval(slow)
    assert blocks.high - blocks.low > 2 * (naive.high - naive.low)
    assert frames_interval(slow[:20]).low is None


def test_missing_values_are_refused_not_averaged() -> None:
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval([1.0, float("nan")])


def rows(values: list[tuple[str, float | None, str | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"method": "m", "metric": "fd", "scope": "full", "protocol": "p", "sequence": s,
             "camera": "0", "value": v, "reason": r}
            for s, v, r in values
        ],
        schema_overrides={"value": pl.Float64, "reason": pl.String},
    )  # fmt: skip


def test_sequences_weigh_the_same_and_micro_weighs_frames() -> None:
    table = subject_means(
        rows([("a", 1.0, None), ("a", 1.0, "failed"), ("a", None, "no face"), ("b", 4.0, None)])
    )
    row = table.row(0, named=True)
    assert row["mean"] == pytest.approx(2.5)
    assert row["micro"] == pytest.approx(2.0)
    assert (row["n"], row["n_null"], row["n_failed"]) == (3, 1, 1)
    assert nested_means(table) == {"p": {"m": {"fd": 2.5}}}
