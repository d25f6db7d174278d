"""Outputs in DVC's content-addressed cache. The only module that touches dvc_data's objects.

`Objects` needs no DVC import, so that planning stays quick.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.errors import TransientError
from headworks.formats.subject import TERMS
from pipelines.files import sync_folder, sync_tree

if TYPE_CHECKING:
    from pipelines.subjects import Subject


def object_path(objects: Path, oid: str) -> Path:
    """Where an object lies."""
    return objects / oid[:2] / oid[2:]


def read_tree(objects: Path, oid: str) -> dict[str, str] | None:
    """Files of a stored folder (relative path -> md5), None where it is absent or garbled."""
    try:
        listing = json.loads(object_path(objects, oid).read_bytes())
        return {item["relpath"]: item["md5"] for item in listing}
    except (OSError, ValueError, TypeError, KeyError):
        return None


def files_of(objects: Path, trees: Iterable[str]) -> set[str]:
    """Outputs and all files that they consist of; those whose listing is absent are left out."""
    found: set[str] = set()
    for oid in trees:
        tree = read_tree(objects, oid) if oid.endswith(".dir") else {}
        if tree is not None:
            found |= {oid, *tree.values()}
    return found


class Objects:
    """Which outputs the cache still holds whole, from one listing of the cache.

    Args:
        objects: folder of the cache's objects.
        known: file that remembers what outputs consist of, or None. An output is named by its
            content, so that what was once read stays true.
    """

    def __init__(self, objects: Path, known: Path | None = None) -> None:
        self._objects = objects
        self._known_path = known
        self._names: set[str] | None = None
        self._trees: dict[str, list[str]] | None = None
        self._fresh: dict[str, list[str]] = {}
        self._whole: dict[str, bool] = {}

    def whole(self, oid: str) -> bool:
        """Whether a folder and all its files are there."""
        if oid not in self._whole:
            self._whole[oid] = self._look(oid)
        return self._whole[oid]

    def _look(self, oid: str) -> bool:
        if self._names is None:
            self._names = list_objects(self._objects)
            self._trees = read_known(self._known_path) if self._known_path else {}
        assert self._trees is not None
        if oid not in self._names:
            return False
        files = self._trees.get(oid)
        if files is None:
            tree = read_tree(self._objects, oid)
            if tree is None:
                return False
            files = self._trees[oid] = self._fresh[oid] = sorted(set(tree.values()))
        return self._names.issuperset(files)

    def save(self) -> None:
        """Keep what was read for the next time."""
        if self._known_path is None or not self._fresh:
            return
        lines = b"".join(
            line_with_sum(" ".join([oid, *files]).encode()) for oid, files in self._fresh.items()
        )
        with contextlib.suppress(OSError), open(self._known_path, "ab") as handle:
            handle.write(b"\n" + lines)
        self._fresh = {}


def line_with_sum(body: bytes) -> bytes:
    """A line that tells by itself whether it is whole."""
    return b"%08x %s\n" % (zlib.crc32(body), body)


def read_known(path: Path) -> dict[str, list[str]]:
    """What outputs consist of, as `Objects.save` kept it; damaged lines are left out."""
    found = {}
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    for line in data.split(b"\n"):
        try:
            if len(line) > 9 and int(line[:8], 16) == zlib.crc32(line[9:]):
                oid, *files = line[9:].decode("ascii").split(" ")
                found[oid] = files
        except ValueError:
            continue
    return found


def list_objects(objects: Path) -> set[str]:
    """Names of all objects in the cache."""
    found: set[str] = set()
    try:
        prefixes = [entry.name for entry in os.scandir(objects) if len(entry.name) == 2]
    except OSError:
        return found
    for prefix in prefixes:
        with contextlib.suppress(NotADirectoryError, FileNotFoundError):
            found.update([prefix + name for name in os.listdir(objects / prefix)])
    return found


def odb_of(objects: Path) -> Any:
    """The cache as DVC's object store; without its state database, which would hide damage."""
    from dvc_data.hashfile.db.local import LocalHashFileDB
    from dvc_data.hashfile.state import StateNoop
    from dvc_objects.fs.local import localfs

    return LocalHashFileDB(localfs, str(objects), state=StateNoop(), hash_name="md5")


