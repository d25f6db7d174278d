"""Places in the pages that whoever publishes them fills: what differs from run to run.

The report stage's own output holds no times and no digests of other results, so that equal results
give equal bytes; `stages.report.costs.PLACE` is the third of them.
"""

from __future__ import annotations

CHANGES = "<!-- changes -->"
"""On the first page: what changed since the last report."""
PROVENANCE = "<!-- provenance -->"
"""On a person's page: where its results come from, and what they cost."""


def plain_file(name: object, *folders: str) -> str:
    """A file's name as an artifact's listing gives it: right there, or right in one of `folders`.

    Raises:
        ValueError: it leads elsewhere; artifacts may come from other machines.
    """
    folder, _, last = str(name).rpartition("/")
    if folder not in ("", *folders) or last in ("", ".", "..") or "\\" in last or "\0" in last:
        raise ValueError(f"{name!r} is no file of this artifact")
    return str(name)


def fill(html: str, place: str, text: str) -> str:
    """The page with a text in one of its places; other pages come back as they are."""
    return html.replace(place, text, 1)
