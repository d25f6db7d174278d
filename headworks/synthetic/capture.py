"""Backdrops and whole captures of synthetic people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.images import to_uint8
from headworks.seeds import derive_seed, generator
from headworks.synthetic.film import Film, scratch_folder
from headworks.synthetic.motion import Motion
from headworks.synthetic.noise import noise
from headworks.synthetic.person import Person
from headworks.synthetic.render import Picture, Stage, pose_person, render_stage
from headworks.synthetic.rigs import TARGET, around, held_out, ring

__all__ = ["TARGET", "Rendered", "around", "capture", "held_out", "preview", "ring", "room"]


class Renderer(Protocol):
    """Takes a picture of a posed person; equal arguments give equal pictures."""

    def __call__(self, stage: Stage, camera: Camera, seed: int) -> Picture:
        """Picture of the view; `seed` is of this picture alone."""
        ...


def preview(supersampling: int = 2) -> Renderer:
    """The z-buffer's pictures: fast, and free of chance.

    Args:
        supersampling: samples per pixel and axis.
    """

    def take(stage: Stage, camera: Camera, seed: int) -> Picture:
        return render_stage(stage, camera, supersampling)

    return take


@dataclass(frozen=True)
class Rendered:
    """Frames of a capture and their exact annotations.

    Attributes:
        rgb: uint8 [T, C, H, W, 3]. alpha: uint8 [T, C, H, W].
        landmarks: float32 [T, C, 68, 3]: x, y in pixels, 1 if visible else 0.
        annotations: name -> [T, C, H, W, ...] (`annotations.STORED`), where wanted.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    annotations: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def room(size: int, seed: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A plain wall with a soft gradient and a light texture, float32 [size, size, 3]."""
    y, x = np.mgrid[0:size, 0:size] / size
    grid = np.stack([x, y, 0 * x], -1)
    tint = rng.uniform(0.50, 0.78) + rng.uniform(-0.07, 0.07, 3)
    slope = rng.uniform(-0.10, 0.10, 2)
    level = 1 + slope[0] * (x - 0.5) + slope[1] * (y - 0.5)
    level = level + 0.035 * noise(grid, 0.16, seed, 3) + 0.012 * noise(grid, 0.008, seed + 1)
    return np.clip(tint * level[..., None], 0, 1).astype(np.float32)


def capture(
    person: Person,
    motion: Motion,
    cameras: Sequence[Camera],
    background: NDArray[np.float32] | tuple[float, float, float],
    renderer: Renderer,
    seed: int,
    sensor_noise: float = 0.0,
    annotated: bool = False,
    scratch: Path | None = None,
    plan: Mapping[str, Any] | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Rendered:
    """Render every time step from every camera.

    Args:
        person: who. motion: what they do. cameras: all of one size.
        background: a colour or a plate [H, W, 3]. renderer: takes the pictures.
        seed: of every picture's chance (with its time step and camera).
        sensor_noise: standard deviation of noise on the pictures.
        annotated: also depth, normals, texture coordinates and regions.
        scratch: folder that outlives a kill; frames found there are not rendered again.
        plan: what the frames depend on besides this function's code: frames of another plan do
            not count.
        progress: is told how far it is.
    """
    from headworks.synthetic.annotations import STORED, annotate

    t, c = len(motion.expression), len(cameras)
    height, width = cameras[0].height, cameras[0].width
    layout: dict[str, Any] = {
        "rgb": ((t, c, height, width, 3), np.uint8),
        "alpha": ((t, c, height, width), np.uint8),
        "landmarks": ((t, c, 68, 3), np.float32),
    }
    if annotated:
        layout |= {n: ((t, c, height, width, *rest), d) for n, (rest, d) in STORED.items()}
    with scratch_folder(scratch) as folder:
        film = Film(folder, plan or {}, layout)
        missing = film.missing()
        for done, i in enumerate(missing):
            stage = pose_person(person, motion.expression[i], motion.pose[[i]])
            frames: dict[str, list[NDArray[Any]]] = {name: [] for name in layout}
            for j, camera in enumerate(cameras):
                picture = renderer(stage, camera, derive_seed(seed, "picture", i, j) % 2**32)
                image = picture.over(background)
                if sensor_noise:
                    rng = generator(seed, "sensor", i, j)
                    image = image + rng.normal(0, sensor_noise, image.shape)
                frames["rgb"].append(to_uint8(image))
                frames["alpha"].append(to_uint8(picture.alpha))
                frames["landmarks"].append(picture.landmarks)
                if annotated:
                    for name, value in (
                        annotate(stage.scene, person.space.head, camera).stored().items()
                    ):
                        frames[name].append(value)
            film.keep(i, **{name: np.stack(rows) for name, rows in frames.items()})
            if progress is not None:
                progress((t - len(missing) + done + 1) / t, f"frame {i + 1} of {t}")
        arrays = {name: np.array(array) for name, array in film.arrays.items()}
    own = {name: arrays.pop(name) for name in ("rgb", "alpha", "landmarks")}
    return Rendered(**own, annotations=arrays)


def truth_arrays(
    person: Person, motion: Motion, cameras: Sequence[Camera], rendered: Rendered
) -> dict[str, NDArray[Any]]:
    """The arrays of `truth/truth.zarr` (docs/artifacts.md)."""
    t = len(motion.expression)
    pose = motion.pose
    return {
        "alpha": rendered.alpha,
        "landmarks": rendered.landmarks,
        "identity": person.identity.numpy(),
        "expression": motion.expression.numpy(),
        "rotation": pose.rotation.numpy(),
        "translation": pose.translation.numpy(),
        "neck": pose.neck.numpy(),
        "neck_translation": pose.neck_translation.numpy(),
        "jaw": pose.jaw.numpy(),
        "eyes": pose.eyes.numpy(),
        "viewmats": np.stack([camera.viewmat for camera in cameras]),
        "Ks": np.broadcast_to(np.stack([camera.K for camera in cameras]), (t, len(cameras), 3, 3)),
        "valid": np.ones(t, bool),
        **rendered.annotations,
    }
