"""Folders of Multiview-3DMM-Fitting and Gaussian Head Avatar: pictures and cameras per frame.

`images/{frame}/image_{serial}.jpg` with `mask_{serial}.jpg` beside it, `cameras/{frame}/
camera_{serial}.npz` (world to camera, OpenCV axes), `background/image_{serial}.jpg`.

Source: Xu et al., Gaussian Head Avatar (2024), the tools of its data.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from headworks.cameras import Camera
from headworks.errors import CaptureError
from headworks.formats.foreign import MOST_FRAMES, kept_inside, numbers, picture_size, read_npz
from headworks.formats.nersemble import CORNERS
from headworks.formats.rig import Recording, Rig, Source, completed, set_apart

NAME = "multiview-3dmm"
_IMAGE = re.compile(r"image_([A-Za-z0-9]+)\.(?:jpg|jpeg|png)")
_FRAME = re.compile(r"[0-9]{1,9}")
_SAME = 1e-4


def is_tsinghua(folder: Path) -> bool:
    """Whether a folder has pictures and cameras per frame."""
    return _some(folder / "images", "image_*") and _some(folder / "cameras", "camera_*.npz")


def looks_like_tsinghua(folder: Path) -> bool:
    """Whether it has one of the two."""
    return _some(folder / "images", "image_*") or _some(folder / "cameras", "camera_*.npz")


def _some(folder: Path, pattern: str) -> bool:
    return folder.is_dir() and next(iter(folder.glob(f"*/{pattern}")), None) is not None


def read_tsinghua(folder: Path) -> Rig:
    """Find cameras, pictures, masks and plates; decodes nothing.

    Raises:
        CaptureError: something is missing or damaged, or a camera moves.
    """
    folder = Path(folder)
    for name, example in (("images", "0000/image_{serial}.jpg"),
                          ("cameras", "0000/camera_{serial}.npz")):  # fmt: skip
        if not _some(folder / name, "*"):
            raise CaptureError(
                f"{folder / name}: missing or empty; expected {name}/{example}, the layout of "
                "Multiview-3DMM-Fitting and Gaussian Head Avatar"
            )
    notes: list[str] = []
    found = _pictures(folder)
    steps, serials = completed(found, folder, notes)
    cameras, camera_files = _cameras(folder, steps, serials, found, notes)
    sources: dict[str, Source] = {}
    masked = all(_mask(found[t][s]) is not None for t in steps for s in serials)
    for serial in serials:
        files = tuple(found[t][serial] for t in steps)
        masks = tuple(m for f in files if (m := _mask(f)) is not None) if masked else ()
        sources[serial] = Source(files, masks, tuple(steps))
    plates = {}
    for path in sorted((folder / "background").glob("image_*")):
        match = _IMAGE.fullmatch(path.name)
        if match and match[1] in cameras:
            plates[match[1]] = kept_inside(folder, path)
    pictures = [p for s in sources.values() for p in s.files + s.masks]
    name = folder.resolve().name
    return Rig(
        NAME, name, cameras, {name: Recording(name, sources)}, plates=plates,
        held_out=set_apart(cameras, CORNERS), calibrated=len(cameras) > 1, notes=tuple(notes),
        files=(*camera_files, *pictures, *plates.values()),
    )  # fmt: skip


def _pictures(folder: Path) -> dict[int, dict[str, Path]]:
    found: dict[int, dict[str, Path]] = {}
    count = 0
    for inner in sorted((folder / "images").iterdir()):
        if not _FRAME.fullmatch(inner.name) or not inner.is_dir():
            continue
        for path in sorted(inner.iterdir()):
            match = _IMAGE.fullmatch(path.name)
            if match:
                found.setdefault(int(inner.name), {})[match[1]] = kept_inside(folder, path)
                count += 1
        if count > MOST_FRAMES:
            raise CaptureError(f"{folder}: more than {MOST_FRAMES} pictures")
    if not found:
        raise CaptureError(f"{folder / 'images'}: no 0000/image_{{serial}}.jpg in it")
    return found


def _mask(picture: Path) -> Path | None:
    for suffix in (picture.suffix, ".png", ".jpg"):
        path = picture.with_name("mask" + picture.stem.removeprefix("image") + suffix)
        if path.is_file():
            return kept_inside(picture.parents[2], path)
    return None


def _cameras(
    folder: Path, steps: list[int], serials: list[str], found: dict[int, dict[str, Path]],
    notes: list[str],
) -> tuple[dict[str, Camera], list[Path]]:  # fmt: skip
    """One still camera per serial; the data's tools write it anew for every frame."""
    cameras: dict[str, Camera] = {}
    files = []
    for t in steps:
        inner = folder / "cameras" / found[t][serials[0]].parent.name
        for serial in serials:
            path = inner / f"camera_{serial}.npz"
            if not path.is_file():
                raise CaptureError(f"{path}: missing; every picture needs its camera")
            files.append(kept_inside(folder, path))
            camera = _camera(path, found[t][serial], cameras.get(serial))
            known = cameras.setdefault(serial, camera)
            moved = np.abs(known.viewmat - camera.viewmat).max()
            zoomed = np.abs(known.K - camera.K).max() / abs(known.K[0, 0])
            if max(moved, zoomed) > _SAME:
                raise CaptureError(f"{path}: camera {serial} moves; expected still cameras")
    if len(cameras) == 1:
        notes.append("one camera: these folders hold a made-up calibration then; estimated anew")
    return cameras, files


def _camera(path: Path, picture: Path, known: Camera | None) -> Camera:
    arrays = read_npz(path)
    missing = {"extrinsic", "intrinsic"} - arrays.keys()
    if missing:
        raise CaptureError(f"{path}: no {', '.join(sorted(missing))}")
    extrinsic = arrays["extrinsic"][:3]
    pose = np.eye(4)
    pose[:3] = numbers(extrinsic, (3, 4), f"{path}: extrinsic")
    K = numbers(arrays["intrinsic"], (3, 3), f"{path}: intrinsic")
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise CaptureError(f"{path}: extrinsic is no rotation and translation")
    width, height = (known.width, known.height) if known else picture_size(picture)
    return Camera(pose, K, width, height)
