"""A subject's own folder: `subject.json`, the raw files beside it, and the terms they came under.

`terms.json` holds consent and licence. It is no input of any computation, so that a corrected
wording does not make a subject's results stale.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headworks.errors import CaptureError

KINDS = (
    "photo", "photos", "clip", "multiview", "synthetic", "synthetic_clip", "synthetic_photo",
    "population",
)  # fmt: skip
DESCRIPTION = "subject.json"
TERMS = "terms.json"


@dataclass(frozen=True)
class Subject:
    """What a subject's folder says about it.

    Attributes:
        kind: one of `KINDS`.
        files: raw files, in the order they were given.
        consent: what the person agreed to, in words, or None.
        licence: licence of the material, or None.
        seed: seed of a synthetic person, or None.
        layout: of the folders beside the description (`layouts`), or None.
    """

    kind: str
    files: tuple[Path, ...]
    consent: str | None
    licence: str | None
    seed: int | None
    layout: str | None = None


def _object(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CaptureError(
            f"{path}: not readable ({error}); add the subject again with: headworks add"
        ) from None
    if not isinstance(fields, dict):
        raise CaptureError(f"{path}: expected a JSON object, got {type(fields).__name__}")
    return fields


def _words(path: Path, fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise CaptureError(f"{path}: {name} must be words or null, got {value!r}")
    return value


def read_terms(folder: Path) -> dict[str, str | None]:
    """Consent and licence of a capture: from `terms.json`, else (older folders) `subject.json`.

    Raises:
        CaptureError: unreadable, or not words.
    """
    path = Path(folder) / TERMS
    if not path.is_file():
        path = Path(folder) / DESCRIPTION
    fields = _object(path)
    return {name: _words(path, fields, name) for name in ("consent", "licence")}


def read_subject(folder: Path) -> Subject:
    """Read `subject.json` and find the files it names.

    Raises:
        CaptureError: absent or unreadable description, unknown kind, or a file that is missing or
            lies elsewhere than beside the description.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    fields = _object(path)
    kind = fields.get("kind")
    if kind not in KINDS:
        raise CaptureError(f"{path}: kind is {kind!r}; kind must be one of {', '.join(KINDS)}")
    names = fields.get("files") or []
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise CaptureError(f"{path}: `files` must be a list of file names")
    files = []
    for name in names:
        if not name or Path(name).name != name or name.startswith(".") or "\0" in name:
            raise CaptureError(f"{path}: {name!r} lies outside the subject's folder, or is hidden")
        if not (folder / name).is_file():
            raise CaptureError(f"{path}: names {name}, which is missing; add the subject again")
        files.append(folder / name)
    layout = _words(path, fields, "layout")
    if not files and layout is None and kind in ("photo", "photos", "clip"):
        raise CaptureError(f"{path}: a subject of kind {kind!r} needs at least one file")
    seed = fields.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise CaptureError(f"{path}: seed must be a whole number or null, got {seed!r}")
    terms = read_terms(folder)
    return Subject(kind, tuple(files), terms["consent"], terms["licence"], seed, layout)
