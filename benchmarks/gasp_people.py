"""The people of `benchmarks/gasp.py`: rendered subjects with GASP's protocol of views.

Training people are seen as in GASP's synthetic data (a view of a hemisphere, an expression and a
pose per picture, uniform white light). Held-out people differ in kind, not only in seed: lamps of
their own from a direction, a colour cast, noise of a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars.views import Views, make_views
from headworks.cameras import Camera, intrinsics, orbit
from headworks.heads import HeadModel, HeadPose, load_head
from headworks.seeds import generator
from headworks.synthetic.capture import capture, preview
from headworks.synthetic.motion import Motion, faces, joined, performed
from headworks.synthetic.person import Person, make_person
from headworks.synthetic.rigs import (
    DISTANCE,
    HEIGHT_M,
    TARGET,
    nersemble_held_out,
    nersemble_rig,
    ring,
    seen_from_everywhere,
    squared,
)
from headworks.synthetic.scene import Light
from headworks.synthetic.scripts import chosen
from headworks.tracks import Tracking

Setting = Literal["photo", "monocular", "multiview"]
SETTINGS: tuple[Setting, ...] = ("photo", "monocular", "multiview")
Group = Literal["front", "extreme", "side", "back"]
GROUPS: tuple[Group, ...] = ("front", "extreme", "side", "back")
FRONT = 8
"""Index of NeRSemble's frontal camera, 222200037."""
AROUND = {"side": (-1.75, 1.75), "back": (np.pi - 0.6, np.pi + 0.6)}
"""Azimuths, radians, of the cameras that NeRSemble's rig does not have."""
TEXTURE = 512
RATE = 4.0
"""Frames per second of the training sequences."""


@dataclass(frozen=True)
class Sizes:
    """How many pictures.

    Attributes:
        side: pixels. views: pictures per training person. clip_frames: frames of each sequence
        that the frontal camera films. rig_frames: of each sequence that all cameras film.
        test_frames: of the held-out sequence.
    """

    side: int = 128
    views: int = 50
    clip_frames: int = 5
    rig_frames: int = 1
    test_frames: int = 8


@dataclass(frozen=True)
class HeldOut:
    """A held-out person: every picture, and which serve for what.

    Attributes:
        tracking: exact; T times, all cameras. pictures: uint8 [P, H, W, 3]. alpha: [P, H, W].
        pairs: P pairs of (time, camera). train: setting -> indices into the pictures.
        test: group -> indices into the pictures.
    """

    head: HeadModel
    tracking: Tracking
    pictures: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    pairs: list[tuple[int, int]]
    train: dict[Setting, list[int]]
    test: dict[Group, list[int]]

    def views(self, index: list[int]) -> Views:
        """Some of the pictures as a method sees them."""
        return make_views(
            self.head,
            self.tracking,
            self.pictures[index],
            self.alpha[index],
            [self.pairs[i] for i in index],
        )


def uniform_light() -> Light:
    """White light from everywhere, as in GASP's synthetic data."""
    return Light(
        np.array([[0.0, 0.0, 1.0]]), np.zeros((1, 3)), np.ones(1), np.full(3, 0.85), np.full(3, 0.7)
    )


def training_person(seed: int, sizes: Sizes, folder: Path) -> Views:
    """Pictures of one person of the prior, kept in `folder`."""
    head = load_head("procedural")
    path = folder / f"train-{seed}-{sizes.side}-{sizes.views}.npz"
    if not path.exists():
        rng = generator(seed, "study", "training")
        person = replace(make_person(seed, TEXTURE), light=uniform_light())
        motion = seen_from_everywhere(faces(head, sizes.views, rng), rng)
        camera = ring(1, sizes.side)[0]
        shown = capture(person, motion, [camera], (1.0, 1.0, 1.0), preview(2), seed)
        tracking = _tracking(head, person.identity, motion, [camera])
        _save(
            path, tracking, shown.rgb[:, 0], shown.alpha[:, 0], [(t, 0) for t in range(sizes.views)]
        )
    tracking, rgb, alpha, pairs = _load(path, head)
    return make_views(head, tracking, rgb, alpha, pairs)


