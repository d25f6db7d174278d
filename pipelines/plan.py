"""The plan: what would run and why, from the ledger alone. Pure: reads no data, writes nothing."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from headworks.errors import HeadworksError
from pipelines.keys import InputRow, KeyMaker, recipe
from pipelines.ledger import Ledger
from pipelines.params import AllParams
from pipelines.reasons import (
    asset_changes,
    failure_digest,
    input_changes,
    module_changes,
    param_changes,
)
from pipelines.subjects import Subject
from stages.contract import Input, Stage

ALL = "all"
State = Literal["ok", "restore", "run", "maybe", "failed", "blocked"]
STATES: tuple[State, ...] = ("ok", "restore", "run", "maybe", "failed", "blocked")


_NOTHING: dict[str, dict[str, str]] = {}


@contextmanager
def many_objects() -> Iterator[None]:
    """Without the collector of cycles: a plan makes none, and a million objects that stay.

    The collector would look at all of them again and again, for a quarter of the time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class Unit(NamedTuple):
    """A stage applied to one subject, or (subject "all") to the whole data set."""

    stage: str
    subject: str

    def __str__(self) -> str:
        return f"{self.stage}/{self.subject}"


class Dep(NamedTuple):
    """One thing that a unit reads.

    Attributes:
        role: name of the input. member: "" for the unit's own subject. unit: who makes it, None
            for raw.
        collect: whether the unit does without where this one fails.
    """

    role: str
    member: str
    unit: Unit | None
    collect: bool


class Decision(NamedTuple):
    """What is to be done with a unit (a tuple: a plan may make a hundred thousand of them).

    Attributes:
        state: see docs/engine.md.
        reasons: why, in words.
        key, made_of: recipe; None while an input is unknown.
        oid: output; None while it is unknown.
        cause: for failed and blocked: the unit at fault and its message.
        missing: members left out of a collection because they failed: name -> {stage, message}.
    """

    unit: Unit
    state: State
    reasons: tuple[str, ...] = ()
    key: str | None = None
    made_of: dict[str, Any] | None = None
    oid: str | None = None
    cause: tuple[str, str] | None = None
    missing: Mapping[str, dict[str, str]] = _NOTHING


class Graph:
    """Units and what each reads.

    Args:
        registry: stages in an order in which inputs come first.
        subjects: by name.

    Raises:
        HeadworksError: when a stage reads one that does not come before it.
    """

    def __init__(self, registry: Sequence[Stage], subjects: Mapping[str, Subject]) -> None:
        self.stages = {stage.name: stage for stage in registry}
        self.subjects = dict(sorted(subjects.items()))
        self.deps: dict[Unit, tuple[Dep, ...]] = {}
        self.absent: dict[Unit, str] = {}
        self.dependents: dict[Unit, list[Unit]] = {}
        self._rings: dict[tuple[str, str], tuple[list[str], dict[str, int]]] = {}
        seen: set[str] = {"raw"}
        for stage in registry:
            for wanted in stage.inputs:
                if wanted.role not in seen:
                    raise HeadworksError(
                        f"registry: {stage.name} reads {wanted.role!r}, which is no stage before it"
                    )
            seen.add(stage.name)
            self._add(stage)
        for unit, deps in self.deps.items():
            for dep in deps:
                if dep.unit is not None:
                    self.dependents.setdefault(dep.unit, []).append(unit)

    def _members(self, stage: Stage) -> list[str]:
        return [s.name for s in self.subjects.values() if s.kind in stage.kinds]

    def _add(self, stage: Stage) -> None:
        names = self._members(stage) if stage.scope == "subject" else [ALL]
        for name in names:
            unit = Unit(stage.name, name)
            deps: list[Dep] = []
            for wanted in stage.inputs:
                found, absent = self._resolve(stage, name, wanted.role, wanted.collect)
                if wanted.peers and found:
                    found += self._peers(stage, name, wanted)
                deps += found
                if absent and not wanted.optional:
                    self.absent[unit] = absent
            if stage.scope == "dataset" and not any(dep.member != ALL for dep in deps):
                self.absent.pop(unit, None)
                continue
            self.deps[unit] = tuple(deps)

    def _resolve(
        self, stage: Stage, name: str, role: str, collect: bool
    ) -> tuple[list[Dep], str | None]:
        if role == "raw":
            return [Dep(role, "", None, False)], None
        upstream = self.stages[role]
        if collect:
            names = [ALL] if upstream.scope == "dataset" else self._members(stage)
            members = [m for m in names if Unit(role, m) in self.deps]
            return [Dep(role, m, Unit(role, m), True) for m in members], None
        unit = Unit(role, ALL if upstream.scope == "dataset" else name)
        if unit in self.deps:
            return [Dep(role, "", unit, False)], None
        if upstream.scope == "dataset":
            kinds = ", ".join(sorted(upstream.kinds))
            return [], f"{role} has no members: add subjects of kind {kinds}"
        return [], f"{role} does not apply to a subject of kind {self.subjects[name].kind}"

    def _peers(self, stage: Stage, name: str, wanted: Input) -> list[Dep]:
        """Some others: the next ones on a ring of all, in the order of their names' digests.

        One subject more stands before at most `peers` others' ends, whoever else there is.
        """
        role = wanted.role
        if (stage.name, role) not in self._rings:
            members = [m for m in self._members(stage) if Unit(role, m) in self.deps]
            ring = sorted(members, key=lambda m: (hashlib.sha256(m.encode()).digest(), m))
            self._rings[stage.name, role] = ring, {m: place for place, m in enumerate(ring)}
        ring, places = self._rings[stage.name, role]
        first = places[name] + 1
        others = [ring[(first + k) % len(ring)] for k in range(min(wanted.peers, len(ring) - 1))]
        return [Dep(role, m, Unit(role, m), True) for m in sorted(others)]

    def ancestors(self, units: Iterable[Unit]) -> set[Unit]:
        """The units and all that they need."""
        todo = list(units)
        found = set(todo)
        if len(found) == len(self.deps):
            return found
        found.clear()
        while todo:
            unit = todo.pop()
            if unit in found:
                continue
            found.add(unit)
            todo += [dep.unit for dep in self.deps[unit] if dep.unit is not None]
        return found


