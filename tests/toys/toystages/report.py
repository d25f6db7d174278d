"""A page about all subjects."""

from __future__ import annotations

import json
from pathlib import Path

from stages.contract import Context, Inputs, Params
from toystages.common import note, value


class ReportParams(Params):
    """Params of report."""

    title: str = "toys"


def run(inputs: Inputs, params: ReportParams, out: Path, context: Context) -> None:
    """Report."""
    note("report", "all")
    print(f"before: {context.before}")
    numbers = {name: value(folder) for name, folder in sorted(inputs["join"].items())}
    pages = {name: f"p{number}.html" for number, name in enumerate(numbers)}
    facts = {"kind": "report", "schema": "headworks.report/1", "pages": pages}
    (out / "artifact.json").write_text(json.dumps(facts, sort_keys=True))
    (out / "index.html").write_text(
        f"<h1>{params.title}</h1>{json.dumps(numbers)}<!-- changes --><!-- costs -->"
    )
    for name, file in pages.items():
        (out / file).write_text(f"{name}<!-- provenance -->")
    told = {name: failure["message"] for name, failure in inputs.get("failed", {}).items()}
    (out / "failed.json").write_text(json.dumps(told, sort_keys=True))
    means = {name: {"mean": sum(row) / len(row)} for name, row in numbers.items()}
    (out / "metrics.json").write_text(json.dumps(means, sort_keys=True))
    rows = [f"{name},0,{row[0]}" for name, row in numbers.items()]
    (out / "psnr.csv").write_text("\n".join(["subject,frame,value", *rows]) + "\n")
