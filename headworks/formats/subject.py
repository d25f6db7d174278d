"""A subject's own folder: `subject.json` and the raw files beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from headworks.errors import CaptureError

KINDS = ("photo", "photos", "clip", "synthetic", "synthetic_clip", "population")


@dataclass(frozen=True)
class Subject:
    """What a subject's folder says about it.

    Attributes:
        kind: one of `KINDS`.
        files: raw files, in the order they were given.
        consent: what the person agreed to, in words, or None.
        licence: licence of the material, or None.
        seed: seed of a synthetic person, or None.
    """

    kind: str
    files: tuple[Path, ...]
    consent: str | None
    licence: str | None
    seed: int | None


def read_subject(folder: Path) -> Subject:
    """Read `subject.json` and find the files it names.

    Raises:
        CaptureError: absent or unreadable description, unknown kind, or a file that is missing or
            lies outside the folder.
    """
    path = Path(folder) / "subject.json"
    try:
        fields = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CaptureError(f"{path}: not a readable subject ({error}); add it again") from None
    kind = fields.get("kind") if isinstance(fields, dict) else None
    if kind not in KINDS:
        raise CaptureError(f"{path}: kind is {kind!r}; expected one of {', '.join(KINDS)}")
    names = fields.get("files") or []
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise CaptureError(f"{path}: `files` must be a list of file names")
    files = []
    for name in names:
        file = Path(folder) / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise CaptureError(f"{path}: {name!r} lies outside the subject's folder")
        if not file.is_file():
            raise CaptureError(f"{file}: named by subject.json but missing; add the subject again")
        files.append(file)
    if not files and kind in ("photo", "photos", "clip"):
        raise CaptureError(f"{path}: a subject of kind {kind!r} needs at least one file")
    return Subject(
        kind, tuple(files), fields.get("consent"), fields.get("licence"), fields.get("seed")
    )
