"""Trainings that outlive a kill: one safetensors file per stage, replaced as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from headworks.artifacts import canonical_json
from headworks.avatars.training import read_checkpoint, write_checkpoint


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: where they lie; None keeps none. plan: JSON values of everything that the result
            depends on: a checkpoint of another plan does not count.
        writes: whether this process writes them (one of several ranks does).
    """

    def __init__(self, folder: Path | None, plan: Mapping[str, Any], writes: bool = True) -> None:
        self._folder, self._writes = folder, writes
        self._plan = canonical_json(plan)

    def load(self, name: str) -> dict[str, Tensor] | None:
        """What `save` kept under that name; None where there is nothing that counts."""
        if self._folder is None:
            return None
        found = read_checkpoint(self._path(name))
        if found is None or found[1].get("plan") != self._plan:
            return None  # damaged or of another plan: the training starts anew
        return found[0]

    def save(self, name: str, state: Mapping[str, Tensor]) -> None:
        """Keep a state; a kill at any moment leaves the old file or the new one."""
        if self._folder is None or not self._writes:
            return
        write_checkpoint(self._path(name), state, {"plan": self._plan})

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.safetensors"


def as_plan(**facts: Any) -> dict[str, Any]:
    """Facts as plain JSON values (a config's fields that do not change the result left out)."""
    plain = json.loads(json.dumps(facts, default=lambda value: vars(value)))
    for value in plain.values():
        if isinstance(value, dict):
            for name in ("checkpoint_steps", "sample_steps", "device"):
                value.pop(name, None)
    return plain
