"""One row of the rasteriser's benchmark: times by stage, sizes of the problem, parity."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
import torch
from numba import njit

from benchmarks.raster_machine import fma_gflops, seconds, sgemm_gflops
from benchmarks.raster_peers import gsplat_reference
from headworks.splat import rasterization
from headworks.splat.cpu import autograd, frame
from headworks.splat.semantics import installed
from tests.splat_scenes import PARTS, Scene, relative, run

MIN_SECONDS, MIN_REPEATS, PEER_REPEATS, WARM_UP = 3.0, 30, 3, 3
# stages of a step by kernel: projection, order and sizes of the lists; their entries and blending;
# its gradient and sums; what is left of a step is torch's and Python's
STAGES = {
    "prepare": "prepare", "forward": "blend", "backward": "backward",
    "project_backward": "project_backward",
}  # fmt: skip
FORWARD = ("prepare", "blend")


def flop_per_pair(channels: int) -> int:
    """Nominal forward + backward cost of a composited pair: 24 + 2D and 40 + 4D."""
    return 64 + 6 * channels


@njit(nogil=True)
def count_pairs(order, means2d, conics, opacities, radii, width, height, max_alpha):
    """Pairs with alpha >= 1/255, and pairs that are blended before their pixel is finished."""
    T = np.ones((height, width))
    ellipse = composited = 0
    for i in order:
        x0, x1 = int(means2d[i, 0] - radii[i, 0]) - 1, int(means2d[i, 0] + radii[i, 0]) + 2
        y0, y1 = int(means2d[i, 1] - radii[i, 1]) - 1, int(means2d[i, 1] + radii[i, 1]) + 2
        for y in range(max(y0, 0), min(y1, height)):
            dy = y + 0.5 - means2d[i, 1]
            for x in range(max(x0, 0), min(x1, width)):
                dx = x + 0.5 - means2d[i, 0]
                sigma = 0.5 * (conics[i, 0] * dx * dx + conics[i, 2] * dy * dy)
                sigma += conics[i, 1] * dx * dy
                alpha = min(max_alpha, opacities[i] * np.exp(-sigma))
                if sigma < 0 or alpha < 1 / 255:
                    continue
                ellipse += 1
                if T[y, x] < 0:
                    continue
                if T[y, x] * (1 - alpha) <= 1e-4:
                    T[y, x] = -1.0
                    continue
                T[y, x] *= 1 - alpha
                composited += 1
    return ellipse, composited


def problem(scene: Scene, size: tuple[int, int]) -> dict[str, int]:
    """Size of the problem: by a separate counting pass, and the entries of our lists."""
    entries = []
    original = autograd.Blend.forward

    def look(ctx: Any, *inputs: Any) -> Any:
        entries.append(int(inputs[-1].offsets[-1]))
        return original(ctx, *inputs)

    autograd.Blend.forward = staticmethod(look)  # type: ignore[method-assign]
    try:
        with torch.no_grad():
            _, _, meta = rasterization(*scene, *size, backend="cpu")
    finally:
        autograd.Blend.forward = staticmethod(original)  # type: ignore[method-assign]
    radii = meta["radii"][0].numpy()
    depths = np.where((radii > 0).any(1), meta["depths"][0].numpy(), np.inf)
    visible = int(np.isfinite(depths).sum())
    order = np.argsort(depths, kind="stable")[:visible]
    ellipse, composited = count_pairs(
        order, *(meta[k][0].numpy() for k in ("means2d", "conics", "opacities")), radii, *size,
        installed().max_alpha,
    )  # fmt: skip
    return {
        "visible": visible, "list_entries": entries[0], "ellipse_pairs": ellipse,
        "composited_pairs": composited,
    }  # fmt: skip


def _gsplat_peer(*inputs: Any, backend: str) -> tuple[torch.Tensor, torch.Tensor, None]:
    """The torch path of gsplat under the signature of `rasterization`."""
    return *gsplat_reference(*inputs), None


def step(scene: Scene, size: tuple[int, int], noise: torch.Tensor, backend: str) -> list[float]:
    """Seconds of one forward pass and of forward and backward: wall, then of all threads' CPU.

    The copies that collect gradients are made before: a training step has its parameters.
    """
    leaves = scene.leaves()
    function = _gsplat_peer if backend == "gsplat" else rasterization
    start, cpu = time.perf_counter(), time.process_time()
    image = function(*leaves, *size, backend=backend)[0]
    forward, forward_cpu = time.perf_counter() - start, time.process_time() - cpu
    (image * noise).sum().backward()
    return [forward, time.perf_counter() - start, forward_cpu, time.process_time() - cpu]


@contextmanager
def kernel_time() -> Iterator[dict[str, float]]:
    """Collect the wall time of the kernels by stage, in the dictionary that is given."""
    spent = dict.fromkeys(STAGES.values(), 0.0)
    share = autograd.threads.share

    def timed(kernel: Any) -> Any:
        stage = STAGES[kernel.py_func.__name__]

        def call(thread: int, *arguments: Any) -> None:
            start = time.perf_counter()
            kernel(thread, *arguments)
            if thread == 0:  # whose call ends when all the work is done
                spent[stage] += time.perf_counter() - start

        return call

    def watched(threads: int, *calls: Any) -> None:
        share(threads, *((timed(kernel), *rest) for kernel, *rest in calls))

    autograd.threads.share = watched
    try:
        yield spent
    finally:
        autograd.threads.share = share


def stages(scene: Scene, size: tuple[int, int], noise: torch.Tensor) -> dict[str, Any]:
    """Milliseconds by stage of the fastest step; smallest kernels-only times; torch's overhead."""
    rows, overheads = [], []
    with kernel_time() as spent:
        for _ in range(2 * MIN_REPEATS):
            for name in spent:
                spent[name] = 0.0
            whole = step(scene, size, noise, "cpu")[1]
            kernels = sum(spent.values())
            rows.append((whole, dict(spent)))
            overheads.append(whole - kernels)
    whole, split = min(rows, key=lambda row: row[0])
    split["torch"] = whole - sum(split.values())
    return {
        "stages_ms": {name: 1e3 * value for name, value in split.items()},
        "kernels_forward_min_ms": 1e3 * min(sum(r[k] for k in FORWARD) for _, r in rows),
        "kernels_step_min_ms": 1e3 * min(sum(r.values()) for _, r in rows),
        "autograd_overhead_ms": 1e3 * min(overheads),
    }


