"""Leaderboards: methods x metrics for each setting, with intervals over people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headworks.metrics.aggregate import bootstrap_interval, paired_bootstrap
from headworks.metrics.names import HIGHER_IS_BETTER, split_name
from stages.report.gather import SubjectReport

COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("psnr", "PSNR, dB", 2), ("psnr_face", "PSNR face, dB", 2), ("ssim", "SSIM", 3),
    ("ms_ssim", "MS-SSIM", 3), ("flip", "FLIP", 3), ("fd", "FD", 3),
    ("alpha_iou", "matte IoU", 3), ("flicker_fg", "flicker", 4),
)  # fmt: skip
"""Metric, heading, digits."""
PROTOCOL_TEXT = {
    "held_out_frames": "frames held out in time",
    "held_out_cameras": "cameras held out",
    "train_view": "the training view",
}
SETTINGS = {"photo": "Photo", "monocular": "Clip", "multiview": "Rig"}
MIN_SUBJECTS_FOR_INTERVAL = 5
"""With fewer the bootstrap only repeats the least and the greatest value."""


@dataclass(frozen=True)
class Estimate:
    """A mean over people.

    Attributes:
        mean: of them. low, high: 95 % interval, or least and greatest value, or None for one.
        interval: whether low and high are an interval. count: people. values: theirs.
        best: the best of its column, as printed. digits: behind the point.
    """

    mean: float
    low: float | None
    high: float | None
    interval: bool
    count: int
    values: tuple[float, ...]
    digits: int
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A method on a board: means, and differences to the leading method on the same people."""

    method: str
    means: tuple[Estimate | None, ...]
    differences: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class Board:
    """All methods in one setting.

    Attributes:
        setting: "photo", "monocular", "multiview". frames_kind: see `PROTOCOL_TEXT`.
        subjects: who was measured. lead: the method that the others are compared with.
        metrics: names of the columns. rows: methods, best PSNR first.
    """

    setting: str
    frames_kind: str
    subjects: tuple[SubjectReport, ...]
    lead: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """Unique, safe in links and file names."""
        return f"{self.setting}-{self.frames_kind.replace('_', '-')}"

    @property
    def title(self) -> str:
        """What people read."""
        return f"{SETTINGS.get(self.setting, self.setting)}: {PROTOCOL_TEXT[self.frames_kind]}"

    @property
    def headings(self) -> list[tuple[str, str]]:
        """Heading and arrow of each column."""
        texts = {name: text for name, text, _ in COLUMNS}
        return [(texts[name], arrow(name)) for name in self.metrics]

    def psnr(self) -> list[tuple[str, Estimate]]:
        """Methods with their PSNR, in the order of the rows."""
        if "psnr" not in self.metrics:
            return []
        at = self.metrics.index("psnr")
        found = ((row.method, row.means[at]) for row in self.rows)
        return [(method, mean) for method, mean in found if mean is not None]


def arrow(metric: str) -> str:
    """Which way is better."""
    return "↑" if HIGHER_IS_BETTER[split_name(metric)[0]] else "↓"


def boards(subjects: Sequence[SubjectReport], seed: int) -> list[Board]:
    """One board for every setting and way of holding out, held-out pictures first.

    Args:
        subjects: all. seed: of the bootstrap over people.
    """
    groups: dict[tuple[str, str], list[SubjectReport]] = {}
    for subject in subjects:
        groups.setdefault((subject.setting, subject.frames_kind), []).append(subject)
    settings = ["monocular", "multiview", "photo"]

    def order(key: tuple[str, str]) -> tuple[bool, int, str, str]:
        known = settings.index(key[0]) if key[0] in settings else len(settings)
        return key[1] == "train_view", known, *key

    return [_board(*key, groups[key], seed) for key in sorted(groups, key=order)]


