"""The toy subject's fit."""

from __future__ import annotations

from pathlib import Path

from toyavatars import Context, Inputs, ToyParams, copy

__all__ = ["ToyParams", "run"]


def run(inputs: Inputs, params: ToyParams, out: Path, context: Context) -> None:
    """Hand it out."""
    copy("fit", Path(inputs["raw"]), out)
