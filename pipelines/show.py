"""Plans, progress and summaries in words."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from pipelines.options import Outcome, Summary
from pipelines.plan import STATES, Decision, Unit

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from pipelines.workspace import Workspace


def plan_json(decisions: dict[Unit, Decision]) -> dict[str, Any]:
    """The plan for machines (schema headworks.plan/1)."""
    return {
        "schema": "headworks.plan/1",
        "counts": dict(Counter(d.state for d in decisions.values())),
        "units": [
            {
                "stage": d.unit.stage,
                "subject": d.unit.subject,
                "state": d.state,
                "reasons": list(d.reasons),
                "key": d.key,
                "oid": d.oid,
            }
            for d in decisions.values()
        ],
    }


def plan_text(decisions: dict[Unit, Decision]) -> list[str]:
    """The plan as a table of counts, then what is not up to date, with reasons."""
    stages = list(dict.fromkeys(unit.stage for unit in decisions))
    if not stages:
        return ["no subjects yet"]
    width = max(len(name) for name in stages)
    lines = [f"{'stage':{width}}  " + "  ".join(f"{state:>7}" for state in STATES)]
    for stage in stages:
        counts = Counter(d.state for u, d in decisions.items() if u.stage == stage)
        lines.append(
            f"{stage:{width}}  " + "  ".join(f"{counts[state] or '.':>7}" for state in STATES)
        )
    grouped: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for unit, decision in decisions.items():
        if decision.state != "ok":
            group = (decision.state, unit.stage, decision.reasons)
            grouped.setdefault(group, []).append(unit.subject)
    for (state, stage, reasons), names in grouped.items():
        more = f" and {len(names) - 4} more" if names[4:] else ""
        lines.append(f"{state:8} {stage}/{', '.join(names[:4])}{more}: {'; '.join(reasons)}")
    return lines


def summary_json(summary: Summary) -> dict[str, Any]:
    """What a run did, for machines (schema headworks.run/1)."""
    return {
        "schema": "headworks.run/1",
        "run_id": summary.run_id,
        "seconds": round(summary.seconds, 3),
        "exit_code": summary.exit_code,
        "counts": dict(Counter(outcome.status for outcome in summary.outcomes.values())),
        "notes": summary.notes,
        "units": [
            {
                "stage": unit.stage,
                "subject": unit.subject,
                "status": outcome.status,
                "seconds": outcome.seconds,
                "message": outcome.message,
                "log": outcome.log,
            }
            for unit, outcome in summary.outcomes.items()
        ],
    }


def summary_text(summary: Summary, workspace: Workspace) -> list[str]:
    """What a run did, and what to type next."""
    lines = []
    failed = {u: o for u, o in summary.outcomes.items() if o.status == "failed"}
    for unit, outcome in failed.items():
        log = f"  (log: {outcome.log})" if outcome.log else ""
        lines.append(f"failed   {unit}: {outcome.message}{log}")
    blocked = [str(u) for u, o in summary.outcomes.items() if o.status == "blocked"]
    reasons = {o.message for o in summary.outcomes.values() if o.status == "blocked"}
    if blocked:
        more = f" and {len(blocked) - 4} more" if blocked[4:] else ""
        lines.append(f"blocked  {', '.join(blocked[:4])}{more}")
        told = {outcome.message for outcome in failed.values()}
        lines += [f"         {reason}" for reason in sorted(reasons - told)[:3]]
    cached = summary.count("ok", "hit", "cut_off")
    lines.append(
        f"ran {summary.count('ran')}  cached {cached}  restored {summary.count('restored')}  "
        f"failed {len(failed)}  blocked {len(blocked)}  in {summary.seconds:.1f} s"
    )
    lines += [f"note: {note}" for note in summary.notes]
    report = workspace.layout.reports / "index.html"
    if not summary.subjects:
        lines.append("next: headworks add NAME PHOTO|FOLDER|CLIP   (no subjects yet)")
    elif failed:
        lines.append("next: see the log, mend the cause, then: headworks run --retry-failed")
    elif blocked:
        lines.append("next: headworks plan   (what is in the way)")
    elif summary.left > 0:
        lines.append(f"next: headworks run   ({summary.left} other units were not asked for)")
    elif report.is_file():
        lines.append(f"next: open {report.relative_to(workspace.layout.root)}")
    else:
        lines.append("next: headworks status")
    return lines


def status_json(workspace: Workspace) -> dict[str, Any]:
    """What there is, for machines."""
    planner = workspace.planner()
    from pipelines.plan import make_plan
    from pipelines.publish import published_oid, was_published

    layout = workspace.layout
    decisions = make_plan(planner)
    touched = [
        str(unit)
        for unit in decisions
        if was_published(layout, *unit) and published_oid(layout, *unit) is None
    ]
    return {
        "schema": "headworks.status/1",
        "root": str(layout.root),
        "subjects": {
            s.name: {"kind": s.kind, "oid": s.oid} for s in planner.graph.subjects.values()
        },
        "stages": {
            stage.name: dict(
                Counter(d.state for u, d in decisions.items() if u.stage == stage.name)
            )
            for stage in workspace.registry
        },
        "modified": touched,
        "forgotten": workspace.forgotten(),
        "ledger": {"events": planner.ledger.events, "torn_lines": planner.ledger.torn},
    }


def status_text(workspace: Workspace) -> list[str]:
    """What there is, in words."""
    found = status_json(workspace)
    subjects = found["subjects"]
    kinds = Counter(s["kind"] for s in subjects.values())
    lines = [f"{found['root']}: {len(subjects)} subjects"]
    if kinds:
        lines[0] += " (" + ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())) + ")"
    for stage, counts in found["stages"].items():
        if counts:
            lines.append(f"  {stage:10} " + "  ".join(f"{k} {v}" for k, v in counts.items()))
    for unit in found["modified"]:
        lines.append(f"modified: data/{unit} is not as it was published; a run restores it")
    for name in found["forgotten"]:
        lines.append(f"forgotten: consent for {name} was withdrawn; headworks forget {name} --yes")
    ledger = found["ledger"]
    lines.append(f"ledger: {ledger['events']} events, {ledger['torn_lines']} torn lines")
    stale = sum(
        n
        for counts in found["stages"].values()
        for state, n in counts.items()
        if state in ("run", "maybe", "restore")
    )
    failed = sum(n for c in found["stages"].values() for state, n in c.items() if state == "failed")
    if not subjects:
        lines.append("next: headworks add NAME PHOTO|FOLDER|CLIP   (or: headworks demo)")
    elif found["forgotten"]:
        lines.append(f"next: headworks forget {found['forgotten'][0]} --yes")
    elif stale:
        lines.append("next: headworks run")
    elif failed:
        lines.append("next: headworks run --retry-failed   (when the cause is mended)")
    else:
        lines.append(f"next: headworks audit {next(iter(subjects))}")
    return lines


class Display:
    """Progress per stage: bars on a terminal, one line per unit elsewhere.

    Args:
        stream: where.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._tty = stream.isatty()
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._fractions: dict[Unit, float] = {}
        self._last: dict[Unit, float] = {}

    def begin(self, decisions: dict[Unit, Decision]) -> None:
        """The plan, before anything runs."""
        totals = Counter(unit.stage for unit in decisions)
        work = [d for d in decisions.values() if d.state in ("run", "maybe", "restore")]
        if not work:
            return
        if not self._tty:
            self._line(f"{len(work)} of {len(decisions)} units to look at")
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bars = Progress(
            TextColumn("{task.description:10}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=Console(file=self._stream),
            transient=False,
        )
        for stage, total in totals.items():
            self._tasks[stage] = self._bars.add_task(
                stage, total=total, count=f"0/{total}", text="", start=False
            )
        self._bars.start()
        for unit, decision in decisions.items():
            if decision.state == "ok":
                self._advance(unit, "ok")

    def progress(self, unit: Unit, done: float, message: str) -> None:
        """A stage says how far it is."""
        with self._lock:
            if self._bars is not None:
                self._fractions[unit] = min(1.0, max(0.0, done))
                self._draw(unit.stage, f"{unit.subject} {done:4.0%} {message}")
            elif not self._tty and time.monotonic() - self._last.get(unit, 0.0) > 30:
                if unit in self._last:
                    self._line(f"{unit}  {done:.0%} {message}")
                self._last[unit] = time.monotonic()

    def finished(self, unit: Unit, outcome: Outcome) -> None:
        """A unit ended."""
        with self._lock:
            if self._bars is not None:
                self._advance(unit, outcome.status)
            elif outcome.status != "ok":
                seconds = f"  {outcome.seconds:.1f} s" if outcome.seconds else ""
                text = f"  {outcome.message}" if outcome.message else ""
                self._line(f"{unit}  {outcome.status}{seconds}{text}")

    def note(self, text: str) -> None:
        """Something worth a line."""
        if self._bars is None:
            self._line(text)

    def end(self) -> None:
        """Nothing more runs."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def _advance(self, unit: Unit, status: str) -> None:
        self._fractions.pop(unit, None)
        self._counts.setdefault(unit.stage, Counter())[status] += 1
        self._draw(unit.stage, "")

    def _draw(self, stage: str, text: str) -> None:
        if self._bars is None or stage not in self._tasks:
            return
        counts = self._counts.get(stage, Counter())
        ended = sum(counts.values())
        partial = sum(f for unit, f in self._fractions.items() if unit.stage == stage)
        task = self._tasks[stage]
        total = self._bars.tasks[self._bars.task_ids.index(task)].total
        words = "  ".join(f"{status} {n}" for status, n in counts.items())
        self._bars.start_task(task)
        self._bars.update(
            task, completed=ended + partial, count=f"{ended}/{total:.0f}", text=text or words
        )
        if ended == total:
            self._bars.stop_task(task)


def show_again(screens: Iterable[list[str]], stream: TextIO) -> None:
    """Show lines in place of those before, on a terminal; one below the other elsewhere."""
    height = 0
    for lines in screens:
        if height and stream.isatty():
            stream.write(f"\x1b[{height}A\x1b[J")
        stream.write("\n".join(lines) + "\n")
        stream.flush()
        height = len(lines)
