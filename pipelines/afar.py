"""A cluster whose machines share no disk: inputs and outputs travel through a storage at a URL.

The driver keeps the locks, the ledger and what is published; a worker has a private folder that is
gone with it. A result is filed when its bytes have arrived here and are what their names say.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.errors import HeadworksError
from pipelines.files import read_cache, write_cache
from pipelines.layout import Layout
from pipelines.ledger import Ledger
from pipelines.locks import Lock
from pipelines.publish import publish
from pipelines.shelf import Shelf
from pipelines.store import Objects, files_of, store_raw
from pipelines.subjects import Fingerprints, read_subject
from pipelines.unit import Spec, classify

if TYPE_CHECKING:
    from pipelines.cluster import DaskPool

_LOG_BYTES = 1 << 16
_MADE = ("event_id", "type", "schema_version", "key", "stage", "subject", "log", "run_id")
STORAGES = "storages.json"


def private_root(spec: Spec) -> Path:
    """Where a machine without the workspace computes; Dask removes it when its worker ends."""
    try:
        from distributed import get_worker

        base = Path(get_worker().local_directory)
    except (ImportError, ValueError):
        base = Path(tempfile.gettempdir()) / f"headworks-{os.getuid()}"
        base.mkdir(mode=0o700, exist_ok=True)
        stat = base.lstat()
        if stat.st_uid != os.getuid() or stat.st_mode & 0o022 or base.is_symlink():
            raise HeadworksError(f"{base}: not this account's alone; remove it") from None
    root = base / f"headworks-{hashlib.sha256(spec['shelf'].encode()).hexdigest()[:16]}"
    (root / ".dvc").mkdir(parents=True, exist_ok=True)
    Layout(root).make()
    return root


def log_tail(root: Path, spec: Spec) -> str:
    """The end of what a unit printed, to be sent home."""
    try:
        with open(root / spec["log"], "rb") as handle:
            handle.seek(max(0, os.fstat(handle.fileno()).st_size - _LOG_BYTES))
            return handle.read().decode(errors="replace")
    except OSError:
        return ""


def storages(layout: Layout) -> list[str]:
    """Storages through which results of this workspace have travelled."""
    return sorted(read_cache(layout.hidden / STORAGES))


class ShelfPool:
    """Workers that reach a storage and not the workspace; the same calls as `DaskPool`.

    Args:
        layout: of the workspace. pool: the cluster. url: of the storage.

    Raises:
        HeadworksError: the storage cannot be used.
    """

    def __init__(self, layout: Layout, pool: DaskPool, url: str) -> None:
        self._layout = layout
        self._pool = pool
        self._shelf = Shelf(url)
        self._shelf.require()
        self._ledger = Ledger(layout.hidden / "ledger")
        self._guard = threading.Lock()
        self._there: set[str] = set()
        self.slots = pool.slots
        known = read_cache(layout.hidden / STORAGES)
        if self._shelf.url not in known:
            write_cache(layout.hidden / STORAGES, {**known, self._shelf.url: True}, layout.tmp)

    def require(self, stage: str, wanted: Mapping[str, float]) -> None:
        """See `DaskPool.require`."""
        self._pool.require(stage, wanted)

    def abort(self) -> None:
        """See `DaskPool.abort`."""
        self._pool.abort()

    def close(self, kill: bool = False) -> None:
        """See `DaskPool.close`."""
        self._pool.close(kill)
        with self._guard:
            self._ledger.close()

    def run(self, spec: Spec, progress: Callable[[float, str], None]) -> dict[str, Any]:
        """Run one unit somewhere; waits until its result is here.

        Raises:
            WorkerLostError: when its worker was lost again and again.
        """
        with Lock(self._layout.locks / "unit" / spec["key"], wait=False) as lock:
            if not lock.held:
                return {"status": "busy"}
            try:
                known = self._known(spec)
                if known is not None:
                    return known
                self._send(spec)
            except (HeadworksError, OSError) as error:
                return self._failed(spec, classify(error), str(error))
            result = self._pool.run({**spec, "shelf": self._shelf.url}, progress)
            self._keep_log(spec, str(result.pop("log_text", "")))
            if result["status"] == "failed":
                return self._failed(spec, result["class"], result["message"])
            if result["status"] != "ok":
                return result
            try:
                return self._take(spec, result)
            except (HeadworksError, OSError) as error:
                return self._failed(spec, classify(error), str(error))

    def _known(self, spec: Spec) -> dict[str, Any] | None:
        """A result that is here already: of another run, or only to be published."""
        layout, key = self._layout, spec["key"]
        with self._guard:
            row = self._ledger.refresh().row(key)
            forced = spec["force"] and (row is None or row.get("run_id") != spec["run_id"])
            if row is None or forced or not Objects(layout.objects).whole(row["out_oid"]):
                return None
            unit = spec["stage"], spec["subject"]
            if self._ledger.claim(*unit) != key:
                names = {"stage": unit[0], "subject": unit[1]}
                self._ledger.append("claim", key=key, run_id=spec["run_id"], **names)
        publish(layout, *unit, row)
        status = "restored" if spec["job"] == "restore" else "hit"
        return {"status": status, "oid": row["out_oid"]}

    def _send(self, spec: Spec) -> None:
        """Bring inputs to the storage."""
        objects = self._layout.objects
        trees = set()
        for role, _, oid, owner in spec["inputs"]:
            if role == "raw" and oid not in self._there:
                subject = read_subject(self._layout, owner, Fingerprints(self._layout))
                if subject.oid != oid:
                    raise HeadworksError(f"raw/{owner} was replaced meanwhile; run again")
                store_raw(objects, self._layout.raw / owner, subject, self._layout.tmp)
            trees.add(oid)
        with self._guard:
            fresh = files_of(objects, trees - self._there)
        if fresh:
            self._shelf.put(objects, fresh)
            with self._guard:
                self._there |= trees

    def _take(self, spec: Spec, result: dict[str, Any]) -> dict[str, Any]:
        """File a result under the recipe that was asked for."""
        oid = str(result["oid"])
        self._shelf.get(self._layout.objects, [oid])
        with self._guard:
            self._there.add(oid)
            row = self._ledger.append(
                "ok",
                **{k: v for k, v in result["row"].items() if k not in _MADE},
                **{k: spec[k] for k in ("key", "stage", "subject", "log", "run_id")},
            )
        publish(self._layout, spec["stage"], spec["subject"], row)
        return {"status": "ok", "oid": oid, "seconds": row["seconds"]}

    def _failed(self, spec: Spec, kind: str, message: str) -> dict[str, Any]:
        words = message.splitlines()[0][:500] if message else kind
        with self._guard, contextlib.suppress(OSError):
            self._ledger.append(
                "failed",
                error_class=kind,
                error_message=words,
                **{k: spec[k] for k in ("key", "stage", "subject", "log", "run_id", "attempt")},
            )
        return {"status": "failed", "class": kind, "message": words}

    def _keep_log(self, spec: Spec, text: str) -> None:
        if text:
            with contextlib.suppress(OSError):
                (self._layout.root / spec["log"]).write_text(text)
