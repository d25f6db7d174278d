"""The one place where randomness starts: generators derived from a seed and a purpose."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose.

    Args:
        seed: the project's seed (`seed` in params.yaml).
        purpose: anything printable that names the use, e.g. ("fit", "view order").

    Returns:
        Integer in [0, 2**63), stable across platforms and Python versions.
    """
    text = "\x1f".join([str(int(seed)), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: object) -> np.random.Generator:
    """NumPy generator for one purpose; see `derive_seed`."""
    return np.random.default_rng(derive_seed(seed, *purpose))
