"""How fast is a bound avatar re-enacted: posing and rendering without networks, 2 threads.

    python benchmarks/reenact.py                                   # about a minute
    python benchmarks/reenact.py --workspace DEMO --json out.json  # the demo's avatars, too
    python benchmarks/reenact.py --avatar study/avatars/7000-multiview-full-*/avatar.safetensors

Every frame is posed anew from a motion (a talking, turning head; the demo's avatars: their own
tracking) and rendered at 256 px. Columns: the reference posing of `BoundAvatar.gaussians`
(torch), the poser of `headworks.driving` (rest shape folded once, Numba), the rasteriser, and
frames per second of poser and rasteriser together, over the whole motion with all that belongs to
it. The bar: at least 25 frames per second at the largest UV map of the study (128).

A machine that also does other things measures those: the load average is printed with the result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import headworks  # noqa: F401, I001  (sets the OpenMP spin count before torch is imported)
import numba
import numpy as np
import torch

from headworks.avatars import FILE, BoundAvatar, load_avatar, load_bound_avatar
from headworks.avatars.avatar import picture_of
from headworks.avatars.binding import WIDE_REGIONS, bind_uv, initial_gaussians
from headworks.cameras import Camera
from headworks.driving.curves import script_performance
from headworks.driving.performance import Performance, canonical_rest, performance_of
from headworks.driving.poser import Poser
from headworks.heads import load_head
from headworks.tracks import load_tracking

SIDE, THREADS, BAR = 256, 2, 25.0
SIZES = (64, 128)
SECONDS, FPS = 6.0, 25.0
REPEATS = 3


def synthetic(size: int) -> tuple[str, BoundAvatar, Performance, Camera]:
    """An avatar of the procedural head with as many Gaussians as a fit gives it."""
    head = load_head("procedural")
    rng = torch.Generator().manual_seed(0)
    identity = 0.5 * torch.randn(len(head.identity_basis), generator=rng)
    binding = bind_uv(head, size, doubled_regions=WIDE_REGIONS)
    local = initial_gaussians(head, binding)
    avatar = BoundAvatar(head, identity, local, binding, "gasp", "monocular")
    motion = script_performance(head, identity, "talk", 1, SECONDS, FPS)
    return f"UV {size}", avatar, motion, canonical_rest(head, identity, SIDE).camera


def of_workspace(root: Path) -> Iterator[tuple[str, BoundAvatar, Performance, Camera]]:
    """The avatars of a workspace with their own tracked motion and camera."""
    for folder in sorted((root / "data" / "fit").glob("*/")):
        if not (folder / FILE).is_file():
            continue
        avatar = load_avatar(folder)
        tracking = load_tracking(root / "data" / "tracking" / folder.name)
        if not isinstance(avatar, BoundAvatar) or len(tracking) < 2:
            continue
        motion = performance_of(avatar.head, tracking, FPS, folder.name)
        side = round(2 * float(tracking.Ks[0, 0, 0, 2]))
        camera = tracking.camera(0, 0, side, side).resized(SIDE, SIDE)
        yield folder.name, avatar, motion, camera


def of_file(path: Path) -> tuple[str, BoundAvatar, Performance, Camera]:
    """A fitted avatar, as a study leaves them, with the synthetic motion."""
    avatar = load_bound_avatar(path)
    motion = script_performance(avatar.head, avatar.identity, "talk", 1, SECONDS, FPS)
    camera = canonical_rest(avatar.head, avatar.identity, SIDE).camera
    return path.parent.name[:22], avatar, motion, camera


def seconds(call: Callable[[], Any]) -> float:
    """Least time of a call."""
    least = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - start)
    return least


def measure(name: str, avatar: BoundAvatar, motion: Performance, camera: Camera) -> dict[str, Any]:
    """Milliseconds per frame of each part, and frames per second of the whole."""
    count, white = len(motion), (1.0, 1.0, 1.0)
    some = list(range(0, count, max(1, count // 12)))

    def reference() -> None:
        for t in some:
            avatar.gaussians(motion.expression[t], motion.pose[t : t + 1])

    poser = Poser(avatar)
    posed = list(poser.frames(motion.expression[some], motion.pose[some]))

    def quick() -> None:
        for _ in poser.frames(motion.expression, motion.pose):
            pass

    def render() -> None:
        for gaussians in posed:
            picture_of(gaussians, camera, white)

    def whole() -> None:
        for gaussians in poser.frames(motion.expression, motion.pose):
            picture_of(gaussians, camera, white)

    for warm in (reference, quick, render):
        warm()
    return {
        "avatar": name,
        "gaussians": len(avatar.binding.faces),
        "frames": count,
        "reference_ms": 1e3 * seconds(reference) / len(some),
        "poser_ms": 1e3 * seconds(quick) / count,
        "render_ms": 1e3 * seconds(render) / len(some),
        "setup_ms": 1e3 * seconds(lambda: Poser(avatar)),
        "fps": count / seconds(whole),
    }


def main() -> int:
    """Measure, print a table; exit code 1 where the bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--workspace", type=Path, help="a workspace whose avatars to measure, too")
    parser.add_argument("--avatar", type=Path, nargs="+", default=[], help="files of avatars")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="UV maps")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    numba.set_num_threads(min(THREADS, numba.config.NUMBA_NUM_THREADS))
    cases: list[Any] = [synthetic(size) for size in given.sizes]
    if given.workspace:
        cases += of_workspace(given.workspace)
    cases += [of_file(path) for path in given.avatar]
    load = os.getloadavg()[0]
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {THREADS} threads, load average {load:.1f}, {SIDE} px")
    print(f"{'avatar':22} {'Gaussians':>9} {'torch':>8} {'poser':>8} {'render':>8} {'fps':>6}")
    rows = []
    for case in cases:
        row = measure(*case)
        rows.append(row)
        print(
            f"{row['avatar']:22} {row['gaussians']:9} {row['reference_ms']:6.1f}ms "
            f"{row['poser_ms']:6.1f}ms {row['render_ms']:6.1f}ms {row['fps']:6.1f}"
        )
    if given.json:
        body = {"load": load, "threads": THREADS, "side": SIDE, "rows": rows}
        given.json.write_text(json.dumps(body, indent=1) + "\n")
    slowest = float(np.min([row["fps"] for row in rows]))
    print(f"slowest: {slowest:.1f} frames per second; the bar is {BAR:.0f}")
    return 0 if slowest >= BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
