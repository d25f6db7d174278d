"""Files written whole, synced, and told apart without reading them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def fault(step: str) -> None:
    """Die at a named step when `HEADWORKS_FAULT` names it (crash tests only)."""
    if os.environ.get("HEADWORKS_FAULT") == step:
        os.kill(os.getpid(), signal.SIGKILL)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below, bottom-up."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            handle = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        sync_folder(Path(parent))


def write_atomic(path: Path, data: bytes, tmp: Path) -> None:
    """Write a file so that readers see the old or the new one, never a part.

    Args:
        path: target.
        data: its bytes.
        tmp: folder for the unfinished file, on the same file system.
    """
    tmp.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = tmp / f"{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    try:
        with open(unfinished, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.rename(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_cache(path: Path) -> dict[str, Any]:
    """A JSON object that only saves time: empty where it is absent or damaged."""
    try:
        body = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def write_cache(path: Path, body: dict[str, Any], tmp: Path) -> None:
    """Keep what only saves time; where it cannot be kept, time is what is lost."""
    with contextlib.suppress(OSError):
        write_atomic(path, json.dumps(body).encode(), tmp)


def private_folder(parent: Path, label: str) -> Path:
    """A fresh folder named after this process, so that a later run can sweep what it left."""
    folder = parent / f"{label}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    return folder


def alive(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sweep(parent: Path) -> int:
    """Remove what dead processes left in a folder of `private_folder`s and temporary files.

    Returns:
        How many entries went.
    """
    count = 0
    if not parent.is_dir():
        return 0
    for entry in list(parent.iterdir()):
        parts = entry.name.rsplit(".", 2)
        if len(parts) == 3 and parts[1].isdigit() and alive(int(parts[1])):
            continue
        remove(entry)
        count += 1
    return count


def remove(path: Path) -> None:
    """Remove a file or folder if it is there (read-only files included)."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def walk_files(folder: Path | str, prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files below a folder as (relative POSIX path, entry), in sorted order."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        relative = f"{prefix}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from walk_files(entry.path, relative + "/")
        else:
            yield relative, entry


def stat_digest(folder: Path, *beside: Path) -> str | None:
    """Digest of names, sizes and modification times: changes when anybody touched the files.

    Args:
        folder: an artifact's folder. beside: single files that belong to it.

    Returns:
        32 hexadecimal digits, or None where something is absent.
    """
    lines = []
    try:
        for relative, entry in walk_files(folder):
            stat = entry.stat(follow_symlinks=False)
            lines.append(f"{relative}\x1f{stat.st_size}\x1f{stat.st_mtime_ns}")
        for path in beside:
            stat = path.stat()
            lines.append(f"/{path.name}\x1f{stat.st_size}\x1f{stat.st_mtime_ns}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
