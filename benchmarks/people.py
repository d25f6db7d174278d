"""Do detectors take synthetic people for people? Are their heads sound? How fast are they made?

    python benchmarks/people.py                          # 200 people, some minutes on 2 cores
    python benchmarks/people.py --people 40 --ict ../shared/data/ict_facekit.npz
    python benchmarks/people.py --keep measured          # may be killed and started again
    python benchmarks/people.py --sheet docs/synthetic_people.jpg --people 0

Prints, each with its bar: in how many frontal renders (neutral, yaw within 15 degrees) and renders
with expression (yaw within 30 degrees) dlib's HOG detector finds the face; how far dlib's 68
landmarks lie from the projected true ones, in distances of the outer eye corners; how dlib's 128-d
identity distance separates people (the second render of a person has other light); images per
second of the preview path at 128 pixels; crossings of skin, lids and lips
(`headworks.heads.checks`).
With `--ict FILE` or `--head NAME` another head model stands beside. With `--keep FOLDER` what was
seen of each person is kept there and not measured again: use a new folder for new code. Leaves with
status 1 when a bar is not met.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import dlib
import numpy as np
import torch
from numpy.typing import NDArray

from headworks.cameras import Camera, intrinsics, orbit
from headworks.heads import HeadModel, HeadPose, load_head
from headworks.heads.checks import Soundness, random_expressions, soundness
from headworks.images import to_uint8
from headworks.landmarks.dlib68 import weights_path
from headworks.metrics.identity import face_distance, face_encoding
from headworks.seeds import generator
from headworks.synthetic import Person, make_person, render_person
from headworks.synthetic.motion import coefficients, held
from headworks.synthetic.person import draw_identity
from headworks.synthetic.render import pose_person, render_stage
from headworks.synthetic.traits import draw_light, draw_traits

SIZE = 320
"""Pixels per side of the detectors' pictures; a face is about 140 pixels wide."""
HEIGHT_M = 0.36
BACKDROP = (0.85, 0.86, 0.88)
FRONTAL_BAR, MOVING_BAR, LANDMARK_BAR = 0.98, 0.95, 0.06
SAME_BAR, OTHER_BAR, IDENTITY_LIMIT = 0.95, 0.95, 0.6
SPEED_BAR, SPEED_SIZE, SPEED_CORES = 20.0, 128, 2
DEPTH_BAR_MM = 1.0
SHEET_PEOPLE, SHEET_TILE, SHEET_COLUMNS = 48, 112, 16


@dataclass
class Seen:
    """What detectors made of one person's pictures."""

    frontal: list[bool] = field(default_factory=list)
    moving: list[bool] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    codes: list[NDArray[np.float64] | None] = field(default_factory=list)
    code_same_light: NDArray[np.float64] | None = None
    seconds: list[float] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Keep it as JSON, whole or not at all."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["codes"] = [code if code is None else code.tolist() for code in self.codes]
        if self.code_same_light is not None:
            values["code_same_light"] = self.code_same_light.tolist()
        part = path.with_suffix(".part")
        part.write_text(json.dumps(values))
        part.replace(path)

    @classmethod
    def read(cls, path: Path) -> Seen:
        """What `write` kept."""
        seen = cls(**json.loads(path.read_text()))
        seen.codes = [code if code is None else np.array(code) for code in seen.codes]
        if seen.code_same_light is not None:
            seen.code_same_light = np.array(seen.code_same_light)
        return seen


def view(yaw: float, size: int = SIZE, height_m: float = HEIGHT_M, pitch: float = 0.0) -> Camera:
    """A camera at head height that sees head and shoulders."""
    K = intrinsics(size / height_m, size, size)
    return Camera(orbit(yaw, pitch, 1.0, (0, -0.02, 0)), K, size, size)


def pictured(
    person: Person, camera: Camera, expression: torch.Tensor | None = None,
    pose: HeadPose | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:  # fmt: skip
    """A picture over the backdrop and the true landmarks."""
    picture = render_person(person, camera, expression, pose)
    return to_uint8(picture.over(BACKDROP)), picture.landmarks[:, :2]


def examine(seed: int, head_name: str) -> Seen:
    """Make a person, take pictures, show them to the detectors."""
    torch.set_num_threads(1)
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(weights_path()))
    rng = generator(seed, "benchmark")
    person = make_person(seed, head=head_name)
    head = person.space.head
    other_light = replace(person, light=draw_light(rng))
    seen = Seen()
    for shown, yaw in zip(
        (person, other_light, person), rng.uniform(-1, 1, 3) * np.radians(15), strict=True
    ):
        image, true = pictured(shown, view(float(yaw)))
        code = face_encoding(image)
        if len(seen.codes) == 2:
            seen.code_same_light = code
            break
        found = detector(image, 0)
        seen.frontal.append(len(found) > 0)
        seen.codes.append(code)
        if found:
            shape = predictor(image, found[0])
            points = np.array([(p.x + 0.5, p.y + 0.5) for p in shape.parts()])
            scale = np.linalg.norm(true[36] - true[45])
            seen.errors.append(float(np.linalg.norm(points - true, axis=1).mean() / scale))
    expressions, poses = moves(head, rng)
    for t in range(len(expressions)):
        yaw = float(rng.uniform(-1, 1) * np.radians(30))
        image, _ = pictured(person, view(yaw), expressions[t], poses[[t]])
        seen.moving.append(len(detector(image, 0)) > 0)
    for yaw in np.linspace(-2, 2, 6):
        clock = time.process_time()
        render_person(person, view(float(yaw), SPEED_SIZE, 0.44), expressions[0], poses[[0]])
        seen.seconds.append(time.process_time() - clock)
    return seen


