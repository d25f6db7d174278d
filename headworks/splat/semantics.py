"""Constants in which versions of gsplat differ; images agree only when these do."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from typing import NamedTuple


class Semantics(NamedTuple):
    """Attributes: max_alpha: alpha clamp of one Gaussian. rho_floor: least squared compensation
    factor of the antialiased mode."""

    max_alpha: float
    rho_floor: float


_BY_VERSION = {(1, 5): Semantics(0.999, 0.0), (1, 6): Semantics(0.99, 0.005**2)}


@cache
def installed() -> Semantics:
    """Constants of the installed gsplat, those of 1.5.3 when there is none."""
    try:
        major, minor = (int(part) for part in metadata.version("gsplat").split(".")[:2])
    except (metadata.PackageNotFoundError, ValueError):
        return _BY_VERSION[1, 5]
    return _BY_VERSION[1, 5] if (major, minor) < (1, 6) else _BY_VERSION[1, 6]
