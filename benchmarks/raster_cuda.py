"""The rasteriser's kernels on the CPU against gsplat on a CUDA device: parity and times.

    python benchmarks/raster_cuda.py --json cuda.json

Without a device it says so and ends with status 2. gsplat takes exponentials by fast hardware
instructions and accumulates gradients by atomics in no fixed order: gradients agree to 5e-3, and
a few pixels more lie at a threshold than between two implementations on a CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import headworks  # noqa: F401, I001  (sets the OpenMP spin count before torch is imported)
import torch
from torch import Tensor

from benchmarks.raster_machine import hardware
from headworks.splat import rasterization
from headworks.splat.gsplat_backend import extension_loads
from tests.splat_scenes import PARTS, Scene, head, relative

IMAGE_MEAN, PIXEL, PIXEL_SHARE, GRADIENT = 1e-6, 1e-4, 1e-4, 5e-3
REPEATS = 30


def cases() -> dict[str, tuple[Scene, int, int, dict[str, Any]]]:
    """Scenes and options: name -> scene, width, height, options of `rasterization`."""
    small = head(3_000, 128)
    thin = small._replace(scales=small.scales * 0.2)
    three = small._replace(viewmats=small.viewmats.repeat(3, 1, 1), Ks=small.Ks.repeat(3, 1, 1))
    three.viewmats[1, 0, 3], three.viewmats[2, 2, 3] = 0.2, 5.0
    background = torch.tensor([[0.2, 0.5, 0.9]])
    return {
        "3k/128": (small, 128, 128, {}),
        "12k/256": (head(12_000, 256), 256, 256, {}),
        "500 background": (head(500, 100), 100, 70, {"backgrounds": background}),
        "antialiased": (thin, 128, 128, {"rasterize_mode": "antialiased"}),
        "RGB+ED": (small, 128, 128, {"render_mode": "RGB+ED"}),
        "D": (small, 128, 128, {"render_mode": "D"}),
        "three cameras": (three, 128, 128, {"backgrounds": background.repeat(3, 1)}),
        "D=32": (head(3_000, 128, 32), 128, 128, {}),
        "D=40": (head(1_000, 64, 40), 64, 64, {}),
        "absgrad": (small, 128, 128, {"absgrad": True}),
    }


def differentiate(
    scene: Scene, width: int, height: int, device: str, options: dict[str, Any]
) -> dict[str, Tensor]:
    """Image, alpha, gradients, radii and gradients of 2D means of one step, on the CPU."""
    leaves = Scene(*(t.to(device) for t in scene)).leaves()
    options = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in options.items()}
    image, alpha, meta = rasterization(*leaves, width, height, **options)
    meta["means2d"].retain_grad()
    generator = torch.Generator().manual_seed(5)
    noise = [torch.randn(t.shape, generator=generator).to(device) for t in (image, alpha)]
    ((image * noise[0]).sum() + (alpha * noise[1]).sum()).backward()
    seen = (meta["radii"] > 0).any(-1)
    found = {"image": image, "alpha": alpha, "radii": meta["radii"].to(torch.int64)}
    # what belongs to a culled Gaussian is not set by gsplat
    found |= {"means2d": torch.where(seen[..., None], meta["means2d"], 0)}
    found |= {"grad means2d": meta["means2d"].grad}
    if options.get("absgrad"):
        found |= {"absgrad": meta["means2d"].absgrad}
    for name, leaf in zip(PARTS, leaves):
        found[f"grad {name}"] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return {name: t.detach().cpu() for name, t in found.items()}


def compare(
    scene: Scene, width: int, height: int, options: dict[str, Any], device: str = "cuda"
) -> dict[str, Any]:
    """Errors of a CUDA step against the CPU's, and whether they are within the tolerances."""
    ours = differentiate(scene, width, height, "cpu", options)
    theirs = differentiate(scene, width, height, device, options)
    errors: dict[str, Any] = {}
    good = True
    pixels = ours["alpha"].numel()
    for name in ("image", "alpha"):
        error = (theirs[name] - ours[name]).abs() / ours[name].abs().clamp_min(1.0)
        flips = int((error.amax(-1) > PIXEL).sum())
        errors |= {f"{name} mean": float(error.mean()), f"{name} max": float(error.max())}
        errors[f"{name} pixels above {PIXEL:g}"] = flips
        good &= errors[f"{name} mean"] <= IMAGE_MEAN and flips <= max(2, PIXEL_SHARE * pixels)
    errors["other radii"] = int((theirs["radii"] != ours["radii"]).any(-1).sum())
    good &= errors["other radii"] <= max(2, 1e-3 * len(scene.means))
    for name in ours:
        if name.startswith("grad") or name in ("means2d", "absgrad"):
            errors[name] = relative(theirs[name].double(), ours[name].double())
            good &= errors[name] <= GRADIENT
    return errors | {"good": bool(good)}


def milliseconds(scene: Scene, width: int, height: int, device: str) -> dict[str, float]:
    """Smallest times of a forward pass and of a step."""
    leaves = Scene(*(t.to(device) for t in scene)).leaves()

    def wait() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return 1e3 * time.perf_counter()

    forward, whole = [], []
    for _ in range(REPEATS):
        start = wait()
        image = rasterization(*leaves, width, height)[0]
        middle = wait()
        image.sum().backward()
        forward.append(middle - start)
        whole.append(wait() - start)
    return {"forward_min_ms": min(forward), "step_min_ms": min(whole)}


def main() -> int:
    """Compare, time, print; 0 when all cases are within the tolerances, 2 without a device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write all figures here")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: nothing was compared")
        return 2
    if not extension_loads():
        print("gsplat's CUDA extension is not there: nothing was compared")
        return 2
    machine = hardware() | {"device": torch.cuda.get_device_name()}
    print(" ".join(f"{k}={v}" for k, v in machine.items()))
    rows = {}
    for name, (scene, width, height, options) in cases().items():
        rows[name] = compare(scene, width, height, options)
        errors = " ".join(
            f"{k} {v:.1e}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[name].items()
        )
        print(f"{name}: {errors}", flush=True)
    for name, (n, size) in {"12k/256": (12_000, 256), "50k/512": (50_000, 512)}.items():
        rows[f"{name} times"] = {
            device: milliseconds(head(n, size), size, size, device) for device in ("cpu", "cuda")
        }
        print(name, rows[f"{name} times"], flush=True)
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    return 0 if all(row.get("good", True) for row in rows.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
