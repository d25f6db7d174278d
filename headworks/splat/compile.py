"""Compile the CPU kernels now instead of at their first use: `python -m headworks.splat.compile`.

Numba keeps the result on disk, so an image of a container or a node of a cluster pays once.
"""

from __future__ import annotations

import time

import torch

from headworks.splat import rasterization


def compile_kernels(channels: int) -> float:
    """Compile forward and backward for one channel count; with both sizes of projection.

    Args:
        channels: colour channels D of `rasterization`.

    Returns:
        seconds it took.
    """
    start = time.perf_counter()
    for n in (1, 32):
        for mode in ("classic", "antialiased"):
            means = torch.tensor([0.0, 0.0, 4.0]).repeat(n, 1).requires_grad_()
            image, _, _ = rasterization(
                means, torch.ones(n, 4), torch.ones(n, 3), torch.ones(n) / 2,
                torch.ones(n, channels), torch.eye(4)[None],
                torch.tensor([[[32.0, 0, 16], [0, 32, 16], [0, 0, 1]]]), 32, 32,
                backend="cpu", rasterize_mode=mode,
            )  # fmt: skip
            image.sum().backward()
    return time.perf_counter() - start


def main() -> None:
    """Compile every variant and say how long each took."""
    from headworks.splat.cpu.autograd import CHANNELS

    for channels in CHANNELS:
        print(f"{channels:3d} channels: {compile_kernels(channels):5.1f} s", flush=True)


if __name__ == "__main__":
    main()
