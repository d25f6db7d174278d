"""Twice the number."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from stages.contract import Context, Inputs, Params
from toystages.common import note, value, write


class DoubleParams(Params):
    """Params of double."""

    factor: float = Field(2.0, gt=0, le=10, description="what to multiply with")
    coarse: bool = Field(False, description="round down to tens first")


def run(inputs: Inputs, params: DoubleParams, out: Path, context: Context) -> None:
    """Multiply."""
    note("double", inputs["read"].name)
    number = value(inputs["read"])
    number = number // 10 * 10 if params.coarse else number
    write(out, "double", number * params.factor)
