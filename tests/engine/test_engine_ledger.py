"""The ledger loses no whole line and believes no torn one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.ledger import Ledger


def fill(ledger: Ledger, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        ledger.append(
            "ok",
            key=f"k{n}",
            stage="read",
            subject=f"s{n}",
            out_oid=f"o{n}",
            inputs=[["raw", "", f"r{n}"]],
            params_json="{}",
            seconds=0.5,
        )


def segment(folder: Path) -> Path:
    (path,) = (folder / "seg").iterdir()
    return path


def test_a_row_is_visible_to_other_readers_at_once(tmp_path: Path) -> None:
    reader, writer = Ledger(tmp_path), Ledger(tmp_path)
    assert reader.refresh().oid("k0") is None
    fill(writer, 1)
    assert reader.refresh().oid("k0") == "o0"
    assert reader.claim("read", "s0") == "k0"
    fill(writer, 1, 1)
    assert reader.refresh().oid("k1") == "o1"


def test_a_tail_torn_at_any_byte_costs_at_most_its_own_rows(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    fill(ledger, 3)
    ledger.close()
    path = segment(tmp_path)
    whole = path.read_bytes()
    ends = [n + 1 for n, byte in enumerate(whole) if byte == 10]
    for cut in range(ends[0], len(whole)):
        path.write_bytes(whole[:cut])
        found = Ledger(tmp_path).refresh()
        assert [found.oid(f"k{n}") is not None for n in range(3)] == [e <= cut for e in ends]


def test_a_garbled_line_is_skipped_and_counted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    fill(ledger, 3)
    ledger.close()
    path = segment(tmp_path)
    data = bytearray(path.read_bytes())
    first = data.index(10)
    data[first + 30] ^= 1
    path.write_bytes(bytes(data))
    found = Ledger(tmp_path).refresh()
    assert [found.oid(f"k{n}") for n in range(3)] == ["o0", None, "o2"]
    assert found.torn == 1


def test_compaction_keeps_every_event(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    fill(ledger, 5)
    ledger.append("failed", key="k9", stage="x", subject="y", error_class="permanent")
    ledger.close()
    reader = Ledger(tmp_path).refresh()
    row = reader.row("k3")
    assert ledger.compact()
    assert not list((tmp_path / "seg").iterdir())
    fill(ledger, 1, 5)
    for found in (reader.refresh(), Ledger(tmp_path).refresh()):
        assert [found.oid(f"k{n}") for n in range(6)] == [f"o{n}" for n in range(6)]
        assert found.failure("k9") == ("permanent", "", "")
        again = found.row("k3")
        assert row is not None
        assert again is not None
        assert {name: again[name] for name in row} == row
    assert ledger.frame().height == 7


def test_compaction_leaves_living_writers_alone(tmp_path: Path) -> None:
    dead, alive = Ledger(tmp_path), Ledger(tmp_path)
    fill(dead, 1)
    dead.close()
    fill(alive, 1, 1)
    assert Ledger(tmp_path).compact()
    fill(alive, 1, 2)
    found = Ledger(tmp_path).refresh()
    assert [found.oid(f"k{n}") for n in range(3)] == ["o0", "o1", "o2"]


def test_a_corrupt_base_falls_back_on_the_one_before(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for n in range(2):
        fill(ledger, 1, n)
        ledger.close()
        ledger.compact()
    (tmp_path / "base-2.parquet").write_bytes(b"nonsense")
    found = Ledger(tmp_path).refresh()
    assert found.oid("k0") == "o0"
    assert found.torn == 1


def test_writers_and_compactions_together_lose_nothing(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from pathlib import Path\n"
        "from pipelines.ledger import Ledger; from test_engine_ledger import fill\n"
        "start = int(sys.argv[1])\n"
        "for n in range(6):\n"
        f"    ledger = Ledger(Path({str(tmp_path)!r})); fill(ledger, 10, start + 10 * n)\n"
        "    ledger.close(); ledger.compact()\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(start)]) for start in (0, 100, 200)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    found = Ledger(tmp_path).refresh()
    for start in (0, 100, 200):
        for n in range(60):
            assert found.oid(f"k{start + n}") == f"o{start + n}"


def test_a_short_write_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    fill(ledger, 1)
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:20]))
    with pytest.raises(OSError, match="space"):
        fill(ledger, 1, 1)
    monkeypatch.undo()
    fill(ledger, 1, 2)
    found = Ledger(tmp_path).refresh()
    assert (found.oid("k0"), found.oid("k1"), found.oid("k2")) == ("o0", None, "o2")
    assert found.torn == 0


def test_a_table_reads_as_its_lines_do(tmp_path: Path) -> None:
    """Runs of equal events are taken from a table at once, in whatever order events came."""
    generator = random.Random(3)
    one = Ledger(tmp_path / "ledger")
    for number in range(120):
        kind = generator.choice(["ok", "ok", "ok", "failed", "claim", "run"])
        unit = {"key": f"k{generator.randrange(9)}", "stage": "read", "subject": f"s{number % 4}"}
        said = {
            "ok": {**unit, "out_oid": f"o{number}", "finished": f"{number:04}"},
            "failed": {**unit, "error_class": "permanent", "error_message": str(number)},
            "claim": unit,
            "run": {},
        }
        one.append(kind, **said[kind])
    lines = Ledger(tmp_path / "ledger").refresh()
    one.close()
    assert one.compact()
    table = Ledger(tmp_path / "ledger").refresh()
    keys = [f"k{n}" for n in range(9)]
    assert table.events == lines.events == 120
    assert table.claims() == lines.claims()
    assert [table.oid(k) for k in keys] == [lines.oid(k) for k in keys]
    assert [table.finished(k) for k in keys] == [lines.finished(k) for k in keys]
    assert [table.failure(k) for k in keys] == [lines.failure(k) for k in keys]
    assert [(table.row(k) or {}).get("event_id") for k in keys] == [
        (lines.row(k) or {}).get("event_id") for k in keys
    ]
    assert any(table.failure(k) for k in keys)
