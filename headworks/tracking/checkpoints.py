"""Where a fit stands, kept on disk so that a killed run goes on and ends with the same bytes."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.tracking.terms import State


class Checkpoints:
    """Named sets of arrays in a folder; without a folder nothing is kept.

    The folder must belong to one recipe (one input, one set of parameters, one code): what is found
    there is taken as it is.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def put(
        self, name: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any] | None = None
    ) -> None:
        """Keep arrays and JSON facts under a name, whole or not at all."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.npz"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            everything: dict[str, Any] = {**arrays, "facts": np.array(json.dumps(facts or {}))}
            np.savez(file, **everything)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def get(self, name: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
        """What was kept under a name; None where there is nothing whole."""
        if self.folder is None or not (path := self.folder / f"{name}.npz").is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as kept:
                arrays = {key: kept[key] for key in kept.files}
            return arrays, json.loads(str(arrays.pop("facts")))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None  # a disk that lost it: the work is done again

    def put_state(self, name: str, state: State) -> State:
        """Keep a state; the same numbers as `get_state` will lay them in memory.

        Sums depend on the order in memory: going on from what was put and going on from what was
        kept must not differ.
        """
        arrays = {f.name: np.array(getattr(state, f.name), order="C") for f in fields(State)}
        self.put(name, arrays)
        return _state(arrays)

    def get_state(self, name: str) -> State | None:
        """A state that was kept."""
        found = self.get(name)
        if found is None:
            return None
        return _state(found[0])


def _state(arrays: dict[str, NDArray[Any]]) -> State:
    values: dict[str, Any] = {**arrays, "focal": float(arrays["focal"])}
    return State(**values)
