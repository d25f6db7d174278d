"""Where a person's results come from: a drawn graph, and the same as a table with what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from stages.report.costs import duration, energy

_WIDTH, _HEIGHT, _GAP, _RISE = 138, 44, 16, 34


@dataclass(frozen=True)
class Node:
    """One result, or one capture, that something rests on.

    Attributes:
        name: unique. stage: or "capture". digest: short, of its bytes. reads: names of nodes.
        seconds, cpu_seconds: it took (None: not known, or nothing is computed). energy_j: of the
            processor. cached: it was at hand in this run. note: more words for the table.
    """

    name: str
    stage: str
    digest: str
    reads: tuple[str, ...] = ()
    seconds: float | None = None
    cpu_seconds: float | None = None
    energy_j: float | None = None
    cached: bool = False
    note: str = ""


def lineage_html(subject: str, nodes: Sequence[Node]) -> str:
    """A section with the graph and the table; empty without nodes.

    Args:
        nodes: what comes first stands first; a node reads only nodes before it.
    """
    if not nodes:
        return ""
    computed = [n for n in nodes if n.seconds is not None]
    total = sum(n.seconds or 0.0 for n in computed)
    at_hand = sum(n.cached for n in computed)
    known = [n.energy_j for n in computed if n.energy_j is not None]
    words = f"{energy(sum(known))} for {len(known)} of them" if known else "energy not known"
    rows = "".join(_row(number, node, nodes) for number, node in enumerate(nodes))
    heads = ("step", "result", "read", "time", "CPU", "energy", "when this page was made")
    numeric = ("time", "CPU", "energy")
    head = "".join(
        f'<th scope="col"{" class=n" if text in numeric else ""}>{text}</th>' for text in heads
    )
    return (
        '<section id="lineage"><h2>Lineage and cost</h2>'
        f'<p class="note" id="lineage-note">What the results of {escape(subject)} rest on, from '
        "the capture down; every box leads to its row in the table, which says the same in words. "
        "Lines that follow from others are left out. Digests are the first figures of the one by "
        "which <code>headworks audit</code> knows a result.</p>"
        '<div class="scroll lineage" role="region" tabindex="0" aria-label="Lineage graph">'
        f"{_svg(subject, nodes)}</div>"
        f"<p>{len(computed)} results, {duration(total)} of computing, {words}; {at_hand} of "
        f"{len(computed)} were at hand when this page was made.</p>"
        '<div class="scroll" role="region" tabindex="0" aria-label="Lineage as a table">'
        f'<table aria-describedby="lineage-note"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _row(number: int, node: Node, nodes: Sequence[Node]) -> str:
    places = {other.name: at for at, other in enumerate(nodes)}
    reads = ", ".join(
        f'<a href="#step-{places[name]}">{escape(nodes[places[name]].stage)}</a>'
        for name in node.reads
        if name in places
    )
    ran = "" if node.seconds is None else "at hand" if node.cached else "computed"
    note = f"<small>{escape(node.note)}</small>" if node.note else ""
    return (
        f'<tr id="step-{number}" tabindex="-1"><th scope="row">{escape(node.stage)}{note}</th>'
        f"<td><code>{escape(node.digest)}</code></td><td>{reads or '–'}</td>"
        f'<td class="n">{_time(node.seconds)}</td><td class="n">{_time(node.cpu_seconds)}</td>'
        f'<td class="n">{_energy(node)}</td><td>{ran or "–"}</td></tr>'
    )


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)


def _energy(node: Node) -> str:
    if node.seconds is None:
        return "–"
    return "not known" if node.energy_j is None else energy(node.energy_j)


def layers(nodes: Sequence[Node]) -> list[list[int]]:
    """Indices of the nodes in rows: below everything that they read, near what they read."""
    at = {node.name: number for number, node in enumerate(nodes)}
    depth: list[int] = []
    for node in nodes:
        depth.append(1 + max((depth[at[r]] for r in node.reads if r in at), default=-1))
    rows: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    place: dict[int, float] = {}
    for row in range(len(rows)):
        members = [n for n, d in enumerate(depth) if d == row]

        def wish(n: int) -> float:
            above = [place[at[r]] for r in nodes[n].reads if at.get(r) in place]
            return sum(above) / len(above) if above else 0.0

        members.sort(key=lambda n: (wish(n), n))
        for k, n in enumerate(members):
            place[n] = k - (len(members) - 1) / 2
        rows[row] = members
    return rows


def drawn_edges(nodes: Sequence[Node]) -> list[tuple[int, int]]:
    """(from, to) without those that follow from others."""
    at = {node.name: number for number, node in enumerate(nodes)}
    behind: list[set[int]] = []
    edges = []
    for number, node in enumerate(nodes):
        reads = {at[r] for r in node.reads if r in at}
        further = set().union(*(behind[r] for r in reads)) if reads else set()
        edges += [(r, number) for r in sorted(reads - further)]
        behind.append(reads | further)
    return edges


def _svg(subject: str, nodes: Sequence[Node]) -> str:
    rows = layers(nodes)
    widest = max(len(row) for row in rows)
    width = widest * (_WIDTH + _GAP) + _GAP
    height = len(rows) * (_HEIGHT + _RISE) - _RISE + 12
    corner: dict[int, tuple[float, float]] = {}
    for y, row in enumerate(rows):
        start = (width - len(row) * (_WIDTH + _GAP) + _GAP) / 2
        for x, n in enumerate(row):
            corner[n] = (start + x * (_WIDTH + _GAP), 6 + y * (_HEIGHT + _RISE))
    parts = []
    for source, target in drawn_edges(nodes):
        x0, y0 = corner[source][0] + _WIDTH / 2, corner[source][1] + _HEIGHT
        x1, y1 = corner[target][0] + _WIDTH / 2, corner[target][1]
        bend = min(_RISE, (y1 - y0) / 2)
        parts.append(
            f'<path class="edge" d="M{x0:g} {y0:g}C{x0:g} {y0 + bend:g} {x1:g} {y1 - bend:g} '
            f'{x1:g} {y1:g}"/>'
        )
    for n, node in enumerate(nodes):
        left, top = corner[n]
        took = f" · {duration(node.seconds)}" if node.seconds is not None else ""
        told = f"{node.stage}, result {node.digest}{took.replace(' ·', ',')}"
        kind = ' class="raw"' if node.seconds is None else ""
        parts.append(
            f'<a href="#step-{n}" aria-label="{escape(told)}"{kind}>'
            f'<rect x="{left:g}" y="{top:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>'
            f'<text x="{left + _WIDTH / 2:g}" y="{top + 19:g}">{escape(node.stage)}</text>'
            f'<text class="small" x="{left + _WIDTH / 2:g}" y="{top + 35:g}">'
            f"{escape(node.digest[:8])}{escape(took)}</text></a>"
        )
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="group" aria-label="What the results of {escape(subject)} rest on">'
        f"{''.join(parts)}</svg>"
    )
