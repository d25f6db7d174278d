"""Trainings that outlive a kill: one safetensors file per stage, replaced as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from headworks.artifacts import canonical_json


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
        if self._folder is None or not self._path(name).is_file():
            return None
        try:
            with safe_open(self._path(name), "pt") as file:
                if (file.metadata() or {}).get("plan") != self._plan:
                    return None
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return None  # damaged: the training starts anew, which costs time and nothing else

    def save(self, name: str, state: Mapping[str, Tensor]) -> None:
        """Keep a state; a kill at any moment leaves the old file or the new one."""
        if self._folder is None or not self._writes:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f"{name}.{os.getpid()}.draft"
        tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        save_file(tensors, draft, metadata={"plan": self._plan})
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, self._path(name))

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
