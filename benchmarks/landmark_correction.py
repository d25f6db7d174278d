"""Learn what dlib's landmarks are off by from synthetic people, and measure it on others.

    python benchmarks/landmark_correction.py PICTURES --people 240     # half an hour of one core
    python benchmarks/landmark_correction.py PICTURES --people 240 --write

Renders people with poses, expressions, cameras and lenses of their own into PICTURES (people that
are there stay), finds dlib's landmarks, and fits the map of `headworks/landmarks/correction.py`.
Printed: errors of four folds of people, each by a map learnt from the other three, as root mean
square of a landmark and of a person's mean at a landmark, % of the face's size. `--write`
replaces the map that is installed with the package by one learnt from all people. The people's
shapes are off the head model by up to 1.8 mm, and their seeds are of no benchmark.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray

from headworks.landmarks.correction import (
    IOD,
    SIDE,
    WEIGHTS,
    Correction,
    describe,
    upright,
)
from headworks.landmarks.dlib68 import MIRROR

Array = NDArray[np.float64]
SEED = 770000
SIZE, TEXTURE, MOMENTS = 224, 384, 5
WIDE = (0.35, 1.0)
"""Largest azimuths of the two cameras of each moment, radians."""

RIDGE, RANK, FOLDS, MISSED = 0.2, 64, 4, 0.25
GROUPS = {
    "jaw": [*range(6), *range(11, 17)],
    "chin": [*range(6, 11)],
    "brows": [*range(17, 27)],
    "nose": [*range(27, 36)],
    "corners of eyes": [36, 39, 42, 45],
    "lids": [37, 38, 40, 41, 43, 44, 46, 47],
    "lips": [*range(48, 60)],
    "inner lips": [*range(60, 68)],
}


@dataclasses.dataclass(frozen=True)
class Faces:
    """Pictures uint8 [N, H, W, 3], true landmarks [N, 68, 3] (x, y, seen), dlib's, whose [N]."""

    rgb: NDArray[np.uint8]
    true: Array
    found: Array
    person: NDArray[np.int64]


def photograph(path: Path, number: int) -> None:
    """Pictures of one person, with true and detected landmarks."""
    from benchmarks.tracking_people import FPS, _blinking, strange_person
    from headworks.cameras import Camera, intrinsics, orbit
    from headworks.landmarks.dlib68 import detect
    from headworks.seeds import generator
    from headworks.synthetic.capture import capture, preview, room
    from headworks.synthetic.motion import talking
    from headworks.synthetic.rigs import DISTANCE, TARGET

    seed = SEED + number
    rng = generator(seed, "marks")
    person = strange_person(seed, float(rng.uniform(0, 0.0018)), TEXTURE)
    head = person.space.head
    film = _blinking(head, talking(head, 60, FPS, rng))
    at = np.sort(rng.choice(60, MOMENTS, replace=False))
    expression = film.expression[at].clone()
    opened = int(rng.integers(MOMENTS))
    expression[opened, head.expression_index("jawOpen")] = float(rng.uniform(0.2, 0.8))
    shut, share = int(rng.integers(MOMENTS)), float(rng.uniform(0.4, 1))
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        expression[shut, head.expression_index(name)] = share
    rgb, true, found = [], [], []
    for i in range(MOMENTS):
        cameras = []
        for most in WIDE:
            azimuth, elevation = rng.uniform(-most, most), rng.uniform(-0.25, 0.35)
            distance = float(np.exp(rng.normal(np.log(DISTANCE), 0.25)))
            focal = SIZE * distance / rng.uniform(0.27, 0.36)
            view = orbit(float(azimuth), float(elevation), distance, TARGET)
            cameras.append(Camera(view, intrinsics(focal, SIZE, SIZE), SIZE, SIZE))
        moment = dataclasses.replace(
            film, expression=expression[i : i + 1], pose=film.pose[[int(at[i])]]
        )
        wall = room(SIZE, seed, rng)
        noise = float(rng.uniform(0, 0.012))
        taken = capture(person, moment, cameras, wall, preview(2), seed + i, sensor_noise=noise)
        for picture, marks in zip(taken.rgb[0], taken.landmarks[0]):
            points = detect(picture[None])[0][0]
            if np.isfinite(points).all():
                rgb.append(picture)
                true.append(marks)
                found.append(points)
    np.savez(
        path,
        rgb=np.array(rgb, np.uint8).reshape(-1, SIZE, SIZE, 3),
        lm=np.array(true, np.float32).reshape(-1, 68, 3),
        det=np.array(found, np.float32).reshape(-1, 68, 3),
    )


def gathered(folder: Path, people: int) -> Faces:
    """All pictures whose face dlib has not missed altogether."""
    rgb, true, found, person = [], [], [], []
    for number in range(people):
        path = folder / f"{number:04d}.npz"
        if not path.is_file():
            photograph(path, number)
        with np.load(path) as kept:
            rgb.append(kept["rgb"])
            true.append(kept["lm"].astype(np.float64))
            found.append(kept["det"].astype(np.float64))
            person += [number] * len(kept["rgb"])
    faces = Faces(
        np.concatenate(rgb), np.concatenate(true), np.concatenate(found), np.array(person)
    )
    off = np.linalg.norm((faces.found - faces.true)[:, 17:, :2], axis=-1).mean(1)
    fine = off < MISSED * size_of(faces.true)
    print(f"{len(fine)} faces of {people} people, {(~fine).sum()} left out as missed", flush=True)
    return Faces(*(getattr(faces, f.name)[fine] for f in dataclasses.fields(faces)))


