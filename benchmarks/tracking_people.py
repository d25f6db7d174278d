"""Synthetic captures for `benchmarks/tracking.py`: people whose shape the tracker cannot know.

A person's head is one that the population of the procedural head holds (another seed than any
demo's or prior's), plus a smooth field of displacements that no identity mode of the head spans:
bumps of some centimetres and about a millimetre and a half. The tracker's head model lacks them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from headworks.artifacts import write_arrays, write_meta, write_table
from headworks.cameras import Camera
from headworks.heads.base import HeadModel
from headworks.seeds import generator
from headworks.synthetic.capture import capture, preview, room
from headworks.synthetic.motion import Motion, talking
from headworks.synthetic.person import Person, draw_identity, dress
from headworks.synthetic.rigs import ring
from headworks.synthetic.space import head_space
from headworks.synthetic.traits import draw_traits

WAVES, WAVELENGTH_M = 24, (0.04, 0.12)
FPS = 12.5
HEIGHT_M = 0.34
"""What a picture shows at the head, as ingest would cut it."""

LENS, LENS_SPREAD = 2.2, 0.3
"""Focal lengths of clips in sides of the whole image, from which the picture is cut: median, and
standard deviation of the logarithm. It is what `tracking` expects of cameras by default."""


@dataclass(frozen=True)
class Truth:
    """What is known of a capture.

    Attributes:
        vertices: float32 [T, V, 3] world. expression: [T, Ke]. rotation: [T, 3, 3] head to world.
    """

    vertices: NDArray[np.float32]
    expression: NDArray[np.float32]
    rotation: NDArray[np.float64]


def strange_head(head: HeadModel, rms_m: float, seed: int) -> HeadModel:
    """The head with a template off its identity basis by `rms_m` over the head."""
    rng = generator(seed, "strange")
    template = head.template.double().numpy()
    field = np.zeros_like(template)
    for _ in range(WAVES):
        direction = rng.normal(size=3)
        direction *= 2 * np.pi / rng.uniform(*WAVELENGTH_M) / np.linalg.norm(direction)
        phase = rng.uniform(0, 2 * np.pi)
        field += np.sin(template @ direction + phase)[:, None] * rng.normal(size=3)
    # What the identity can show is taken out; the eyes keep their shape and move as a whole.
    basis = head.identity_basis.double().numpy().reshape(len(head.identity_basis), -1).T
    field = field - (basis @ np.linalg.lstsq(basis, field.reshape(-1), rcond=None)[0]).reshape(
        field.shape
    )
    for joint in (3, 4):
        eye = head.skin_weights[:, joint].numpy() > 0.5
        field[eye] = field[eye].mean(0)
    field *= rms_m / np.sqrt((field**2).sum(1).mean())
    return dataclasses.replace(head, template=(head.template + torch.from_numpy(field)).float())


def strange_person(seed: int, rms_m: float, texture: int = 512) -> Person:
    """A person of the population with a strange head."""
    traits = draw_traits(generator(seed, "person"))
    traits = dataclasses.replace(traits, glasses=None)
    space = head_space("procedural")
    identity = draw_identity(space.head, traits, seed)
    strange = dataclasses.replace(space, head=strange_head(space.head, rms_m, seed))
    return dress(strange, identity, traits, seed, texture)


def film(folder: Path, seed: int, cameras: int, frames: int, size: int, rms_m: float) -> Truth:
    """Write a capture's `ingest` and `matting` folders, as of a real person.

    Args:
        folder: to write below. seed: who. cameras: 1 films a clip, more a calibrated ring.
        frames: T. size: side of the pictures, pixels. rms_m: how strange the head is, metres.
    """
    person = strange_person(seed, rms_m)
    head, rng = person.space.head, generator(seed, "film", cameras)
    motion = _blinking(head, talking(head, frames, FPS, rng))
    rig = ring(cameras, size, height_m=HEIGHT_M)
    taken = capture(
        person, motion, rig, room(size, seed, rng), preview(2), seed, sensor_noise=0.006
    )
    lens = LENS * float(np.exp(LENS_SPREAD * generator(seed, "lens").normal()))
    whole = size if cameras > 1 else max(size, round(float(rig[0].K[0, 0]) / lens))
    _write(folder, rig, taken.rgb, taken.alpha, taken.landmarks, whole)
    return truth_of(person, motion)


def _blinking(head: HeadModel, motion: Motion) -> Motion:
    """The motion with two whole blinks and a smile, so that short films have them, too."""
    frames = np.arange(len(motion.expression))
    expression = motion.expression.clone()
    for name, at, width in (
        ("eyeBlink", (0.3, 0.7), 0.16 * FPS), ("mouthSmile", (0.5,), 0.5 * FPS),
    ):  # fmt: skip
        for share in at:
            pulse = np.exp(-(((frames - share * len(frames)) / width) ** 2))
            for side in ("Left", "Right"):
                k = head.expression_index(name + side)
                added = torch.from_numpy(pulse.astype(np.float32))
                expression[:, k] = torch.maximum(expression[:, k], added)
    return dataclasses.replace(motion, expression=expression)


def truth_of(person: Person, motion: Motion) -> Truth:
    """Posed vertices and the head's own rotation."""
    head, t = person.space.head, len(motion.expression)
    identity = person.identity[None].expand(t, -1)
    with torch.no_grad():
        vertices = head.vertices(identity, motion.expression, motion.pose)
        turned, _ = head.joint_transforms(identity, motion.pose)
    return Truth(vertices.numpy(), motion.expression.numpy(), turned[:, 1].double().numpy())


