"""`import_head`: from what the user has to a stored head model with its record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headworks.headfiles import HeadFileError, HeadRecord, check_name, heads_folder
from headworks.heads.base import HeadModel
from headworks.heads.dense import DENSE_NAMES, complete
from headworks.heads.importers import bfm, flame, ict
from headworks.heads.importers.finish import finish
from headworks.heads.store import file_sha256, save_head

KINDS = ("ict", "flame", "bfm")
_FOREIGN = {"flame": (flame.read_flame, flame.LICENCE), "bfm": (bfm.read_bfm, bfm.LICENCE)}


@dataclass(frozen=True)
class Imported:
    """A stored head model.

    Attributes:
        head: the model. record: what was stored about it. path: its npz.
    """

    head: HeadModel
    record: HeadRecord
    path: Path


def import_head(
    kind: str,
    path: Path,
    name: str | None = None,
    folder: Path | None = None,
    landmarks: Path | None = None,
    identity: int = 0,
    expressions: int = 0,
) -> Imported:
    """Convert a head model to our axes, units and parts, and store it.

    Args:
        kind: one of `KINDS`. path: the model's file, or (ict) the checkout's folder.
        name: how params.yaml shall name it; the kind if None.
        folder: where to store it; `heads_folder()` if None.
        landmarks: index file of the 68 landmarks (flame, bfm), instead of what lies beside.
        identity, expressions: modes to keep (flame, bfm); 0: the kind's default.

    Returns:
        What was stored. The same files give the same bytes.

    Raises:
        HeadFileError: the files are not that kind's, are damaged, or name anything but arrays.
    """
    path = Path(path)
    name = check_name(name or kind)
    if not path.exists():
        raise HeadFileError(f"{path}: no such file or folder")
    if kind == "ict":
        head, used, origin, notes = _ict(path)
        licence, unit = ict.LICENCE, 0.01
    elif kind in _FOREIGN:
        read, licence = _FOREIGN[kind]
        foreign, used = read(path, landmarks, identity, expressions)
        head, where, notes = finish(foreign, name)
        origin, unit = where.tolist(), 1.0
    else:
        raise HeadFileError(f"no importer for {kind!r}; there are {', '.join(KINDS)}")
    head = complete(replace(head, name=name))
    lacking = sorted({n.rsplit("_", 1)[0] for n in DENSE_NAMES if n not in head.dense_names})
    if lacking:
        notes.append(f"dense landmarks that it lacks: {', '.join(lacking)}")
    about: dict[str, Any] = {
        "kind": kind,
        "sources": [_source(p) for p in used],
        "licence": licence,
        "notes": notes,
        "origin": [round(float(x), 9) for x in origin],
        "unit": unit,
    }
    folder = folder or heads_folder()
    made = save_head(head, folder, about)
    return Imported(head, made, folder / f"{made.file}.npz")


def _ict(path: Path) -> tuple[HeadModel, list[Path], list[float], list[str]]:
    from headworks.heads.ict import ear_canal_midpoint, ict_head, read_npz

    if path.is_dir():
        data, used = ict.read_checkout(path)
    else:
        data, used = read_npz(path), [path]
    face = data["vertices"][data["vertex_part"] == 0].astype(np.float64)
    origin = (ear_canal_midpoint(face) * 0.01).tolist()
    notes = ["landmarks: the repository's own", "neck joint: added, the model has none"]
    return ict_head(data), used, origin, notes


def _source(path: Path) -> dict[str, Any]:
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