@dataclass(frozen=True)
class Planner:
    """Decides about units, one at a time, given what is decided upstream.

    Attributes:
        graph, params, ledger: what there is.
        code: stage -> hash of its code closure (or the one that it was accepted as).
        code_now: stage -> hash of its code as it is. modules: stage -> {module: hash}.
        assets: stage -> {name: SHA-256 or "absent"} of files outside the project.
        known_modules: code hash -> {module: hash} of earlier runs, to say which module changed.
        whole: whether the cache holds an output.
        published: (stage, subject) -> oid in data/, None where absent or touched.
        forced: units to run in any case.
        retry: try again what failed permanently.
    """

    graph: Graph
    params: AllParams
    ledger: Ledger
    code: Mapping[str, str]
    whole: Callable[[str], bool]
    published: Callable[[str, str], str | None]
    modules: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    code_now: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    known_modules: Callable[[str], Mapping[str, str] | None] = lambda code: None
    forced: frozenset[Unit] = frozenset()
    retry: bool = False
    _makers: dict[str, KeyMaker] = field(default_factory=dict, compare=False, repr=False)

    def decide(self, unit: Unit, known: Mapping[Unit, Decision]) -> Decision:
        """State of one unit.

        Args:
            unit: which.
            known: decisions for all that it reads.
        """
        rows: list[InputRow] = []
        unknown: list[str] = []
        missing: dict[str, dict[str, str]] = {}
        if unit in self.graph.absent:
            reason = self.graph.absent[unit]
            return Decision(unit, "blocked", (reason,), cause=(str(unit), reason))
        for dep in self.graph.deps[unit]:
            if dep.unit is None:
                rows.append((dep.role, "", self.graph.subjects[unit.subject].oid))
                continue
            upstream = known[dep.unit]
            if upstream.state in ("failed", "blocked"):
                cause = upstream.cause or (str(dep.unit), "failed")
                if not dep.collect:
                    return Decision(unit, "blocked", (f"{cause[0]} failed",), cause=cause)
                missing[dep.member] = {"stage": cause[0].split("/")[0], "message": cause[1]}
            elif upstream.oid is None:
                unknown.append(str(dep.unit))
            else:
                rows.append((dep.role, dep.member, upstream.oid))
        if missing and self.graph.stages[unit.stage].scope == "dataset":
            members = {d.member for d in self.graph.deps[unit] if d.collect and d.member != ALL}
            if members and members <= set(missing):
                first = next(iter(missing.values()))
                reason = "every member failed"
                return Decision(unit, "blocked", (reason,), cause=(str(unit), first["message"]))
        if missing:
            rows = [row for row in rows if row[1] not in missing or not row[1]]
            rows += [("failed", name, failure_digest(told)) for name, told in missing.items()]
        stage = self.graph.stages[unit.stage]
        made_of = recipe(
            stage.name,
            stage.version,
            self.code[stage.name],
            self.params.section(stage.name),
            self.params.seed,
            rows,
            self.assets.get(stage.name),
        )
        if unknown:
            return self._undecided(unit, made_of, unknown, missing)
        return self._decided(unit, made_of, missing)

    def _undecided(
        self,
        unit: Unit,
        made_of: dict[str, Any],
        unknown: list[str],
        missing: dict[str, dict[str, str]],
    ) -> Decision:
        last = self._last(unit)
        names = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if unknown[3:] else "")
        if last is None:
            return Decision(unit, "run", ("new",), missing=missing)
        if unit in self.forced:
            return Decision(unit, "run", ("forced",), missing=missing)
        own = self._differences(unit, made_of, last, inputs=False)
        return Decision(
            unit, "run" if own else "maybe", (*own, f"input: {names} will run"), missing=missing
        )

    def _decided(
        self, unit: Unit, made_of: dict[str, Any], missing: dict[str, dict[str, str]]
    ) -> Decision:
        key = self._key(made_of)
        oid = self.ledger.oid(key)
        if (
            oid is not None
            and unit not in self.forced
            and self.whole(oid)
            and self.published(unit.stage, unit.subject) == oid
        ):
            return Decision(unit, "ok", (), key, made_of, oid, None, missing)

        def decision(state: State, *reasons: str, oid: str | None = None) -> Decision:
            return Decision(unit, state, reasons, key, made_of, oid, missing=missing)

        if unit in self.forced:
            return decision("run", "forced")
        if oid is not None:
            if not self.whole(oid):
                return decision("run", "lost: its stored output is incomplete")
            last = self._last(unit)
            reasons = self._differences(unit, made_of, last) if last else []
            return decision("restore", *(reasons or ["not in data/, or changed there"]), oid=oid)
        failure = self.ledger.failure(key)
        if failure is not None and failure[0] not in TRANSIENT and not self.retry:
            message = failure[1]
            return Decision(
                unit,
                "failed",
                (f"failed before: {message}",),
                key,
                made_of,
                cause=(str(unit), message),
                missing=missing,
            )
        last = self._last(unit)
        if last is None:
            return decision("run", "new" if failure is None else f"failed before: {failure[1]}")
        reasons = self._differences(unit, made_of, last)
        return decision("run", *(reasons or ["failed before" if failure else "not in the ledger"]))

    def _key(self, made_of: dict[str, Any]) -> str:
        maker = self._makers.get(made_of["stage"])
        if maker is None:
            maker = self._makers[made_of["stage"]] = KeyMaker(made_of)
        return maker.key(made_of["inputs"])

    def _last(self, unit: Unit) -> dict[str, Any] | None:
        key = self.ledger.claim(unit.stage, unit.subject)
        return self.ledger.row(key) if key else None

    def _differences(
        self, unit: Unit, made_of: dict[str, Any], last: dict[str, Any], inputs: bool = True
    ) -> list[str]:
        """What differs from the result that the unit last relied on, in words."""
        found = []
        old = json.loads(last["params_json"])
        new = json.loads(json.dumps(made_of["params"]))
        found += [f"params: {unit.stage}.{words}" for words in param_changes(old, new)]
        if last["seed"] != made_of["seed"]:
            found.append(f"params: seed {last['seed']} -> {made_of['seed']}")
        if last["code"] != made_of["code"]:
            modules = self.modules.get(unit.stage)
            found.append(module_changes(self.known_modules(last["code"]), modules))
        if last["version"] != made_of["version"]:
            found.append(f"version: {last['version']} -> {made_of['version']}")
        found += asset_changes(
            json.loads(last.get("assets_json") or "{}"), made_of.get("assets", {})
        )
        if inputs:
            found += input_changes(last["inputs"], made_of["inputs"])
        return found


TRANSIENT = frozenset(
    {"transient", "oom", "lost", "changed", "disk_full", "engine", "cancelled", "timeout"}
)
"""Classes of failure that the next run tries again by itself."""


def make_plan(planner: Planner, units: Iterable[Unit] | None = None) -> dict[Unit, Decision]:
    """Decide about units, inputs first.

    Args:
        planner: with the graph.
        units: which (with all that they need), or None for all.

    Returns:
        Decisions in the order of the graph.
    """
    known: dict[Unit, Decision] = {}
    with many_objects():
        wanted = planner.graph.ancestors(planner.graph.deps if units is None else units)
        for unit in planner.graph.deps:
            if unit in wanted:
                known[unit] = planner.decide(unit, known)
    return known
