"""What a run is asked for, what it says meanwhile, and what it did."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from headworks.errors import HeadworksError
from pipelines.plan import Decision, Unit
from stages.contract import Stage

_NEED = re.compile(r"(\w+)\.(\w+)=(\d+(?:\.\d+)?)")
EXIT_OK, EXIT_INTERNAL, EXIT_USAGE, EXIT_FAILED, EXIT_DAMAGE, EXIT_DISK = 0, 1, 2, 3, 6, 7


@dataclass(frozen=True)
class Options:
    """What `headworks run` was asked for.

    Attributes:
        stages, subjects: only these (and what they need); all if empty.
        jobs: worker processes; 0 = number of CPUs.
        force: compute the selected units even if their results are known.
        retry: try again what failed permanently.
        overrides: `stage.key=value`.
        orchestrator: who supervises: a Prefect flow, or a plain thread pool.
        only: run the selected stages alone, not what they need (for `dvc repro`).
        lineage: file or URL for OpenLineage events, None for none.
        cluster: address of a Dask scheduler whose workers compute; None: processes here.
        storage: URL or path of a storage, for a cluster whose machines do not see the workspace.
        needs: `stage.RESOURCE=amount`, what a stage's units ask a cluster's workers for besides
            what the registry says.
        timeout_s: seconds that a unit may take; 0 = what its stage says (no limit if nothing).
    """

    stages: Sequence[str] = ()
    subjects: Sequence[str] = ()
    jobs: int = 0
    force: bool = False
    retry: bool = False
    overrides: Sequence[str] = ()
    orchestrator: Literal["prefect", "none"] = "prefect"
    only: bool = False
    lineage: str | None = None
    timeout_s: float = 0.0
    cluster: str | None = None
    storage: str | None = None
    needs: Sequence[str] = ()


def read_needs(words: Sequence[str], registry: Sequence[Stage]) -> dict[str, dict[str, float]]:
    """What the units of each stage ask a cluster's workers for.

    Args:
        words: `stage.RESOURCE=amount`, over what the registry says. registry: all stages.

    Raises:
        HeadworksError: words of another form, or no such stage.
    """
    found = {stage.name: dict(stage.resources) for stage in registry}
    for word in words:
        match = _NEED.fullmatch(word)
        if match is None or match[1] not in found or not 0 < float(match[3]) < 1e6:
            raise HeadworksError(
                f"--needs {word}: give STAGE.RESOURCE=AMOUNT, as fit.GPU=1 or prior.GPU=0.5; "
                f"stages: {', '.join(found)}"
            )
        found[match[1]][match[2]] = float(match[3])
    return found


@dataclass
class Outcome:
    """How a unit ended.

    Attributes:
        status: ok (already), ran, restored, hit (another run made it), cut_off, failed, blocked.
    """

    status: str
    seconds: float = 0.0
    message: str = ""
    kind: str = ""
    log: str = ""


@dataclass
class Summary:
    """What a run did.

    Attributes:
        outcomes: of the units that were asked for. left: units that were not asked for.
        subjects: how many there are.
    """

    run_id: str
    left: int = 0
    subjects: int = 0
    outcomes: dict[Unit, Outcome] = field(default_factory=dict)
    seconds: float = 0.0
    stages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, *states: str) -> int:
        """How many units ended so."""
        return sum(outcome.status in states for outcome in self.outcomes.values())

    @property
    def exit_code(self) -> int:
        """0 done, 3 some units failed, 7 the disk is full."""
        if any(outcome.kind == "disk_full" for outcome in self.outcomes.values()):
            return EXIT_DISK
        return EXIT_FAILED if self.count("failed", "blocked") else EXIT_OK


class Reporter(Protocol):
    """Shows a run."""

    def begin(self, decisions: dict[Unit, Decision]) -> None:
        """The plan, before anything runs."""

    def progress(self, unit: Unit, done: float, message: str) -> None:
        """A stage says how far it is."""

    def finished(self, unit: Unit, outcome: Outcome) -> None:
        """A unit ended."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def end(self) -> None:
        """Nothing more runs."""


class Silent:
    """Shows nothing."""

    def begin(self, decisions: dict[Unit, Decision]) -> None:
        """Nothing."""

    def progress(self, unit: Unit, done: float, message: str) -> None:
        """Nothing."""

    def finished(self, unit: Unit, outcome: Outcome) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""
