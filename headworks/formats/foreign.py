"""Reading folders that others made: nothing outside them is opened, nothing in them is executed."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.errors import CaptureError

MOST_JSON_BYTES = 1 << 29
"""A union of ten sequences of NeRSemble in VHAP's layout has some 60 MB."""
MOST_ARRAY_BYTES = 1 << 26
"""Cameras and head parameters of one frame have some 100 kB."""
MOST_FRAMES = 2_000_000
"""Pictures of one capture, all cameras and sequences together."""


def inside(root: Path, base: Path, name: object, where: Path | str) -> Path:
    """A file that a description names, if it lies below the capture's root.

    Args:
        root: the capture's folder. base: folder that the name is relative to. name: as written.
        where: the description, for the message.

    Returns:
        The path, not resolved (a link inside the root may lead to another place inside it).

    Raises:
        CaptureError: no name, an absolute one, one that leaves the root (by .. or through a
            link), or no such file.
    """
    if not isinstance(name, str) or not name or "\0" in name or len(name) > 4096:
        raise CaptureError(f"{where}: {str(name)[:80]!r} is no file name")
    path = Path(os.path.normpath(base / name))
    if (
        os.path.isabs(name)
        or not path.is_relative_to(os.path.normpath(root))
        or not path.resolve().is_relative_to(Path(root).resolve())
    ):
        raise CaptureError(
            f"{where}: names {name[:200]!r}, which lies outside {root}; refused: a capture may "
            "only name its own files (put the files themselves there, not links)"
        )
    if not path.is_file():
        raise CaptureError(f"{path}: missing, but {where} names it; copy the capture again")
    return path


def kept_inside(root: Path, path: Path) -> Path:
    """A file found by listing a folder, unless it is a link that leads out of the capture.

    Raises:
        CaptureError: it does, or leads nowhere.
    """
    if not path.resolve().is_relative_to(Path(root).resolve()):
        raise CaptureError(
            f"{path}: a link to outside {root}; refused: put the file itself there, or add the "
            "folder that it leads to"
        )
    if not path.is_file():
        raise CaptureError(f"{path}: a link to nothing; copy the capture again")
    return path


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file's object.

    Raises:
        CaptureError: absent, too large, or no JSON object.
    """
    try:
        size = path.stat().st_size
        if size > MOST_JSON_BYTES:
            raise CaptureError(
                f"{path}: {size / 1e6:.0f} MB; more than {MOST_JSON_BYTES >> 20} MiB is no "
                "description of a capture"
            )
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CaptureError(f"{path}: not readable ({error}); copy the capture again") from None
    if not isinstance(body, dict):
        raise CaptureError(f"{path}: expected a JSON object, got {type(body).__name__}")
    return body


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a small npz file; its stated sizes are checked before anything is unpacked.

    Raises:
        CaptureError: absent, damaged, too large, or with anything but numbers in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MOST_ARRAY_BYTES:
            raise CaptureError(f"{path}: unpacks to {size / 1e6:.0f} MB; refused")
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: np.asarray(content[name]) for name in content.files}
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise CaptureError(
            f"{path}: not an npz file of plain arrays ({error}); copy the capture again"
        ) from None
    for name, array in arrays.items():
        if array.dtype.kind not in "biufU":
            raise CaptureError(f"{path}: {name} holds {array.dtype}, expected numbers")
    return arrays


def numbers(value: object, shape: tuple[int, ...], where: str) -> NDArray[np.float64]:
    """Finite numbers of a known shape.

    Raises:
        CaptureError: anything else.
    """
    try:
        told = np.asarray(value)
        array = told.astype(np.float64) if told.dtype.kind in "iuf" else np.full(1, np.nan)
    except (TypeError, ValueError, OverflowError):
        array = np.full(1, np.nan)
    if array.shape != shape or not np.isfinite(array).all():
        wanted = " x ".join(map(str, shape)) or "one"
        raise CaptureError(f"{where}: expected {wanted} finite numbers")
    return array


def whole(value: object, low: int, high: int, where: str) -> int:
    """A whole number within bounds.

    Raises:
        CaptureError: anything else.
    """
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if number is None or not low <= number <= high or number != int(number):
        raise CaptureError(f"{where}: expected a whole number from {low} to {high}, got {value!r}")
    return int(number)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown, from its header.

    Raises:
        CaptureError: absent, empty or no picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            width, height = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CaptureError(f"{path}: not a picture that can be read ({error})") from None
    return (height, width) if turned else (width, height)
