"""Events of the ledger: their columns, their lines in a segment, their table."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

from pipelines.canon import canonical_json

if TYPE_CHECKING:
    import polars as pl

Row = dict[str, Any]

TEXT = (
    *("event_id", "type", "key", "stage", "subject", "code", "params_json", "out_oid"),
    *("error_class", "error_message", "log", "started", "finished", "device", "python"),
    *("packages_sha256", "git_commit", "diff_sha256", "run_id", "host", "code_seen", "body_json"),
    "assets_json",
)
WHOLE = (
    *("version", "seed", "out_bytes", "out_files", "max_rss_mb"),
    *("threads", "pid", "attempt", "schema_version"),
)
REAL = ("seconds", "cpu_seconds")
INDEXED = (
    *("key", "stage", "subject", "out_oid", "error_class", "error_message", "log"),
    *("code", "body_json", "finished"),
)


def columns() -> dict[str, Any]:
    """Columns of the table with their types."""
    import polars as pl

    found: dict[str, Any] = dict.fromkeys(TEXT, pl.String)
    found |= dict.fromkeys(WHOLE, pl.Int64)
    found |= dict.fromkeys(REAL, pl.Float64)
    found["git_dirty"] = pl.Boolean
    found["inputs"] = pl.List(pl.Struct({"role": pl.String, "member": pl.String, "oid": pl.String}))
    return found


def line_of(row: Row) -> bytes:
    """A line of a segment."""
    body = canonical_json(row).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def parse_lines(data: bytes) -> tuple[list[Row], int, int]:
    """Rows, bytes of whole lines, and how many lines were garbled."""
    end = data.rfind(b"\n") + 1
    rows, bad = [], 0
    for line in data[:end].split(b"\n")[:-1]:
        try:
            if line[8:9] != b" " or int(line[:8], 16) != zlib.crc32(line[9:]):
                raise ValueError("checksum")
            row = json.loads(line[9:])
            if not isinstance(row, dict) or "event_id" not in row:
                raise ValueError("not a row")
            rows.append(row)
        except ValueError:
            bad += bool(line)
    return rows, end, bad


def table_of(rows: list[Row]) -> pl.DataFrame:
    """Events as a table."""
    import polars as pl

    schema = columns()
    plain = [
        {
            **{name: row.get(name) for name in schema},
            "inputs": [
                {"role": role, "member": member, "oid": oid}
                for role, member, oid in row.get("inputs", [])
            ],
        }
        for row in rows
    ]
    return pl.DataFrame(plain, schema=schema)
