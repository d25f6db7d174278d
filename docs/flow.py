"""Data flows as SVG: boxes in rows, arrows downwards, in the colours of the page around."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, GAP_X, GAP_Y, PAD, LINE = 200, 22, 38, 9, 18
_LETTERS = 25
"""Letters that fit on a line of a box."""
_MARGIN = 3
STYLE = """
.flow { overflow-x: auto; margin: 1em 0; }
.flow svg { display: block; margin: 0 auto; font: 14px/1.3 system-ui, sans-serif; }
.flow rect { fill: transparent; stroke: currentColor; stroke-opacity: .55; }
.flow .data rect { stroke-dasharray: 5 4; }
.flow .result rect { stroke-width: 2.5; stroke-opacity: .9; }
.flow text { fill: currentColor; }
.flow path { fill: none; stroke: currentColor; stroke-opacity: .6; }
.flow marker path { fill: currentColor; fill-opacity: .8; stroke: none; }
"""


class Box(NamedTuple):
    """One node. Attributes: kind: data, step or result. x, y: of its corner. height: its own."""

    kind: str
    lines: list[str]
    row: int
    x: float
    y: float
    height: float

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return self.x + WIDTH / 2, self.y + self.height / 2


def boxes(rows: Sequence[Sequence[str]]) -> tuple[dict[str, Box], float, float]:
    """Nodes "id: text" of rows, placed; and the drawing's width and height."""
    most = max(map(len, rows))
    wide = most * (WIDTH + GAP_X) - GAP_X
    out, y = {}, float(_MARGIN)
    for number, row in enumerate(rows):
        texts = [node.split(": ", 1) for node in row]
        wrapped = [_wrapped(text) for _, text in texts]
        height = max(LINE * len(lines) + 2 * PAD for lines in wrapped)
        x = _MARGIN + (wide - len(row) * (WIDTH + GAP_X) + GAP_X) / 2
        for (name, _), lines in zip(texts, wrapped, strict=True):
            kind = {"_": "data", "=": "result"}.get(name[0], "step")
            out[name.lstrip("=")] = Box(kind, lines, number, x, y, height)
            x += WIDTH + GAP_X
        y += height + GAP_Y
    return out, wide + 2 * _MARGIN, y - GAP_Y + _MARGIN


def drawing(title: str, rows: Sequence[Sequence[str]], arrows: Sequence[str]) -> str:
    """The SVG element.

    Args:
        rows: nodes "id: text" from above to below. arrows: "from to".

    Raises:
        ValueError: an arrow between nodes that there are not.
    """
    nodes, width, height = boxes(rows)
    mark = "arrow-" + "".join(letter for letter in title.lower() if letter.isalnum())
    parts = []
    for arrow in arrows:
        names = arrow.split()
        if len(names) != 2 or not set(names) <= set(nodes):
            raise ValueError(f"{title}: no such arrow: {arrow!r}")
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = _bezier(*(nodes[name] for name in names))
        path = f"M{x0:g} {y0:g}C{x1:g} {y1:g} {x2:g} {y2:g} {x3:g} {y3:g}"
        parts.append(f'<path d="{path}" marker-end="url(#{mark})"/>')
    for box in nodes.values():
        top = box.y + (box.height - LINE * len(box.lines)) / 2
        text = "".join(
            f'<text x="{box.x + WIDTH / 2:g}" y="{top + LINE * (n + 0.75):g}" '
            f'text-anchor="middle">{escape(line)}</text>'
            for n, line in enumerate(box.lines)
        )
        parts.append(
            f'<g class="{box.kind}"><rect x="{box.x:g}" y="{box.y:g}" width="{WIDTH}" '
            f'height="{box.height:g}" rx="6"/>{text}</g>'
        )
    said = escape(f"{title}: data flow. " + "; ".join(_sentence(a, nodes) for a in arrows))
    return (
        f'<div class="flow"><svg width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{said}">'
        f'<defs><marker id="{mark}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0l8 4-8 4z"/></marker></defs>'
        f"{''.join(parts)}</svg></div>"
    )


def _sentence(arrow: str, nodes: dict[str, Box]) -> str:
    first, second = (" ".join(nodes[name].lines) for name in arrow.split())
    return f"{first} to {second}"


def _bezier(a: Box, b: Box) -> list[tuple[float, float]]:
    """Four points of an arrow: downwards, sideways within a row, or back up along the right."""
    (ax, ay), (bx, by) = a.middle, b.middle
    if b.row == a.row:
        side = 1 if bx > ax else -1
        start, end = ax + side * WIDTH / 2, bx - side * (WIDTH / 2 + 2)
        return [(start, ay), (start, ay), (end, by), (end, by)]
    down = 1 if b.row > a.row else -1
    start, end = ay + down * a.height / 2, by - down * (b.height / 2 + 2)
    bend = down * min(abs(end - start) / 2, 34)
    return [(ax, start), (ax, start + bend), (bx, end - bend), (bx, end)]


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > _LETTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def crossings(rows: Sequence[Sequence[str]], arrows: Sequence[str]) -> list[str]:
    """Arrows that run through a box between their ends."""
    nodes, _, _ = boxes(rows)
    found = []
    for arrow in arrows:
        a, b = (nodes[name] for name in arrow.split())
        points = _bezier(a, b)
        for step in range(1, 80):
            t = step / 80
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            x = sum(w * p[0] for w, p in zip(weights, points, strict=True))
            y = sum(w * p[1] for w, p in zip(weights, points, strict=True))
            found += [
                arrow
                for box in nodes.values()
                if box not in (a, b)
                and box.x < x < box.x + WIDTH
                and box.y < y < box.y + box.height
            ]
    return sorted(set(found))
