"""index.html: the template filled in, with copies of the pictures beside it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.metrics.aggregate import paired_bootstrap
from headworks.metrics.names import BASELINES, HIGHER_IS_BETTER, PLAIN, TITLES, split_name
from stages.report import plots
from stages.report.codes import shown_directions
from stages.report.costs import PLACE, Cost, with_costs
from stages.report.gather import SubjectReport

if TYPE_CHECKING:
    from stages.report import ReportParams

COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("psnr", "PSNR, dB", 2), ("psnr_face", "PSNR of the face, dB", 2), ("ssim", "SSIM", 3),
    ("ms_ssim", "MS-SSIM", 3), ("flip", "FLIP", 3), ("fd", "FD", 3),
    ("alpha_iou", "matte IoU", 3), ("flicker_fg", "flicker", 4),
)  # fmt: skip
"""Metric, heading, digits."""
PROTOCOL_TEXT = {
    "held_out_frames": "frames held out in time",
    "held_out_cameras": "cameras held out",
    "train_view": "the training view",
}
_FOLDER = Path(__file__).parent / "templates"

MIN_SUBJECTS_FOR_INTERVAL = 5
"""With fewer the bootstrap only repeats the least and the greatest value."""


@dataclass(frozen=True)
class Cell:
    """A number in a table: its text, and whether it is the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class SubjectView:
    """What the template shows of one subject; pictures are paths relative to the page."""

    anchor: str
    overlay: str | None
    report: SubjectReport
    protocol: str
    avatar: str
    pictures: dict[str, list[dict[str, Any]]]
    comparisons: list[dict[str, dict[str, Any]]]
    headings: list[tuple[str, str]]
    table: list[tuple[str, bool, list[Cell]]]
    gain: float | None
    plots: list[tuple[str, str]]
    missing: list[str]


def write_page(
    subjects: Sequence[SubjectReport],
    params: ReportParams,
    costs: Sequence[Cost],
    out: Path,
    directions: Path | None = None,
) -> None:
    """Write index.html, pictures/ and plots/ below `out`.

    Args:
        directions: artifact of the prior's latent directions, where there is one.
    """
    import jinja2

    views = [_view(number, subject, out) for number, subject in enumerate(subjects)]
    measured = {method for subject in subjects for method in subject.values}
    overview = plots.plot_overview(subjects, out / "plots" / "overview.svg")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("index.html.j2").render(
        title=params.title,
        subjects=views,
        overview="plots/overview.svg" if overview else None,
        gains=_gains(subjects, params.seed),
        baselines=[method for method in BASELINES if method in measured],
        style=(_FOLDER / "style.css").read_text(),
        script=(_FOLDER / "divider.js").read_text(),
        directions=shown_directions(directions, out) if directions else None,
        costs_place=PLACE,
        label=plots.label,
    )
    (out / "index.html").write_text(with_costs(html, costs))


def anchor_of(number: int, name: str) -> str:
    """A name that is safe in links and file paths, unique by its number."""
    return f"s{number + 1}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'subject'}"


def _view(number: int, subject: SubjectReport, out: Path) -> SubjectView:
    anchor = anchor_of(number, subject.name)
    folder = out / "pictures" / anchor
    folder.mkdir(parents=True)
    for entries in subject.pictures.values():
        for entry in entries:
            shutil.copyfile(subject.folder / "pictures" / entry["file"], folder / entry["file"])
            entry["src"] = f"pictures/{anchor}/{entry['file']}"
    film = None
    if subject.overlay is not None:
        film = f"pictures/{anchor}/tracking.mp4"
        shutil.copyfile(subject.overlay, out / film)
    drawn = []
    for name, caption, draw in (
        ("psnr", f"PSNR of every measured picture of {subject.name}", plots.plot_frames),
        ("curves", f"Training curve of {subject.name}", plots.plot_curves),
    ):
        file = f"plots/{anchor}-{name}.svg"
        if draw(subject, out / file):
            drawn.append((file, caption))
    headings = [
        (text, "↑" if HIGHER_IS_BETTER[split_name(name)[0]] else "↓")
        for name, text, _ in COLUMNS
        if any(name in values for values in subject.values.values())
    ]
    return SubjectView(
        anchor=anchor,
        overlay=film,
        report=subject,
        protocol=PROTOCOL_TEXT[subject.frames_kind],
        avatar=subject.methods[0],
        pictures=subject.pictures,
        comparisons=subject.comparisons(),
        headings=headings,
        table=_table(subject),
        gain=_gain(subject),
        plots=drawn,
        missing=_missing(subject),
    )


def _table(subject: SubjectReport) -> list[tuple[str, bool, list[Cell]]]:
    """One row per method: name, whether it is a baseline, one cell per shown column."""
    rows: dict[str, list[Cell]] = {method: [] for method in subject.methods}
    for name, _, digits in COLUMNS:
        values = {m: subject.values.get(m, {}).get(name) for m in subject.methods}
        known = [v for v in values.values() if v is not None]
        if not known:
            continue
        better = max if HIGHER_IS_BETTER[split_name(name)[0]] else min
        best = f"{better(known):.{digits}f}"
        for method, value in values.items():
            text = "–" if value is None else f"{value:.{digits}f}"
            rows[method].append(Cell(text, text == best and len(known) > 1))
    return [(method, method in BASELINES, cells) for method, cells in rows.items()]


def _gain(subject: SubjectReport) -> float | None:
    """PSNR of the avatar above the better of what one gets without an avatar, dB."""
    values = {m: v["psnr"] for m, v in subject.values.items() if "psnr" in v}
    others = [v for m, v in values.items() if m in PLAIN]
    own = values.get(subject.methods[0])
    return own - max(others) if own is not None and others else None


def _gains(subjects: Sequence[SubjectReport], seed: int) -> list[str]:
    """Paired comparison with each baseline over the subjects that have held-out pictures."""
    sentences = []
    for baseline in BASELINES:
        pairs = [
            (s.values[s.methods[0]]["psnr"], s.values[baseline]["psnr"])
            for s in subjects
            if s.frames_kind != "train_view"
            and "psnr" in s.values.get(s.methods[0], {})
            and "psnr" in s.values.get(baseline, {})
        ]
        if not pairs:
            continue
        own, other = zip(*pairs)
        result = paired_bootstrap(own, other, seed=seed)
        article = "" if baseline in TITLES else "the "
        text = f"{result.mean:+.2f} dB PSNR against {article}{plots.label(baseline)}"
        if result.low is not None and len(pairs) >= MIN_SUBJECTS_FOR_INTERVAL:
            text += f" (95 % interval over subjects {result.low:+.2f} to {result.high:+.2f})"
        text = text.replace("-", "\N{MINUS SIGN}")
        count = f"{len(pairs)} subject{'s' if len(pairs) > 1 else ''} with held-out pictures"
        sentences.append(f"{text}, {count}.")
    return sentences


def _missing(subject: SubjectReport) -> list[str]:
    """Metrics without a value, one sentence for each reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in subject.missing:
        name = row["metric"] if row["scope"] == "full" else f"{row['metric']} ({row['scope']})"
        reasons.setdefault((row["method"], row["reason"] or "unknown"), []).append(name)
    return [
        f"{plots.label(method)}: no {', '.join(names)}: {reason}"
        for (method, reason), names in sorted(reasons.items())
    ]
