"""The loop of a run: submits units as their inputs become known, until nothing is left."""

from __future__ import annotations

import queue
from typing import Any

from pipelines.attempts import Submitter
from pipelines.lineage import Lineage
from pipelines.options import Outcome, Reporter, Summary
from pipelines.plan import Decision, Planner, Unit


class Loop:
    """Submits units as their inputs become known, until nothing is left.

    Args:
        planner: decides. decisions: the plan; updated in place.
        reporter: is told. summary: is filled.
        runnable: units that this run may compute. lineage: is told, where somebody listens.
    """

    def __init__(
        self,
        planner: Planner,
        decisions: dict[Unit, Decision],
        reporter: Reporter,
        summary: Summary,
        runnable: set[Unit],
        lineage: Lineage | None = None,
    ) -> None:
        self._planner = planner
        self._decisions = decisions
        self._reporter = reporter
        self.summary = summary
        self.finished = False
        self._runnable = runnable
        self._lineage = lineage
        self._full = False
        self._flying: set[Unit] = set()
        self.done: queue.Queue[tuple[Unit, dict[str, Any]]] = queue.Queue()

    def run(self, submitter: Submitter, again: bool = False) -> None:
        """Until all units have an outcome.

        Args:
            submitter: starts them. again: an earlier call broke off; go on where it stopped.
        """
        if again:
            for unit in self._flying:
                submitter.submit(self._decisions[unit])
        flying = self._flying
        waiting = [
            u
            for u, d in self._decisions.items()
            if d.state in ("run", "restore", "maybe") and u not in flying
        ]
        while waiting or flying:
            for unit in list(waiting):
                if self._settled(unit):
                    waiting.remove(unit)
                    if self._start(unit, submitter):
                        flying.add(unit)
            if not flying:
                if waiting and not any(self._settled(unit) for unit in waiting):
                    raise RuntimeError(f"units wait for each other: {waiting}")
                continue
            unit, result = self.done.get()
            if unit in flying:
                flying.discard(unit)
                self._finish(unit, result)
        self.finished = True

    def _settled(self, unit: Unit) -> bool:
        """Whether everything that the unit reads has an outcome."""
        return all(
            dep.unit is None or self._decisions[dep.unit].state in ("ok", "failed", "blocked")
            for dep in self._planner.graph.deps[unit]
        )

    def _start(self, unit: Unit, submitter: Submitter) -> bool:
        planned = self._decisions[unit]
        decision = self._planner.decide(unit, self._decisions)
        self._decisions[unit] = decision
        if decision.state == "ok":
            self._end(unit, Outcome("cut_off" if planned.state != "ok" else "ok"))
            return False
        if decision.state in ("failed", "blocked"):
            self._give_up(unit, decision)
            return False
        if unit not in self._runnable or self._full:
            reason = "no space left on the disk" if self._full else f"{unit.stage} is stale"
            self._decisions[unit] = Decision(unit, "blocked", (reason,), cause=(str(unit), reason))
            self._end(unit, Outcome("blocked", message=reason))
            return False
        if self._lineage is not None:
            self._lineage.event("START", unit, decision)
        submitter.submit(decision)
        return True

    def _give_up(self, unit: Unit, decision: Decision) -> None:
        message = decision.cause[1] if decision.cause else "; ".join(decision.reasons)
        failure = self._planner.ledger.failure(decision.key) if decision.key else None
        log = failure[2] if failure else ""
        self._end(unit, Outcome(decision.state, message=message, log=log))

    def _finish(self, unit: Unit, result: dict[str, Any]) -> None:
        planned = self._decisions[unit]
        if result["status"] == "failed":
            self._full = self._full or result["class"] == "disk_full"
            self._decisions[unit] = Decision(
                unit,
                "failed",
                (result["message"],),
                planned.key,
                planned.made_of,
                cause=(str(unit), result["message"]),
                missing=planned.missing,
            )
            self._end(
                unit,
                Outcome(
                    "failed",
                    message=result["message"],
                    kind=result["class"],
                    log=result.get("log", ""),
                ),
            )
            return
        self._decisions[unit] = Decision(
            unit,
            "ok",
            planned.reasons,
            planned.key,
            planned.made_of,
            oid=result["oid"],
            missing=planned.missing,
        )
        status = {"ok": "ran", "restored": "restored", "hit": "hit"}[result["status"]]
        self._end(unit, Outcome(status, result.get("seconds", 0.0), log=result.get("log", "")))

    def _end(self, unit: Unit, outcome: Outcome) -> None:
        self.summary.outcomes[unit] = outcome
        self._reporter.finished(unit, outcome)
        if self._lineage is not None:
            kind = "FAIL" if outcome.status in ("failed", "blocked") else "COMPLETE"
            self._lineage.event(kind, unit, self._decisions[unit], outcome)
