"""The pages: templates filled in, with pictures beside them that fit the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.metrics.names import BASELINES, TITLES
from stages.report import plots
from stages.report.codes import shown_directions
from stages.report.costs import PLACE
from stages.report.gather import SubjectReport
from stages.report.leaderboard import Board, Estimate, boards, write_leaderboard
from stages.report.person import PersonPage, anchor_of, draw_plots, items_of, person_page
from stages.report.places import CHANGES, PROVENANCE
from stages.report.reenacted import matrix, read_reenactments, strip
from stages.report.sizes import MEGABYTE, PAGE_RESERVE, Fitted, budget, fit
from stages.report.study import PAGE, SETTINGS, place_study, study_file

if TYPE_CHECKING:
    from stages.report import ReportParams

_FOLDER = Path(__file__).parent / "templates"


def write_pages(
    subjects: Sequence[SubjectReport],
    params: ReportParams,
    out: Path,
    directions: Path | None = None,
    reenactments: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Write index.html, a page per person, leaderboard.csv, pictures/ and plots/ below `out`.

    Args:
        directions: artifact of the prior's latent directions, where there is one.
        reenactments: person -> artifact of cross re-enactment.

    Returns:
        Facts for the artifact's description: `pages` (subject -> file), `size` (how pictures were
        made to fit).
    """
    found = boards(subjects, params.seed)
    write_leaderboard(found, out / "leaderboard.csv")
    anchors = [anchor_of(number) for number in range(len(subjects))]
    drawn = [draw_plots(a, s, out) for a, s in zip(anchors, subjects)]
    board_plots = {
        b.name: f"plots/{b.name}.svg"
        for b in found
        if plots.plot_board(b, out / "plots" / f"{b.name}.svg")
    }
    codes, items = shown_directions(directions) if directions else (None, [])
    acted = read_reenactments(reenactments, [s.name for s in subjects]) if reenactments else None
    for anchor, subject in zip(anchors, subjects):
        items += items_of(anchor, subject)
    items += acted.items() if acted else []
    study = None
    if params.study is not None:
        study = place_study(study_file(params.study), out, params.megabytes)
    aim = budget(params.megabytes, len(subjects))
    there = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    fitted = fit(items, out, aim - there - PAGE_RESERVE * (1 + len(subjects)))
    placed = fitted.placed
    for direction in codes["strips"] if codes else ():
        direction["src"] = placed[direction["target"]].src
    people = [
        person_page(a, s, placed, d, strip(acted, s.name, placed) if acted else None)
        for a, s, d in zip(anchors, subjects, drawn)
    ]
    measured = {method for subject in subjects for method in subject.values}
    shared: dict[str, Any] = {
        "title": params.title,
        "people": people,
        "baselines": [method for method in BASELINES if method in measured],
        "style": (_FOLDER / "style.css").read_text(),
        "label": plots.label,
        "short": plots.short,
    }
    environment = _environment()
    html = environment.get_template("index.html.j2").render(
        **shared,
        boards=found,
        board_plots=board_plots,
        gains=[sentence for board in found for sentence in _gains(board)],
        directions=codes,
        matrix=matrix(acted, placed) if acted else None,
        pages={p.name: p.file for p in people},
        study=PAGE if study else None,
        weight=_weight(fitted, params.megabytes, len(subjects)),
        costs_place=PLACE,
        changes_place=CHANGES,
    )
    (out / "index.html").write_text(html)
    if study:
        page = environment.get_template("study.html.j2")
        told = page.render(**shared, study=study, study_settings=SETTINGS)
        (out / PAGE).write_text(told)
    template = environment.get_template("person.html.j2")
    script = (_FOLDER / "divider.js").read_text()
    for number, person in enumerate(people):
        text = template.render(
            **shared,
            p=person,
            pages={q.name: q.file for q in people},
            before=people[number - 1] if number else None,
            after=people[number + 1] if number + 1 < len(people) else None,
            provenance_place=PROVENANCE,
            script=script,
        )
        (out / person.file).write_text(text)
    return {"pages": {p.name: p.file for p in people}, "size": fitted.level.text or "as they are"}


def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = signed
    environment.filters["spread"] = spread
    return environment


def signed(value: float, digits: int) -> str:
    """A difference with its sign, as printed."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else f"{0:.{digits}f}"


def spread(estimate: Estimate, difference: bool = False) -> str:
    """Low and high of an estimate; empty where there is but one person."""
    if estimate.low is None or estimate.high is None:
        return ""
    if difference:
        return (
            f"{signed(estimate.low, estimate.digits)} to {signed(estimate.high, estimate.digits)}"
        )
    return f"{estimate.low:.{estimate.digits}f}\N{EN DASH}{estimate.high:.{estimate.digits}f}"


def _gains(board: Board) -> list[str]:
    """Paired comparison of the leading avatar with the others, in sentences."""
    if board.frames_kind == "train_view" or "psnr" not in board.metrics:
        return []
    at = board.metrics.index("psnr")
    parts = []
    for row in board.rows:
        difference = row.differences[at]
        if difference is not None:
            article = "" if row.method in TITLES else "the "
            parts.append(
                f"{signed(-difference.mean, 2)} dB against {article}{plots.label(row.method)}"
            )
    people = f"{len(board.subjects)} {'person' if len(board.subjects) == 1 else 'people'}"
    if not parts:
        return []
    return [f"{board.title} ({people}): PSNR of the avatar is {', '.join(parts)}."]


def _weight(fitted: Fitted, megabytes: float, people: int) -> str:
    """How heavy the page is, in a sentence."""
    aim = budget(megabytes, people) / MEGABYTE
    text = f"Pictures and films: {fitted.size / MEGABYTE:.1f} MB"
    if fitted.level.text:
        text += f"; to stay below {aim:g} MB, {fitted.level.text}"
    if not fitted.fits:
        text += f"; still more than the {aim:g} MB aimed at"
    return f"{text}."


__all__ = ["PersonPage", "signed", "spread", "write_pages"]
