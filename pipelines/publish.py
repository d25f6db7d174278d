"""Results made visible below data/: whole folders moved in, with their manifest beside them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pipelines.canon import canonical_json, md5_tree
from pipelines.files import (
    fault,
    private_folder,
    read_cache,
    remove,
    stat_digest,
    walk_files,
    write_atomic,
    write_cache,
)
from pipelines.layout import Layout
from pipelines.ledger_rows import Row
from pipelines.locks import Lock
from pipelines.store import add_file, check_out


def manifest(row: Row) -> dict[str, Any]:
    """An `ok` event of the ledger as the manifest that lies beside its artifact."""
    return {
        "schema": "headworks.manifest/1",
        "event_id": row["event_id"],
        "key": row["key"],
        "stage": row["stage"],
        "subject": row["subject"],
        "version": row["version"],
        "code": row["code"],
        "code_seen": row.get("code_seen"),
        "assets": json.loads(row.get("assets_json") or "{}"),
        "params": json.loads(row["params_json"]),
        "seed": row["seed"],
        "inputs": row["inputs"],
        "output": {
            "oid": row["out_oid"],
            "bytes": row["out_bytes"],
            "files": row["out_files"],
        },
        "timing": {
            name: row.get(name)
            for name in ("started", "finished", "seconds", "cpu_seconds", "max_rss_mb")
        },
        "environment": {
            name: row.get(name)
            for name in ("python", "packages_sha256", "device", "threads", "host")
        },
        "source": {name: row.get(name) for name in ("git_commit", "git_dirty", "diff_sha256")},
        "run_id": row.get("run_id"),
        "attempt": row.get("attempt"),
        "log": row.get("log"),
    }


def published_oid(layout: Layout, stage: str, subject: str) -> str | None:
    """What is published for a unit, None where nothing is or where somebody touched it.

    Files are told by size and time; where these differ from what was noted, by their bytes (a
    workspace that was copied, say), and the new times are noted.
    """
    try:
        record: dict[str, Any] = json.loads(layout.record(stage, subject).read_bytes())
        folder, beside = layout.artifact(stage, subject), layout.manifest(stage, subject)
        found = stat_digest(folder, beside)
        if found is None:
            return None
        oid = str(record["oid"])
        if found != record["stat"]:
            if content_oid(folder) != oid or file_md5(beside) != record["manifest"]:
                return None
            record["stat"] = found
            with contextlib.suppress(OSError):
                write_atomic(
                    layout.record(stage, subject), canonical_json(record).encode(), layout.tmp
                )
        return oid
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Published:
    """What is published, for a whole plan: remembers what it has seen, between runs, too.

    Args:
        layout: of the workspace.
        shallow: look at each unit's folder and not at every file in it. A file that was edited in
            place is then not seen here, but by what reads it, by `status` and by `verify`.
    """

    def __init__(self, layout: Layout, shallow: bool = False) -> None:
        self._layout = layout
        self._shallow = shallow
        self._data = str(layout.data)
        self._path = layout.hidden / "published.json"
        self._known = read_cache(self._path) if shallow else {}
        self._dirty = False

    def oid(self, stage: str, subject: str) -> str | None:
        """What is published for a unit, None where nothing is or where somebody touched it."""
        if not self._shallow:
            return published_oid(self._layout, stage, subject)
        stamp = self._stamp(stage, subject)
        if stamp is None:
            return None
        name = f"{stage}/{subject}"
        known = self._known.get(name)
        if isinstance(known, list) and len(known) == 2 and known[0] == stamp:
            return str(known[1])
        oid = published_oid(self._layout, stage, subject)
        if oid is not None:
            self._known[name] = [self._stamp(stage, subject), oid]
            self._dirty = True
        return oid

    def _stamp(self, stage: str, subject: str) -> list[int] | None:
        try:
            stat = os.stat(f"{self._data}/{stage}/{subject}")
        except OSError:
            return None
        return [stat.st_mtime_ns, stat.st_ino]

    def save(self) -> None:
        """Keep it for the next plan."""
        if self._dirty:
            write_cache(self._path, self._known, self._layout.tmp)
            self._dirty = False


def content_oid(folder: Path) -> str:
    """Digest of a folder from the bytes of its files, as DVC computes it."""
    return md5_tree({relative: file_md5(entry.path) for relative, entry in walk_files(folder)})


def file_md5(path: Path | str) -> str:
    """MD5 of a file, hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, _md5).hexdigest()


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def was_published(layout: Layout, stage: str, subject: str) -> bool:
    """Whether this machine once published the unit (and it may since have been touched)."""
    return layout.record(stage, subject).exists()


def publish(layout: Layout, stage: str, subject: str, row: Row) -> None:
    """Make a stored result visible as data/<stage>/<subject>.

    Args:
        layout: of the workspace. stage, subject: the unit.
        row: `ok` event of the ledger (perhaps of another subject with equal input).
    """
    oid = row["out_oid"]
    with Lock(layout.locks / "publish" / f"{stage}.{subject}"):
        if published_oid(layout, stage, subject) == oid and _same_manifest(
            layout.manifest(stage, subject), row
        ):
            return
        fresh = private_folder(layout.tmp, f"{stage}.{subject}")
        try:
            check_out(layout.objects, oid, fresh / "out")
            fault("checked_out")
            layout.record(stage, subject).unlink(missing_ok=True)
            swap(layout, fresh / "out", layout.artifact(stage, subject))
        finally:
            remove(fresh)
        fault("renamed")
        data = (json.dumps(manifest(row), sort_keys=True, indent=1) + "\n").encode()
        beside = layout.manifest(stage, subject)
        write_atomic(beside, data, layout.tmp)
        record = {
            "oid": oid,
            "key": row["key"],
            "manifest": add_file(layout.objects, data, layout.tmp),
            "bytes": row["out_bytes"],
            "files": row["out_files"],
            "manifest_bytes": len(data),
            "stat": stat_digest(layout.artifact(stage, subject), beside),
        }
        write_atomic(layout.record(stage, subject), canonical_json(record).encode(), layout.tmp)


def _same_manifest(path: Path, row: Row) -> bool:
    try:
        return bool(json.loads(path.read_bytes())["event_id"] == row["event_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def swap(layout: Layout, fresh: Path, target: Path) -> None:
    """Move a finished folder to its place; the old one is moved away first, then removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = private_folder(layout.trash, target.name)
    try:
        if target.is_symlink() or target.is_file():
            target.unlink()
        elif target.exists():
            os.rename(target, old / "old")
        fault("old_moved")
        os.rename(fresh, target)
    finally:
        remove(old)


def unpublish(layout: Layout, stage: str, subject: str) -> None:
    """Take a unit out of data/ (its stored result stays)."""
    with Lock(layout.locks / "publish" / f"{stage}.{subject}"):
        layout.record(stage, subject).unlink(missing_ok=True)
        layout.manifest(stage, subject).unlink(missing_ok=True)
        remove(layout.artifact(stage, subject))
