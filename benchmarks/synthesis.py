"""How fast are synthetic people rendered?

    python benchmarks/synthesis.py                   # preview and path tracing, a few minutes
    python benchmarks/synthesis.py --variant llvm_ad_rgb --people 6

Prints pictures per second of the preview path at 128 px (one thread, several samples per pixel)
and pictures per minute of Mitsuba at 256 px and 16 paths per pixel: every picture another pose, as
in GASP's recipe, and one pose before many cameras, as in a rig. Times are of the wall clock and of
the CPU; leaves with status 1 when the preview is slower than its bar.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from headworks.heads import load_head
from headworks.synthetic import make_person
from headworks.synthetic.capture import Renderer, preview
from headworks.synthetic.motion import faces
from headworks.synthetic.person import Person
from headworks.synthetic.render import pose_person
from headworks.synthetic.rigs import ring, seen_from_everywhere

PREVIEW_SIZE, TRACED_SIZE, SAMPLES = 128, 256, 16
PREVIEW_BAR, PREVIEW_CORES = 20.0, 2
"""Pictures per second, each in its own pose, by CPU time of so many cores."""


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of the wall clock and of the CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def shoot(people: list[Person], take: Renderer, size: int, poses: int, views: int) -> int:
    """Pictures of all people; returns how many."""
    head = load_head("procedural")
    for number, person in enumerate(people):
        rng = np.random.default_rng(number)
        motion = seen_from_everywhere(faces(head, poses, rng), rng)
        cameras = ring(views, size)
        for i in range(poses):
            stage = pose_person(person, motion.expression[i], motion.pose[[i]])
            for camera in cameras:
                take(stage, camera, i)
    return len(people) * poses * views


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2, help="of Mitsuba")
    parser.add_argument("--variant", default="auto", help="of Mitsuba; none leaves it out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.people)
    people = [make_person(seed) for seed in seeds]
    shoot(people[:1], preview(2), PREVIEW_SIZE, 1, 1)
    met = True
    for samples in (1, 2):
        for poses, views, what in ((8, 1, "a pose each"), (2, 8, "8 cameras a pose")):
            count = 0

            def work(poses: int = poses, views: int = views, samples: int = samples) -> None:
                nonlocal count
                count = shoot(people, preview(samples), PREVIEW_SIZE, poses, views)

            wall, cpu = timed(work)
            print(f"preview {PREVIEW_SIZE} px, {samples}x{samples} samples, {what:17}"
                  f" {count / wall:7.1f} pictures/s (CPU {count / cpu:6.1f})")  # fmt: skip
            if (samples, views) == (2, 1):
                met = PREVIEW_CORES * count / cpu >= PREVIEW_BAR
    if arguments.variant != "none":
        from headworks.synthetic.pathtracer import Lighting, choose_variant
        from headworks.synthetic.pathtracer.renderer import traced

        variant = choose_variant(arguments.variant)
        print(f"mitsuba {variant.version} {variant.name} ({variant.reason})")
        for poses, views, what in ((2, 1, "a pose each"), (1, 3, "3 cameras a pose")):
            count = 0

            def trace(poses: int = poses, views: int = views) -> None:
                nonlocal count
                for person in people:
                    take = traced(variant, Lighting("studio"), SAMPLES, arguments.threads)
                    count += shoot([person], take, TRACED_SIZE, poses, views)

            wall, cpu = timed(trace)
            per_minute = 60 * count / wall, 60 * arguments.threads * count / cpu
            print(f"mitsuba {TRACED_SIZE} px, {SAMPLES} paths per pixel, {what:17}"
                  f" {per_minute[0]:7.1f} pictures/min (by CPU time on {arguments.threads} cores:"
                  f" {per_minute[1]:6.1f})")  # fmt: skip
    print(f"preview bar {PREVIEW_BAR} pictures/s: {'met' if met else 'missed'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