def _board(setting: str, frames_kind: str, subjects: list[SubjectReport], seed: int) -> Board:
    methods = list(dict.fromkeys(method for s in subjects for method in s.methods))
    lead = subjects[0].methods[0]
    metrics = [
        (name, digits) for name, _, digits in COLUMNS
        if any(name in values for s in subjects for values in s.values.values())
    ]  # fmt: skip
    rows = []
    for method in methods:
        means = tuple(_mean(subjects, method, *metric, seed) for metric in metrics)
        others = tuple(_difference(subjects, method, lead, *metric, seed) for metric in metrics)
        rows.append(Row(method, means, others))
    rows.sort(key=lambda row: -(row.means[0].mean if row.means and row.means[0] else -1e9))
    whole = [[_of_all(row.means[k], len(subjects)) for row in rows] for k in range(len(metrics))]
    best = [_best(name, whole[k]) for k, (name, _) in enumerate(metrics)]
    marked = [
        Row(
            row.method,
            tuple(_marked(e, best[k], len(subjects)) for k, e in enumerate(row.means)),
            row.differences,
        )
        for row in rows
    ]
    return Board(
        setting, frames_kind, tuple(subjects), lead, tuple(n for n, _ in metrics), tuple(marked)
    )


def _mean(
    subjects: list[SubjectReport], method: str, metric: str, digits: int, seed: int
) -> Estimate | None:
    values = [s.values.get(method, {}).get(metric) for s in subjects]
    return _estimate([v for v in values if v is not None], digits, seed)


def _estimate(values: list[float], digits: int, seed: int) -> Estimate | None:
    if not values:
        return None
    whole = bootstrap_interval(values, seed)
    enough = len(values) >= MIN_SUBJECTS_FOR_INTERVAL
    low, high = (whole.low, whole.high) if enough else (min(values), max(values))
    if len(values) == 1:
        low = high = None
    return Estimate(whole.mean, low, high, enough, len(values), tuple(values), digits)


def _difference(
    subjects: list[SubjectReport], method: str, lead: str, metric: str, digits: int, seed: int
) -> Estimate | None:
    """Method minus the leading one, over the people that have both."""
    pairs = [
        (s.values[method][metric], s.values[lead][metric])
        for s in subjects
        if metric in s.values.get(method, {}) and metric in s.values.get(lead, {})
    ]
    if method == lead or not pairs:
        return None
    own, other = zip(*pairs)
    result = paired_bootstrap(own, other, seed)
    values = [a - b for a, b in pairs]
    enough = len(values) >= MIN_SUBJECTS_FOR_INTERVAL
    low, high = (result.low, result.high) if enough else (min(values), max(values))
    if len(values) == 1:
        low = high = None
    return Estimate(result.mean, low, high, enough, len(values), tuple(values), digits)


def _best(metric: str, estimates: list[Estimate | None]) -> str | None:
    """The best mean of a column as it is printed; None where nothing is beside it."""
    known = [e for e in estimates if e is not None]
    if len(known) < 2:
        return None
    better = max if HIGHER_IS_BETTER[split_name(metric)[0]] else min
    return f"{better(e.mean for e in known):.{known[0].digits}f}"


def _of_all(estimate: Estimate | None, people: int) -> Estimate | None:
    """An estimate that rests on everybody: others are means over other people."""
    return estimate if estimate is not None and estimate.count == people else None


def _marked(estimate: Estimate | None, best: str | None, people: int) -> Estimate | None:
    if estimate is None:
        return None
    printed = f"{estimate.mean:.{estimate.digits}f}"
    return replace(estimate, best=printed == best and estimate.count == people)


def write_leaderboard(found: Sequence[Board], path: Path) -> None:
    """All boards as one CSV table; `spread` says what low and high are."""
    import polars as pl

    rows = []
    for board in found:
        for row in board.rows:
            for metric, mean, difference in zip(board.metrics, row.means, row.differences):
                if mean is None:
                    continue
                rows.append(
                    {
                        "setting": board.setting,
                        "frames": board.frames_kind,
                        "method": row.method,
                        "metric": metric,
                        "people": mean.count,
                        "mean": mean.mean,
                        "low": mean.low,
                        "high": mean.high,
                        "spread": "95% interval" if mean.interval else "least and greatest",
                        "compared_with": None if difference is None else board.lead,
                        "difference": None if difference is None else difference.mean,
                        "difference_low": None if difference is None else difference.low,
                        "difference_high": None if difference is None else difference.high,
                    }
                )
    numbers = ("mean", "low", "high", "difference", "difference_low", "difference_high")
    schema: dict[str, Any] = {**dict.fromkeys(numbers, pl.Float64), "compared_with": pl.String}
    pl.DataFrame(rows, schema_overrides=schema).write_csv(path, float_precision=6)
