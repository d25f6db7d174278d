"""Clips as folders of numbered pictures: VFHQ's, or any video unpacked into frames.

VFHQ names its folders `Clip+{video}+P{person}+C{clip}+F{first}-{last}`; clips of one person in one
video belong together. Beside the pictures of a clip may lie what a tracker knew of them:
`splits.json` (split -> numbers) and `parameters.npz` (`frames` and an array per parameter).
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera, intrinsics
from headworks.errors import CaptureError
from headworks.formats.foreign import MOST_FRAMES, kept_inside, picture_size, read_npz, read_object
from headworks.formats.media import PHOTO_SUFFIXES
from headworks.formats.rig import SPLITS, USUAL_FPS, Recording, Rig, Source

NAME = "frames"
SPLIT_FILE = "splits.json"
PARAMETER_FILE = "parameters.npz"
CAMERA = "0"

_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})")
_VFHQ = re.compile(r"Clip\+(.+)\+P([0-9]+)\+C[0-9]+\+F[0-9]+-[0-9]+")
_LEAST = 10
"""Fewer numbered pictures than this are photos, unless the layout is asked for."""
_FOCAL = 2.2


def numbered(folder: Path) -> dict[int, Path]:
    """Pictures of a folder by their number, where all are named alike up to it; else empty."""
    found: dict[int, Path] = {}
    heads = set()
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PHOTO_SUFFIXES or path.name.startswith("."):
            continue
        match = _NUMBERED.fullmatch(path.stem)
        if match is None or int(match[2]) in found:
            return {}
        heads.add((match[1], path.suffix.lower()))
        found[int(match[2])] = path
    return found if len(heads) == 1 else {}


def is_clip(folder: Path) -> bool:
    """Whether a folder holds the numbered frames of a clip, rather than photos.

    There are ten or more, numbered in even steps but for some gaps, all of one size.
    """
    found = numbered(folder)
    if len(found) < _LEAST:
        return False
    order = sorted(found)
    steps = Counter(np.diff(order).tolist())
    if steps.most_common(1)[0][1] < 0.9 * (len(order) - 1):
        return False
    sizes = {picture_size(found[n]) for n in (order[0], order[len(order) // 2], order[-1])}
    return len(sizes) == 1


def people(folder: Path) -> dict[str, list[Path]]:
    """Clips below a folder by person: name -> folders of clips; empty where there are none.

    A folder that is itself a clip is its only person.
    """
    if not folder.is_dir():
        return {}
    if is_clip(folder):
        return {folder.name: [folder]}
    found: dict[str, list[Path]] = {}
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.name.startswith(".") and is_clip(inner):
            match = _VFHQ.fullmatch(inner.name)
            found.setdefault(f"{match[1]}-P{match[2]}" if match else inner.name, []).append(inner)
    return found


def read_clips(folders: list[Path], name: str) -> Rig:
    """Clips of one person as an uncalibrated capture by one camera.

    Args:
        folders: of the clips, beside each other. name: of the capture.

    Raises:
        CaptureError: no numbered pictures, or pictures of several sizes.
    """
    recordings: dict[str, Recording] = {}
    sizes: dict[tuple[int, int], Path] = {}
    files: list[Path] = []
    for folder in folders:
        found = numbered(folder)
        if not found:
            raise CaptureError(
                f"{folder}: no numbered pictures (such as 00000000.png, 00000001.png) in it"
            )
        if len(found) > MOST_FRAMES:
            raise CaptureError(f"{folder}: more than {MOST_FRAMES} pictures")
        order = sorted(found)
        paths = [kept_inside(folder, found[n]) for n in order]
        for path in paths:
            sizes.setdefault(picture_size(path), path)
            if len(sizes) > 1:
                (a, first), (b, second) = sizes.items()
                raise CaptureError(
                    f"{second}: {b[0]} x {b[1]} pixels, {first} has {a[0]} x {a[1]}; the frames "
                    "of a person's clips must have one size"
                )
        beside = [
            kept_inside(folder, p)
            for n in (SPLIT_FILE, PARAMETER_FILE)
            if (p := folder / n).is_file()
        ]
        parameters = tuple(p for p in beside if p.name == PARAMETER_FILE)
        split = _split(folder / SPLIT_FILE, order)
        source = Source(tuple(paths), frames=tuple(order), split=split)
        recordings[folder.name] = Recording(folder.name, {CAMERA: source}, parameters)
        files += [*paths, *beside]
    ((width, height),) = sizes
    camera = Camera(np.eye(4), intrinsics(_FOCAL * max(width, height), width, height),
                    width, height)  # fmt: skip
    note = f"frame rate not stated: times are given at {USUAL_FPS:g} per second"
    return Rig(NAME, name, {CAMERA: camera}, recordings, calibrated=False, files=tuple(files),
               notes=(note,))  # fmt: skip


def read_parameters(path: Path) -> tuple[list[int], dict[str, NDArray[Any]]]:
    """Numbers of the frames that a tracker knew, and what it found, an array per name.

    Raises:
        CaptureError: no frame numbers, or an array of another length.
    """
    arrays = read_npz(path)
    frames = arrays.pop("frames", np.zeros((0, 0)))
    arrays.pop("K", None)
    if frames.ndim != 1 or frames.dtype.kind not in "iu":
        raise CaptureError(f"{path}: no whole numbers `frames`, which say where each row belongs")
    for name, array in arrays.items():
        if array.ndim < 1 or len(array) != len(frames) or array.dtype.kind not in "iuf":
            raise CaptureError(
                f"{path}: {name} is {array.dtype} {array.shape}, expected numbers for "
                f"{len(frames)} frames"
            )
    return frames.tolist(), arrays


def _split(path: Path, order: list[int]) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    body = read_object(path)
    told: dict[object, str] = {}
    for split in SPLITS:
        rows = body.get(split, [])
        if not isinstance(rows, list):
            raise CaptureError(f"{path}: {split} must be a list of frame numbers")
        told.update({n: split for n in rows if isinstance(n, int)})
    missing = [n for n in order if n not in told]
    if missing:
        raise CaptureError(f"{path}: frame {missing[0]} is in no split")
    return tuple(told[n] for n in order)
