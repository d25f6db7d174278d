"""VHAP's exports, which GaussianAvatars reads: `transforms_*.json`, pictures, masks, FLAME.

Cameras are camera-to-world with OpenGL axes, the principal point's y is measured from the lower
edge. World unit metre.

Source: VHAP (Qian 2024) and GaussianAvatars (Qian et al. 2024), their data's files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.errors import CaptureError
from headworks.formats.foreign import (
    MOST_FRAMES,
    inside,
    kept_inside,
    numbers,
    picture_size,
    read_npz,
    read_object,
    whole,
)
from headworks.formats.rig import SPLITS, Recording, Rig, Source, completed

NAME = "vhap"
UNION_MARK = "sequences_trainval.txt"
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""OpenGL's camera axes as OpenCV's, and back."""
PARAMETERS: dict[str, tuple[int | None, ...]] = {
    "shape": (None,), "expr": (1, None), "rotation": (1, 3), "neck_pose": (1, 3),
    "jaw_pose": (1, 3), "eyes_pose": (1, 6), "translation": (1, 3),
}  # fmt: skip
"""Arrays of a frame's FLAME parameters, with their shapes."""

_MOST_SIDE = 20_000
_FOLDERS = ("images", "fg_masks", "flame_param")
_SAME = 1e-6


@dataclass(frozen=True)
class _Entry:
    """One picture of `transforms_*.json`, checked."""

    step: int
    camera: str
    order: int
    view: Camera
    sequence: str
    file: Path
    mask: Path | None
    parameters: Path | None
    split: str


def descriptions(folder: Path) -> dict[str, Path]:
    """Split -> json file; the whole set under "" where there are no splits."""
    found = {s: folder / f"transforms_{s}.json" for s in SPLITS}
    found = {s: p for s, p in found.items() if p.is_file()}
    if not found and (folder / "transforms.json").is_file():
        found = {"": folder / "transforms.json"}
    return found


def root_of(folder: Path) -> Path:
    """What a description may name files of: its folder; of a union, also the folders beside it."""
    return folder.parent if (folder / UNION_MARK).is_file() else folder


def is_vhap(folder: Path) -> bool:
    """Whether a folder has a `transforms*.json` whose pictures have times and cameras."""
    for path in descriptions(folder).values():
        frames = read_object(path).get("frames")
        if not isinstance(frames, list) or not frames or not isinstance(frames[0], dict):
            continue
        if "timestep_index" in frames[0] and "seg_mask_path" not in frames[0]:
            return True
    return False


def read_vhap(folder: Path) -> Rig:
    """Find an export's cameras, pictures, masks, splits and parameters; decodes nothing.

    Args:
        folder: that holds `transforms_train.json` and the like; of a union, the union's.

    Raises:
        CaptureError: something is missing, damaged, or lies outside the capture.
    """
    folder = Path(folder)
    files = descriptions(folder)
    if not files:
        raise CaptureError(
            f"{folder / 'transforms_train.json'}: missing; expected VHAP's export with "
            "transforms_train.json, _val.json and _test.json (or transforms.json), images/ and "
            "fg_masks/"
        )
    root = root_of(folder)
    entries: dict[tuple[int, str], _Entry] = {}
    notes: list[str] = []
    for split, path in files.items():
        kept_inside(folder, path)
        for entry in _entries(path, split, folder, root):
            known = entries.setdefault((entry.step, entry.camera), entry)
            if known is not entry and known.split == entry.split:
                raise CaptureError(
                    f"{path}: time step {entry.step}, camera {entry.camera} is named twice"
                )
    if files.keys() & {"train"} and not {"val", "test"} & files.keys():
        notes.append("only transforms_train.json is there: no picture is for tests")
    cameras = _cameras(list(entries.values()), notes)
    by_sequence: dict[str, dict[int, dict[str, _Entry]]] = {}
    for entry in entries.values():
        steps = by_sequence.setdefault(entry.sequence, {})
        steps.setdefault(entry.step, {})[entry.camera] = entry
    found = [_recording(n, by_sequence[n], folder, notes) for n in sorted(by_sequence)]
    recordings = {r.name: r for r in found}
    seen = set.intersection(*(set(r.sources) for r in recordings.values()))
    kept = {n: c for n, c in cameras.items() if n in seen}
    if not kept:
        raise CaptureError(f"{folder}: no camera is in every sequence")
    named = [p for r in recordings.values() for s in r.sources.values() for p in s.files + s.masks]
    named += [p for r in recordings.values() for p in r.parameters]
    beside = [kept_inside(folder, p)
              for p in (folder / UNION_MARK, folder / "sequences_test.txt",
                        folder / "canonical_flame_param.npz") if p.is_file()]  # fmt: skip
    return Rig(
        NAME, folder.resolve().name, kept, recordings, calibrated=len(kept) > 1,
        files=(*files.values(), *beside, *named), notes=tuple(notes),
    )  # fmt: skip


