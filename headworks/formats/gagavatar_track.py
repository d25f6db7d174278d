"""GAGAvatar_track's data: pictures in an LMDB, what its tracker found in `optim.pkl`.

Pictures are handed out byte for byte as folders of numbered files (`clip_folders`). Of the pickles
only plain values and arrays are read (`heads.importers.unpickle`); pictures stored as pickled
tensors are refused.

Source: GAGAvatar (Chu and Harada 2024) and its tracker, their data loader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.errors import CaptureError, HeadworksError
from headworks.formats.clip_folders import PARAMETER_FILE, SPLIT_FILE
from headworks.formats.foreign import MOST_FRAMES, read_object
from headworks.formats.rig import SPLITS

NAME = "gagavatar-track"
SIDE = 512
FOCAL_NDC = 12.0
"""Focal length of the tracker's camera, in half image sides."""
SCALE = 5.0
"""The tracker's units per metre."""
CODES = {"shapecode": 300, "expcode": 100, "posecode": 6, "eyecode": 6, "bbox": 4}

_KEY = re.compile(r"([A-Za-z0-9-]{1,64})_([0-9]{1,9})")
_MAGIC = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png"}
_MOST_VALUE = 1 << 26
_MOST_PICKLE = 1 << 31


def is_track(folder: Path) -> bool:
    """Whether a folder has an `img_lmdb`."""
    return (folder / "img_lmdb" / "data.mdb").is_file()


def looks_like_track(folder: Path) -> bool:
    """Whether it has what lies beside one."""
    return any((folder / n).exists() for n in ("img_lmdb", "optim.pkl", "smoothed.pkl"))


@contextmanager
def _opened(folder: Path) -> Iterator[Any]:
    path = folder / "img_lmdb"
    if not (path / "data.mdb").is_file():
        raise CaptureError(f"{path / 'data.mdb'}: missing; it holds the pictures")
    try:
        import lmdb
    except ImportError:
        raise CaptureError(
            f"{path}: reading it needs the package lmdb: pip install 'headworks[lmdb]'"
        ) from None
    try:
        with (
            lmdb.open(str(path), readonly=True, lock=False, max_readers=1) as base,
            base.begin() as transaction,
        ):
            yield transaction
    except lmdb.Error as error:
        raise CaptureError(f"{path}: not a readable LMDB ({error}); copy it again") from None


def videos(folder: Path) -> dict[str, dict[int, str]]:
    """Videos of the data: id -> frame number -> key of the picture.

    Raises:
        CaptureError: no LMDB, or a key of another form.
    """
    found: dict[str, dict[int, str]] = {}
    with _opened(folder) as transaction:
        count = int(transaction.stat()["entries"])
        if count > MOST_FRAMES:
            raise CaptureError(f"{folder / 'img_lmdb'}: {count} pictures; at most {MOST_FRAMES}")
        for key in transaction.cursor().iternext(keys=True, values=False):
            text = bytes(key).decode("ascii", "replace")
            match = _KEY.fullmatch(text)
            if match is None:
                raise CaptureError(
                    f"{folder / 'img_lmdb'}: key {text[:60]!r}; expected video_frame, such as "
                    "000012_34"
                )
            found.setdefault(match[1], {})[int(match[2])] = text
    if not found:
        raise CaptureError(f"{folder / 'img_lmdb'}: holds no picture")
    return found


def unpack(folder: Path, video: str, keys: Mapping[int, str], target: Path) -> None:
    """One video as a folder of numbered pictures, with splits and what the tracker found.

    Args:
        folder: the data. video: its id. keys: its frames. target: folder to make.

    Raises:
        CaptureError: a value that is no picture, or a pickle with anything but arrays in it.
    """
    target.mkdir(parents=True)
    with _opened(folder) as transaction:
        for number, key in sorted(keys.items()):
            value = transaction.get(key.encode())
            suffix = next((s for m, s in _MAGIC.items() if value.startswith(m)), None)
            if suffix is None or len(value) > _MOST_VALUE:
                raise CaptureError(
                    f"{folder / 'img_lmdb'}: {key} is neither JPEG nor PNG (a pickled tensor?); "
                    "refused, since reading such can run foreign code: store encoded pictures"
                )
            (target / f"{number:08d}{suffix}").write_bytes(value)
    split = _splits(folder, keys)
    if split:
        (target / SPLIT_FILE).write_text(json.dumps(split, sort_keys=True) + "\n")
    arrays = _parameters(_records(folder), keys)
    if arrays:
        np.savez(target / PARAMETER_FILE, **arrays)  # type: ignore[arg-type]


