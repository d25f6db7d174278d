"""How fast is the CPU rasteriser: against gsplat's torch path, a tiled torch loop, torch's sgemm.

    python benchmarks/raster.py                      # two to three minutes
    python benchmarks/raster.py --scenes 12k/256 50k/512 --channels 3 32 --json out.json
    python benchmarks/raster.py --garden test_garden.npz      # of the assets of gsplat's repository

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import headworks  # noqa: F401, I001  (sets the OpenMP spin count before torch is imported)
import llvmlite
import numba
import numpy as np
import torch
from numba import njit

from benchmarks.raster_peers import gsplat_reference
from headworks.splat import rasterization
from headworks.splat.cpu import autograd, bins
from headworks.splat.semantics import installed
from tests.splat_scenes import PARTS, Scene, head, relative, run

SCENES = {
    "3k/128": (3_000, 128), "3k/256": (3_000, 256), "12k/256": (12_000, 256),
    "50k/256": (50_000, 256), "50k/512": (50_000, 512), "190k/512": (190_000, 512),
}  # fmt: skip
MIN_SECONDS, MIN_REPEATS, PEER_REPEATS = 3.0, 30, 3
PEERS = {"gsplat": "/gsplat", "torch": "/torch"}


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


def pairs(scene: Scene, size: tuple[int, int]) -> dict[str, int]:
    """Size of the problem, independent of how it is solved."""
    with torch.no_grad():
        _, _, meta = rasterization(*scene, *size, backend="cpu")
    radii = meta["radii"][0].numpy()
    depths = np.where((radii > 0).any(1), meta["depths"][0].numpy(), np.inf)
    visible = int(np.isfinite(depths).sum())
    order = np.argsort(depths, kind="stable")[:visible]
    ellipse, composited = count_pairs(
        order, *(meta[k][0].numpy() for k in ("means2d", "conics", "opacities")), radii, *size,
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


def gsplat_peer(*inputs: Any, backend: str) -> tuple[torch.Tensor, torch.Tensor, None]:
    """The torch path of gsplat under the signature of `rasterization`."""
    return *gsplat_reference(*inputs), None


def step(scene: Scene, size: tuple[int, int], noise: torch.Tensor, backend: str) -> list[float]:
    """Seconds of one forward pass and of forward and backward: wall, then of all threads' CPU."""
    leaves = scene.leaves()
    function = gsplat_peer if backend == "gsplat" else rasterization
    start, cpu = time.perf_counter(), time.process_time()
    image = function(*leaves, *size, backend=backend)[0]
    forward, forward_cpu = time.perf_counter() - start, time.process_time() - cpu
    (image * noise).sum().backward()
    return [forward, time.perf_counter() - start, forward_cpu, time.process_time() - cpu]


@contextmanager
def kernel_time() -> Iterator[list[float]]:
    """Collect the wall time of the kernels alone, in the list that is given."""
    spent = [0.0]
    places = (autograd.threads, "run"), (bins, "depth_order"), (bins, "scan")
    originals = [getattr(module, name) for module, name in places]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments)
            spent[0] += time.perf_counter() - start
            return result

        return call

    for (module, name), original in zip(places, originals):
        setattr(module, name, timed(original))
    try:
        yield spent
    finally:
        for (module, name), original in zip(places, originals):
            setattr(module, name, original)


def overhead(scene: Scene, size: tuple[int, int], noise: torch.Tensor) -> float:
    """Milliseconds of a step of torch's autograd above those of the kernels alone, smallest."""
    above = []
    with kernel_time() as spent:
        for _ in range(4 * MIN_REPEATS):
            spent[0] = 0.0
            above.append(step(scene, size, noise, "cpu")[1] - spent[0])
    return 1e3 * min(above)


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


def garden(path: Path) -> tuple[Scene, tuple[int, int]]:
    """Camera 0 of gsplat's test scene: points, colours of the file; the rest drawn (seed 0)."""
    with np.load(path, allow_pickle=False) as file:
        means, colors = file["means3d"], file["colors"] / 255.0
        view, K = file["viewmats"][:1], file["Ks"][:1]
        width, height = int(file["width"]), int(file["height"])
    near = (np.abs(means) <= 2).all(1)
    means, colors = means[near], colors[near]
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(len(means), 4))
    scales = rng.random((len(means), 3)) * 0.0199 + 1e-4
    arrays = means, quats, scales, rng.random(len(means)), colors, view, K
    return Scene(*(torch.tensor(a, dtype=torch.float32) for a in arrays)), (width, height)


