"""Everything of one subject together, with a seeded number."""

from __future__ import annotations

from pathlib import Path

from stages.contract import Context, Inputs, Params
from toystages.common import note, value, write


class JoinParams(Params):
    """Params of join."""

    offset: int = 0


def run(inputs: Inputs, params: JoinParams, out: Path, context: Context) -> None:
    """Join."""
    import numpy as np

    from headworks.seeds import generator

    note("join", inputs["read"].name)
    noise = float(np.round(generator(context.seed, "join").random(), 6))
    parts = [value(inputs[role]) for role in ("read", "double", "teach")]
    write(out, "join", [*parts, params.offset, noise])