@dataclass(frozen=True)
class Scene:
    """A held-out person before the cameras.

    Attributes:
        motion: twelve training sequences of `clip_frames` + `rig_frames` frames each, then FREE.
        cameras: NeRSemble's 16, then those of `AROUND`.
        cast: [3] factors of the colours. rng: draws the sensor's noise.
    """

    head: HeadModel
    person: Person
    motion: Motion
    cameras: list[Camera]
    cast: NDArray[np.floating]
    rng: np.random.Generator


def training_sequences() -> list[str]:
    """The twelve sequences of the comparisons on NeRSemble (GASP section 4)."""
    return [s for s in chosen("EMO,EXP") if s != "EXP-1-head"]


def stage(seed: int, sizes: Sizes, side: int | None = None) -> Scene:
    """A held-out person's looks, motion and cameras, which show pictures of `side` pixels."""
    head, side = load_head("procedural"), side or sizes.side
    cameras = [_wider(squared(c)[0], side) for c in nersemble_rig(side).values()]
    K = intrinsics(side * DISTANCE / HEIGHT_M, side, side)
    extra = [a for pair in AROUND.values() for a in pair]
    cameras += [Camera(orbit(a, 0.1, DISTANCE, TARGET), K, side, side) for a in extra]
    rng = generator(seed, "study", "held out")
    per, test = sizes.clip_frames + sizes.rig_frames, sizes.test_frames
    motion = joined(
        [performed(head, s, per, per / RATE, rng) for s in training_sequences()]
        + [performed(head, "FREE", test, test / 6.0, rng)]
    )
    cast = np.array([1.06, 1.0, 0.93]) ** rng.uniform(-1, 1)
    return Scene(head, make_person(seed, TEXTURE), motion, cameras, cast, rng)


