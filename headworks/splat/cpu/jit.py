"""How the CPU kernels are compiled: no GIL, cached on disk, never stale."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

# no kernels in these, and nothing that a kernel is compiled with
HOST = {"__init__.py", "autograd.py", "backend.py", "frame.py", "threads.py", "workspace.py"}
_SOURCES = sorted(p for p in Path(__file__).parent.glob("*.py") if p.name not in HOST)
DIGEST = hashlib.sha256(b"".join(p.read_bytes() for p in _SOURCES)).hexdigest()[:10]

STRICT = {"nnan", "ninf", "nsz"}  # no reordering: forward and backward must decide alike
SUMS = {*STRICT, "reassoc", "contract"}  # for sums whose order may be the compiler's


def kernel(fastmath: set[str] | None = None) -> Callable[[Callable[..., Any]], Any]:
    """Decorator for a kernel of this folder.

    Numba's cache looks at the file of a function only, not at what it calls or at the constants it
    was compiled with; so the digest of all sources of kernels becomes part of the cached name.
    """

    def compile_lazily(function: Callable[..., Any]) -> Any:
        function.__qualname__ = f"{function.__qualname__}_{DIGEST}"
        options: dict[str, Any] = {"fastmath": fastmath} if fastmath else {}
        return njit(cache=True, nogil=True, error_model="numpy", **options)(function)

    return compile_lazily
