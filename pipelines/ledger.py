"""The ledger: which recipe gave which output. Append-only segments, compacted into Parquet.

A line of a segment is the CRC-32 of its body, a blank, canonical JSON and a newline; a torn or
garbled line is skipped, which costs a recomputation and never a wrong result. Every process
appends to a segment of its own, so that writers need no common lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.files import sync_folder
from pipelines.ledger_rows import INDEXED, Row, line_of, parse_lines, table_of
from pipelines.locks import Lock

if TYPE_CHECKING:
    import polars as pl

UnitName = tuple[str, str]


class Ledger:
    """Reads all events, appends to a segment of its own.

    Args:
        folder: `.headworks/ledger`.

    Attributes:
        raws: subject -> its newest `raw` event (oid, kind, files, consent, licence, who, when).
        accepted: (stage, code) -> which code it counts as, who said so and when.
        tombstones: what was forgotten, without personal data.
        events, torn: how many events, and how many lines or tables could not be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments = folder / "seg"
        self._handle = -1
        self._base: str | None = None
        self._frame: pl.DataFrame | None = None
        self._tails: dict[str, int] = {}
        self._reset()

    def _reset(self) -> None:
        self._oids: dict[str, str] = {}
        self._failures: dict[str, tuple[str, str, str]] = {}
        self._claims: dict[UnitName, str] = {}
        self._rows: dict[str, Row] = {}
        self._places: dict[str, int] = {}
        self._seen: set[str] = set()
        self.raws: dict[str, dict[str, Any]] = {}
        self.accepted: dict[tuple[str, str], dict[str, Any]] = {}
        self.tombstones: list[dict[str, Any]] = []
        self._withdrawn: dict[str, str] = {}
        self._collected: dict[str, str] = {}
        self._finished: dict[str, str] = {}
        self._tails = {}
        self.torn = 0
        self.events = 0

    # Reading

    def _bases(self) -> list[str]:
        names = [p.name for p in self.folder.glob("base-*.parquet")]
        return sorted(names, key=lambda name: int(re.sub(r"\D", "", name) or 0), reverse=True)

    def refresh(self) -> Ledger:
        """Take in everything that any process has appended since the last call."""
        for _ in range(20):
            bases = self._bases()
            newest = bases[0] if bases else None
            if newest != self._base:
                self._reset()
                self._base = newest
                self._frame = self._load(bases)
                self._index_frame()
            try:
                self._read_segments()
            except FileNotFoundError:
                time.sleep(0.01)
                continue
            after = self._bases()
            if (after[0] if after else None) == self._base:
                return self
        return self

    def _load(self, bases: list[str]) -> pl.DataFrame | None:
        import polars as pl

        for name in bases:
            try:
                return pl.read_parquet(self.folder / name)
            except (OSError, pl.exceptions.PolarsError):
                self.torn += 1
        return None

    def _index_frame(self) -> None:
        if self._frame is None:
            return
        have = self._frame.columns
        wanted = ("event_id", "type", *INDEXED)
        if not {"event_id", "type", "key", "stage", "subject", "out_oid"} <= set(have):
            self.torn += 1
            self._frame = None
            return
        columns = [
            self._frame.get_column(name).to_list() if name in have else [None] * len(self._frame)
            for name in wanted
        ]
        kinds = columns[1]
        place = 0
        while place < len(kinds):
            end = place + 1
            while end < len(kinds) and kinds[end] == kinds[place]:
                end += 1
            part = [column[place:end] for column in columns]
            if kinds[place] != "ok" or not self._take_results(part):
                for event, kind, *fields in zip(*part):
                    self._take(event, kind, *fields)
            if kinds[place] == "ok":
                named = zip(part[2], range(place, end))
                self._places.update((key, at) for key, at in named if key is not None)
            place = end

    def _take_results(self, part: list[list[Any]]) -> bool:
        """Many `ok` events one after the other, at once; False where one is out of order."""
        events, _, keys, stages, subjects, oids, *_, finished = part
        fresh = set(events)
        if len(fresh) < len(events) or not fresh.isdisjoint(self._seen):
            return False
        if any(None in column for column in (keys, stages, subjects, oids, finished)):
            return False
        self._seen |= fresh
        self.events += len(events)
        self._oids.update(zip(keys, oids))
        self._finished.update(zip(keys, finished))
        self._claims.update(zip(zip(stages, subjects), keys))
        for key in self._failures.keys() & set(keys):
            del self._failures[key]
        return True

    def _take(
        self,
        event: str,
        kind: str,
        key: str | None,
        stage: str | None,
        subject: str | None,
        oid: str | None,
        failure: str | None,
        message: str | None,
        log: str | None,
        code: str | None,
        body: str | None,
        finished: str | None,
    ) -> bool:
        if event in self._seen:
            return False
        self._seen.add(event)
        self.events += 1
        if body is not None:
            self._told(kind, stage, subject, oid, code, body)
        if key is None or stage is None or subject is None:
            return True
        if kind == "ok" and oid is not None:
            self._oids[key] = oid
            self._finished[key] = finished or ""
            self._failures.pop(key, None)
            self._claims[stage, subject] = key
        elif kind == "claim":
            self._claims[stage, subject] = key
        elif kind == "failed":
            self._failures[key] = (failure or "", message or "", log or "")
        return True

    def _told(
        self,
        kind: str,
        stage: str | None,
        subject: str | None,
        oid: str | None,
        code: str | None,
        body: str,
    ) -> None:
        """Events that are about something else than a unit."""
        told: dict[str, Any] = json.loads(body)
        if kind == "raw" and subject and oid:
            self.raws[subject] = {**told, "oid": oid}
        elif kind == "accept" and stage and code:
            self.accepted[stage, code] = told
        elif kind == "tombstone":
            self.tombstones.append(told)
            for key in told.get("withdrawn", ()):
                self._withdrawn[key] = max(told["when"], self._withdrawn.get(key, ""))
        elif kind == "collected":
            for key in told["keys"]:
                self._collected[key] = max(told["when"], self._collected.get(key, ""))

    def _read_segments(self) -> None:
        if not self._segments.is_dir():
            return
        for path in sorted(self._segments.glob("*.ndjson"), key=lambda p: p.name):
            start = self._tails.get(path.name, 0)
            with open(path, "rb") as handle:
                handle.seek(start)
                data = handle.read()
            if not data:
                continue
            rows, used, bad = parse_lines(data)
            self._tails[path.name] = start + used
            self.torn += bad
            for row in rows:
                fields = (row.get(name) for name in INDEXED)
                if (
                    self._take(row["event_id"], row.get("type", ""), *fields)
                    and row.get("type") == "ok"
                ):
                    self._rows[row["key"]] = row

    def oid(self, key: str) -> str | None:
        """Output of a recipe, None where it was never computed, or withdrawn or collected since."""
        return self._oids.get(key) if self._stored(key) else None

    def finished(self, key: str) -> str:
        """When a recipe's result was finished (ISO 8601; empty where it is not known)."""
        return self._finished.get(key, "")

    def _stored(self, key: str) -> bool:
        collected = self._collected.get(key)
        gone = collected is not None and self.finished(key) <= collected
        return not gone and not self.withdrawn(key)

    def withdrawn(self, key: str) -> bool:
        """Whether a result was trained with data that was withdrawn since."""
        when = self._withdrawn.get(key)
        return when is not None and self._finished.get(key, "") <= when

    def accepted_code(self, stage: str, code: str) -> str:
        """The code that a stage's code counts as (itself, unless `headworks accept` said so)."""
        for _ in range(100):
            told = self.accepted.get((stage, code))
            if told is None or told.get("as") in (None, code):
                break
            code = str(told["as"])
        return code

    def failure(self, key: str) -> tuple[str, str, str] | None:
        """(class, message, log) of the last failure of a recipe that has never succeeded since."""
        return self._failures.get(key)

    def claim(self, stage: str, subject: str) -> str | None:
        """Key of the result that a unit last relied on."""
        return self._claims.get((stage, subject))

    def claims(self) -> dict[UnitName, str]:
        """All claims: (stage, subject) -> key."""
        return dict(self._claims)

    def outputs(self) -> dict[str, str]:
        """All recipes with the outputs that are stored."""
        return {key: oid for key, oid in self._oids.items() if self._stored(key)}

    def row(self, key: str) -> Row | None:
        """Newest `ok` event of a recipe, with all its columns."""
        if key in self._rows:
            return self._rows[key]
        if self._frame is None or key not in self._oids:
            return None
        place = self._places.get(key)
        if place is None:
            return None
        row = self._frame.row(place, named=True)
        row["inputs"] = [[i["role"], i["member"], i["oid"]] for i in row["inputs"] or []]
        self._rows[key] = row
        return row

    def frame(self) -> pl.DataFrame:
        """All events as one table (schema: docs/engine.md)."""
        import polars as pl

        rows: list[Row] = []
        if self._segments.is_dir():
            for path in sorted(self._segments.glob("*.ndjson")):
                rows += parse_lines(path.read_bytes())[0]
        fresh = table_of(rows)
        old = self._load(self._bases())
        parts = [fresh] if old is None else [old, fresh]
        return pl.concat(parts, how="diagonal_relaxed").unique(
            "event_id", keep="first", maintain_order=True
        )

    # Writing

    def append(self, kind: str, **fields: Any) -> Row:
        """Append one event and flush it to the disk: the moment at which a result exists.

        Args:
            kind: ok, failed, claim, raw, accept, tombstone, run.
            fields: columns.
        """
        row: Row = {"event_id": uuid.uuid4().hex, "type": kind, "schema_version": 1, **fields}
        row = {name: value for name, value in row.items() if value is not None}
        if self._handle < 0:
            self._open()
        data = line_of(row)
        size = os.fstat(self._handle).st_size
        try:
            if os.write(self._handle, data) != len(data):
                raise OSError(28, "no space left for the ledger")
            os.fsync(self._handle)
        except OSError:
            os.ftruncate(self._handle, size)
            raise
        return row

    def _open(self) -> None:
        self._segments.mkdir(parents=True, exist_ok=True)
        while True:
            # Newer than any segment there is, even when the clock was put back.
            newest = max((p.name[:20] for p in self._segments.glob("*.ndjson")), default="0")
            number = max(time.time_ns(), int(newest) + 1 if newest.isdigit() else 0)
            name = f"{number:020d}-{socket.gethostname()}-{os.getpid()}.ndjson"
            path = self._segments / name
            handle = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644
            )
            # A compaction may merge and unlink the file between its creation and its lock.
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                if os.stat(path).st_ino == os.fstat(handle).st_ino:
                    sync_folder(self._segments)
                    self._handle = handle
                    return
            except FileNotFoundError:
                pass
            os.close(handle)

    def close(self) -> None:
        """Release the segment, so that it can be merged."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def compact(self) -> bool:
        """Merge segments of dead writers into the next base Parquet.

        Returns:
            Whether anything was merged (another process may be at it).
        """
        if not self._segments.is_dir():
            return False
        with Lock(self.folder / "compact.lock", wait=False) as lock:
            if not lock.held:
                return False
            taken: list[tuple[Path, int]] = []
            rows: list[Row] = []
            try:
                for path in sorted(self._segments.glob("*.ndjson")):
                    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    try:
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError:
                        os.close(handle)
                        continue
                    taken.append((path, handle))
                    rows += parse_lines(path.read_bytes())[0]
                if not taken:
                    return False
                self._merge(rows)
                for path, _ in taken:
                    path.unlink()
            finally:
                for _, handle in taken:
                    os.close(handle)
        return True

    def absorb(self, table: pl.DataFrame) -> int:
        """Take in events of another machine; they count as older than one's own.

        Returns:
            How many were new.
        """
        import polars as pl

        with Lock(self.folder / "compact.lock"):
            self.refresh()
            fresh = table.filter(~pl.col("event_id").is_in(list(self._seen)))
            if not fresh.is_empty():
                self._merge([], fresh)
        self.refresh()
        return len(fresh)

    def rewrite(self, change: Callable[[Row], Row | None]) -> int:
        """Write the ledger anew; the caller keeps other writers away.

        Args:
            change: gives an event (with all its columns) as it shall be, None to drop it.

        Returns:
            How many went.
        """
        import polars as pl

        self.close()
        with Lock(self.folder / "compact.lock"):
            table = self.frame()
            kept = [new for row in table.iter_rows(named=True) if (new := change(row)) is not None]
            segments = sorted(self._segments.glob("*.ndjson")) if self._segments.is_dir() else []
            bases = self._bases()
            self._write_base(bases, pl.DataFrame(kept, schema=table.schema))
            for path in segments:
                path.unlink(missing_ok=True)
            for name in bases:
                (self.folder / name).unlink(missing_ok=True)
        self.refresh()
        return len(table) - len(kept)

    def seal(self) -> None:
        """Write the ledger anew from what can be read; the caller keeps other writers away."""
        self.rewrite(lambda row: row)

    def _merge(self, rows: list[Row], foreign: pl.DataFrame | None = None) -> None:
        import polars as pl

        bases = self._bases()
        old = self._load(bases)
        parts = [table for table in (foreign, old, table_of(rows)) if table is not None]
        merged = pl.concat(parts, how="diagonal_relaxed")
        merged = merged.unique("event_id", keep="last", maintain_order=True)
        self._write_base(bases, merged)

    def _write_base(self, bases: list[str], merged: pl.DataFrame) -> None:
        number = int(re.sub(r"\D", "", bases[0])) + 1 if bases else 1
        target = self.folder / f"base-{number}.parquet"
        unfinished = self.folder / f"unfinished-{os.getpid()}"
        merged.write_parquet(unfinished, compression="zstd", statistics=True)
        handle = os.open(unfinished, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(unfinished, target)
        sync_folder(self.folder)
        for name in bases[1:]:
            (self.folder / name).unlink(missing_ok=True)
