"""How fast is the CPU rasteriser: against a tiled torch loop and against torch's own sgemm.

    python benchmarks/raster.py                      # one to two minutes
    python benchmarks/raster.py --scenes 12k/256 50k/512 --channels 3 32 --json out.json

Own and peer calls run in the same process, interleaved, through the public function with torch
autograd; loss = sum of the outputs times fixed noise. Ratios are of minima; a run whose load
average exceeds its own threads by more than one half, or whose two sgemm rates differ by more than
20 %, is marked noisy: then only the CPU column (time that the process's own threads computed, one
thread) says something. Milliseconds of different runs are not comparable.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import headworks  # noqa: F401, I001  (sets the OpenMP spin count before torch is imported)
import llvmlite
import numba
import numpy as np
import torch
from numba import njit

from headworks.splat import rasterization
from headworks.splat.semantics import installed
from tests.splat_scenes import PARTS, Scene, head, relative, run

SCENES = {
    "3k/128": (3_000, 128), "3k/256": (3_000, 256), "12k/256": (12_000, 256),
    "50k/256": (50_000, 256), "50k/512": (50_000, 512), "190k/512": (190_000, 512),
}  # fmt: skip
MIN_SECONDS, MIN_REPEATS = 2.0, 15


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


def pairs(scene: Scene, size: int) -> dict[str, int]:
    """Size of the problem, independent of how it is solved."""
    with torch.no_grad():
        _, _, meta = rasterization(*scene, size, size, backend="cpu")
    radii = meta["radii"][0].numpy()
    depths = np.where((radii > 0).any(1), meta["depths"][0].numpy(), np.inf)
    visible = int(np.isfinite(depths).sum())
    order = np.argsort(depths, kind="stable")[:visible]
    ellipse, composited = count_pairs(
        order, *(meta[k][0].numpy() for k in ("means2d", "conics", "opacities")), radii, size, size,
        installed().max_alpha,
    )  # fmt: skip
    return {"visible": visible, "ellipse_pairs": ellipse, "composited_pairs": composited}


def sgemm_gflops() -> float:
    """Best of 15 single-precision products of 1024 x 1024 matrices with the current threads."""
    a, b = torch.randn(2, 1024, 1024)
    best = min(seconds(lambda: torch.mm(a, b)) for _ in range(15))
    return 2 * 1024**3 / best / 1e9


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def step(scene: Scene, size: int, noise: torch.Tensor, backend: str) -> tuple[float, ...]:
    """Seconds of one forward pass and of forward and backward: wall, then of all threads' CPU."""
    leaves = scene.leaves()
    start, cpu = time.perf_counter(), time.process_time()
    image, _, _ = rasterization(*leaves, size, size, backend=backend)
    forward, forward_cpu = time.perf_counter() - start, time.process_time() - cpu
    (image * noise).sum().backward()
    return forward, time.perf_counter() - start, forward_cpu, time.process_time() - cpu


def summary(times: list[tuple[float, ...]]) -> dict[str, float]:
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


