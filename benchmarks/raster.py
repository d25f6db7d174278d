"""How fast is the CPU rasteriser: against gsplat's torch path, a tiled torch loop, torch's sgemm.

    python benchmarks/raster.py                      # about four minutes
    python benchmarks/raster.py --scenes 12k/256 50k/512 --channels 3 32 --json out.json
    python benchmarks/raster.py --scenes 50k/512 190k/512 --peers     # without peers
    python benchmarks/raster.py --garden test_garden.npz      # of the assets of gsplat's repository

Own and peer calls run in the same process, interleaved, through the public function with torch
autograd; loss = sum of the outputs times fixed noise. Ratios are of minima; a run whose load
average exceeds its own threads by more than one half, or whose two sgemm rates differ by more than
20 %, is marked noisy: then only the CPU column (time that the process's own threads computed, one
thread) says something. Milliseconds of different runs are not comparable. JSON has more: medians,
90th percentiles, stages, rates, memory, load.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import headworks  # noqa: F401, I001  (sets the OpenMP spin count before torch is imported)
import numba
import torch

from benchmarks.raster_bars import bars
from benchmarks.raster_machine import compile_times, hardware
from benchmarks.raster_measure import measure, parity, same_bits
from tests.splat_scenes import garden, head

SCENES = {
    "3k/128": (3_000, 128), "3k/256": (3_000, 256), "12k/128": (12_000, 128),
    "12k/256": (12_000, 256), "12k/512": (12_000, 512), "50k/256": (50_000, 256),
    "50k/512": (50_000, 512), "190k/512": (190_000, 512),
}  # fmt: skip
PEERS = {"gsplat": "/gsplat", "torch": "/torch"}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--scenes", nargs="+", choices=SCENES, default=["3k/128", "12k/256", "50k/512"]
    )
    parser.add_argument("--channels", nargs="+", type=int, default=[3])
    most = numba.config.NUMBA_NUM_THREADS
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, most}))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--garden", type=Path, help="test_garden.npz of gsplat's repository")
    parser.add_argument(
        "--parity-up-to", type=int, default=12_000, metavar="N",
        help="Gaussians of the largest scene that the float64 reference renders",
    )  # fmt: skip
    parser.add_argument("--no-compile", action="store_true", help="leave out the compile times")
    parser.add_argument("--json", type=Path, help="write all figures here")
    args = parser.parse_args()
    machine = hardware()
    print(" ".join(f"{k}={v}" for k, v in machine.items()))
    compiled = None if args.no_compile else compile_times(args.channels[0])
    for name, spent in (compiled or {}).items():
        print(f"{name} cache:", ", ".join(f"{k[:-2]} {v:.1f} s" for k, v in spent.items()))
    print(f"{'scene':>9} {'D':>3} {'thr':>3} {'fwd ms':>8} {'step ms':>8} {'median':>8} {'FPS':>6} "
          f"{'GFLOP/s':>8} {'/sgemm':>7} {'/FMA':>6} {'torch ms':>8}"
          + "".join(f" {PEERS[peer]:>8} {'(CPU)':>8}" for peer in args.peers))  # fmt: skip
    rows, errors = [], {}
    scenes = [
        (name, head(SCENES[name][0], SCENES[name][1], channels), (SCENES[name][1],) * 2)
        for name in args.scenes for channels in args.channels
    ]  # fmt: skip
    if args.garden:
        scene, *size = garden(args.garden)
        scenes.append(("garden", scene, tuple(size)))
    for name, scene, size in scenes:
        D = scene.colors.shape[1]
        if len(scene.means) <= args.parity_up_to:
            errors[f"{name} D={D}"] = parity(scene, size) | {
                "same_bits_on_all_threads": same_bits(scene, size, max(args.threads))
            }
        for threads in args.threads:
            row = measure(name, scene, size, threads, args.peers)
            rows.append(row)
            ratios = "".join(
                f" {row[f'times_{how}_than_{peer}']:7.0f}x"
                for peer in args.peers
                for how in ("faster", "less_cpu")
            )
            print(
                f"{name:>9} {D:>3} {threads:>3} {row['forward_min_ms']:8.2f} "
                f"{row['step_min_ms']:8.2f} {row['step_median_ms']:8.2f} "
                f"{1e3 / row['forward_min_ms']:6.0f} {row['gflops']:8.1f} {row['of_sgemm']:7.3f} "
                f"{row['of_fma']:6.3f} {row['autograd_overhead_ms']:8.2f}{ratios}"
                f"{'  noisy' * row['noisy']}",
                flush=True,
            )
    print("\nmilliseconds by stage of the fastest step; list entries, blended pairs")
    for row in rows:
        split = " ".join(f"{k} {v:.2f}" for k, v in row["stages_ms"].items())
        print(f"{row['scene']:>9} D={row['D']} {row['threads']} threads: {split}; "
              f"{row['list_entries']}, {row['composited_pairs']}")  # fmt: skip
    for name, found in errors.items():
        print(f"parity {name}:", " ".join(f"{k} {v:.1e}" for k, v in found.items()))
    results = bars(rows, compiled, machine["vectors"] == "avx512f")
    print()
    for bar in results:
        if bar.value is not None:
            print(f"{bar.name:<62} {bar.value:8.3g}  target {bar.target:<5g} floor {bar.floor:<5g} "
                  f"{bar.verdict()}")  # fmt: skip
    if args.json:
        found = {"machine": machine, "compile": compiled, "parity": errors, "rows": rows}
        found["bars"] = [bar._asdict() | {"verdict": bar.verdict()} for bar in results]
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