def _splits(folder: Path, keys: Mapping[int, str]) -> dict[str, list[int]]:
    path = folder / "dataset.json"
    if not path.is_file():
        return {}
    body = read_object(path)
    out = {}
    for split in SPLITS:
        named = body.get(split, [])
        if not isinstance(named, list):
            raise CaptureError(f"{path}: {split} must be a list of keys")
        known = {k for k in named if isinstance(k, str)}
        out[split] = [n for n, key in sorted(keys.items()) if key in known]
    # A frame that is in no list was not meant to be used: then the lists say nothing of the video.
    return out if sum(map(len, out.values())) == len(keys) else {}


def _records(folder: Path) -> dict[str, Any]:
    """What the tracker found, key -> record; smoothed where there is that, empty where nothing."""
    for name in ("smoothed.pkl", "optim.pkl"):
        path = folder / name
        if not path.is_file():
            continue
        stat = path.stat()
        if stat.st_size > _MOST_PICKLE:
            raise CaptureError(f"{path}: larger than {_MOST_PICKLE >> 30} GiB; give less at once")
        return _unpickled(path, stat.st_mtime_ns, stat.st_size)
    return {}


@lru_cache(1)
def _unpickled(path: Path, changed: int, size: int) -> dict[str, Any]:
    """Records of a file as it is now: every video of the data asks for them."""
    from headworks.heads.importers.unpickle import read_pickle

    try:
        body = read_pickle(path)
    except HeadworksError as error:
        raise CaptureError(str(error)) from None
    if not isinstance(body, dict):
        raise CaptureError(f"{path}: expected a dictionary of records")
    return body


def _parameters(records: Mapping[str, Any], keys: Mapping[int, str]) -> dict[str, NDArray[Any]]:
    """Arrays over the frames that were tracked; cameras with OpenCV axes, in metres."""
    rows: dict[str, list[NDArray[np.float64]]] = {}
    frames = []
    for number, key in sorted(keys.items()):
        record = records.get(key)
        if not isinstance(record, dict):
            continue
        frames.append(number)
        for name, size in {**CODES, "transform_matrix": 12}.items():
            value = np.asarray(record.get(name, ()))
            if value.dtype.kind != "f" or value.size != size or not np.isfinite(value).all():
                raise CaptureError(f"optim.pkl: {key}: {name} is not {size} finite numbers")
            rows.setdefault(name, []).append(value.astype(np.float64).ravel())
    if not frames:
        return {}
    moves = np.stack(rows.pop("transform_matrix")).reshape(-1, 3, 4)
    arrays: dict[str, NDArray[Any]] = {n: np.stack(v).astype(np.float32) for n, v in rows.items()}
    arrays["frames"] = np.array(frames, np.int64)
    arrays["viewmats"] = np.stack([opencv_pose(m) for m in moves])
    half = SIDE / 2
    arrays["K"] = np.array([[FOCAL_NDC * half, 0, half], [0, FOCAL_NDC * half, half], [0, 0, 1]])
    return arrays


def opencv_pose(transform: NDArray[np.floating]) -> NDArray[np.float64]:
    """World to camera with OpenCV axes, metres, of PyTorch3D's row-vector R and T.

    Args:
        transform: [3, 4], R and T side by side, in the tracker's units.
    """
    turn = np.diag([-1.0, -1.0, 1.0])
    pose = np.eye(4)
    pose[:3, :3] = turn @ np.asarray(transform)[:, :3].T
    pose[:3, 3] = turn @ np.asarray(transform)[:, 3] / SCALE
    return pose