def measure(name: str, channels: int, threads: int, peers: bool) -> dict[str, Any]:
    """One row: our minima, the peer's, ratios and rates."""
    n, size = SCENES[name]
    scene = head(n, size, channels)
    noise = torch.randn(1, size, size, channels, generator=torch.Generator().manual_seed(5))
    numba.set_num_threads(threads)
    torch.set_num_threads(threads)
    load_before, gemm_before = os.getloadavg()[0], sgemm_gflops()
    torch.set_num_threads(1)  # the kernels do the work; see docs/rasteriser.md on OpenMP pools
    cold = seconds(lambda: step(scene, size, noise, "cpu"))
    for _ in range(2):
        step(scene, size, noise, "cpu")
    ours: list[tuple[float, ...]] = []
    theirs: list[tuple[float, ...]] = []
    start = time.perf_counter()
    while len(ours) < MIN_REPEATS or time.perf_counter() - start < MIN_SECONDS:
        ours.append(step(scene, size, noise, "cpu"))
        if peers and len(theirs) < 3 and len(ours) % 5 == 0:
            torch.set_num_threads(threads)
            theirs.append(step(scene, size, noise, "torch"))
            torch.set_num_threads(1)
    torch.set_num_threads(threads)
    load_after, gemm_after = os.getloadavg()[0], sgemm_gflops()
    row: dict[str, Any] = {"scene": name, "n": n, "size": size, "D": channels, "threads": threads}
    row |= pairs(scene, size) | summary(ours) | {"first_call_s": cold}
    gflops = row["composited_pairs"] * flop_per_pair(channels) / row["step_min_ms"] / 1e6
    gemm = max(gemm_before, gemm_after)
    row |= {"gflops": gflops, "sgemm_gflops": gemm, "of_sgemm": gflops / gemm}
    if theirs:
        peer = summary(theirs)
        row["peer_step_min_ms"] = peer["step_min_ms"]
        row["times_faster_than_torch_tiles"] = peer["step_min_ms"] / row["step_min_ms"]
        row["peer_step_cpu_min_ms"] = peer["step_cpu_min_ms"]
        row["times_less_cpu_than_torch_tiles"] = peer["step_cpu_min_ms"] / row["step_cpu_min_ms"]
    row["load"] = [load_before, load_after]
    row["noisy"] = (
        max(load_before, load_after) > threads + 0.5
        or abs(gemm_before - gemm_after) > 0.2 * gemm
    )  # fmt: skip
    row["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def parity() -> dict[str, float]:
    """Largest image error and gradient errors of 3k/128 against the float64 reference."""
    scene = head(3_000, 128)
    ours = run(scene, 128, 128, torch.float32, backend="cpu")
    truth = run(scene, 128, 128, torch.float64, backend="torch")
    out = {"image_max": float((ours.image - truth.image).abs().max())}
    return out | {k: relative(ours.gradients[k], truth.gradients[k]) for k in PARTS}


def hardware() -> dict[str, str]:
    """What the figures were taken on."""
    name, flags = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(
            (part.strip() for part in line.split(":", 1))
            for line in info.read_text().split("\n\n")[0].splitlines()
            if ":" in line
        )
        name, flags = fields.get("model name", name), fields.get("flags", "")
    vectors = next((f for f in ("avx512f", "avx2", "asimd", "sse4_2") if f in flags.split()), "?")
    return {
        "cpu": name, "cores": str(os.cpu_count()), "vectors": vectors, "numba": numba.__version__,
        "llvm": ".".join(map(str, llvmlite.binding.llvm_version_info)), "torch": torch.__version__,
    }  # fmt: skip


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=["12k/256", "50k/512"])
    parser.add_argument("--channels", nargs="+", type=int, default=[3])
    most = numba.config.NUMBA_NUM_THREADS
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, most}))
    parser.add_argument("--no-peers", action="store_true", help="leave the torch loop out")
    parser.add_argument("--json", type=Path, help="write all figures here")
    args = parser.parse_args()
    machine = hardware()
    print(" ".join(f"{k}={v}" for k, v in machine.items()))
    errors = parity()
    print("parity 3k/128:", " ".join(f"{k} {v:.1e}" for k, v in errors.items()))
    print(f"{'scene':>9} {'D':>3} {'thr':>3} {'fwd ms':>8} {'step ms':>8} {'median':>8} {'FPS':>6} "
          f"{'GFLOP/s':>8} {'/sgemm':>7} {'/torch':>7} {'CPU ms':>7} {'/torch':>7}")  # fmt: skip
    rows = []
    for scene in args.scenes:
        for channels in args.channels:
            for threads in args.threads:
                row = measure(scene, channels, threads, not args.no_peers)
                rows.append(row)
                ratios = [
                    f"{row[key]:6.1f}x" if key in row else " " * 7
                    for key in ("times_faster_than_torch_tiles", "times_less_cpu_than_torch_tiles")
                ]
                print(
                    f"{scene:>9} {channels:>3} {threads:>3} {row['forward_min_ms']:8.2f} "
                    f"{row['step_min_ms']:8.2f} {row['step_median_ms']:8.2f} "
                    f"{1e3 / row['forward_min_ms']:6.0f} {row['gflops']:8.1f} "
                    f"{row['of_sgemm']:7.3f} {ratios[0]} "
                    f"{row['step_cpu_min_ms']:7.2f} {ratios[1]}{'  noisy' * row['noisy']}",
                    flush=True,
                )
    if args.json:
        args.json.write_text(
            json.dumps({"machine": machine, "parity": errors, "rows": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
