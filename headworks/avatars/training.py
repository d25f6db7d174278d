"""What the training loops of several methods share: curves, PSNR, checkpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

Progress = Callable[[float, str], None]
EVERY = 20
"""Steps that one point of a curve is the mean of."""
_SEPARATOR = "/"


@dataclass(frozen=True)
class Curve:
    """One point of a training curve."""

    stage: str
    step: int
    loss: float
    psnr: float


FLAT_WINDOW = 0.2
"""Share of the steps so far whose mean loss is compared with that of as many steps before."""
FLAT_STEPS = 200
"""A shorter window says nothing: people differ more than a mean falls in it."""


def loss_fall(curves: Sequence[Curve], at: float, window: float = FLAT_WINDOW) -> float | None:
    """By which share the mean loss fell from one window to the next, up to a step.

    Args:
        curves: points of one stage. at: the second window ends at this step.
        window: length of both windows, a share of `at`.

    Returns:
        1 - later / earlier mean; None while the windows are shorter than FLAT_STEPS.
    """
    length = window * at
    if length < FLAT_STEPS:
        return None
    later = [c.loss for c in curves if at - length < c.step <= at]
    earlier = [c.loss for c in curves if at - 2 * length < c.step <= at - length]
    if not later or not earlier:
        return None
    return float(1 - np.mean(later) / np.mean(earlier))


@dataclass
class Recorder:
    """Gathers losses and PSNRs of single steps into the points of a curve.

    Attributes:
        stage: name of the curve. steps: how many there will be. progress: told at every point.
        curves: the points so far. recent: the steps since the last point.
    """

    stage: str
    steps: int
    progress: Progress
    curves: list[Curve] = field(default_factory=list)
    recent: list[tuple[float, float]] = field(default_factory=list)

    def add(self, step: int, loss: float, psnr: float) -> None:
        """Note step `step` (from 0)."""
        self.recent.append((loss, psnr))
        if len(self.recent) == EVERY or step + 1 == self.steps:
            mean = np.mean(self.recent, 0)
            self.curves.append(Curve(self.stage, step + 1, float(mean[0]), float(mean[1])))
            self.recent.clear()
            self.progress((step + 1) / self.steps, f"step {step + 1}, {mean[1]:.1f} dB")

    def state(self) -> dict[str, Any]:
        """What `restore` needs, as plain JSON."""
        return {"curves": [asdict(c) for c in self.curves], "recent": self.recent}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up where `state` was noted."""
        self.curves = [Curve(**c) for c in state["curves"]]
        self.recent = [(float(loss), float(psnr)) for loss, psnr in state["recent"]]


def training_background(kind: str, rng: np.random.Generator) -> Tensor:
    """Colour [3] that a training picture is composited over: "white", or "random" drawn anew."""
    if kind == "white":
        return torch.ones(3)
    return torch.from_numpy(rng.random(3, dtype=np.float32))


def psnr_of(pred: Tensor, target: Tensor) -> float:
    """PSNR in dB of two images in [0, 1], without gradient."""
    mse = float((pred.detach().clamp(0, 1) - target).square().mean())
    return float(10 * np.log10(1 / max(mse, 1e-10)))


def adam_tensors(adam: torch.optim.Adam) -> dict[str, Tensor]:
    """Moments of every parameter that has any: `<group name>/<index>/<moment>`."""
    out = {}
    for group in adam.param_groups:
        for index, parameter in enumerate(group["params"]):
            for name, value in adam.state.get(parameter, {}).items():
                out[_SEPARATOR.join((group["name"], str(index), name))] = value.clone()
    return out


def restore_adam(adam: torch.optim.Adam, tensors: Mapping[str, Tensor]) -> None:
    """Put `adam_tensors` back into an optimiser with the same named groups."""
    groups = {group["name"]: group for group in adam.param_groups}
    for path, value in tensors.items():
        group, index, name = path.rsplit(_SEPARATOR, 2)
        adam.state[groups[group]["params"][int(index)]][name] = value.clone()


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and plain facts as one safetensors file; a kill leaves the old one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        part,
        metadata={"headworks": json.dumps(facts, sort_keys=True)},
    )
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `write_checkpoint` wrote; None where there is nothing (readable)."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["headworks"])
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError):
        return None  # a damaged checkpoint only costs the time to train anew
