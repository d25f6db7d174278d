"""Several processes that train one prior: gradients averaged, the same parameters everywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: its number; rank 0 writes. world: how many there are. device: where it computes.
    """

    rank: int
    world: int
    device: torch.device

    def share(self, count: int) -> range:
        """Which of `count` equal pieces of work are this rank's.

        Raises:
            ValueError: when they cannot be shared evenly.
        """
        if count % self.world:
            raise ValueError(
                f"people_per_step = {count} cannot be shared evenly by {self.world} processes"
            )
        each = count // self.world
        return range(self.rank * each, (self.rank + 1) * each)

    def together(self, loss_at: nn.Module) -> Callable[[int], Any]:
        """A module whose gradients are the mean over the ranks, and whose start is rank 0's."""
        if self.world == 1:
            return loss_at
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(loss_at)

    def mean(self, *values: float) -> tuple[float, ...]:
        """Means over the ranks."""
        if self.world == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return tuple((total / self.world).tolist())


def place() -> tuple[int, int]:
    """Rank and number of processes that torchrun's environment tells of; (0, 1) without it.

    A RANK that some launcher left behind without WORLD_SIZE means nothing, nor the other way round.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ["RANK"]), world) if world > 1 and "RANK" in os.environ else (0, 1)


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the others that torchrun's environment tells of (RANK, WORLD_SIZE, MASTER_ADDR, ...).

    Without it this process is alone. CUDA takes the card of LOCAL_RANK and NCCL, a CPU takes gloo.
    """
    rank, world = place()
    if world == 1:
        yield Ranks(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(rank, world, device)
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()


class LossModule(nn.Module):
    """A loss as a module, so that its parameters' gradients can be averaged.

    Args:
        prior: holds the parameters. loss_at: (step) -> (loss [], PSNR in dB).
    """

    def __init__(self, prior: nn.Module, loss_at: Callable[[int], tuple[Tensor, float]]) -> None:
        super().__init__()
        self.prior, self._loss_at = prior, loss_at

    def forward(self, step: int) -> tuple[Tensor, float]:
        """Loss and PSNR of a step."""
        return self._loss_at(step)
