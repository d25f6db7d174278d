"""Avatars shown: what is seen, by which cameras, over what, and the files that come of it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headworks.errors import HeadworksError
from pipelines.files import remove
from pipelines.marking import Marking
from pipelines.stamp import Stamp

if TYPE_CHECKING:
    from headworks.cameras import Camera
    from headworks.driving.cameras import CameraPath
    from headworks.driving.performance import Performance, Rest
    from headworks.driving.show import Shown
    from pipelines.avatars import Driver, Source

COLOURS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5)}
TRANSPARENT = "transparent"
_ORBIT_S = 6.0
_WRITTEN = re.compile(r"\d{5}\.png|point_cloud|note\.json|.*\.headworks\.json")
"""What stands in the folders that `drive` and `export` write."""
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Look:
    """How an avatar is seen.

    Attributes:
        camera: "own" (the camera of its capture that sees the face), "front" (a portrait camera
            before the resting head), "driver" (the driver's camera, the head where theirs is),
            "turntable" (once around), "swing" (60 degrees to both sides and back), or a file.
        size: pixels of the longer side; 0 keeps the camera's.
        background: a colour (white, black, grey, #rrggbb), a picture's file, or "transparent".
    """

    camera: str = "own"
    size: int = 0
    background: str = "white"


def check_look(look: Look) -> None:
    """Raises HeadworksError for a camera, size or background that cannot be."""
    names = ("own", "front", "driver", "turntable", "swing")
    if look.camera not in names and not Path(look.camera).is_file():
        raise HeadworksError(
            f"--camera {look.camera}: expected {', '.join(names)} or the file of a camera path"
        )
    if look.size and not 16 <= look.size <= 4096:
        raise HeadworksError(f"--size {look.size}: expected 16 to 4096 pixels")
    if look.background != TRANSPARENT:
        _backdrop(look.background, (16, 16))


def cameras_for(
    look: Look, source: Source, rest: Rest, driver: Driver | None, count: int, fps: float
) -> list[Camera]:
    """The camera of every frame.

    Args:
        rest: of the avatar. driver: for "driver". count: frames; 1 for a still, which a path shows
            for its whole length. fps: frames per second.

    Raises:
        HeadworksError: the camera path is not readable.
    """
    from headworks.driving.cameras import in_world, read_path, turntable
    from headworks.driving.performance import bare_head, canonical_rest, world_place

    place = world_place(rest)
    if look.camera in ("own", "driver"):
        camera = rest.camera
        if look.camera == "driver":
            if driver is None:
                raise HeadworksError("--camera driver: nobody drives the avatar here")
            camera = driver.rest.camera
        return [_resized(camera, look.size)] * count
    head, identity = source.avatar.head, source.avatar.identity
    portrait = canonical_rest(head, identity, look.size or 512).camera
    if look.camera == "front":
        return [in_world(portrait, place)] * count
    if look.camera in ("turntable", "swing"):
        bare = bare_head(head, identity)
        middle = (bare.min(0) + bare.max(0)) / 2.0
        sweep = 2 * np.pi if look.camera == "turntable" else np.deg2rad(120)
        seconds = count / fps if count > 1 else _ORBIT_S
        path = turntable(portrait, middle.astype(np.float64), seconds, fps, sweep)
        return _flown(path, place, count, fps, 0)
    return _flown(read_path(Path(look.camera)), place, count, fps, look.size)


def _flown(
    path: CameraPath, place: NDArray[np.float64], count: int, fps: float, size: int
) -> list[Camera]:
    from headworks.driving.cameras import in_world

    frames = count if count > 1 else path.frames()
    rate = fps if count > 1 else path.fps
    seen = (path.camera(n / rate) for n in range(frames))
    world = (in_world(c, place) if path.frame == "head" else c for c in seen)
    return [_resized(camera, size) for camera in world]


def _resized(camera: Camera, size: int) -> Camera:
    if not size:
        return camera
    scale = size / max(camera.width, camera.height)
    return camera.resized(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))


def _backdrop(name: str, size: tuple[int, int]) -> NDArray[np.float32]:
    """A background as [3] or [H, W, 3]; size: (width, height)."""
    if name in COLOURS:
        return np.array(COLOURS[name], np.float32)
    digits = name.removeprefix("#")
    if name.startswith("#") and len(digits) == 6 and set(digits) <= set("0123456789abcdefABCDEF"):
        return np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)], np.float32)
    if Path(name).is_file():
        from headworks.formats.media import read_photo
        from headworks.images import resize, to_float

        picture, _ = read_photo(Path(name))
        height, width = picture.shape[:2]
        scale = max(size[0] / width, size[1] / height)
        wide, high = max(size[0], round(width * scale)), max(size[1], round(height * scale))
        x, y = (wide - size[0]) // 2, (high - size[1]) // 2
        return to_float(resize(picture, wide, high)[y : y + size[1], x : x + size[0]])
    raise HeadworksError(
        f"--background {name}: expected {', '.join(COLOURS)}, #rrggbb, {TRANSPARENT} or a picture"
    )


def film(
    source: Source,
    performance: Performance,
    cameras: Sequence[Camera],
    fps: float,
    look: Look,
    output: Path,
    stamp: Stamp,
    force: bool,
    progress: Progress,
    beside: Sequence[NDArray[np.uint8]] | None = None,
    marking: Marking | None = None,
) -> list[str]:
    """Write a video (.mp4), a picture (.png) or a folder of numbered pictures, whole or not at all.

    Args:
        performance: in the avatar's coefficients. cameras: one per frame. look: background.
        stamp: written into every file. force: replace what is there. progress: fraction, message.
        beside: uint8 [H, W, 3] shown to the left of each frame, in its size.
        marking: how the files say that they were generated; None: credentials alone.

    Returns:
        Lines that say what was written.
    """
    from headworks.driving.show import shown
    from headworks.formats.video import write_mp4

    kind = output.suffix.lower()
    if kind not in (".mp4", ".png", ""):
        raise HeadworksError(f"{output}: write to NAME.mp4, NAME.png or a folder of pictures")
    transparent = look.background == TRANSPARENT
    if transparent and (kind == ".mp4" or beside is not None):
        raise HeadworksError("--background transparent: only for pictures (PNG), one avatar each")
    if kind == ".png" and len(cameras) > 1:
        raise HeadworksError(
            f"{output}: {len(cameras)} frames do not fit into one picture; name a folder"
        )
    size = cameras[0].width, cameras[0].height
    backdrop = None if transparent else _backdrop(look.background, size)
    frames = _pictures(shown(source.avatar, performance, cameras), backdrop, beside)
    marking = marking or Marking()
    finish, said = marking.finisher(stamp)
    counted = _counted(marking.pictures(frames, stamp), len(cameras), progress)
    with whole(output, force) as fresh:
        if kind == ".mp4":
            write_mp4(fresh, counted, fps)
            finish(fresh, output.name)
            return [f"wrote {output}: {len(cameras)} frames, {fps:g} per second", *said]
        if kind == "":
            fresh.mkdir()
        for number, picture in enumerate(counted):
            file = fresh if kind == ".png" else fresh / f"{number:05d}.png"
            save_png(file, picture)
            finish(file, output.name if kind else file.name)
    return [f"wrote {output}" + ("" if kind else f": {len(cameras)} pictures"), *said]


def _pictures(
    frames: Iterator[Shown],
    backdrop: NDArray[np.float32] | None,
    beside: Sequence[NDArray[np.uint8]] | None,
) -> Iterator[NDArray[np.uint8]]:
    from headworks.images import resize

    for number, frame in enumerate(frames):
        picture = frame.rgba() if backdrop is None else frame.over(backdrop)
        if beside is not None:
            other = beside[min(number, len(beside) - 1)]
            height = picture.shape[0]
            width = round(other.shape[1] * height / other.shape[0])
            picture = np.concatenate([resize(other, width, height), picture], 1)
        yield picture


def _counted(
    frames: Iterator[NDArray[np.uint8]], count: int, progress: Progress
) -> Iterator[NDArray[np.uint8]]:
    start = time.perf_counter()
    for number, frame in enumerate(frames):
        yield frame
        rate = (number + 1) / max(time.perf_counter() - start, 1e-6)
        progress((number + 1) / count, f"frame {number + 1} of {count}, {rate:.0f} per second")


def save_png(file: Path, picture: NDArray[np.uint8]) -> None:
    """Write uint8 [H, W, 3] or, with straight alpha, [H, W, 4]."""
    from PIL import Image

    Image.fromarray(picture).save(file, format="PNG")


@contextmanager
def whole(output: Path, force: bool) -> Iterator[Path]:
    """A place to write to that becomes the output when all went well, and vanishes when not.

    Raises:
        HeadworksError: the output is there already, or its folder is not; or what is there is a
            folder with other things in it, which are never replaced.
    """
    if output.exists() and not force:
        raise HeadworksError(f"{output}: is there already; choose another place, or --force")
    if output.is_dir() and not all(_WRITTEN.fullmatch(e.name) for e in output.iterdir()):
        raise HeadworksError(f"{output}: a folder with other things in it; choose another place")
    parent = output.parent
    if not parent.is_dir():
        raise HeadworksError(f"{parent}: no such folder; make it first")
    if not os.access(parent, os.W_OK):
        raise HeadworksError(f"{parent}: no right to write there")
    fresh = parent / f".{output.stem}.{os.getpid()}{output.suffix}"
    remove(fresh)
    try:
        yield fresh
        if output.exists():
            remove(output)
        fresh.rename(output)
    finally:
        remove(fresh)


def progress_line() -> Progress:
    """Progress on the terminal; where it is none, a line every quarter."""
    said = [0.0]

    def tell(done: float, message: str) -> None:
        if sys.stderr.isatty():
            end = "\n" if done >= 1 else ""
            print(f"\r{100 * done:3.0f} %  {message:60}", end=end, file=sys.stderr, flush=True)
        elif done >= said[0] + 0.25 or done >= 1:
            said[0] = done
            print(f"{100 * done:3.0f} %  {message}", file=sys.stderr, flush=True)

    return tell
