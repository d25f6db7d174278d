"""Stamps in JPEG files: one comment per word, before the picture's data."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from headworks.errors import ArtifactError

_COMMENT, _SCAN, _END = 0xFE, 0xDA, 0xD9


def write_comments(path: Path, prefix: str, fields: Mapping[str, str]) -> None:
    """Replace the comments that begin with `prefix` by one for each field.

    Raises:
        ArtifactError: not a JPEG file.
    """
    data = path.read_bytes()
    segments = list(_segments(data, path))
    words = [f"{name}\0{value}".encode() for name, value in fields.items()]
    new = [struct.pack(">BBH", 0xFF, _COMMENT, len(word) + 2) + word for word in words]
    kept = [
        data[start:end]
        for kind, start, end in segments
        if not (kind == _COMMENT and data[start + 4 : end].startswith(prefix.encode()))
    ]
    # What belongs to the format's head (APP0 and its like) stays first.
    first = sum(1 for part in kept if 0xE0 <= part[1] <= 0xEF)
    rest = data[segments[-1][2] if segments else 2 :]
    path.write_bytes(b"".join([data[:2], *kept[:first], *new, *kept[first:], rest]))


def read_comments(path: Path) -> dict[str, str]:
    """name -> value of comments that hold both.

    Raises:
        ArtifactError: not a JPEG file.
    """
    data = path.read_bytes()
    found = {}
    for kind, start, end in _segments(data, path):
        name, nul, value = data[start + 4 : end].partition(b"\0")
        if kind == _COMMENT and nul:
            found[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return found


def _segments(data: bytes, path: Path) -> Iterator[tuple[int, int, int]]:
    """(kind, start, end) of the segments before the picture's data."""
    if data[:2] != b"\xff\xd8":
        raise ArtifactError(f"{path}: not a JPEG file")
    place = 2
    while True:
        if place + 4 > len(data) or data[place] != 0xFF:
            raise ArtifactError(f"{path}: the JPEG file breaks off")
        kind = data[place + 1]
        if kind in (_SCAN, _END):
            return
        (size,) = struct.unpack(">H", data[place + 2 : place + 4])
        if size < 2 or place + 2 + size > len(data):
            raise ArtifactError(f"{path}: the JPEG file breaks off")
        yield kind, place, place + 2 + size
        place += 2 + size
