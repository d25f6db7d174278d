"""Do detectors take synthetic people for people? And how fast are they made?

    python benchmarks/people.py                # 40 people, a few minutes
    python benchmarks/people.py --people 200 --sheet people.png
    python benchmarks/people.py --head ict:ict_facekit.npz      # the same people on another head

Prints: in how many frontal renders (neutral, yaw within 15 degrees) and renders with expression
(yaw within 30 degrees) dlib's HOG detector finds the face; how far dlib's 68 landmarks lie from the
projected true ones, in distances of the outer eye corners; how dlib's 128-d identity distance
separates people; images per second. Leaves with status 1 when a detector's bar is not met.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dlib
import numpy as np
import torch
from numpy.typing import NDArray

from headworks.cameras import Camera, intrinsics, orbit
from headworks.heads import load_head
from headworks.heads.retarget import retargeting
from headworks.images import to_uint8
from headworks.landmarks.dlib68 import weights_path
from headworks.metrics.identity import face_distance, face_encoding
from headworks.synthetic import make_person, render_person
from headworks.synthetic.motion import held

SIZE = 256
BACKDROP = (0.85, 0.86, 0.88)
FRONTAL_BAR, MOVING_BAR, LANDMARK_BAR = 0.98, 0.95, 0.06


def view(yaw: float) -> Camera:
    """A camera at head height that sees head and shoulders."""
    return Camera(
        orbit(yaw, 0.0, 1.0, (0, -0.02, 0)), intrinsics(SIZE / 0.36, SIZE, SIZE), SIZE, SIZE
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--head", default="procedural", help="head model, as in params.yaml")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the people here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    actor, head = load_head("procedural"), load_head(arguments.head)
    show = retargeting(actor, head)
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(weights_path()))
    rng = np.random.default_rng(0)

    frontal, moving, errors, times = [], [], [], []
    codes: list[tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]] = []
    tiles = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.people):
        person = make_person(seed, head=arguments.head)
        pictures = []
        for yaw in rng.uniform(-1, 1, 2) * np.radians(15):
            clock = time.process_time()
            picture = render_person(person, view(float(yaw)))
            times.append(time.process_time() - clock)
            image = to_uint8(picture.over(BACKDROP))
            found = detector(image, 0)
            frontal.append(len(found) > 0)
            pictures.append(image)
            if found:
                shape = predictor(image, found[0])
                points = np.array([(p.x + 0.5, p.y + 0.5) for p in shape.parts()])
                true = picture.landmarks[:, :2]
                scale = np.linalg.norm(true[36] - true[45])
                errors.append(float(np.linalg.norm(points - true, axis=1).mean() / scale))
        motion = held(actor, 4, rng, turn=0.0)
        expression, pose = show(motion.expression, motion.pose, head.signed())
        for t in range(1, 4):
            yaw = float(rng.uniform(-1, 1) * np.radians(30))
            picture = render_person(person, view(yaw), expression[t], pose[[t]])
            image = to_uint8(picture.over(BACKDROP))
            moving.append(len(detector(image, 0)) > 0)
            tiles.append(image)
        codes.append((face_encoding(pictures[0]), face_encoding(pictures[1])))
        tiles.append(pictures[0])

    same = [face_distance(a, b) for a, b in codes if a is not None and b is not None]
    firsts = [a for a, _ in codes if a is not None]
    other = [face_distance(a, b) for i, a in enumerate(firsts) for b in firsts[:i]]
    print(f"people                               {arguments.people}")
    print(f"face found, frontal, neutral         {np.mean(frontal):.3f}   bar {FRONTAL_BAR}")
    print(f"face found, expressions, yaw <= 30   {np.mean(moving):.3f}   bar {MOVING_BAR}")
    print(f"landmarks, median error / eyes       {np.median(errors):.4f}  bar {LANDMARK_BAR}")
    print(f"landmarks, 90th percentile           {np.quantile(errors, 0.9):.4f}")
    print(f"same person, identity distance < 0.6 {np.mean(np.array(same) < 0.6):.3f}")
    print(f"two people, identity distance > 0.6  {np.mean(np.array(other) > 0.6):.3f}")
    print(f"two people, median identity distance {np.median(other):.3f}")
    print(f"images per second of CPU, {SIZE} px    {1 / np.median(times):.1f}")
    if arguments.sheet:
        from PIL import Image

        rows = [np.concatenate(tiles[i : i + 12], 1) for i in range(0, len(tiles) - 11, 12)]
        Image.fromarray(np.concatenate(rows)).save(arguments.sheet)
    met = (
        np.mean(frontal) >= FRONTAL_BAR
        and np.mean(moving) >= MOVING_BAR
        and np.median(errors) <= LANDMARK_BAR
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
