"""One stage that makes pictures."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from stages.contract import Context, Input, Inputs, Params, Stage


class PaintParams(Params):
    """Params of paint."""

    side: int = Field(24, ge=8, le=64, description="pixels")


STAGES = (Stage("paint", "toystages.pictured", "PaintParams", "subject", (Input("raw"),)),)


def run(inputs: Inputs, params: PaintParams, out: Path, context: Context) -> None:
    """Paint two squares in a colour of the capture."""
    from PIL import Image

    level = sum(next(inputs["raw"].glob("*.png")).read_bytes()) % 256
    for name, colour in (("first", (level, 90, 200)), ("second", (20, level, 90))):
        Image.new("RGB", (params.side, params.side), colour).save(out / f"{name}.png")
    (out / "artifact.json").write_text(json.dumps({"kind": "paint"}))
