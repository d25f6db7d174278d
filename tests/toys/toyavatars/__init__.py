"""Stages that hand out a toy subject with an avatar, for tests of what is made of avatars."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from stages.contract import Context, Input, Inputs, Params, Stage


class ToyParams(Params):
    """No params."""


def copy(role: str, raw: Path, out: Path) -> None:
    """One artifact of the toy subject; as many frames as the raw file has bytes, at most 12."""
    import shutil

    from tests.tinycapture import write_subject

    count = sum(p.stat().st_size for p in raw.iterdir() if p.suffix != ".json")
    with TemporaryDirectory() as scratch:
        folders = write_subject(Path(scratch), min(count, 12))
        shutil.copytree(folders[role], out, dirs_exist_ok=True)


STAGES = tuple(
    Stage(role, f"toyavatars.{role}", "ToyParams", "subject", (Input("raw"),))
    for role in ("ingest", "tracking", "fit")
)

__all__ = ["STAGES", "Context", "Inputs", "ToyParams", "copy"]