def measure(
    name: str, scene: Scene, size: tuple[int, int], threads: int, peers: list[str]
) -> dict[str, Any]:
    """One row: our minima, the peers', ratios and rates."""
    channels = scene.colors.shape[1]
    width, height = size
    noise = torch.randn(1, height, width, channels, generator=torch.Generator().manual_seed(5))
    numba.set_num_threads(threads)
    torch.set_num_threads(threads)
    load_before, gemm_before = os.getloadavg()[0], sgemm_gflops()
    torch.set_num_threads(1)  # the kernels do the work; see docs/rasteriser.md on OpenMP pools
    cold = seconds(lambda: step(scene, size, noise, "cpu"))
    for _ in range(2):
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
    torch.set_num_threads(threads)
    load_after, gemm_after = os.getloadavg()[0], sgemm_gflops()
    torch.set_num_threads(1)
    row: dict[str, Any] = {"scene": name, "n": len(scene.means), "size": size, "D": channels}
    row |= {"threads": threads, "simd": os.environ.get("HEADWORKS_SIMD", "explicit")}
    row |= pairs(scene, size) | summary(ours) | {"first_call_s": cold}
    row["autograd_overhead_ms"] = overhead(scene, size, noise)
    gflops = row["composited_pairs"] * flop_per_pair(channels) / row["step_min_ms"] / 1e6
    gemm = max(gemm_before, gemm_after)
    row |= {"gflops": gflops, "sgemm_gflops": gemm, "of_sgemm": gflops / gemm}
    for peer, times in theirs.items():
        found = summary(times)
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
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--garden", type=Path, help="test_garden.npz of gsplat's repository")
    parser.add_argument("--json", type=Path, help="write all figures here")
    args = parser.parse_args()
    machine = hardware()
    print(" ".join(f"{k}={v}" for k, v in machine.items()))
    errors = parity()
    print("parity 3k/128:", " ".join(f"{k} {v:.1e}" for k, v in errors.items()))
    print(f"{'scene':>9} {'D':>3} {'thr':>3} {'fwd ms':>8} {'step ms':>8} {'median':>8} {'FPS':>6} "
          f"{'GFLOP/s':>8} {'/sgemm':>7} {'torch ms':>8}"
          + "".join(f" {PEERS[peer]:>8} {'(CPU)':>8}" for peer in args.peers))  # fmt: skip
    rows = []
    scenes = [
        (name, head(SCENES[name][0], SCENES[name][1], channels), (SCENES[name][1],) * 2)
        for name in args.scenes for channels in args.channels
    ]  # fmt: skip
    if args.garden:
        scenes.append(("garden", *garden(args.garden)))
    for name, scene, size in scenes:
        for threads in args.threads:
            row = measure(name, scene, size, threads, args.peers)
            rows.append(row)
            ratios = "".join(
                f" {row[f'times_{how}_than_{peer}']:7.0f}x"
                for peer in args.peers
                for how in ("faster", "less_cpu")
            )
            print(
                f"{name:>9} {row['D']:>3} {threads:>3} {row['forward_min_ms']:8.2f} "
                f"{row['step_min_ms']:8.2f} {row['step_median_ms']:8.2f} "
                f"{1e3 / row['forward_min_ms']:6.0f} {row['gflops']:8.1f} {row['of_sgemm']:7.3f} "
                f"{row['autograd_overhead_ms']:8.2f}{ratios}{'  noisy' * row['noisy']}",
                flush=True,
            )
    by = {(row["scene"], row["D"], row["threads"]): row["step_min_ms"] for row in rows}
    for (name, D, threads), ms in by.items():
        if threads > 1 and (name, D, 1) in by:
            print(f"{name} D={D}: {threads} threads are {by[name, D, 1] / ms:.2f} times one")
    if args.json:
        args.json.write_text(
            json.dumps({"machine": machine, "parity": errors, "rows": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
