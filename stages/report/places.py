"""Places in the pages that whoever publishes them fills: what differs from run to run.

The report stage's own output holds no times and no digests of other results, so that equal results
give equal bytes; `stages.report.costs.PLACE` is the third of them.
"""

from __future__ import annotations

CHANGES = "<!-- changes -->"
"""On the first page: what changed since the last report."""
PROVENANCE = "<!-- provenance -->"
"""On a person's page: where its results come from, and what they cost."""


def fill(html: str, place: str, text: str) -> str:
    """The page with a text in one of its places; other pages come back as they are."""
    return html.replace(place, text, 1)