def _entries(path: Path, split: str, folder: Path, root: Path) -> list[_Entry]:
    frames = read_object(path).get("frames")
    if not isinstance(frames, list):
        raise CaptureError(f"{path}: expected a list `frames`")
    if len(frames) > MOST_FRAMES:
        raise CaptureError(f"{path}: {len(frames)} frames; at most {MOST_FRAMES} are read")
    return [_entry(f, f"{path}: frame {i}", split, folder, root) for i, f in enumerate(frames)]


def _entry(frame: Any, where: str, split: str, folder: Path, root: Path) -> _Entry:
    if not isinstance(frame, dict):
        raise CaptureError(f"{where}: expected an object")
    if "exp_path" in frame or "seg_mask_path" in frame:
        raise CaptureError(f"{where}: a transforms.json of INSTA, which is not read")
    wanted = ("timestep_index", "camera_index", "transform_matrix", "file_path",
              "fl_x", "fl_y", "cx", "cy", "w", "h")  # fmt: skip
    missing = [key for key in wanted if key not in frame]
    if missing:
        raise CaptureError(f"{where}: no {', '.join(missing)}; expected VHAP's export")
    step = whole(frame["timestep_index"], 0, 2**31 - 1, f"{where}: timestep_index")
    order = whole(frame["camera_index"], 0, 10**6, f"{where}: camera_index")
    file = _named(root, folder, frame["file_path"], where)
    mask = frame.get("fg_mask_path")
    parameters = frame.get("flame_param_path")
    relative = Path(str(frame["file_path"])).parts
    return _Entry(
        step=step,
        camera=str(frame.get("camera_id", order)),
        order=order,
        view=camera_of(frame, where),
        # A union's pictures lie beside it: ../<sequence>/images/..
        sequence=relative[1] if relative[0] == ".." and len(relative) > 3 else "",
        file=file,
        mask=None if mask is None else _named(root, folder, mask, where),
        parameters=None if parameters is None else _named(root, folder, parameters, where),
        split=split,
    )


def _named(root: Path, folder: Path, name: Any, where: str) -> Path:
    """A file of the export; of the folders beside a union, only where exports keep their files."""
    path = inside(root, folder, name, where)
    parts = Path(os.path.normpath(path)).relative_to(os.path.normpath(root)).parts
    beside = root != folder and not path.is_relative_to(os.path.normpath(folder))
    if beside and (len(parts) != 3 or parts[1] not in _FOLDERS):
        raise CaptureError(
            f"{where}: names {str(name)[:200]!r}, which lies outside the union's sequences "
            f"(../SEQUENCE/images/.. and the like); refused"
        )
    return path


