"""Nine stages in a row for every subject, and nothing that gathers: what scale is measured on."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from stages.contract import Context, Input, Inputs, Params, Stage
from toystages.common import note, value, write


class StepParams(Params):
    """Params of a step."""

    add: int = Field(1, ge=0, description="what to add")


STAGES = tuple(
    Stage(
        f"step{n}",
        "toystages.chain",
        "StepParams",
        "subject",
        (Input("raw" if n == 0 else f"step{n - 1}"),),
    )
    for n in range(9)
)


def run(inputs: Inputs, params: StepParams, out: Path, context: Context) -> None:
    """Add."""
    note("step", "")
    (source,) = inputs.values()
    raw = sorted(source.glob("*.mp4"))
    number = sum(raw[0].read_bytes()) if raw else value(source)
    write(out, "step", number + params.add)
