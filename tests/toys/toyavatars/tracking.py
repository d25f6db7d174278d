"""The toy subject's tracking."""

from __future__ import annotations

from pathlib import Path

from toyavatars import Context, Inputs, ToyParams, copy

__all__ = ["ToyParams", "run"]


def run(inputs: Inputs, params: ToyParams, out: Path, context: Context) -> None:
    """Hand it out."""
    copy("tracking", Path(inputs["raw"]), out)
