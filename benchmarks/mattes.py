"""Alpha and colour errors of every matting backend that runs here, on people whose alpha is known.

    python benchmarks/mattes.py                          # about a minute
    python benchmarks/mattes.py --weights weights --people 4 --frames 12 --json out.json

Synthetic people talk before pictures of real things (from scikit-image) and before two screens of
one colour. Printed per background and backend: the mean absolute error of alpha over the picture
and within three pixels of the person's edge; and, within the same pixels, how far the person over
white is from the true one, with the frame's colours and with the person's own
(`headworks.matting.foreground`). "exact" has the true alpha: what remains is the colours' error.
There is no bar. The networks run where their weights lie in `--weights` (docs/matting.md).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from headworks.errors import CaptureError, WeightsError
from headworks.images import composite, resize, to_float, to_uint8
from headworks.matting import BACKENDS, estimate_alpha, weights_at_hand
from headworks.matting.foreground import own_colours
from headworks.seeds import generator
from headworks.synthetic import make_person
from headworks.synthetic.motion import talking
from headworks.synthetic.render import Picture, pose_person, render_stage
from headworks.synthetic.rigs import ring

REAL = ("coffee", "chelsea", "rocket", "gravel", "brick")
SCREENS = {"green screen": (0.15, 0.68, 0.25), "blue screen": (0.12, 0.25, 0.75)}
FPS = 12.0
NOISE = 0.006
EDGE_PX = 3


def backgrounds(size: int) -> dict[str, NDArray[np.float32]]:
    """Name -> picture [size, size, 3] in [0, 1]."""
    import skimage.data

    found = {}
    for name in REAL:
        picture = getattr(skimage.data, name)()
        if picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, -1)
        side = min(picture.shape[:2])
        found[name] = to_float(resize(np.ascontiguousarray(picture[:side, :side]), size, size))
    for name, colour in SCREENS.items():
        y, x = np.mgrid[:size, :size] / size - 0.5
        light = 1 - 0.25 * (x**2 + y**2)
        found[name] = (light[..., None] * np.array(colour)).astype(np.float32)
    return found


def film(seed: int, count: int, size: int) -> list[Picture]:
    """Pictures of a talking person from the front."""
    person = make_person(seed, 512)
    motion = talking(person.space.head, count, FPS, generator(seed, "benchmark", "mattes"))
    camera = ring(3, size)[1]
    return [
        render_stage(pose_person(person, motion.expression[t], motion.pose[[t]]), camera, 3)
        for t in range(count)
    ]


def measure(
    pictures: list[Picture], plate: NDArray[np.float32], weights: Path, seed: int
) -> dict[str, dict[str, float]]:
    """Backend -> figures, before one background."""
    rng = generator(seed, "benchmark", "noise")
    frames = np.stack(
        [to_uint8(p.over(plate) + NOISE * rng.standard_normal(plate.shape)) for p in pictures]
    )
    true = np.stack([p.alpha for p in pictures])
    over_white = np.stack([composite(p.rgb, p.alpha) for p in pictures])
    boxes = np.stack(
        [np.r_[p.landmarks[:, :2].min(0), p.landmarks[:, :2].max(0)] for p in pictures]
    )
    around = np.ones((2 * EDGE_PX + 1,) * 2, np.uint8)
    hard = [(a > 0.5).astype(np.uint8) for a in true]
    edge = np.stack([cv2.dilate(h, around) != cv2.erode(h, around) for h in hard])
    figures = {}
    for backend in ("exact", *BACKENDS):
        start = time.process_time()
        try:
            alpha = (
                to_uint8(true)
                if backend == "exact"
                else estimate_alpha(frames, boxes, backend, weights=weights, plate=to_uint8(plate))
            )
        except (CaptureError, WeightsError):
            continue
        seconds = (time.process_time() - start) / len(frames)
        own = np.stack([own_colours(f, a) for f, a in zip(frames, alpha)])
        share = to_float(alpha)

        def colours(rgb: NDArray[np.uint8], share: NDArray[np.float32] = share) -> float:
            return float(np.abs(composite(to_float(rgb), share) - over_white)[edge].mean())

        figures[backend] = {
            "alpha": float(np.abs(share - true).mean()),
            "alpha_edge": float(np.abs(share - true)[edge].mean()),
            "over_white_frame": colours(frames),
            "over_white_own": colours(own),
            "cpu_s_per_frame": seconds,
        }
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, default=2, help="synthetic people")
    parser.add_argument("--frames", type=int, default=8, help="frames of each person")
    parser.add_argument("--size", type=int, default=256, help="pixels per side")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="checkpoints")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    films = {seed: film(seed, arguments.frames, arguments.size) for seed in
             range(500, 500 + arguments.people)}  # fmt: skip
    absent = [name for name, path in weights_at_hand(arguments.weights).items() if path is None]
    print(f"not run, no weights: {', '.join(absent) or 'none'}")
    print(f"{'background':14}{'backend':20}{'alpha':>8}{'at edge':>9}{'over white':>12}{'own':>8}"
          f"{'CPU s':>8}")  # fmt: skip
    everything: dict[str, dict[str, dict[str, float]]] = {}
    for name, plate in backgrounds(arguments.size).items():
        runs = [measure(pictures, plate, arguments.weights, s) for s, pictures in films.items()]
        everything[name] = {}
        for backend in dict.fromkeys(b for run in runs for b in run):
            own_runs = [run[backend] for run in runs if backend in run]
            mean = {key: float(np.mean([r[key] for r in own_runs])) for key in own_runs[0]}
            everything[name][backend] = mean
            print(f"{name:14}{backend:20}{mean['alpha']:8.4f}{mean['alpha_edge']:9.4f}"
                  f"{mean['over_white_frame']:12.4f}{mean['over_white_own']:8.4f}"
                  f"{mean['cpu_s_per_frame']:8.3f}")  # fmt: skip
        sys.stdout.flush()
    if arguments.json:
        arguments.json.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
