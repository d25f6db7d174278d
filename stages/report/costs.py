"""What ran and how long: it differs from run to run, so it comes from outside the artifacts.

The page carries an empty place for the tables; whoever publishes the page fills it with
`with_costs`, so that the report stage's own output stays the same bytes for the same results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

PLACE = "<!-- costs -->"


@dataclass(frozen=True)
class Cost:
    """What one unit of work took.

    Attributes:
        stage, subject: which unit. seconds: how long it took when it last ran.
        cached: the result was at hand in this run and nothing was computed.
        cpu_seconds: of the processor, over all cores; None where not known.
        energy_j: joules of the processor; None where the machine does not tell.
    """

    stage: str
    subject: str
    seconds: float
    cached: bool = False
    cpu_seconds: float | None = None
    energy_j: float | None = None


def with_costs(html: str, costs: Sequence[Cost]) -> str:
    """The page with the tables of costs in their place (unchanged without records)."""
    return html.replace(PLACE, costs_html(costs), 1) if costs else html


def costs_html(costs: Sequence[Cost]) -> str:
    """A section: one row per stage, and behind a fold one per subject with a column per stage."""
    stages = list(dict.fromkeys(cost.stage for cost in costs))
    rows = "".join(
        _row(escape(stage), [cost for cost in costs if cost.stage == stage]) for stage in stages
    )
    known = sum(cost.energy_j is not None for cost in costs)
    told = (
        f"Energy is known of {known} of {len(costs)} results: the processor's own counter, shared "
        "out by CPU time; memory, disks and graphics cards are not in it."
        if known
        else "Energy is not known: no machine that computed these results told it."
    )
    return (
        '<section id="costs"><h2>What ran, and how long</h2>'
        '<p class="note" id="costs-note">Every result shown here, at the time when it was '
        "computed; the last column counts those that were at hand when this page was made. "
        f"{told}</p>"
        '<div class="scroll" role="region" tabindex="0" aria-label="Cost by stage">'
        '<table aria-describedby="costs-note"><thead><tr><th scope="col">stage</th>'
        '<th scope="col" class="n">results</th><th scope="col" class="n">time</th>'
        '<th scope="col" class="n">CPU</th><th scope="col" class="n">energy</th>'
        '<th scope="col" class="n">at hand</th></tr></thead>'
        f"<tbody>{rows}{_row('all', list(costs), True)}</tbody></table></div>"
        f"<details><summary>By subject</summary>{_by_subject(costs, stages)}</details></section>"
    )


def _row(name: str, costs: Sequence[Cost], total: bool = False) -> str:
    seconds = [c.cpu_seconds for c in costs if c.cpu_seconds is not None]
    joules = [c.energy_j for c in costs if c.energy_j is not None]
    part = f"<small>{len(joules)} of {len(costs)}</small>" if 0 < len(joules) < len(costs) else ""
    cells = (
        str(len(costs)),
        duration(sum(c.seconds for c in costs)),
        duration(sum(seconds)) if seconds else "not known",
        f"{energy(sum(joules))}{part}" if joules else "not known",
        f"{sum(c.cached for c in costs)} of {len(costs)}",
    )
    own = ' class="own"' if total else ""
    return f'<tr{own}><th scope="row">{name}</th>' + "".join(
        f'<td class="n">{cell}</td>' for cell in cells
    ) + "</tr>"  # fmt: skip


def _by_subject(costs: Sequence[Cost], stages: Sequence[str]) -> str:
    subjects = list(dict.fromkeys(cost.subject for cost in costs))
    cells = {(cost.subject, cost.stage): cost for cost in costs}
    head = "".join(f'<th scope="col" class="n">{escape(stage)}</th>' for stage in stages)
    rows = []
    for subject in subjects:
        row = []
        for stage in stages:
            cost = cells.get((subject, stage))
            note = "<small>cached</small>" if cost and cost.cached else ""
            text = f"{duration(cost.seconds)}{note}" if cost else "–"
            row.append(f'<td class="n">{text}</td>')
        rows.append(f'<tr><th scope="row">{escape(subject)}</th>{"".join(row)}</tr>')
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Cost by subject"><table>'
        f'<thead><tr><th scope="col">subject</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s` or `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def energy(joules: float) -> str:
    """`12 J`, `3.4 kJ` or `1.20 kWh`."""
    if joules < 1000:
        return f"{joules:.0f} J"
    return f"{joules / 1000:.1f} kJ" if joules < 1e6 else f"{joules / 3.6e6:.2f} kWh"
