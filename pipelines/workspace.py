"""A workspace: subjects, params, stages and the ledger of what was made of them."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from headworks.errors import HeadworksError
from pipelines.codehash import CodeIndex
from pipelines.files import write_atomic
from pipelines.layout import Layout
from pipelines.ledger import Ledger
from pipelines.params import AllParams, load_params
from pipelines.plan import Decision, Graph, Planner, Unit, make_plan, many_objects
from pipelines.publish import Published
from pipelines.store import Objects
from pipelines.subjects import Fingerprints, Subject, read_subjects
from stages.contract import Stage

MANY = 5_000
"""Units above which a plan looks at published folders and not at every file in them."""


class Workspace:
    """One project on disk.

    Args:
        root: its folder.
        registry: its stages; if None those that `HEADWORKS_REGISTRY` names (`module:attribute`),
            and those of the method where it is not set.
    """

    def __init__(self, root: Path | str, registry: Sequence[Stage] | None = None) -> None:
        if registry is None:
            name = os.environ.get("HEADWORKS_REGISTRY", "stages.registry:STAGES")
            module, _, attribute = name.partition(":")
            registry = getattr(importlib.import_module(module), attribute)
        assert registry is not None
        self.registry = tuple(registry)
        self.layout = Layout(root)
        self.ledger = Ledger(self.layout.hidden / "ledger")

    @property
    def packages(self) -> list[str]:
        """First-party packages whose code counts."""
        return sorted({"headworks", "stages", *(s.module.split(".")[0] for s in self.registry)})

    def params(self, overrides: Sequence[str] = ()) -> AllParams:
        """params.yaml, checked."""
        return load_params(self.layout.params, self.registry, overrides)

    def stage(self, name: str) -> Stage:
        """A stage by name.

        Raises:
            HeadworksError: with the names there are.
        """
        for stage in self.registry:
            if stage.name == name:
                return stage
        names = ", ".join(stage.name for stage in self.registry)
        raise HeadworksError(f"no stage {name!r}; there are {names}")

    def select(
        self, graph: Graph, stages: Iterable[str] = (), subjects: Iterable[str] = ()
    ) -> list[Unit]:
        """Units of the named stages and subjects (all where none is named).

        Raises:
            HeadworksError: for a name that is not there.
        """
        stages, subjects = list(stages), list(subjects)
        for name in stages:
            self.stage(name)
        for name in subjects:
            if name not in graph.subjects:
                have = ", ".join(graph.subjects) or "none yet"
                raise HeadworksError(f"no subject {name!r}; there are: {have}")
        return [
            unit
            for unit in graph.deps
            if (not stages or unit.stage in stages) and (not subjects or unit.subject in subjects)
        ]

    def planner(
        self,
        overrides: Sequence[str] = (),
        forced: Sequence[Unit] = (),
        retry: bool = False,
        graph: Graph | None = None,
    ) -> Planner:
        """Everything that a plan needs, read afresh."""
        with many_objects():
            return self._planner(overrides, forced, retry, graph)

    def _planner(
        self,
        overrides: Sequence[str],
        forced: Sequence[Unit],
        retry: bool,
        graph: Graph | None,
    ) -> Planner:
        graph = graph or self.graph()
        index = CodeIndex(self.packages, self.layout.hidden / "code.json")
        modules = {stage.name: index.closure(stage.module) for stage in self.registry}
        now = {stage.name: index.hash(stage.module) for stage in self.registry}
        ledger = self.ledger.refresh()
        params = self.params(overrides)
        if self.layout.hidden.is_dir():
            index.save(self.layout.tmp)

        self.published = Published(self.layout, shallow=len(graph.deps) > MANY)
        self.objects = Objects(self.layout.objects, self.layout.hidden / "trees.txt")
        return Planner(
            graph=graph,
            params=params,
            ledger=ledger,
            code={name: ledger.accepted_code(name, code) for name, code in now.items()},
            code_now=now,
            modules=modules,
            assets=self.assets(params),
            known_modules=self.known_modules,
            whole=self.objects.whole,
            published=self.published.oid,
            forced=frozenset(forced),
            retry=retry,
        )

    def assets(self, params: AllParams) -> dict[str, dict[str, str]]:
        """Files outside the project that stages would use: stage -> name -> SHA-256 or "absent"."""
        fingerprints = Fingerprints(self.layout)
        found: dict[str, dict[str, str]] = {}
        for stage in self.registry:
            wanted = stage.assets(params.stages[stage.name])
            if wanted:
                found[stage.name] = {
                    name: fingerprints.file(path)[1] if path is not None else "absent"
                    for name, path in sorted(wanted.items())
                }
        if self.layout.hidden.is_dir():
            fingerprints.save()
        return found

    def graph(self) -> Graph:
        """Units of the subjects that there are.

        Raises:
            HeadworksError: no workspace, or one in which a forgetting was interrupted.
        """
        from pipelines.forget import require_finished

        self.layout.require()
        require_finished(self.layout)
        with many_objects():
            subjects = self.subjects()
            forgotten = set(self.forgotten(subjects))
            return Graph(
                self.registry, {name: s for name, s in subjects.items() if name not in forgotten}
            )

    def subjects(self) -> dict[str, Subject]:
        """All subjects that lie below data/raw, by name."""
        return read_subjects(self.layout)

    def forgotten(self, subjects: Mapping[str, Subject] | None = None) -> list[str]:
        """Subjects that lie here although their consent was withdrawn, here or elsewhere."""
        from pipelines.forget import is_forgotten

        ledger = self.ledger.refresh()
        if not ledger.tombstones:
            return []
        found = []
        for name, subject in (self.subjects() if subjects is None else subjects).items():
            event = ledger.raws.get(name, {})
            when = event.get("when") if event.get("oid") == subject.oid else None
            if is_forgotten(ledger, name, {"oid": subject.oid, "when": when}):
                found.append(name)
        return found

    def plan(
        self,
        stages: Sequence[str] = (),
        subjects: Sequence[str] = (),
        overrides: Sequence[str] = (),
    ) -> dict[Unit, Decision]:
        """What a run would do. See `pipelines.plan`."""
        with many_objects():
            planner = self.planner(overrides)
            decisions = make_plan(planner, self.select(planner.graph, stages, subjects))
            self.remember()
        return decisions

    def remember(self) -> None:
        """Keep what a plan has seen, so that the next one is quicker."""
        if self.layout.hidden.is_dir():
            self.objects.save()
            self.published.save()

    def known_modules(self, code: str) -> Mapping[str, str] | None:
        """Modules behind a code hash of an earlier run."""
        try:
            found: Mapping[str, str] = json.loads(
                (self.layout.hidden / "code" / f"{code}.json").read_text()
            )
            return found
        except (OSError, ValueError):
            return None

    def remember_modules(self, code: str, modules: Mapping[str, str]) -> None:
        """Keep the modules behind a code hash, to say later which of them changed."""
        path = self.layout.hidden / "code" / f"{code}.json"
        if not path.exists():
            write_atomic(path, json.dumps(modules, sort_keys=True).encode(), self.layout.tmp)

    def index_bytes(self, stage: str, members: Mapping[str, str]) -> bytes:
        """`_index.json` of a stage."""
        body = {"schema": "headworks.index/1", "stage": stage, "units": dict(members)}
        return (json.dumps(body, sort_keys=True, indent=1) + "\n").encode()
