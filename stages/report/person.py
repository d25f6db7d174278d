"""`PersonPage`: what the template of one person's page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headworks.metrics.names import BASELINES, HIGHER_IS_BETTER, PLAIN, split_name
from stages.report import plots
from stages.report.gather import SubjectReport
from stages.report.leaderboard import COLUMNS, PROTOCOL_TEXT, arrow
from stages.report.reenacted import Strip
from stages.report.sizes import Item, Placed

OVERLAYS = {
    "matting": ("Matte", "What the mattes keep of the pictures."),
    "landmarks": ("Landmarks", "The points that were found, over the pictures."),
    "reconstruct": (
        "Points in space",
        "What several cameras found together: near points warm, far ones cold; landmarks white.",
    ),
    "tracking": (
        "Tracking",
        "The mesh over the pictures; landmarks found (green) and the mesh's (white), gaze, weight "
        "and flags.",
    ),
}
"""Title and caption of the stages' films."""
Shown = dict[str, Any]
"""An entry of pictures.json with `src`, `width` and `height` as they lie beside the page."""


@dataclass(frozen=True)
class Cell:
    """A number in a table: its text, and whether it is the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Answer:
    """What one method made of a frame, and where it differs; `error` may be missing."""

    method: str
    label: str
    picture: Shown
    error: Shown | None


@dataclass(frozen=True)
class Comparison:
    """One frame: the ground truth and every method's answer, the avatar's first."""

    truth: Shown
    answers: list[Answer]


@dataclass(frozen=True)
class PersonPage:
    """What is shown of one person; pictures are paths relative to the page."""

    anchor: str
    file: str
    name: str
    report: SubjectReport
    protocol: str
    avatar: str
    pictures: dict[str, list[Shown]]
    comparisons: list[Comparison]
    headings: list[tuple[str, str]]
    table: list[tuple[str, bool, list[Cell]]]
    gain: float | None
    plots: list[tuple[str, str]]
    missing: list[str]
    overlays: list[tuple[str, str, str]]
    strip: Strip | None

    @property
    def face(self) -> Shown | None:
        """A picture that stands for the person."""
        neutral = self.pictures.get("sweep", [])
        found = neutral or [c.answers[0].picture for c in self.comparisons]
        return found[0] if found else None


def anchor_of(number: int) -> str:
    """What a person's files are called.

    Nobody's name: listings of files outlive the files, also those of a person who is forgotten.
    """
    return f"person-{number + 1}"


def items_of(anchor: str, subject: SubjectReport) -> list[Item]:
    """Every picture and film of a person, and where it goes."""
    items = [
        Item(subject.folder / "pictures" / entry["file"], f"pictures/{anchor}/{entry['file']}")
        for entries in subject.pictures.values()
        for entry in entries
    ]
    for role, film in subject.overlays.items():
        items.append(Item(film, f"pictures/{anchor}/{role}.mp4"))
    return items


def draw_plots(anchor: str, subject: SubjectReport, out: Path) -> list[tuple[str, str]]:
    """Draw what there is to draw: (file, caption)."""
    drawn = []
    for name, caption, draw in (
        ("psnr", f"PSNR of every measured picture of {subject.name}", plots.plot_frames),
        ("curves", f"Training curves of {subject.name}", plots.plot_curves),
    ):
        file = f"plots/{anchor}-{name}.svg"
        if draw(subject, out / file):
            drawn.append((file, caption))
    return drawn


def person_page(
    anchor: str,
    subject: SubjectReport,
    placed: Mapping[str, Placed],
    drawn: list[tuple[str, str]],
    strip: Strip | None,
) -> PersonPage:
    """Put together what the template needs.

    Args:
        placed: where every file lies; what is missing there is not shown.
    """
    shown: dict[str, list[Shown]] = {}
    for role, entries in subject.pictures.items():
        for entry in entries:
            lies = placed.get(f"pictures/{anchor}/{entry['file']}")
            if lies is not None:
                size = {"width": lies.width, "height": lies.height} if lies.width else {}
                shown.setdefault(role, []).append({**entry, **size, "src": lies.src})
    headings = [
        (text, arrow(name))
        for name, text, _ in COLUMNS
        if any(name in values for values in subject.values.values())
    ]
    films = {role: placed.get(f"pictures/{anchor}/{role}.mp4") for role in subject.overlays}
    return PersonPage(
        anchor=anchor,
        file=f"{anchor}.html",
        name=subject.name,
        report=subject,
        protocol=PROTOCOL_TEXT[subject.frames_kind],
        avatar=subject.methods[0],
        pictures=shown,
        comparisons=_comparisons(subject, shown),
        headings=headings,
        table=_table(subject),
        gain=_gain(subject),
        plots=drawn,
        missing=_missing(subject),
        overlays=[(*OVERLAYS[role], film.src) for role, film in films.items() if film],
        strip=strip,
    )


def _comparisons(subject: SubjectReport, shown: Mapping[str, list[Shown]]) -> list[Comparison]:
    groups: dict[str, dict[str, Shown]] = {}
    for role, entries in shown.items():
        for entry in entries:
            if entry["group"].startswith("comparison_"):
                groups.setdefault(entry["group"], {})[role] = entry
    found = []
    for name in sorted(groups, key=lambda g: int(g.removeprefix("comparison_"))):
        roles = groups[name]
        answers = []
        for method in subject.methods:
            own = method not in BASELINES
            picture = roles.get("avatar" if own else method)
            if picture is not None:
                error = roles.get("error" if own else f"error_{method}")
                answers.append(Answer(method, plots.short(method), picture, error))
        if "ground_truth" in roles and answers:
            found.append(Comparison(roles["ground_truth"], answers))
    return found


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
