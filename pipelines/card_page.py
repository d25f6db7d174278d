"""A model card as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_GROUPS = (
    "By group: means of what was held out from training (a photo's own view is left out). Groups "
    "of one or two people say little."
)


def markdown(told: Mapping[str, Any]) -> str:
    """A page: what, data, people, numbers, metrics, groups, limits, use, code."""
    title = f"# {told['kind'].capitalize()} {told['stage']}/{told['subject']}"
    lines = [title, ""]
    if told["withdrawn"]:
        lines += ["**Withdrawn**: trained with a capture whose consent was taken back.", ""]
    what = {**told["what"], "digest": told["digest"], "recipe": told["key"]}
    lines += [*_table(("", ""), list(what.items())), "", "## Data", ""]
    data = told["data"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in data["kinds"].items())
    lines += [
        f"{len(data['members'])} captures ({kinds}), {data['files']} files, "
        f"{data['bytes'] / 1e6:.1f} MB. An avatar's own capture is marked.",
        "",
        *_table(
            ("capture", "kind", "consent", "licence"),
            [
                (m["subject"] + (" (own)" if m["own"] else ""), m["kind"], m["consent"],
                 m["licence"])
                for m in data["members"]
            ],
        ),
        "",
        "## People",
        "",
        "Attributes of synthetic people as they were drawn; of real people they are not guessed.",
        "",
        *_table(
            ("attribute", "people"),
            [
                (name, ", ".join(f"{value}: {count}" for value, count in values.items()))
                for name, values in told["people"].items()
            ],
        ),
        "",
        "## Metrics",
        "",
    ]  # fmt: skip
    lines += _metrics(told)
    lines += ["", "## Limits", "", *(f"- {line}" for line in told["limits"])]
    use = told["use"]
    lines += ["", "## Use", "", f"Meant for: {use['intended']}", "", f"Not: {use['not_intended']}"]
    numbers = {**told["params"], **{f"reached {k}": v for k, v in told["training"].items()}}
    lines += ["", "## Numbers", "", *_table(("param", "value"), sorted(numbers.items()))]
    code = {**told["code"], **{f"weights {k}": v for k, v in told["weights"].items()}}
    lines += ["", "## Code and environment", "", *_table(("", ""), list(code.items())), ""]
    return "\n".join(lines)


def _metrics(told: Mapping[str, Any]) -> list[str]:
    if not told["metrics"]:
        return ["Nothing was evaluated yet (headworks run)."]
    names = list(dict.fromkeys(n for row in told["metrics"].values() for n in row))
    rows = [
        (*name.split(" ", 1), *(_number(row.get(n)) for n in names))
        for name, row in told["metrics"].items()
    ]
    lines = [*_table(("subject", "protocol", *names), rows), "", _GROUPS]
    grouped = [
        (attribute, value, f"{row['people']:.0f}", *(_number(row.get(n)) for n in names))
        for attribute, values in told["groups"].items()
        for value, row in values.items()
    ]
    return [*lines, "", *_table(("attribute", "group", "people", *names), grouped)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    def row(cells: Sequence[Any]) -> str:
        texts = (str(c).replace("|", "\\|").replace("\n", " ") for c in cells)
        return "| " + " | ".join(texts) + " |"

    return [row(head), "|" + "---|" * len(head), *(row(r) for r in rows)]
