"""Weights by a rule from their names: how the conformance data were made without any checkpoint."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray


def _draw(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return (0.05 * rng.standard_normal(shape)).astype(np.float32)


def rule_state(rows: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, torch.Tensor]:
    """A state dict for (name, shape) rows.

    BatchNorm gets positive variances and scales near 1, kernels their He scale, spectral vectors
    one power iteration; everything else is small noise.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, shape in rows:
        if name.endswith("num_batches_tracked"):
            arrays[name] = np.zeros(shape, np.int64)
            continue
        v = _draw(name, shape)
        if name.endswith("running_var"):
            v = 1 + np.abs(v)
        elif name.endswith("weight") and len(shape) == 1:
            v = 1 + v
        elif name.endswith(("weight", "weight_orig")) and len(shape) >= 2:
            v = v * np.float32(20 * np.sqrt(2 / np.prod(shape[1:])))
        arrays[name] = v
    for name in [n for n in arrays if n.endswith("weight_u")]:
        stem = name.removesuffix("_u")
        w = arrays[f"{stem}_orig"].astype(np.float64)
        w = w.reshape(len(w), -1)
        u = arrays[name].astype(np.float64)
        u = u / np.linalg.norm(u)
        v = w.T @ u
        v = v / np.linalg.norm(v)
        u = w @ v
        arrays[name] = (u / np.linalg.norm(u)).astype(np.float32)
        arrays[f"{stem}_v"] = v.astype(np.float32)
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}


def rule_rows(network: torch.nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """The rows of a network's own state."""
    return [(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()]


def fingerprint(state: dict[str, torch.Tensor]) -> NDArray[np.float64]:
    """Count, sum and absolute sum over all floating entries."""
    floats = [t.double() for t in state.values() if t.is_floating_point()]
    return np.array(
        [
            sum(t.numel() for t in floats),
            sum(float(t.sum()) for t in floats),
            sum(float(t.abs().sum()) for t in floats),
        ]
    )
