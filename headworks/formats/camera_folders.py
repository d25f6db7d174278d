"""Uncalibrated rigs: a video, or a folder of pictures, per still camera, and nothing else.

    FOLDER/left.mp4, FOLDER/front.mp4, ...            a sequence, one video per camera
    FOLDER/cam_01/0001.jpg, FOLDER/cam_02/0001.jpg    likewise as pictures (one each will do)
    FOLDER/smile/left.mp4, FOLDER/talk/left.mp4       several sequences
    FOLDER/background/left.jpg                        each camera's picture without the person

Frame n of all cameras must show one moment. How the cameras stand and what their lenses are is
estimated from the pictures (`headworks.reconstruct.calibration`).
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from headworks.cameras import Camera, intrinsics
from headworks.errors import CaptureError
from headworks.formats.clip_folders import numbered
from headworks.formats.foreign import MOST_FRAMES, kept_inside, picture_size
from headworks.formats.media import PHOTO_SUFFIXES, VIDEO_SUFFIXES, clip_info
from headworks.formats.rig import Recording, Rig, Source

NAME = "rig"
LEAST_CAMERAS = 3

_BACKGROUND = "background"
_PLATE = re.compile(r"(?:image_)?(.+)")
# Names that say camera, or serial numbers: other folders of pictures may be different people.
_CAMERA = re.compile(r"(?i)(?:cam(?:era)?|view|kamera|gopro|c)[ ._-]?[0-9a-z._-]{0,24}|[0-9]{6,}")
# Recordings of one moment are cut at most this differently, frames.
_APART = 2
_FOCAL = 2.2


def is_rig(folder: Path) -> bool:
    """Whether a folder holds what several cameras took at once, and nothing says otherwise.

    Three or more videos of equally many frames, or three or more folders with camera-like names
    that hold equally many, equally numbered pictures; or folders of these.
    """
    found = _sequences(folder)
    return bool(found) and all(_alike(cameras) for cameras in found.values())


def _alike(cameras: dict[str, Source]) -> bool:
    if len(cameras) < LEAST_CAMERAS:
        return False
    sources = list(cameras.values())
    if not all(s.is_video for s in sources):
        same = len({(len(s.files), s.frames) for s in sources}) == 1
        return same and all(_CAMERA.fullmatch(name) for name in cameras)
    try:
        counts = [clip_info(s.files[0]).frames for s in sources]
    except CaptureError:
        return False
    return min(counts) > 0 and max(counts) - min(counts) <= _APART


def read_rig(folder: Path) -> Rig:
    """An uncalibrated rig's recordings; decodes nothing.

    Args:
        folder: see above.

    Raises:
        CaptureError: fewer than three cameras, or pictures of different numbers.
    """
    found = _sequences(folder)
    if not found:
        raise CaptureError(
            f"{folder}: no rig: expected a video (left.mp4) or a folder of pictures (left/0001.jpg)"
            f" for each of {LEAST_CAMERAS} or more cameras, or folders of these, one per sequence"
        )
    notes = ["the cameras' clocks are not checked: frame n is taken for one moment everywhere"]
    everywhere = [n for n in next(iter(found.values())) if all(n in c for c in found.values())]
    for name in dict.fromkeys(n for cameras in found.values() for n in cameras):
        if name not in everywhere:
            notes.append(f"camera {name}: not in every sequence, left out")
    if len(everywhere) < LEAST_CAMERAS:
        raise CaptureError(
            f"{folder}: {len(everywhere)} cameras are in every sequence "
            f"({', '.join(everywhere) or 'none'}); {LEAST_CAMERAS} or more are needed: name a "
            "camera alike in all sequences"
        )
    recordings, cameras = {}, {}
    for sequence, sources in found.items():
        kept = {name: sources[name] for name in everywhere}
        _same_length(folder, sequence, kept)
        recordings[sequence] = Recording(sequence, kept)
    for name, source in recordings[next(iter(recordings))].sources.items():
        width, height = _size(source)
        # Only the name and the size count of a camera that is not known.
        K = intrinsics(_FOCAL * max(width, height), width, height)
        cameras[name] = Camera(np.eye(4), K, width, height)
    plates = _plates(folder, everywhere)
    pictures = [f for r in recordings.values() for s in r.sources.values() for f in s.files]
    if len(pictures) > MOST_FRAMES:
        raise CaptureError(f"{folder}: more than {MOST_FRAMES} pictures")
    files = tuple(kept_inside(folder, path) for path in (*pictures, *plates.values()))
    return Rig(NAME, folder.name, cameras, recordings, calibrated=False, plates=plates,
               files=files, notes=tuple(notes))  # fmt: skip


def _same_length(folder: Path, sequence: str, cameras: dict[str, Source]) -> None:
    counts = Counter(
        len(s.files) for s in cameras.values() if not s.is_video
    )  # videos are counted when they are read
    if len(counts) > 1 or (counts and any(s.is_video for s in cameras.values())):
        told = ", ".join(f"{n}: {len(s.files)}" for n, s in list(cameras.items())[:6])
        raise CaptureError(
            f"{folder}: the cameras of {sequence} have different numbers of pictures ({told}); "
            "keep the moments that all cameras saw"
        )


def _sequences(folder: Path) -> dict[str, dict[str, Source]]:
    """Sequence -> camera -> what it took; of a folder with cameras in it, or one level below."""
    if not folder.is_dir():
        return {}
    here = _cameras(folder)
    if len(here) >= LEAST_CAMERAS:
        return {folder.name: here}
    below = folder / "sequences" if (folder / "sequences").is_dir() else folder
    found = {}
    for inner in _folders(below):
        cameras = _cameras(inner / "images" if (inner / "images").is_dir() else inner)
        if len(cameras) >= LEAST_CAMERAS:
            found[inner.name] = cameras
    return found


def _cameras(folder: Path) -> dict[str, Source]:
    """Camera -> video, or its pictures; empty where there is neither."""
    videos = {
        p.stem: Source((p,))
        for p in sorted(folder.iterdir())
        if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES and not p.name.startswith(".")
    }
    if videos:
        return videos
    found = {}
    for inner in _folders(folder):
        paths = sorted(
            p for p in inner.iterdir()
            if p.suffix.lower() in PHOTO_SUFFIXES and not p.name.startswith(".")
        )  # fmt: skip
        if not paths:
            continue
        numbers = numbered(inner)
        order = tuple(sorted(numbers))
        found[inner.name] = (
            Source(tuple(numbers[n] for n in order), frames=order)
            if len(numbers) == len(paths)
            else Source(tuple(paths), frames=tuple(range(len(paths))))
        )
    return found


def _folders(folder: Path) -> list[Path]:
    return [
        p for p in sorted(folder.iterdir())
        if p.is_dir() and not p.name.startswith(".") and p.name.lower() != _BACKGROUND
    ]  # fmt: skip


def _plates(folder: Path, cameras: list[str]) -> dict[str, Path]:
    """Every camera's picture of the empty scene; none unless all have one."""
    found = {}
    for root in (folder, folder / "sequences"):
        inner = (
            [p for p in root.iterdir() if p.name.lower() == _BACKGROUND] if root.is_dir() else []
        )
        for path in sorted(p for i in inner if i.is_dir() for p in i.iterdir()):
            named = _PLATE.fullmatch(path.stem)
            if path.suffix.lower() not in PHOTO_SUFFIXES or named is None:
                continue
            for name in (path.stem, named[1], f"cam_{named[1]}"):
                if name in cameras:
                    found[name] = path
    return found if len(found) == len(cameras) else {}


def _size(source: Source) -> tuple[int, int]:
    if not source.is_video:
        return picture_size(source.files[0])
    info = clip_info(source.files[0])
    return info.width, info.height