def store(objects: Path, folder: Path) -> tuple[str, int, int]:
    """Put a finished, private folder into the cache, flushed to the disk.

    Args:
        objects: folder of the cache's objects.
        folder: absolute; its files become read-only objects without copying.

    Returns:
        (oid, bytes, number of files).

    Raises:
        OSError: no space. TransientError: the cache took only a part.
    """
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.transfer import transfer
    from dvc_objects.fs.local import localfs

    sync_tree(folder)
    odb = odb_of(objects)
    tree: Any
    staging, meta, tree = build(odb, str(folder), localfs, "md5")
    # shallow=False: with the default an existing listing hides missing files.
    result = transfer(staging, odb, {tree.hash_info}, shallow=False, hardlink=True)
    oids = {tree.oid} | {info.value for _, _, info in tree}
    if result.failed or not all(odb.exists(oid) for oid in oids):
        stat = os.statvfs(objects)
        if stat.f_bavail * stat.f_frsize < 1 << 20:
            raise OSError(errno.ENOSPC, "no space left in the cache", str(objects))
        raise TransientError(f"{objects}: the cache took only a part of {folder.name}")
    for prefix in sorted({oid[:2] for oid in oids}):
        sync_folder(objects / prefix)
    listing = os.open(object_path(objects, tree.oid), os.O_RDONLY)
    try:
        os.fsync(listing)
    finally:
        os.close(listing)
    return tree.oid, int(meta.size or 0), int(meta.nfiles or 0)


def add_file(objects: Path, data: bytes, tmp: Path) -> str:
    """Put one small file into the cache.

    Args:
        objects: folder of the cache's objects. data: the file. tmp: for the unfinished file.

    Returns:
        Its md5.
    """
    from pipelines.files import write_atomic

    oid = hashlib.md5(data, usedforsecurity=False).hexdigest()
    path = object_path(objects, oid)
    if not path.exists():
        write_atomic(path, data, tmp)
        path.chmod(0o444)
    return oid


def store_file(objects: Path, source: Path, md5: str, tmp: Path) -> None:
    """Put a copy of a file into the cache, whatever its size.

    Args:
        objects: folder of the cache's objects. source: the file. md5: of it. tmp: for the
            unfinished file, on the cache's file system.

    Raises:
        TransientError: it holds something else meanwhile.
    """
    from pipelines.files import private_folder, remove, sync_folder

    path = object_path(objects, md5)
    if path.exists():
        return
    unfinished = private_folder(tmp, "store")
    try:
        found = hashlib.md5(usedforsecurity=False)
        with open(source, "rb") as reader, open(unfinished / md5, "wb") as writer:
            while block := reader.read(1 << 20):
                found.update(block)
                writer.write(block)
            writer.flush()
            os.fsync(writer.fileno())
        if found.hexdigest() != md5:
            raise TransientError(f"{source} was replaced while it was read")
        (unfinished / md5).chmod(0o444)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.rename(unfinished / md5, path)
        sync_folder(path.parent)
    finally:
        remove(unfinished)


def store_raw(objects: Path, folder: Path, subject: Subject, tmp: Path) -> str:
    """Put a raw capture into the cache (a copy; the capture itself stays where it is).

    Args:
        objects: folder of the cache's objects. folder, subject: the capture. tmp: for unfinished
            files, a folder that is swept.

    Returns:
        Its oid: a listing of its files without the terms that it came under.
    """
    from pipelines.files import write_atomic

    files = {name: row[0] for name, row in subject.files.items() if name != TERMS}
    for name, md5 in files.items():
        store_file(objects, folder / name, md5, tmp)
    path = object_path(objects, subject.oid)
    if not path.exists():
        listing = [{"md5": files[name], "relpath": name} for name in sorted(files)]
        write_atomic(path, json.dumps(listing, sort_keys=True).encode(), tmp)
        path.chmod(0o444)
    return subject.oid


def check_out(objects: Path, oid: str, target: Path) -> None:
    """Write a stored folder to a fresh path.

    Raises:
        TransientError: when objects are missing (the plan will then say `lost`).
    """
    from dvc_data.hashfile.checkout import CheckoutError, checkout
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree
    from dvc_objects.errors import ObjectFormatError
    from dvc_objects.fs.local import localfs

    odb = odb_of(objects)
    odb.cache_types = ["reflink", "copy"]
    try:
        tree = Tree.load(odb, HashInfo("md5", oid))
        target.mkdir(parents=True, exist_ok=True)
        checkout(str(target), localfs, tree, odb, force=True)
    except (CheckoutError, FileNotFoundError, ObjectFormatError) as error:
        raise TransientError(f"{objects}: {oid} is incomplete in the cache ({error})") from None
