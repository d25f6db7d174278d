"""Where checkpoints lie on disk. Nothing heavy is imported: plans ask which files are at hand."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

SUFFIXES = (".pth", ".safetensors")


def weights_folder(name: str) -> Path:
    """The folder that a stage's parameter `weights` names (it need not exist).

    Args:
        name: absolute, or relative to the workspace: `HEADWORKS_ROOT`, or the nearest folder
            upwards that is one.
    """
    root = os.environ.get("HEADWORKS_ROOT")
    here = Path(root).resolve() if root else Path.cwd().resolve()
    for folder in () if root else (here, *here.parents):
        known = (folder / "params.yaml").is_file() and (folder / ".dvc").is_dir()
        if known or (folder / ".headworks").is_dir():
            return folder / name
    return here / name


def find_file(folder: Path | None, stem: str) -> Path | None:
    """A checkpoint by its published name, as `.pth` or `.safetensors`; None where it is absent."""
    if folder is not None:
        for suffix in SUFFIXES:
            path = folder / f"{stem}{suffix}"
            if path.is_file():
                return path
    return None


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
