"""Checkpoints that a user brings: read without executing anything, and checked name by name."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from headworks.errors import WeightsError

_NAMED = 8

Network = TypeVar("Network", bound=nn.Module)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint file on the CPU.

    Args:
        path: `.safetensors`, or what `torch.save` wrote. Nothing but tensors and plain containers
            is read from the latter: a file cannot run code.

    Raises:
        WeightsError: the file is absent, damaged, or holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(str(path)))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such checkpoint; put the published file there") from None
    except Exception as error:
        # safetensors raises a class of its own; torch whatever the damaged bytes lead to.
        known = (OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError)
        if not isinstance(error, (*known, pickle.UnpicklingError, BadZipFile)) and (
            type(error).__module__.split(".")[0] not in ("safetensors", "safetensors_rust")
        ):
            raise
        first = str(error).strip().splitlines()
        raise WeightsError(
            f"{path}: not a checkpoint of plain tensors ({first[0] if first else error!r}); fetch "
            "the published PyTorch file again (TorchScript and ONNX files are not read)"
        ) from None
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path}: expected a state dict (names and tensors), got {type(content).__name__}"
        )
    return dict(content)


def load_state(network: Network, state: Mapping[str, Any], where: str) -> Network:
    """Give a network its weights; names and shapes must agree exactly.

    Args:
        network: built on any device, "meta" included. state: name -> tensor.
        where: file (and part of it) for the message.

    Returns:
        The same network, in evaluation mode, its parameters not asking for gradients.

    Raises:
        WeightsError: one message with the names that are missing, unknown or of another shape.
    """
    expected = network.state_dict()
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    wrong = [
        f"{name} {_shape(state[name])} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and _shape(state[name]) != tuple(tensor.shape)
    ]
    parts = [
        f"{label} {_some(names)}"
        for label, names in (("missing", missing), ("unknown", unknown), ("wrong shape", wrong))
        if names
    ]
    if parts:
        raise WeightsError(
            f"{where}: not the weights of {type(network).__name__} as published: "
            f"{'; '.join(parts)}; fetch the file named in docs/matting.md or docs/expressions.md"
        )
    typed = {name: state[name].to(tensor.dtype) for name, tensor in expected.items()}
    network.load_state_dict(typed, assign=True)
    return network.eval().requires_grad_(False)


def _shape(value: object) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
