"""Head models as files: one npz of plain arrays, named by its content."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.headfiles import HeadFileError, HeadRecord, heads_folder, record, write_record
from headworks.heads.base import HeadModel

FORMAT = "headworks-head/1"
_WORDS = ("expression_names", "dense_names")


def save_head(head: HeadModel, folder: Path, about: dict[str, Any]) -> HeadRecord:
    """Write a head model's arrays and its record.

    Args:
        head: the model, on the CPU. folder: where (`heads_folder`).
        about: fields of `HeadRecord` besides `name`, `file` and `digest`.

    Returns:
        The record. Equal models give equal bytes, and so one file.
    """
    arrays: dict[str, NDArray[Any]] = {"format": np.array(FORMAT)}
    for field in fields(head):
        value = getattr(head, field.name)
        if isinstance(value, torch.Tensor):
            arrays[field.name] = np.ascontiguousarray(value.numpy())
    for name in _WORDS:
        arrays[name] = np.array(json.dumps(getattr(head, name)))
    arrays["expression_signed"] = np.array(head.expression_signed, bool)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{head.name}.{os.getpid()}.partial"
    try:
        with partial.open("wb") as out:
            np.savez(out, **arrays)  # type: ignore[arg-type]
        sha256 = file_sha256(partial)
        partial.replace(folder / f"{sha256}.npz")
    finally:
        partial.unlink(missing_ok=True)
    made = HeadRecord(name=head.name, file=sha256, digest=head.digest, **about)
    write_record(folder, made)
    return made


def load_stored(name: str, folder: Path | None = None) -> HeadModel:
    """Read an imported head model.

    Raises:
        HeadFileError: there is none of that name, or its file is damaged.
    """
    folder = folder or heads_folder()
    made = record(name, folder)
    path = folder / f"{made.file}.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = {key: archive[key] for key in archive.files}
        if str(data.pop("format")) != FORMAT:
            raise ValueError(f"not of format {FORMAT}")
        words = {key: tuple(json.loads(str(data.pop(key)))) for key in _WORDS}
        signed = tuple(map(bool, data.pop("expression_signed")))
        tensors = {key: torch.from_numpy(value) for key, value in data.items()}
        head = HeadModel(name=name, expression_signed=signed, **words, **tensors)  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise HeadFileError(f"{path}: not a readable head model ({error}); import it again") from (
            None
        )
    if head.digest != made.digest:
        raise HeadFileError(
            f"{path}: digest {head.digest[:12]}, but {name}.json says {made.digest[:12]}; "
            "import the model again"
        )
    return head


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
