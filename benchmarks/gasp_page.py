"""The page of `benchmarks/gasp.py`: its tables and, per person, what every variant made."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1100px;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:1rem 0;font-size:14px}
td,th{text-align:right;padding:.25rem .6rem;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}
figure{margin:0 0 1rem;display:inline-block}figcaption{font-size:13px}
img{image-rendering:auto;max-width:100%}.missed{font-weight:700}
"""


def write_page(path: Path, facts: dict[str, Any], subjects: list[Any], main: str) -> None:
    """Write one HTML page beside the pictures.

    Args:
        path: the page. facts: what `study.json` holds. subjects: in the page's order.
        main: name of the main prior.
    """
    rows = "".join(
        f"<tr><td>{escape(line['what'])}</td><td>{escape(line['paper'])}</td>"
        + (
            f"<td>{line['mean']:+.2f}</td><td>{_span(line)}</td>"
            if "mean" in line else "<td>not run</td><td></td>"
        )
        + f"<td>{'' if line['bar'] is None else format(line['bar'], 'g')}</td>{_verdict(line)}</tr>"
        for line in facts["lines"]
    )  # fmt: skip
    trends = "".join(
        f"<li>{escape(t['family'])}, {escape(t['setting'])}: "
        + ", ".join(f"{s}: {m['psnr_full']:.2f} dB" for s, m in zip(t["sizes"], t["means"]))
        + f" ({'monotone' if t['monotone'] else 'not monotone'}, "
        + f"losses {'flat' if t['flat'] else 'not flat'})</li>"
        for t in facts["trends"]
    )
    groups = ("train", "front", "extreme", "side", "back")
    scores = "".join(
        f"<tr><td>{escape(r['setting'])}, {escape(r['variant'].replace('_', ' '))}</td>"
        + "".join(f"<td>{_number(r, g, 'psnr_full', 2)}</td>" for g in groups)
        + "".join(f"<td>{_number(r, g, 'flip_full', 3)}</td>" for g in ("extreme", "back"))
        + f"<td>{r['people']}</td></tr>"
        for r in facts["scores"]
    )
    people = ""
    for subject in subjects:
        mine = [p for p in facts["pictures"] if p["person"] == str(subject)]
        figures = "".join(
            f'<figure><img loading="lazy" src="{escape(p["file"])}" alt="truth, then avatar">'
            f"<figcaption>{escape(_label(p, main))}: "
            + ", ".join(f"{g} {p['psnr'][g]:.1f} dB" for g in ("extreme", "back") if g in p["psnr"])
            + "</figcaption></figure>"
            for p in mine
        )
        people += f"<h2>Person {subject}</h2>{figures}"
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>GASP's comparisons</title>"
        f'<meta name=viewport content="width=device-width"><style>{STYLE}</style>'
        "<h1>GASP's comparisons on held-out people</h1>"
        f"<p>{facts['cells']} of {facts['of']} fits. Differences in dB (FLIP where it says so), "
        "95 % bootstrap intervals over the people. Pictures: training view, front, outermost "
        "camera, side, back; truth above, avatar below.</p>"
        "<table><tr><th>comparison</th><th>paper</th><th>here</th><th>95 %</th><th>bar</th>"
        f"<th></th></tr>{rows}</table><ul>{trends}</ul>"
        "<table><tr><th>PSNR, dB</th>" + "".join(f"<th>{g}</th>" for g in groups)
        + "<th>FLIP extreme</th><th>FLIP back</th><th>people</th></tr>"
        f"{scores}</table>{people}</html>\n"
    )  # fmt: skip


def _span(line: dict[str, Any]) -> str:
    return "" if line["low"] is None else f"{line['low']:.2f} to {line['high']:.2f}"


def _verdict(line: dict[str, Any]) -> str:
    words = {None: "<td></td>", True: "<td>met</td>", False: "<td class=missed>missed</td>"}
    return words[line["met"]]


def _label(picture: dict[str, Any], main: str) -> str:
    words = [picture["setting"], picture["variant"].replace("_", " ")]
    if picture["prior"] not in (None, main):
        words.append(picture["prior"].replace("-", " "))
    return ", ".join(words)


def _number(row: dict[str, Any], group: str, metric: str, digits: int) -> str:
    return f"{row[group][metric]:.{digits}f}" if group in row else ""
