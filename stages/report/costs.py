"""What ran and how long: it differs from run to run, so it comes from outside the artifacts.

A record is {"stage": str, "subject": str, "seconds": float, "cached": bool}. The page carries an
empty place for the table; whoever publishes the page fills it with `with_costs`, so that the
report stage's own output stays the same bytes for the same results.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from headworks.errors import ArtifactError

PLACE = "<!-- costs -->"


@dataclass(frozen=True)
class Cost:
    """Time of one unit of work.

    Attributes:
        stage, subject: which unit. seconds: how long it took when it last ran.
        cached: the result was at hand in this run and nothing was computed.
    """

    stage: str
    subject: str
    seconds: float
    cached: bool = False


def read_costs(path: Path) -> list[Cost]:
    """Read a JSON list of records.

    Raises:
        ArtifactError: when it is not such a list.
    """
    try:
        return [Cost(**record) for record in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"{path}: expected a JSON list of {{stage, subject, seconds, cached}} ({error})"
        ) from None


def with_costs(html: str, costs: Sequence[Cost]) -> str:
    """The page with the table of costs in its place (unchanged without records)."""
    return html.replace(PLACE, costs_html(costs), 1) if costs else html


def costs_html(costs: Sequence[Cost]) -> str:
    """A section with one row per subject and one column per stage."""
    stages = list(dict.fromkeys(cost.stage for cost in costs))
    subjects = list(dict.fromkeys(cost.subject for cost in costs))
    cells = {(cost.subject, cost.stage): cost for cost in costs}
    head = "".join(f'<th scope="col">{escape(stage)}</th>' for stage in stages)
    rows = []
    for subject in subjects:
        row = []
        for stage in stages:
            cost = cells.get((subject, stage))
            note = "<small> cached</small>" if cost and cost.cached else ""
            row.append(f"<td>{duration(cost.seconds)}{note}</td>" if cost else "<td>–</td>")
        rows.append(f'<tr><th scope="row">{escape(subject)}</th>{"".join(row)}</tr>')
    total = duration(sum(cost.seconds for cost in costs))
    return (
        '<section id="costs"><h2>What ran, and how long</h2><div class="scroll"><table>'
        f'<thead><tr><th scope="col">subject</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f"<p>Computing time of all results shown here: {total}.</p></section>"
    )


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s` or `3 min 20 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
