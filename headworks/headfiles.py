"""Where imported head models lie on disk: names to files, without opening them.

`headworks heads import` writes `<folder>/<SHA-256 of the file>.npz` and `<folder>/<name>.json`,
which says what the file is. The folder is `HEADWORKS_HEADS`, or `data/heads/` of the workspace
(`HEADWORKS_ROOT`, or the nearest folder upwards that is one). Nothing heavy is imported here: plans
ask which file a stage would use.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headworks.errors import HeadworksError

PROCEDURAL = "procedural"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class HeadFileError(HeadworksError):
    """A head model cannot be found, read or imported."""


@dataclass(frozen=True)
class HeadRecord:
    """What an imported head model is.

    Attributes:
        name: how params.yaml names it. kind: "ict", "flame" or "bfm".
        file: SHA-256 of the npz beside the record. digest: `HeadModel.digest`.
        sources: files that it was read from: {"file", "bytes", "sha256"}.
        licence: terms of the source, in words. notes: what was derived, and how.
        origin: [3] metres, our origin in the source's axes (times its unit).
        unit: metres per unit of the source.
    """

    name: str
    kind: str
    file: str
    digest: str
    sources: list[dict[str, Any]]
    licence: str
    notes: list[str]
    origin: list[float]
    unit: float


def heads_folder() -> Path:
    """Folder of the imported head models (it need not exist)."""
    named = os.environ.get("HEADWORKS_HEADS")
    if named:
        return Path(named).resolve()
    root = os.environ.get("HEADWORKS_ROOT")
    if root:
        return Path(root).resolve() / "data" / "heads"
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        known = (folder / "params.yaml").is_file() and (folder / ".dvc").is_dir()
        if known or (folder / ".headworks").is_dir():
            return folder / "data" / "heads"
    return here / "data" / "heads"


def check_name(name: str) -> str:
    """The name, if a head model may be called so.

    Raises:
        HeadFileError: when it may not.
    """
    if not _NAME.fullmatch(name) or name == PROCEDURAL:
        raise HeadFileError(
            f"{name!r}: a head model's name starts with a letter, then letters, digits, _ and -, "
            f"and is not {PROCEDURAL!r}"
        )
    return name


def records(folder: Path | None = None) -> list[HeadRecord]:
    """All imported head models, by name.

    Raises:
        HeadFileError: a record is damaged.
    """
    folder = folder or heads_folder()
    return [_read(path) for path in sorted(folder.glob("*.json"))]


def record(name: str, folder: Path | None = None) -> HeadRecord:
    """The record of an imported head model.

    Raises:
        HeadFileError: there is none, or it is damaged.
    """
    folder = folder or heads_folder()
    path = folder / f"{name}.json"
    if not _NAME.fullmatch(name) or not path.is_file():
        there = ", ".join([PROCEDURAL, *(p.stem for p in sorted(folder.glob("*.json")))])
        raise HeadFileError(
            f"no head model {name!r} in {folder}: there are {there}; import one with "
            "`headworks heads import KIND PATH --name NAME`, or name a file as ict:<path>"
        )
    return _read(path)


def head_file(name: str) -> Path | None:
    """The file behind a head model's name; None where the file is not there.

    Args:
        name: as in params.yaml; not "procedural", which has no file.
    """
    kind, _, path = name.partition(":")
    if kind == "ict" and path:
        file = Path(path)
    else:
        try:
            file = heads_folder() / f"{record(name).file}.npz"
        except HeadFileError:
            return None
    return file if file.is_file() else None


def head_assets(name: str) -> dict[str, Path | None]:
    """The files that a stage with `head: name` uses, for its recipe."""
    return {} if name == PROCEDURAL else {f"head {name}": head_file(name)}


def write_record(folder: Path, made: HeadRecord) -> None:
    """Write `<folder>/<name>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(made), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    partial = folder / f".{made.name}.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / f"{made.name}.json")


def _read(path: Path) -> HeadRecord:
    try:
        return HeadRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise HeadFileError(
            f"{path}: not a readable record of a head model ({error}); import it again"
        ) from None
