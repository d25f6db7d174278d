"""The frames of a capture while they are rendered: on disk, so that a killed run goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from headworks.artifacts import canonical_json

_PLAN, _DONE = "plan.json", "done.npy"


class Film:
    """Arrays [T, ...] that are filled time step by time step.

    Args:
        folder: where they lie; what an earlier run of the same plan left there is taken over.
        plan: everything that the frames depend on (JSON values); another plan starts anew.
        arrays: name -> (shape [T, ...], dtype).
    """

    def __init__(
        self,
        folder: Path,
        plan: Mapping[str, Any],
        arrays: Mapping[str, tuple[tuple[int, ...], DTypeLike]],
    ) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        steps = {shape[0] for shape, _ in arrays.values()}
        if len(steps) != 1:
            raise ValueError(f"all arrays need one number of time steps, got {sorted(steps)}")
        layout = {name: [list(shape), np.dtype(d).str] for name, (shape, d) in arrays.items()}
        text = canonical_json({"plan": dict(plan), "arrays": layout})
        same = (folder / _PLAN).is_file() and (folder / _PLAN).read_text() == text
        if not same:
            # The marks go first: without them nothing in the folder counts.
            (folder / _DONE).unlink(missing_ok=True)
            for name, (shape, dtype) in arrays.items():
                np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape).flush()
            np.lib.format.open_memmap(folder / _DONE, "w+", np.uint8, (steps.pop(),)).flush()
            (folder / _PLAN).write_text(text)
        self.arrays: dict[str, NDArray[Any]] = {
            name: np.lib.format.open_memmap(folder / f"{name}.npy", "r+") for name in arrays
        }
        self._done = np.lib.format.open_memmap(folder / _DONE, "r+")

    def missing(self) -> list[int]:
        """Time steps that are still to be rendered, in order."""
        return [int(t) for t in np.flatnonzero(self._done == 0)]

    def keep(self, t: int, **frames: NDArray[Any]) -> None:
        """Store one time step; it counts only once all its frames are on disk."""
        for name, frame in frames.items():
            self.arrays[name][t] = frame
        for array in self.arrays.values():
            array.flush()  # type: ignore[attr-defined]
        self._done[t] = 1
        self._done.flush()


@contextmanager
def scratch_folder(wanted: Path | None) -> Iterator[Path]:
    """The folder given, which outlives a kill; or a temporary one."""
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="headworks-film-") as folder:
        yield Path(folder)
