"""What a stage is. A stage can be called from a notebook; it needs no engine.

stages.matting.run({"ingest": folder}, MattingParams(), out, Context())
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Scope = Literal["subject", "dataset"]
Kind = Literal[
    "photo", "photos", "clip", "multiview", "synthetic", "synthetic_clip", "synthetic_photo",
    "population",
]  # fmt: skip

ALL_CAPTURES: frozenset[Kind] = frozenset(
    {"photo", "photos", "clip", "multiview", "synthetic", "synthetic_clip", "synthetic_photo"}
)
SYNTHETIC: frozenset[Kind] = frozenset(
    {"synthetic", "synthetic_clip", "synthetic_photo", "population"}
)


class Params(BaseModel):
    """Base of every stage's section of params.yaml: unknown keys and bad values are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _silent(done: float, message: str = "") -> None:
    pass


@dataclass(frozen=True)
class Context:
    """What the surroundings give a stage.

    Attributes:
        seed: seed of this unit; pass it to `headworks.seeds.generator(seed, purpose)`.
        threads: how many CPU threads the unit may use.
        progress: call with a fraction in [0, 1] and a short message now and then.
        scratch: folder of this unit's recipe that outlives a kill: what a stage leaves there, its
            next attempt finds; None where nothing outlives it (a notebook).
        before: what the same unit gave earlier with equal code, version, params, seed and assets,
            for other inputs; to be read only, and only for what is proven to come out the same.
            None where there is nothing of the kind.
    """

    seed: int = 0
    threads: int = 1
    progress: Callable[[float, str], None] = field(default=_silent)
    scratch: Path | None = None
    before: Path | None = None


Inputs = Mapping[str, Any]
"""role -> artifact folder (`Path`), or for inputs that gather {member name: Path}."""


@dataclass(frozen=True)
class Input:
    """One input of a stage.

    Attributes:
        role: name of the upstream stage, or "raw" for the subject's own files.
        collect: gather this role from every subject that has it ({name: Path}) instead of the
            unit's own subject. A "dataset" stage has at least one such input; any stage may name
            a dataset stage (e.g. "prior"), whose one artifact it then gets, or, collected, gets as
            {"all": Path} and does without where it failed.
        peers: for a "subject" stage that looks at other people, too: gives {"": the unit's own,
            other's name: Path} with at most so many others, always the same few. One subject more
            makes at most that many of the others' units stale, however many there are.
        optional: leave it out where the upstream stage does not apply to the subject's kind.
    """

    role: str
    collect: bool = False
    optional: bool = False
    peers: int = 0

    @property
    def gathers(self) -> bool:
        """Whether the stage gets {member: Path} of this role, not one path."""
        return self.collect or self.peers > 0


@dataclass(frozen=True)
class Stage:
    """A step of the method.

    Attributes:
        name: also its section in params.yaml and its folder below data/.
        module: module with `run(inputs, params, out, context) -> None` and the params class.
        params: name of the params class in that module.
        scope: "subject" runs once per subject, "dataset" once for all.
        inputs: what it reads.
        kinds: kinds of subject it applies to (for "dataset": which are collected).
        version: raised by hand when results change for a reason outside the code.
        timeout_s: seconds that one unit may take before it is ended, None for no limit.
        resources: what one unit needs besides one CPU, e.g. {"GPU": 0.5}; a scheduler keeps to it.
    """

    name: str
    module: str
    params: str
    scope: Scope
    inputs: tuple[Input, ...]
    kinds: frozenset[Kind] = ALL_CAPTURES
    version: int = 1
    timeout_s: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)

    def params_class(self) -> type[Params]:
        """The pydantic model of this stage's section (its module imports nothing heavy)."""
        return getattr(importlib.import_module(self.module), self.params)

    def assets(self, params: Params) -> Mapping[str, Path | None]:
        """Files outside the project (weights) that the stage would use, None where absent.

        From the module's own `assets(params)`, where it has one; it imports nothing heavy.
        """
        found = getattr(importlib.import_module(self.module), "assets", None)
        return found(params) if found is not None else {}

    def function(self) -> Callable[[Inputs, Params, Path, Context], None]:
        """The stage's function."""
        return importlib.import_module(self.module).run
