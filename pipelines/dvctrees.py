"""Collections as DVC lists them, put together from what is known of their members.

One subject more must not cost reading what a thousand others published: what every member adds to
its collection is remembered by its record's time, and listings are written without DVC.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.files import read_cache, walk_files, write_atomic, write_cache
from pipelines.layout import Layout
from pipelines.store import add_file, list_objects, object_path, read_tree, store_file
from pipelines.subjects import Fingerprints

_STATE = "dvc-members.json"


@dataclass(frozen=True)
class Listed:
    """A folder as DVC knows it.

    Attributes:
        oid: `<md5>.dir`. size: bytes of its files. count: how many.
    """

    oid: str
    size: int
    count: int


def store_listing(layout: Layout, files: Mapping[str, str], size: int) -> Listed:
    """Put a folder's listing into the cache.

    Args:
        layout: of the workspace. files: relative path -> md5. size: bytes of all.
    """
    listing = [{"md5": files[path], "relpath": path} for path in sorted(files)]
    data = json.dumps(listing, sort_keys=True).encode()
    oid = hashlib.md5(data, usedforsecurity=False).hexdigest() + ".dir"
    path = object_path(layout.objects, oid)
    if not path.exists():
        write_atomic(path, data, layout.tmp)
        path.chmod(0o444)
    return Listed(oid, size, len(files))


class Members:
    """What is published, stage by stage, and what each unit adds to its stage's collection.

    Args:
        layout: of the workspace. members: stage -> member -> oid.
    """

    def __init__(self, layout: Layout, members: Mapping[str, Mapping[str, str]]) -> None:
        self._layout = layout
        self._members = members
        self._known: dict[str, Any] | None = None
        self.stamps = {stage: _stamps(layout.published / stage) for stage in members}

    def state(self) -> list[Any]:
        """Changes with anything that a collection consists of; reads no file."""
        return [
            [stage, subject, oid, self.stamps[stage].get(subject)]
            for stage, named in self._members.items()
            for subject, oid in sorted(named.items())
        ]

    def collection(self, stage: str) -> Listed:
        """A stage's folder below data/, listed in the cache.

        Raises:
            ValueError: a member is not published whole.
        """
        if self._known is None:
            self._known = read_cache(self._layout.hidden / _STATE)
        before = self._known.get(stage)
        before = before if isinstance(before, dict) else {}
        rows: dict[str, list[Any]] = {}
        files: dict[str, str] = {}
        for subject, oid in self._members[stage].items():
            stamp = self.stamps[stage].get(subject)
            row = before.get(subject)
            if not (isinstance(row, list) and len(row) == 4 and row[:2] == [stamp, oid]):
                row = self._row(stage, subject, oid, stamp)
            rows[subject] = row
            files.update(row[3])
        self._known[stage] = rows
        index = self._layout.index(stage).read_bytes()
        files["_index.json"] = add_file(self._layout.objects, index, self._layout.tmp)
        return store_listing(self._layout, files, sum(row[2] for row in rows.values()) + len(index))

    def _row(self, stage: str, subject: str, oid: str, stamp: object) -> list[Any]:
        try:
            record = json.loads(self._layout.record(stage, subject).read_bytes())
        except (OSError, ValueError):
            record = {}
        listing = read_tree(self._layout.objects, oid)
        if record.get("oid") != oid or listing is None:
            raise ValueError(f"{stage}/{subject} is not published whole")
        files = {f"{subject}/{relative}": md5 for relative, md5 in listing.items()}
        files[f"{subject}.manifest.json"] = record["manifest"]
        return [stamp, oid, record["bytes"] + record["manifest_bytes"], files]

    def save(self) -> None:
        """Keep it for the next time."""
        if self._known is not None:
            write_cache(self._layout.hidden / _STATE, self._known, self._layout.tmp)


def _stamps(folder: Path) -> dict[str, list[int]]:
    """subject -> size and time of the record of what this machine published."""
    found = {}
    for entry in os.scandir(folder) if folder.is_dir() else ():
        stat = entry.stat()
        found[entry.name.removesuffix(".json")] = [stat.st_size, stat.st_mtime_ns]
    return found


def raw_collection(layout: Layout) -> Listed:
    """data/raw as DVC lists it, its files and listing in the cache.

    Raises:
        TransientError: a file was replaced while it was read.
    """
    fingerprints = Fingerprints(layout)
    stored = list_objects(layout.objects)
    files: dict[str, str] = {}
    size = 0
    for name, (md5, length) in _raw_files(layout, fingerprints):
        files[name] = md5
        size += length
        if md5 not in stored:
            store_file(layout.objects, layout.raw / name, md5, layout.tmp)
    fingerprints.save()
    return store_listing(layout, files, size)


def _raw_files(layout: Layout, fingerprints: Fingerprints) -> Iterator[tuple[str, tuple[str, int]]]:
    """Files below data/raw: path there, md5 and bytes; a known capture's from what is noted."""
    for entry in sorted(os.scandir(layout.raw), key=lambda e: e.name):
        if not entry.is_dir(follow_symlinks=False):
            md5, _, length = fingerprints.file(Path(entry.path))
            yield entry.name, (md5, length)
        elif entry.name.startswith("."):
            for relative, inside in walk_files(entry.path, f"{entry.name}/"):
                md5, _, length = fingerprints.file(Path(inside.path))
                yield relative, (md5, length)
        else:
            for relative, row in fingerprints.subject(entry.name).files.items():
                yield f"{entry.name}/{relative}", (row[0], row[2])
