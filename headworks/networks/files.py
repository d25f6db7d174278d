"""Where checkpoints lie on disk. Nothing heavy is imported: plans ask which files are at hand."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from headworks.errors import WeightsError

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


def best_file(
    folder: Path | None, files: Mapping[str, str], network: str, release: str
) -> tuple[str, Path]:
    """The best checkpoint of a network in a folder: its variant and its file.

    Args:
        files: variant by published stem, best first. network, release: what the message names.

    Raises:
        WeightsError: when there is none.
    """
    for stem, variant in files.items():
        path = find_file(folder, stem)
        if path is not None:
            return variant, path
    raise WeightsError(
        f"{folder or 'no folder of weights'}: no checkpoint of {network}; put one of "
        f"{', '.join(f'{stem}.pth' for stem in files)} there ({release}), or set "
        "`matting.backend` to plain"
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
