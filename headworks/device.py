"""The one place that chooses the device."""

from __future__ import annotations

import os

import torch


def default_device() -> torch.device:
    """`HEADWORKS_DEVICE` if set, else CUDA if there is one, else the CPU."""
    named = os.environ.get("HEADWORKS_DEVICE")
    if named:
        return torch.device(named)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