def size_of(marks: Array) -> Array:
    """[N] distance of the outer eye corners, or 0.8 of that from bridge to chin if larger."""
    across = np.linalg.norm(marks[:, 36, :2] - marks[:, 45, :2], axis=-1)
    return np.maximum(across, 0.8 * np.linalg.norm(marks[:, 27, :2] - marks[:, 8, :2], axis=-1))


def mean_shape(marks: Array) -> Array:
    """[68, 2] symmetric mean of landmarks [N, 68, 2], upright, interocular distance 1."""
    shape = marks[0]
    for _ in range(6):
        shape = shape - shape[17:].mean(0)
        across = (shape[45] - shape[36]) @ [1, 1j]
        flat = (shape @ [1, 1j]) / across
        shape = np.stack([flat.real, flat.imag], 1)
        shape = (shape + shape[MIRROR] * [-1, 1]) / 2
        z = marks @ [1, 1j]
        z = z - z[:, 17:].mean(1, keepdims=True)
        onto = shape @ [1, 1j]
        turn = (z[:, 17:].conj() * onto[17:]).sum(1) / (np.abs(z[:, 17:]) ** 2).sum(1)
        mean = (z * turn[:, None]).mean(0)
        shape = np.stack([mean.real, mean.imag], 1)
    return shape


def samples(faces: Faces, shape: Array) -> tuple[NDArray[np.float32], Array, NDArray[np.bool_]]:
    """Features [2 N, D], errors [2 N, 68, 2] and what is seen [2 N, 68]; every second mirrored."""
    features, errors, seen = [], [], []
    for picture, true, found in zip(faces.rgb, faces.true, faces.found):
        image, place, turn = upright(picture, found[:, :2], shape)
        error = (true[:, :2] - found[:, :2]) @ turn.T
        known = true[:, 2] > 0.5
        features.append(describe(image, place))
        errors.append(error)
        seen.append(known)
        other = np.stack([SIDE - place[:, 0], place[:, 1]], 1)[MIRROR]
        features.append(describe(np.ascontiguousarray(image[:, ::-1]), other))
        errors.append((error * [-1, 1])[MIRROR])
        seen.append(known[MIRROR])
    return np.array(features), np.array(errors), np.array(seen)


def learn(features: NDArray[np.float32], errors: Array, seen: NDArray[np.bool_]) -> Correction:
    """Ridge regression of rank `RANK`; what is hidden shall stay where it is."""
    wanted = np.where(seen[..., None], errors, 0).reshape(len(errors), -1)
    mean, constant = features.mean(0), wanted.mean(0)
    centred = features - mean
    gram = (centred @ centred.T).astype(np.float64)
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    linear = centred.T.astype(np.float64) @ np.linalg.solve(gram, wanted - constant)
    # Of that rank, the map that changes the predictions least.
    axes = np.linalg.svd(centred @ linear, full_matrices=False)[2][:RANK]
    return Correction(
        np.zeros((68, 2)), mean, (linear @ axes.T).astype(np.float32), axes.astype(np.float32),
        constant.astype(np.float32),
    )  # fmt: skip


def report(name: str, errors: Array, seen: NDArray[np.bool_], person: NDArray[np.int64]) -> None:
    """Print errors [N, 68, 2] in face sizes."""
    known = np.where(seen[..., None], errors, np.nan)
    print(name)
    for group, members in GROUPS.items():
        one = known[:, members]
        shared = [np.nanmean(one[person == p], 0) for p in np.unique(person)]
        total, bias = (np.sqrt(np.nanmean((x**2).sum(-1))) for x in (one, np.array(shared)))
        print(f"  {group:16} {100 * total:5.2f} %   mean of a person {100 * bias:5.2f} %")


def main() -> None:
    """Render, learn, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--people", type=int, default=240)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--no-folds", action="store_true")
    o = parser.parse_args()
    o.pictures.mkdir(parents=True, exist_ok=True)
    faces = gathered(o.pictures, o.people)
    shape = mean_shape(faces.true[..., :2])
    features, errors, seen = samples(faces, shape)
    person = np.repeat(faces.person, 2)
    if not o.no_folds:
        scale = size_of(errors * 0 + shape)[:, None, None] * IOD
        report("dlib's", errors / scale, seen, person)
        left = np.empty_like(errors)
        for fold in range(FOLDS):
            held = person % FOLDS == fold
            map_ = learn(features[~held], errors[~held], seen[~held])
            left[held] = errors[held] - map_(features[held])
        report("corrected", left / scale, seen, person)
    if o.write:
        whole = dataclasses.replace(learn(features, errors, seen), shape=shape)
        np.savez_compressed(
            WEIGHTS, **{n: v.astype(np.float16 if v.size > 200 else np.float32)
                        for n, v in vars(whole).items()},
        )  # fmt: skip
        print(f"{WEIGHTS}: {WEIGHTS.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