def examined(seed: int, head_name: str, keep: Path | None) -> Seen:
    """`examine`, or what is kept of it."""
    if keep is None:
        return examine(seed, head_name)
    digest = load_head(head_name).digest[:12]
    path = keep / f"{digest}_{seed}.json"
    if path.exists():
        return Seen.read(path)
    seen = examine(seed, head_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    seen.write(path)
    return seen


def moves(head: HeadModel, rng: np.random.Generator) -> tuple[torch.Tensor, HeadPose]:
    """Three held expressions of a head, carried over from the procedural one where it is not."""
    ours = load_head("procedural")
    motion = held(ours, 4, rng, turn=0.0)
    expression, pose = motion.expression[1:], motion.pose[1:]
    if head.name == ours.name:
        return expression, pose
    from headworks.heads.retarget import retargeting

    return retargeting(ours, head)(expression, pose, head.signed())


def crossings(seeds: range) -> Soundness:
    """Self-intersections and penetrations of the people's heads."""
    head = load_head("procedural")
    rng = generator(seeds.start, "benchmark", "crossings")
    people = np.stack(
        [draw_identity(head, draw_traits(generator(s, "person")), s).numpy() for s in seeds]
    )
    faces = np.stack([random_expressions(head, 5, rng) for _ in seeds])
    return soundness(head, people, faces, largest_self_tests=len(people))


def identity_shares(people: list[Seen]) -> dict[str, float]:
    """Shares of pairs on the right side of the limit, and medians."""

    def mean_below(distances: list[float]) -> float:
        return float(np.mean(np.array(distances) < IDENTITY_LIMIT))

    twice = [(p.codes[0], p.codes[1]) for p in people]
    same = [face_distance(a, b) for a, b in twice if a is not None and b is not None]
    lit = [face_distance(p.codes[0], p.code_same_light) for p in people
           if p.codes[0] is not None and p.code_same_light is not None]  # fmt: skip
    firsts = [p.codes[0] for p in people if p.codes[0] is not None]
    other = [face_distance(a, b) for i, a in enumerate(firsts) for b in firsts[:i]]
    return {
        "same": mean_below(same), "same_median": float(np.median(same)),
        "same_light": mean_below(lit), "other": 1 - mean_below(other),
        "other_median": float(np.median(other)),
    }  # fmt: skip


def report(title: str, people: list[Seen]) -> bool:
    """Print the detectors' view of a head model's people; whether the bars are met."""
    frontal = float(np.mean([found for p in people for found in p.frontal]))
    moving = float(np.mean([found for p in people for found in p.moving]))
    errors = [error for p in people for error in p.errors]
    shares = identity_shares(people)
    print(f"{title}: {len(people)} people")
    print(f"  face found, frontal, neutral         {frontal:.3f}   bar {FRONTAL_BAR}")
    print(f"  face found, expressions, yaw <= 30   {moving:.3f}   bar {MOVING_BAR}")
    print(f"  landmarks, median error / eyes       {np.median(errors):.4f}  bar {LANDMARK_BAR}")
    print(f"  landmarks, 90th percentile           {np.quantile(errors, 0.9):.4f}")
    print(f"  same person, identity distance < 0.6 {shares['same']:.3f}   bar {SAME_BAR}")
    print(f"    the same, both renders lit alike   {shares['same_light']:.3f}")
    print(f"    median distance                    {shares['same_median']:.3f}")
    print(f"  two people, identity distance > 0.6  {shares['other']:.3f}   bar {OTHER_BAR}")
    print(f"    median distance                    {shares['other_median']:.3f}")
    return (
        frontal >= FRONTAL_BAR
        and moving >= MOVING_BAR
        and float(np.median(errors)) <= LANDMARK_BAR
        and shares["same"] >= SAME_BAR
        and shares["other"] >= OTHER_BAR
    )


def report_speed(people: list[Seen]) -> bool:
    """Print the speed of previews; whether its bar is met."""
    speed = SPEED_CORES / float(np.median([s for p in people for s in p.seconds]))
    print(
        f"images per second, {SPEED_SIZE} px, {SPEED_CORES} cores   {speed:.1f}   bar {SPEED_BAR}"
    )
    return speed >= SPEED_BAR


def report_crossings(found: Soundness) -> bool:
    """Print the checks of the geometry; whether their bars are met."""
    print(f"{found.people} heads, {found.expressions} faces with expressions")
    print(f"skin crossing itself, neutral, pairs {found.intersections}     bar 0")
    print(f"lids in each other, mm               {found.lid_depth_mm:.2f}  bar {DEPTH_BAR_MM}")
    print(f"lips in each other, mm               {found.lip_depth_mm:.2f}  bar {DEPTH_BAR_MM}")
    print(f"slit between closed lids, mm         {found.lid_gap_mm:.2f}")
    return found.intersections == 0 and max(found.lid_depth_mm, found.lip_depth_mm) <= DEPTH_BAR_MM


def tiles_of(seed: int, head_name: str, faces: tuple[str, ...]) -> NDArray[np.uint8]:
    """One person for the sheet: four sides, then expressions by name; [N, tile, tile, 3]."""
    from headworks.synthetic.scripts import PRESETS

    torch.set_num_threads(1)
    person = make_person(seed, 512, head_name)
    none = torch.zeros(len(person.space.head.expression_names))
    sides = ((0.0, 0.0), (np.radians(40), 0.08), (np.radians(88), 0.0), (np.radians(180), 0.1))
    at_rest = pose_person(person, none, HeadPose.zeros(1))
    seen = [
        render_stage(at_rest, view(float(yaw), SHEET_TILE, 0.42, pitch)) for yaw, pitch in sides
    ]
    for name in faces:
        values = torch.from_numpy(coefficients(person.space.head, PRESETS[name]).astype(np.float32))
        seen.append(render_person(person, view(0.15, SHEET_TILE, 0.30), values))
    return np.stack([to_uint8(picture.over(BACKDROP)) for picture in seen])


def sheet(path: Path, first_seed: int, ict: Path | None, workers: int) -> None:
    """Write the contact sheet: 48 people from four sides, then expressions of eight of them, then
    four people of the ICT head where its file is given."""
    shown = ("smile", "open", "surprise", "anger", "pucker", "closed")
    seeds = list(range(first_seed, first_seed + SHEET_PEOPLE))
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        faces = [shown if i < 8 else () for i in range(len(seeds))]
        ours = list(pool.map(tiles_of, seeds, repeat("procedural"), faces))
        beside = []
        if ict:
            beside = list(pool.map(tiles_of, seeds[:4], repeat(f"ict:{ict}"), repeat(())))
    write_sheet(path, ours, beside)


def write_sheet(path: Path, ours: list[NDArray[np.uint8]], beside: list[NDArray[np.uint8]]) -> None:
    """Lay out the tiles of `tiles_of` and write them."""
    from PIL import Image

    tiles = [tile for one in ours for tile in one[:4]]
    tiles += [tile for one in ours for tile in one[4:]]
    tiles += [tile for one in beside for tile in one]
    rows = [
        np.concatenate(tiles[i : i + SHEET_COLUMNS], 1) for i in range(0, len(tiles), SHEET_COLUMNS)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path, quality=88)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--people", type=int, default=200, help="0: no measurements")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ict", type=Path, help="ict_facekit.npz, measured beside ours")
    parser.add_argument("--head", help="name of an imported head model, measured beside ours")
    parser.add_argument("--others", type=int, default=40, help="people of the heads beside ours")
    parser.add_argument("--keep", type=Path, help="folder of what was seen of each person")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of 48 people here")
    arguments = parser.parse_args()
    first = arguments.first_seed
    if arguments.sheet:
        sheet(arguments.sheet, first, arguments.ict, arguments.workers)
    if not arguments.people:
        return 0
    met = True
    # Spawned: numba's and torch's threads do not survive a fork.
    with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
        seeds = range(first, first + arguments.people)
        people = list(pool.map(examined, seeds, repeat("procedural"), repeat(arguments.keep)))
        met &= report("procedural head", people)
        met &= report_speed(people)
        beside = range(first, first + arguments.others)
        others = {"ICT head": f"ict:{arguments.ict}" if arguments.ict else None,
                  f"head {arguments.head}": arguments.head}  # fmt: skip
        for title, name in others.items():
            if name:
                found = pool.map(examined, beside, repeat(name), repeat(arguments.keep))
                report(title, list(found))
        met &= report_crossings(pool.submit(crossings, seeds).result())
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
