"""What the host side of one camera's rendering keeps together: view, kernels, arrays, lists."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headworks.splat.cpu import (
    kernels_auto,
    kernels_simd,
    project,
    project_simd,
    project_simd_backward,
    threads,
)
from headworks.splat.cpu.simd import LANES

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

SIMD = os.environ.get("HEADWORKS_SIMD", "explicit")
ROOM = 8  # list entries per Gaussian to make room for, until it is known how many there are
KNOWN = 64  # scenes whose number of entries is remembered


class View(NamedTuple):
    """One camera and the rules of its projection; see `headworks.splat.rasterization`."""

    K: NDArray[np.float64]
    size: tuple[int, int]  # width, height
    near: float
    far: float
    eps2d: float
    radius_clip: float
    antialiased: bool
    rho_floor: float
    max_alpha: np.float32


class Kernels(NamedTuple):
    """One way to make the kernels; the signatures are those of `project` and `kernels_auto`."""

    prepare: Any
    project_backward: Any
    blending: Any


VARIANTS = {
    "explicit": Kernels(project_simd.prepare, project_simd_backward.project_backward, kernels_simd),
    "auto": Kernels(project.prepare, project.project_backward, kernels_auto),
}


class How(NamedTuple):
    """How a call computes: threads at most, the projection, and the kernels of blending."""

    threads: int
    projection: Kernels
    blending: Any


def how(n: int) -> How:
    """Kernels with explicit vectors, or the auto-vectorised twin by HEADWORKS_SIMD=auto.

    Args:
        n: Gaussians; a projection by vectors needs at least one block of them.
    """
    if SIMD not in VARIANTS:
        raise ValueError(f"HEADWORKS_SIMD must be one of {sorted(VARIANTS)}, got {SIMD!r}")
    kernels = VARIANTS[SIMD]
    projection = kernels if n >= LANES else VARIANTS["auto"]
    return How(threads.n_threads(), projection, kernels.blending)


class Lists(NamedTuple):
    """Gaussians by tile, see `bins`; entries and slots are written by the first blending."""

    order: Ints
    visible: Longs
    spans: Ints
    tiles_x: int
    counts: Longs
    slot_offsets: Longs
    entries: Ints
    slots: Ints


class Passed:
    """Gradients of the projection that the backward pass of the blending has made already.

    Attributes: needed: inputs of the projection that ask for a gradient. above: the gradients to
        its outputs that they follow from. below: those of its inputs.
    """

    __slots__ = ("above", "below", "needed")

    def __init__(self, needed: tuple[bool, ...]) -> None:
        self.needed = needed
        self.above: tuple[Tensor | None, ...] = ()
        self.below: tuple[Tensor | None, ...] = ()

    def take(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """`below`, when the gradients to the outputs are those; else nothing. Forgets both."""
        above, below = self.above, self.below
        self.above = self.below = ()
        # a hook may have put another in its place, or changed it; others may have been added
        same = len(above) > 0 and all(
            g is a and (g is None or g._version == 0) for g, a in zip(grads, above)
        )
        return below if same else ()


class Frame:
    """What projection and blending of one camera share beside differentiable tensors.

    `Project` fills in the arrays, the first blending the lists. A function's context does not keep
    it: what a backward pass needs is saved in a way that lets torch free it.

    Args:
        view: the camera. differentiable: whether a backward pass may come, which needs slots.
        colors: [N, D] of this camera. check: whether to search them, and the camera, for values
            that are not finite.
        at_once: whether `Project` may blend them, too, because they are all that will be blended
            and nothing comes between.
    """

    __slots__ = (
        "absgrad", "at_once", "blended", "check", "colors", "differentiable", "filled", "how",
        "inputs", "lists", "numbers", "offsets", "passed", "places", "radii", "records",
        "suspicious", "tile_order", "view",
    )  # fmt: skip

    def __init__(
        self, view: View, differentiable: bool, colors: Tensor, check: bool, at_once: bool, how: How
    ) -> None:
        self.view, self.differentiable, self.colors = view, differentiable, colors
        self.check, self.at_once, self.how = check, at_once, how
        self.absgrad: Floats | None = None  # [N, 2], written by the backward pass
        self.filled = False  # whether the lists have their entries
        self.suspicious = False  # whether colours or camera are not finite
        self.blended: tuple[Tensor, Tensor] | None = None  # image and alphas, when there already
        self.inputs: tuple[Tensor, ...] = ()  # of `Project`, and the radii
        self.passed: Passed | None = None
        self.radii: Ints  # [1, N, 2]
        self.records: Floats
        self.places: Longs  # offsets, order of tiles and offsets of slots in one piece
        self.offsets: Longs
        self.tile_order: Longs
        self.numbers: Ints  # entries and slots in one piece
        self.lists: Lists


_entries: dict[tuple[int, int], int] = {}


def room(n: int, tiles: int) -> int:
    """List entries to make room for: of the last scene of that size, and a quarter."""
    known = _entries.get((n, tiles))
    return ROOM * n if known is None else known + known // 4


def remember(n: int, tiles: int, entries: int) -> None:
    """How many entries a scene of that size had."""
    if len(_entries) >= KNOWN:
        _entries.clear()
    _entries[n, tiles] = entries
