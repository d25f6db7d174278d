"""Twice the number."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from stages.contract import Context, Inputs, Params
from toystages.common import note, value, write


class DoubleParams(Params):
    """Params of double."""

    factor: float = Field(2.0, gt=0, le=10, description="what to multiply with")
    coarse: bool = Field(False, description="round down to tens first")


def assets(params: DoubleParams) -> dict[str, Path | None]:
    """Weights, where a test has put some."""
    path = os.environ.get("TOY_WEIGHTS")
    if path is None:
        return {}
    return {"toy": Path(path) if Path(path).is_file() else None}


def run(inputs: Inputs, params: DoubleParams, out: Path, context: Context) -> None:
    """Multiply."""
    note("double", inputs["read"].name)
    number = value(inputs["read"])
    number = number // 10 * 10 if params.coarse else number
    write(out, "double", number * params.factor)
