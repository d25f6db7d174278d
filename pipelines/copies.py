"""Copies of results that lie about in a workspace's folder: exports that carry a digest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from headworks.errors import HeadworksError
from pipelines.layout import Layout
from pipelines.stamp import read_stamp

_OURS = frozenset({".dvc", ".git", ".headworks", ".venv", "__pycache__", "node_modules"})
_ENDINGS = (
    ".png", ".jpg", ".mp4", ".mov", ".ply", ".glb", ".safetensors", ".headworks.json",
)  # fmt: skip
_BESIDE = ".headworks.json"


def stamped_copies(layout: Layout, digests: set[str]) -> list[str]:
    """Files below the workspace's folder, outside data/ and reports/, that descend from results.

    Args:
        layout: of the workspace. digests: of outputs.

    Returns:
        Paths relative to the workspace, sorted.
    """
    found = set()
    for path in _files(layout):
        name = str(path).removesuffix(_BESIDE)
        stamp: dict[str, str] = {}
        with contextlib.suppress(HeadworksError, OSError, ValueError):
            stamp = read_stamp(Path(name))
        # A film of several avatars carries several digests, in fields of their own.
        if any(digest in value for value in stamp.values() for digest in digests):
            found.add(os.path.relpath(name, layout.root))
    return sorted(found)


def _files(layout: Layout) -> Iterator[Path]:
    ours = {layout.data, layout.reports}
    for parent, folders, names in os.walk(layout.root):
        folders[:] = [f for f in sorted(folders) if f not in _OURS and Path(parent, f) not in ours]
        yield from (Path(parent, n) for n in sorted(names) if n.lower().endswith(_ENDINGS))