def as_filmed(
    rgb: NDArray[np.uint8], cast: NDArray[np.floating], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Pictures with a cast and a sensor's noise."""
    pictures = rgb.astype(np.float32) / 255 * cast
    pictures = pictures + rng.normal(0, 0.006, pictures.shape)
    return np.rint(255 * pictures.clip(0, 1)).astype(np.uint8)


def held_out_person(seed: int, sizes: Sizes, folder: Path) -> HeldOut:
    """All pictures of one held-out person, kept in `folder`.

    The sequences, the cameras and the splits are those of GASP's comparisons on NeRSemble (paper,
    section 4): twelve sequences EMO and EXP to train, FREE to test, the frontal camera for one
    photo and the clip, the four outermost cameras to test; four cameras beside and behind the head
    are ours, NeRSemble has none there.
    """
    head, names = load_head("procedural"), training_sequences()
    path = (
        folder
        / f"held-{seed}-{sizes.side}-{sizes.clip_frames}-{sizes.rig_frames}-{sizes.test_frames}.npz"
    )
    corners = nersemble_held_out()
    clip, rig, test = sizes.clip_frames, sizes.rig_frames, sizes.test_frames
    per = clip + rig
    first = len(names) * per
    if not path.exists():
        scene = stage(seed, sizes)
        motion, cameras = scene.motion, scene.cameras
        wanted: list[tuple[list[int], list[int]]] = [
            ([s * per + i for s in range(len(names)) for i in range(clip)], [FRONT]),
            ([s * per + clip + i for s in range(len(names)) for i in range(rig)], list(range(16))),
            (list(range(first, first + test)), [FRONT, *corners, *range(16, len(cameras))]),
        ]
        rgb, alpha, pairs = [], [], []
        for part, (times, seen) in enumerate(wanted):
            some = Motion(
                motion.expression[times], motion.pose[times], tuple(motion.names[t] for t in times)
            )
            shown = capture(
                scene.person, some, [cameras[c] for c in seen], (1.0, 1.0, 1.0), preview(2),
                seed + part,
            )  # fmt: skip
            rgb.append(shown.rgb.reshape(-1, sizes.side, sizes.side, 3))
            alpha.append(shown.alpha.reshape(-1, sizes.side, sizes.side))
            pairs += [(t, c) for t in times for c in seen]
        pictures = as_filmed(np.concatenate(rgb), scene.cast, scene.rng)
        tracking = _tracking(head, scene.person.identity, motion, cameras)
        _save(path, tracking, pictures, np.concatenate(alpha), pairs)
    tracking, pictures, alphas, known = _load(path, head)

    def where(times: range, seen: list[int]) -> list[int]:
        return [i for i, (t, c) in enumerate(known) if t in times and c in seen]

    training, free = range(first), range(first, first + test)
    clip_times = {s * per + i for s in range(len(names)) for i in range(clip)}
    filmed = [i for i, (t, c) in enumerate(known) if t in clip_times and c == FRONT]
    side, back = [16, 17], [18, 19]
    return HeldOut(
        head=head,
        tracking=tracking,
        pictures=pictures,
        alpha=alphas,
        pairs=known,
        train={
            "photo": filmed[:1],
            "monocular": filmed,
            "multiview": [i for i in where(training, list(range(16))) if i not in set(filmed)],
        },
        test={
            "front": where(free, [FRONT]),
            "extreme": where(free, corners),
            "side": where(free, side),
            "back": where(free, back),
        },
    )


def _wider(camera: Camera, side: int) -> Camera:
    """A camera of NeRSemble's place that shows as much as the other cameras here."""
    return Camera(camera.viewmat, intrinsics(side * DISTANCE / HEIGHT_M, side, side), side, side)


def _tracking(
    head: HeadModel, identity: torch.Tensor, motion: Motion, cameras: list[Camera]
) -> Tracking:
    count = len(motion.expression)
    Ks = np.broadcast_to(np.stack([c.K for c in cameras]), (count, len(cameras), 3, 3))
    return Tracking(
        head.name, head.digest, identity, motion.expression, motion.pose, np.ones(count, bool),
        np.stack([c.viewmat for c in cameras]), Ks,
    )  # fmt: skip


def _save(
    path: Path, tracking: Tracking, rgb: NDArray[np.uint8], alpha: NDArray[np.uint8],
    pairs: list[tuple[int, int]],
) -> None:  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    pose = {f"pose_{k}": v.numpy() for k, v in vars(tracking.pose).items()}
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial, rgb=rgb, alpha=alpha, pairs=np.array(pairs), digest=np.array(tracking.head_digest),
        identity=tracking.identity.numpy(), expression=tracking.expression.numpy(),
        viewmats=tracking.viewmats, Ks=tracking.Ks[0], **pose,
    )  # fmt: skip
    partial.replace(path)


def _load(
    path: Path, head: HeadModel
) -> tuple[Tracking, NDArray[np.uint8], NDArray[np.uint8], list[tuple[int, int]]]:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    if str(arrays["digest"]) != head.digest:
        raise SystemExit(f"{path}: rendered with another version of the head; remove it")
    pose = HeadPose(
        **{k.removeprefix("pose_"): torch.from_numpy(v) for k, v in arrays.items() if "pose_" in k}
    )
    expression = torch.from_numpy(arrays["expression"])
    cameras = len(arrays["viewmats"])
    tracking = Tracking(
        head.name, head.digest, torch.from_numpy(arrays["identity"]), expression, pose,
        np.ones(len(expression), bool), arrays["viewmats"],
        np.broadcast_to(arrays["Ks"], (len(expression), cameras, 3, 3)),
    )  # fmt: skip
    pairs = [(int(t), int(c)) for t, c in arrays["pairs"]]
    return tracking, arrays["rgb"], arrays["alpha"], pairs
