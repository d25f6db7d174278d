"""Frames of a capture that belong together: one sequence is one still camera, one run of time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby


def sequence_runs(names: Sequence[str]) -> list[slice]:
    """Slices of the time axis, one for each sequence.

    Args:
        names: the sequence of each time step, T entries; a sequence is contiguous.
    """
    runs, start = [], 0
    for _, group in groupby(names):
        stop = start + len(list(group))
        runs.append(slice(start, stop))
        start = stop
    return runs
