"""What changed since the last report: people, numbers, and what was done otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from headworks.metrics.names import HIGHER_IS_BETTER, split_name
from stages.report.leaderboard import COLUMNS
from stages.report.plots import label

Values = Mapping[str, Mapping[str, Mapping[str, float]]]
"""subject -> method -> metric -> value: metrics.json."""
MOST = 40
"""Rows of the table of numbers; the largest steps stand first."""
LEAST_STEP = {2: 0.005, 3: 0.0005, 4: 0.00005}
"""What would not show, by digits."""


def changed_numbers(before: Values, after: Values) -> list[dict[str, Any]]:
    """Numbers that differ as printed: subject, method, metric, before, after; largest step first.

    Only of people and methods that both reports have.
    """
    found: list[dict[str, Any]] = []
    for subject in sorted(set(before) & set(after)):
        for method in sorted(set(before[subject]) & set(after[subject])):
            for metric, heading, digits in COLUMNS:
                a = before[subject][method].get(metric)
                b = after[subject][method].get(metric)
                if a is None or b is None or abs(b - a) < LEAST_STEP[digits]:
                    continue
                found.append(
                    {
                        "subject": subject, "method": method, "metric": metric,
                        "heading": heading, "digits": digits, "before": a, "after": b,
                    }
                )  # fmt: skip
    found.sort(key=lambda c: -abs(c["after"] - c["before"]) / LEAST_STEP[c["digits"]])
    return found


def changes_html(changes: Mapping[str, Any] | None, pages: Mapping[str, str]) -> str:
    """The section that tells it.

    Args:
        changes: `since` (when the last report was made), `added`, `removed` (people), `numbers`
            (see `changed_numbers`), `causes` (sentences); None for the first report.
        pages: subject -> page.
    """
    head = '<section id="changes"><h2>Since the last report</h2>'
    if changes is None:
        return f"{head}<p>This is the first one.</p></section>"
    parts = [head]
    if changes.get("since"):
        parts.append(f'<p class="note">Compared with the report of {escape(changes["since"])}.</p>')
    lines = [
        *_people("New", changes["added"], pages),
        *_people("No longer here", changes["removed"], {}),
        *(escape(cause) for cause in changes["causes"]),
    ]
    numbers = changes["numbers"]
    if not lines and not numbers:
        lines = ["Nothing that a number or a picture would show."]
    elif not numbers:
        lines.append("No number of those who were there before changed.")
    parts.append(f'<ul class="changes">{"".join(f"<li>{line}</li>" for line in lines)}</ul>')
    if numbers:
        parts.append(_table(numbers, pages))
    return "".join([*parts, "</section>"])


def _people(word: str, names: Sequence[str], pages: Mapping[str, str]) -> list[str]:
    if not names:
        return []
    told = (
        f'<a href="{escape(pages[n])}">{escape(n)}</a>' if n in pages else escape(n) for n in names
    )
    return [f"{word}: {', '.join(told)}."]


def _table(numbers: Sequence[Mapping[str, Any]], pages: Mapping[str, str]) -> str:
    rows = []
    for c in numbers[:MOST]:
        step = c["after"] - c["before"]
        better = (step > 0) == HIGHER_IS_BETTER[split_name(c["metric"])[0]]
        digits = c["digits"]
        name = escape(c["subject"])
        who = (
            f'<a href="{escape(pages[c["subject"]])}">{name}</a>' if c["subject"] in pages else name
        )
        sign = f"{step:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
        rows.append(
            f'<tr><th scope="row">{who}</th><td>{escape(label(c["method"]))}</td>'
            f"<td>{escape(c['heading'])}</td><td class=n>{c['before']:.{digits}f}</td>"
            f"<td class=n>{c['after']:.{digits}f}</td><td class=n>{sign}</td>"
            f"<td>{'better' if better else 'worse'}</td></tr>"
        )
    more = len(numbers) - MOST
    note = f'<p class="note">And {more} smaller steps.</p>' if more > 0 else ""
    heads = "".join(
        f'<th scope="col"{" class=n" if text in ("before", "now", "step") else ""}>{text}</th>'
        for text in ("person", "method", "metric", "before", "now", "step", "")
    )
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Changed numbers"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{note}"
    )
