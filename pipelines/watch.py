"""How far a run is: kept in a file beside its logs, so that anybody may look on."""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.files import alive, write_cache
from pipelines.layout import Layout
from pipelines.ledger import Ledger
from pipelines.options import Outcome, Reporter
from pipelines.plan import Decision, Unit

_EVERY_S = 0.5
CACHED = ("ok", "hit", "cut_off", "restored")


class Tracker:
    """A reporter that passes everything on and keeps the state of the run in a file.

    Args:
        inner: who shows the run here.
        layout: of the workspace.
        run_id: of the run.
        expected: stage -> seconds that a unit usually takes, where that is known.
        jobs: how many units run at a time.
    """

    def __init__(
        self,
        inner: Reporter,
        layout: Layout,
        run_id: str,
        expected: Mapping[str, float],
        jobs: int,
    ) -> None:
        self._inner = inner
        self._layout = layout
        self._path = layout.runs / run_id / "progress.json"
        self._run_id = run_id
        self._seconds = {stage: [value] for stage, value in expected.items()}
        self._jobs = max(1, jobs)
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._ended: dict[str, Counter[str]] = {}
        self._running: dict[Unit, tuple[float, str]] = {}
        self._begun = time.time()
        self._written = 0.0

    def begin(self, decisions: dict[Unit, Decision]) -> None:
        """The plan, before anything runs."""
        for unit in decisions:
            self._totals[unit.stage] += 1
        self._inner.begin(decisions)

    def progress(self, unit: Unit, done: float, message: str) -> None:
        """A stage says how far it is."""
        with self._lock:
            self._running[unit] = (min(1.0, max(0.0, done)), message)
        self._inner.progress(unit, done, message)
        self._write()

    def finished(self, unit: Unit, outcome: Outcome) -> None:
        """A unit ended."""
        with self._lock:
            self._running.pop(unit, None)
            self._ended.setdefault(unit.stage, Counter())[outcome.status] += 1
            if outcome.status == "ran":
                self._seconds.setdefault(unit.stage, []).append(outcome.seconds)
        self._inner.finished(unit, outcome)
        self._write()

    def note(self, text: str) -> None:
        """Something worth a line."""
        self._inner.note(text)

    def end(self) -> None:
        """Nothing more runs."""
        self._write(done=True)
        self._inner.end()

    def eta_s(self) -> float | None:
        """Seconds that what is left will about take; None where nothing is known of a stage."""
        left = 0.0
        for stage, total in self._totals.items():
            ended = sum(self._ended.get(stage, Counter()).values())
            if total > ended:
                known = self._seconds.get(stage)
                if not known:
                    return None
                part = sum(f for unit, (f, _) in self._running.items() if unit.stage == stage)
                left += max(0.0, total - ended - part) * statistics.median(known)
        return left / self._jobs

    def state(self, done: bool = False) -> dict[str, Any]:
        """What is written to the file."""
        with self._lock:
            return {
                "schema": "headworks.progress/1",
                "run_id": self._run_id,
                "pid": os.getpid(),
                "done": done,
                "seconds": round(time.time() - self._begun, 1),
                "eta_s": self.eta_s(),
                "stages": {
                    stage: {"total": total, **self._ended.get(stage, {})}
                    for stage, total in self._totals.items()
                },
                "running": [
                    {"unit": str(unit), "done": round(fraction, 3), "message": message}
                    for unit, (fraction, message) in self._running.items()
                ],
            }

    def _write(self, done: bool = False) -> None:
        now = time.monotonic()
        if not done and now - self._written < _EVERY_S:
            return
        self._written = now
        if self._path.parent.is_dir():
            write_cache(self._path, self.state(done), self._layout.tmp)


def running(layout: Layout) -> list[dict[str, Any]]:
    """States of the runs that are going on."""
    found = []
    for path in sorted(layout.runs.glob("*/progress.json")) if layout.runs.is_dir() else ():
        try:
            body = json.loads(path.read_text())
            if not body["done"] and alive(int(body["pid"])):
                found.append(body)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def state_text(body: Mapping[str, Any]) -> list[str]:
    """A run's state in words, a bar for every stage."""
    lines = [f"run {body['run_id']}: {duration(body['seconds'])}, {left(body['eta_s'])}"]
    for stage, counts in body["stages"].items():
        total = counts["total"]
        ended = sum(n for name, n in counts.items() if name != "total")
        cached = sum(counts.get(name, 0) for name in CACHED)
        filled = round(24 * ended / total) if total else 24
        words = [f"{cached} cached"] if cached else []
        words += [f"{counts[n]} {n}" for n in ("ran", "failed", "blocked") if counts.get(n)]
        bar = "#" * filled + "." * (24 - filled)
        lines.append(f"  {stage:10} [{bar}] {ended}/{total}  {', '.join(words)}".rstrip())
    for unit in body["running"]:
        lines.append(f"  {unit['unit']} {unit['done']:4.0%} {unit['message']}".rstrip())
    return lines


def duration(seconds: float) -> str:
    """`12 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def left(eta_s: float | None) -> str:
    """`about 3 min 20 s left`."""
    return f"about {duration(eta_s)} left" if eta_s is not None else "time left not known yet"


def watch(layout: Layout, every_s: float = 1.0) -> Iterator[list[str]]:
    """Lines to show, again and again until no run is going on.

    Args:
        layout: of the workspace. every_s: pause between looks.
    """
    while bodies := running(layout):
        yield [line for body in bodies for line in state_text(body)]
        time.sleep(every_s)


def expected_seconds(ledger: Ledger, stages: Iterable[str]) -> dict[str, float]:
    """Median time of a unit of each stage, from what the ledger knows of the last ones."""
    wanted, found = set(stages), {}
    rows: dict[str, list[float]] = {}
    for (stage, _), key in reversed(list(ledger.claims().items())):
        if stage in wanted and len(rows.setdefault(stage, [])) < 20:
            row = ledger.row(key)
            if row is not None and row.get("seconds") is not None:
                rows[stage].append(float(row["seconds"]))
    for stage, values in rows.items():
        if values:
            found[stage] = statistics.median(values)
    return found
