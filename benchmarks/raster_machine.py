"""What the rasteriser's benchmark runs on: names, rates of multiplications, compile times."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
import torch
from numba import njit

from headworks.splat.cpu import threads
from headworks.splat.cpu.simd import LANES, fma, splat, total

CHAINS = 12  # independent sums: enough for two units of four to five cycles each


def hardware() -> dict[str, str]:
    """Processor, vectors, memory and versions."""
    name, flags, memory = platform.processor() or platform.machine(), "", "?"
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(
            (part.strip() for part in line.split(":", 1))
            for line in info.read_text().split("\n\n")[0].splitlines()
            if ":" in line
        )
        name, flags = fields.get("model name", name), fields.get("flags", "")
    if hasattr(os, "sysconf"):
        memory = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f}GiB"
    vectors = next((f for f in ("avx512f", "avx2", "asimd", "sse4_2") if f in flags.split()), "?")
    return {
        "cpu": name, "cores": str(os.cpu_count()), "vectors": vectors, "memory": memory,
        "system": platform.platform(), "python": platform.python_version(),
        "numba": numba.__version__,
        "llvm": ".".join(map(str, llvmlite.binding.llvm_version_info)), "torch": torch.__version__,
        "numpy": np.__version__,
    }  # fmt: skip


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def sgemm_gflops() -> float:
    """Best of 15 single-precision products of 1024 x 1024 matrices with torch's threads."""
    a, b = torch.randn(2, 1024, 1024)
    return 2 * 1024**3 / min(seconds(lambda: torch.mm(a, b)) for _ in range(15)) / 1e9


@njit(nogil=True)
def _start(value: int) -> Any:
    return splat(np.float32(value + 0.5))


@njit(nogil=True)
def _multiply_add(thread: int, count: int, repeats: int, out: Any) -> None:
    """CHAINS independent chains of fused multiply-adds of whole vectors."""
    a, b = splat(np.float32(0.999)), splat(np.float32(0.001))
    # chains that begin alike would be merged into one
    c0, c1, c2, c3 = _start(0), _start(1), _start(2), _start(3)
    c4, c5, c6, c7 = _start(4), _start(5), _start(6), _start(7)
    c8, c9, c10, c11 = _start(8), _start(9), _start(10), _start(11)
    for _ in range(repeats):
        c0, c1, c2, c3 = fma(c0, a, b), fma(c1, a, b), fma(c2, a, b), fma(c3, a, b)
        c4, c5, c6, c7 = fma(c4, a, b), fma(c5, a, b), fma(c6, a, b), fma(c7, a, b)
        c8, c9, c10, c11 = fma(c8, a, b), fma(c9, a, b), fma(c10, a, b), fma(c11, a, b)
    out[thread] = (
        total(c0) + total(c1) + total(c2) + total(c3) + total(c4) + total(c5)
        + total(c6) + total(c7) + total(c8) + total(c9) + total(c10) + total(c11)
    )  # fmt: skip


def fma_gflops(count: int) -> float:
    """Best of 5 rates of fused multiply-adds in registers, `count` threads together."""
    repeats, out = 2_000_000, np.zeros(count, np.float32)
    threads.run(_multiply_add, count, 10, out)
    best = min(seconds(lambda: threads.run(_multiply_add, count, repeats, out)) for _ in range(5))
    return 2 * LANES * CHAINS * repeats * count / best / 1e9


_FIRST_STEP = """
import json, time
start = time.perf_counter()
import headworks, torch
from headworks.splat import rasterization
loaded = time.perf_counter()
n, D = 32, {channels}
means = torch.tensor([0.0, 0.0, 4.0]).repeat(n, 1).requires_grad_()
K = torch.tensor([[[32.0, 0, 16], [0, 32, 16], [0, 0, 1]]])
image = rasterization(means, torch.ones(n, 4), torch.ones(n, 3), torch.ones(n) / 2,
                      torch.ones(n, D), torch.eye(4)[None], K, 32, 32)[0]
first = time.perf_counter()
image.sum().backward()
last = time.perf_counter()
print(json.dumps({{"import_s": loaded - start, "image_s": first - loaded,
                   "backward_s": last - first}}))
"""


def compile_times(channels: int) -> dict[str, dict[str, float]]:
    """Seconds to import, first image and first gradient in a new process, cold and warm cache."""
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("cold", "warm"):
            done = subprocess.run(
                [sys.executable, "-c", _FIRST_STEP.format(channels=channels)],
                env=os.environ | {"NUMBA_CACHE_DIR": cache}, capture_output=True, text=True,
                check=True, cwd=Path(__file__).resolve().parents[1],
            )  # fmt: skip
            found[name] = json.loads(done.stdout.splitlines()[-1])
    return found