def _write(
    folder: Path, rig: list[Camera], rgb: NDArray[np.uint8], alpha: NDArray[np.uint8],
    landmarks: NDArray[np.float32], side: int,
) -> None:  # fmt: skip
    """Artifacts of pictures cut from the middle of images of some side."""
    t, c, size = rgb.shape[:3]
    several = c > 1
    ingest, matting = folder / "ingest", folder / "matting"
    for path in (ingest, matting):
        path.mkdir(parents=True)
    write_arrays(ingest / "frames.zarr", {"rgb": rgb})
    rows = t * c
    corner = (side - size) / 2
    whole: dict[str, Any] = {"crop_x": corner, "crop_y": corner, "crop_side": float(size)}
    table = pl.DataFrame(
        {
            "sequence": ["EXP"] * rows,
            "t": np.repeat(np.arange(t, dtype=np.int32), c),
            "c": np.tile(np.arange(c, dtype=np.int32), t),
            "frame": np.repeat(np.arange(t, dtype=np.int32), c),
            "camera": [f"{i:02d}" for i in np.tile(np.arange(c), t)],
            "split": ["train"] * rows,
            **{name: np.full(rows, value, np.float32) for name, value in whole.items()},
        }
    )
    write_table(ingest / "frames.parquet", table)
    cameras = [
        {
            "name": f"{i:02d}", "width": size, "height": size,
            "K": camera.K.tolist() if several else None,
            "viewmat": camera.viewmat.tolist() if several else None,
        }
        for i, camera in enumerate(rig)
    ]  # fmt: skip
    write_meta(
        ingest,
        "capture",
        {
            "setting": "multiview" if several else "monocular",
            "subject_kind": "multiview" if several else "clip",
            "fps": FPS, "cameras": cameras,
            "source": [{"file": "clip.mp4", "width": side, "height": side}],
        },
    )  # fmt: skip
    write_arrays(matting / "mattes.zarr", {"alpha": alpha})
    write_meta(matting, "mattes", {"backend": "exact", "reason": "the renderer's own"})
    write_arrays(folder / "drawn.zarr", {"landmarks": landmarks})
    (folder / "rig.json").write_text(
        json.dumps([{"K": r.K.tolist(), "viewmat": r.viewmat.tolist()} for r in rig])
    )