def camera_of(frame: Mapping[str, Any], where: str) -> Camera:
    """The camera of one frame's entry.

    Raises:
        CaptureError: no finite numbers, or no rigid motion.
    """
    pose = numbers(frame["transform_matrix"], (4, 4), f"{where}: transform_matrix")
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise CaptureError(
            f"{where}: transform_matrix is no rotation and translation; expected camera to world, "
            "OpenGL axes"
        )
    width = whole(frame["w"], 1, _MOST_SIDE, f"{where}: w")
    height = whole(frame["h"], 1, _MOST_SIDE, f"{where}: h")
    inner = numbers([frame[k] for k in ("fl_x", "fl_y", "cx", "cy")], (4,), f"{where}: fl_x .. cy")
    if min(inner[:2]) <= 0:
        raise CaptureError(f"{where}: focal lengths must be positive")
    # From the lower edge: the axes were turned, the picture was not.
    K = np.array([[inner[0], 0, inner[2]], [0, inner[1], height - inner[3]], [0, 0, 1]])
    viewmat = np.asarray(np.linalg.inv(pose @ FLIP), np.float64)
    return Camera(viewmat, K, width, height)


def _cameras(entries: list[_Entry], notes: list[str]) -> dict[str, Camera]:
    """One still camera for each name, by their index.

    Raises:
        CaptureError: a camera moves, or its pictures change size.
    """
    views: dict[str, _Entry] = {}
    for entry in sorted(entries, key=lambda e: (e.order, e.step)):
        first = views.setdefault(entry.camera, entry).view
        if (first.width, first.height) != (entry.view.width, entry.view.height):
            raise CaptureError(
                f"{entry.file}: camera {entry.camera} changes its size from {first.width} x "
                f"{first.height} to {entry.view.width} x {entry.view.height}"
            )
        moved = np.abs(first.viewmat - entry.view.viewmat).max()
        zoomed = np.abs(first.K - entry.view.K).max() / first.K[0, 0]
        if max(moved, zoomed) > _SAME * 100:
            raise CaptureError(
                f"{entry.file}: camera {entry.camera} moves; expected still cameras (VHAP puts "
                "all motion into FLAME's rotation and translation)"
            )
    if len(views) == 1:
        notes.append("one camera: its focal length is VHAP's estimate, and is estimated anew here")
    return {name: entry.view for name, entry in views.items()}


def _recording(
    name: str, found: dict[int, dict[str, _Entry]], folder: Path, notes: list[str]
) -> Recording:
    steps, cameras = completed(found, folder, notes)
    name = name or folder.resolve().name
    masked = all(found[t][c].mask is not None for t in steps for c in cameras)
    sources = {}
    for camera in cameras:
        rows = [found[t][camera] for t in steps]
        sources[camera] = Source(
            files=tuple(r.file for r in rows),
            masks=tuple(r.mask for r in rows if r.mask is not None) if masked else (),
            frames=tuple(steps),
            split=tuple(r.split for r in rows) if rows[0].split else (),
        )
        view = rows[0].view
        size = picture_size(rows[0].file)
        if size != (view.width, view.height):
            raise CaptureError(
                f"{rows[0].file}: {size[0]} x {size[1]} pixels, its description says "
                f"{view.width} x {view.height}"
            )
    heads = [found[t][cameras[0]].parameters for t in steps]
    known = tuple(p for p in heads if p is not None)
    return Recording(name, sources, known if len(known) == len(steps) else ())


def read_parameters(path: Path) -> dict[str, NDArray[np.float32]]:
    """FLAME parameters of one frame.

    Returns:
        The arrays of `PARAMETERS` and, where there, `static_offset`, `dynamic_offset` [1, V, 3].

    Raises:
        CaptureError: an array is missing or has another shape.
    """
    arrays = read_npz(path)
    kept = {}
    shapes = {**PARAMETERS, "static_offset": (1, None, 3), "dynamic_offset": (1, None, 3)}
    for name, shape in shapes.items():
        if name not in arrays:
            if name in PARAMETERS:
                raise CaptureError(f"{path}: no {name}; expected FLAME parameters of one frame")
            continue
        array = arrays[name]
        if array.ndim != len(shape) or any(w not in (None, n) for w, n in zip(shape, array.shape)):
            raise CaptureError(f"{path}: {name} is {array.shape}, expected {shape}")
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise CaptureError(f"{path}: {name} holds a number that is not finite, or no numbers")
        kept[name] = array.astype(np.float32)
    return kept
