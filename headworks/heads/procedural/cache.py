"""The built head on disk, named by what it was built from.

A file lies below `HEADWORKS_CACHE`, or the user's cache folder (`XDG_CACHE_HOME`, `~/.cache`). Its
name is a digest of this folder's sources and of the libraries that take part; so a file is never
out of date, and any number of processes may write it: each writes its own copy and renames it. A
damaged file is built anew. Where nothing can be written, the head is built by every process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import threading
import zipfile
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import scipy
import torch
from numpy.typing import NDArray

from headworks.heads.base import JOINTS, REGIONS, HeadModel
from headworks.heads.procedural.identity import Population

Built = tuple[HeadModel, Population]
_WORDS = ("name", "expression_names")
_KEPT = 4
"""Files that stay when another is written: of other versions of the code."""


def folder() -> Path:
    """Where built heads lie (the folder need not exist)."""
    named = os.environ.get("HEADWORKS_CACHE")
    if named:
        return Path(named) / "heads"
    user = os.environ.get("XDG_CACHE_HOME")
    return (Path(user) if user else Path.home() / ".cache") / "headworks" / "heads"


@cache
def source_key() -> str:
    """Digest of all from which the head follows, 40 hexadecimal digits."""
    h = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = path.read_bytes()
        h.update(f"{path.name} {len(source)}\n".encode() + source)
    made_with = (np.__version__, scipy.__version__, numba.__version__, platform.machine())
    h.update(json.dumps([made_with, REGIONS, JOINTS]).encode())
    return h.hexdigest()[:40]


def built(construct: Callable[[], Built]) -> Built:
    """The head from the cache, or constructed and put there.

    Args:
        construct: makes the head.
    """
    path = folder() / f"{source_key()}.npz"
    found = _read(path)
    if found is not None:
        return found
    made = construct()
    _write(path, made)
    return made


def _read(path: Path) -> Built | None:
    """What the file holds; None where there is none or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            data: dict[str, NDArray[Any]] = {key: archive[key] for key in archive.files}
        words = json.loads(str(data.pop("words")))
        people = Population(**{f.name: data.pop(f"people.{f.name}") for f in fields(Population)})
        tensors = {key: torch.from_numpy(value) for key, value in data.items()}
        head = HeadModel(
            name=words["name"],
            expression_names=tuple(words["expression_names"]),
            **tensors,  # type: ignore[arg-type]
        )
        if (head.digest, _sum(people)) != (words["digest"], words["people"]):
            return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    return head, people


def _sum(people: Population) -> str:
    h = hashlib.sha256()
    for field in fields(Population):
        h.update(np.ascontiguousarray(getattr(people, field.name), np.float64).tobytes())
    return h.hexdigest()


def _write(path: Path, made: Built) -> None:
    head, people = made
    words = {"name": head.name, "expression_names": head.expression_names, "digest": head.digest,
             "people": _sum(people)}  # fmt: skip
    arrays: dict[str, NDArray[Any]] = {"words": np.array(json.dumps(words))}
    for field in fields(HeadModel):
        value = getattr(head, field.name)
        if isinstance(value, torch.Tensor):
            arrays[field.name] = value.numpy()
    for field in fields(Population):
        arrays[f"people.{field.name}"] = getattr(people, field.name)
    mine = f"{os.getpid()}-{threading.get_ident()}"
    partial = path.with_name(f".{path.stem}.{mine}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as out:
            np.savez(out, **arrays)  # type: ignore[arg-type]
        partial.replace(path)
        others = [p for p in path.parent.glob("*.npz") if p != path]
        for old in sorted(others, key=lambda p: p.stat().st_mtime, reverse=True)[_KEPT - 1 :]:
            old.unlink(missing_ok=True)
    except OSError:
        # A full or read-only disk costs time, not the result.
        with contextlib.suppress(OSError):
            partial.unlink()