def l1_step(scene: Scene, size: tuple[int, int]) -> dict[str, float]:
    """Minimum and median of a training step with torch's L1 loss and its own thread count."""
    width, height = size
    target = torch.rand(1, height, width, scene.colors.shape[1])

    def one() -> None:
        image = rasterization(*scene.leaves(), width, height, backend="cpu")[0]
        torch.nn.functional.l1_loss(image, target).backward()

    times = 1e3 * np.array([seconds(one) for _ in range(2 * MIN_REPEATS)])
    return {"l1_step_min_ms": float(times.min()), "l1_step_median_ms": float(np.median(times))}


def summary(times: list[list[float]]) -> dict[str, float]:
    """Minimum, median and 90th percentile in milliseconds."""
    table = 1e3 * np.array(times)
    out = {}
    for name, column in zip(("forward", "step", "forward_cpu", "step_cpu"), table.T):
        out |= {
            f"{name}_min_ms": float(column.min()),
            f"{name}_median_ms": float(np.median(column)),
            f"{name}_p90_ms": float(np.quantile(column, 0.9)),
        }
    return out


def measure(
    name: str, scene: Scene, size: tuple[int, int], threads: int, peers: list[str]
) -> dict[str, Any]:
    """One row: our times, the peers' in between, ratios and rates."""
    channels = scene.colors.shape[1]
    width, height = size
    noise = torch.randn(1, height, width, channels, generator=torch.Generator().manual_seed(5))
    numba.set_num_threads(threads)
    torch.set_num_threads(threads)
    load_before, gemm_before = os.getloadavg()[0], sgemm_gflops()
    for peer in peers:
        step(scene, size, noise, peer)
    torch.set_num_threads(1)  # the kernels do the work; see docs/rasteriser.md on OpenMP pools
    for _ in range(WARM_UP):
        step(scene, size, noise, "cpu")
    ours: list[list[float]] = []
    theirs: dict[str, list[list[float]]] = {peer: [] for peer in peers}
    start = time.perf_counter()
    while len(ours) < MIN_REPEATS or time.perf_counter() - start < MIN_SECONDS:
        ours.append(step(scene, size, noise, "cpu"))
        for peer, times in theirs.items():
            if len(times) < PEER_REPEATS and len(ours) % (MIN_REPEATS // PEER_REPEATS) == 0:
                torch.set_num_threads(threads)
                times.append(step(scene, size, noise, peer))
                torch.set_num_threads(1)
    row: dict[str, Any] = {"scene": name, "n": len(scene.means), "size": size, "D": channels}
    row |= {"threads": threads, "simd": frame.SIMD}
    row |= problem(scene, size) | summary(ours) | stages(scene, size, noise)
    row |= l1_step(scene, size)
    fma_rate = fma_gflops(threads)
    torch.set_num_threads(threads)
    load_after, gemm_after = os.getloadavg()[0], sgemm_gflops()
    torch.set_num_threads(1)
    gflops = row["composited_pairs"] * flop_per_pair(channels) / row["step_min_ms"] / 1e6
    gemm = max(gemm_before, gemm_after)
    row |= {"gflops": gflops, "sgemm_gflops": [gemm_before, gemm_after], "of_sgemm": gflops / gemm}
    row |= {"fma_gflops": fma_rate, "of_fma": gflops / fma_rate}
    for peer, times in theirs.items():
        found = summary(times)
        row[f"{peer}_forward_min_ms"] = found["forward_min_ms"]
        row[f"{peer}_step_min_ms"] = found["step_min_ms"]
        row[f"times_faster_than_{peer}"] = found["step_min_ms"] / row["step_min_ms"]
        row[f"times_less_cpu_than_{peer}"] = found["step_cpu_min_ms"] / row["step_cpu_min_ms"]
    row["load"] = [load_before, load_after]
    row["noisy"] = (
        max(load_before, load_after) > threads + 0.5
        or abs(gemm_before - gemm_after) > 0.2 * gemm
    )  # fmt: skip
    row["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def parity(scene: Scene, size: tuple[int, int]) -> dict[str, float]:
    """Errors of image, alpha and gradients against the float64 reference."""
    ours = run(scene, *size, torch.float32, backend="cpu")
    truth = run(scene, *size, torch.float64, backend="torch")
    image, alpha = (ours.image - truth.image).abs(), (ours.alpha - truth.alpha).abs()
    out = {
        "image_mean": float(image.mean()), "image_max": float(image.max()),
        "pixels_above_1e-4": int((image.amax(-1) > 1e-4).sum()), "alpha_max": float(alpha.max()),
    }  # fmt: skip
    return out | {k: relative(ours.gradients[k], truth.gradients[k]) for k in PARTS}


def same_bits(scene: Scene, size: tuple[int, int], threads: int) -> bool:
    """Whether image and gradients agree to the bit for one and for more threads."""
    runs = []
    for count in (1, threads):
        numba.set_num_threads(count)
        runs.append(run(scene, *size, torch.float32, backend="cpu"))
    a, b = runs
    equal = [torch.equal(a.gradients[k], b.gradients[k]) for k in PARTS]
    return torch.equal(a.image, b.image) and all(equal)
