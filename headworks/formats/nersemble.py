"""NeRSemble's folders: 16 calibrated cameras, one video per camera and sequence.

Reads the layouts of both releases and of the benchmark; writes that of the second release. World
unit metre, cameras with OpenCV axes, no distortion.

Source: NeRSemble (Kirschstein et al. 2023), the data set's README and tools.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.errors import CaptureError
from headworks.formats.foreign import read_object, whole
from headworks.formats.nersemble_colour import checked

NAME = "nersemble"
SERIALS = (
    "222200042", "222200044", "222200046", "222200040", "222200036", "222200048", "220700191",
    "222200041", "222200037", "222200038", "222200047", "222200043", "222200049", "222200039",
    "221501007", "222200045",
)  # fmt: skip
"""Cameras from the subject's left to the right; even places are the upper row, odd the lower."""
FRONTAL = "222200037"
CORNERS = ("222200042", "222200044", "221501007", "222200045")
"""The four most extreme cameras: held out for tests."""
FULL_SIZE = (2200, 3208)
"""Width and height of the images that `camera_params.json` speaks of unless it says otherwise."""
EXPRESSIONS = (
    "EXP-1-head", "EXP-2-eyes", "EXP-3-cheeks+nose", "EXP-4-lips", "EXP-5-mouth",
    "EXP-6-tongue-1", "EXP-7-tongue-2", "EXP-8-jaw-1", "EXP-9-jaw-2",
)  # fmt: skip
EMOTIONS = ("EMO-1-shout+laugh", "EMO-2-surprise+fear", "EMO-3-angry+sad", "EMO-4-disgust+happy")
FREE = "FREE"
BACKGROUND = "BACKGROUND"
FPS = 73.0
CRF = 14

_CAMERAS = "camera_params.json"
_COLOURS = "color_calibration.json"
_VIDEO = re.compile(r"cam_([0-9]+)\.mp4")
_PLATE = re.compile(r"image_([0-9]+)\.(?:jpg|png)")
_SEQUENCE = re.compile(r"(?:EXP|EMO|SEN|FREE|HAIR|GLASSES)[A-Za-z0-9+_-]*")
_SAME_SCALE = 0.01
_MOST_SIDE = 20_000


@dataclass(frozen=True)
class Sequence:
    """One recording.

    Attributes:
        name: e.g. "EXP-2-eyes". videos, alphas: serial -> file.
    """

    name: str
    videos: dict[str, Path]
    alphas: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Participant:
    """One person's calibrated recordings.

    Attributes:
        name: the data set's number, three digits. cameras: serial -> camera at the calibration's
            size. sequences: by name, in alphabetical order. colour: serial -> [3, T] or [4, 3]
            (`nersemble_colour`). plates: serial -> picture of the empty rig.
        files: every file that was read or is named above.
    """

    name: str
    cameras: dict[str, Camera]
    sequences: dict[str, Sequence]
    colour: dict[str, NDArray[np.float64]]
    plates: dict[str, Path]
    files: tuple[Path, ...]


def is_nersemble(folder: Path) -> bool:
    """Whether a folder is a NeRSemble data set, or one participant of it."""
    return bool(_calibrations(Path(folder)))


def _calibrations(folder: Path) -> dict[str, Path]:
    """Participant -> `camera_params.json`, for a data set's root or one participant's folder."""
    if not folder.is_dir():
        return {}
    name = folder.resolve().name
    beside = folder.parent / "camera_params" / name
    for path in (folder / "calibration" / _CAMERAS, folder / _CAMERAS, beside / _CAMERAS):
        if path.is_file():
            return {name: path}
    found: dict[str, Path] = {}
    for pattern in (f"*/calibration/{_CAMERAS}", f"camera_params/*/{_CAMERAS}", f"*/{_CAMERAS}"):
        for path in sorted(folder.glob(pattern)):
            name = path.parents[1].name if path.parent.name == "calibration" else path.parent.name
            found.setdefault(name, path)
    return found


def participants(folder: Path) -> list[str]:
    """Names of the participants below a folder; empty where it has no NeRSemble layout."""
    return sorted(_calibrations(Path(folder)))


def read_participant(folder: Path, name: str | None = None) -> Participant:
    """Find one participant's calibration and recordings; decodes nothing.

    Args:
        folder: the data set's root, or the participant's own folder. name: which, where there
            are several.

    Raises:
        CaptureError: no calibration, several participants and no name, a broken calibration, or
            no recording.
    """
    folder = Path(folder)
    known = _calibrations(folder)
    if not known:
        raise CaptureError(
            f"{folder}: no {_CAMERAS} in it; expected NeRSemble's layout, e.g. "
            f"017/calibration/{_CAMERAS} beside 017/sequences/"
        )
    if name is None:
        if len(known) > 1:
            raise CaptureError(
                f"{folder}: holds {len(known)} participants ({', '.join(sorted(known)[:8])}, ..); "
                "name the folder of one"
            )
        name = next(iter(known))
    if name not in known:
        raise CaptureError(f"{folder}: no participant {name}; there are {', '.join(sorted(known))}")
    path = known[name]
    cameras = read_cameras(path)
    sequences, plates = _recordings(folder, name, set(cameras))
    if not sequences:
        raise CaptureError(
            f"{folder}: participant {name} has no recordings; expected "
            f"sequences/EXP-1-head/images/cam_{FRONTAL}.mp4 and the like"
        )
    colour, colour_files = _colours(path, folder, name, cameras)
    videos = [file for s in sequences.values() for file in (*s.videos.values(), *s.alphas.values())]
    files = (path, *colour_files, *videos, *plates.values())
    return Participant(name, cameras, sequences, colour, plates, files)


def read_cameras(path: Path) -> dict[str, Camera]:
    """Cameras of `camera_params.json`, in its order; intrinsics shared or per camera.

    Raises:
        CaptureError: unreadable, incomplete, or not a rigid motion.
    """
    body = read_object(path)
    width, height = (
        whole(body.get(side) or usual, 1, _MOST_SIDE, f"{path}: {side}")
        for side, usual in zip(("width", "height"), FULL_SIZE)
    )
    poses, intrinsics = body.get("world_2_cam"), body.get("intrinsics")
    if not isinstance(poses, dict) or not poses or intrinsics is None:
        raise CaptureError(f"{path}: expected the keys world_2_cam and intrinsics")
    cameras = {}
    for serial, pose in poses.items():
        own = intrinsics.get(serial) if isinstance(intrinsics, dict) else intrinsics
        try:
            camera = Camera(np.asarray(pose, float), np.asarray(own, float), width, height)
        except (TypeError, ValueError) as error:
            raise CaptureError(f"{path}: camera {serial}: {error}") from None
        rotation = camera.viewmat[:3, :3]
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
            raise CaptureError(
                f"{path}: world_2_cam of camera {serial} is no rotation and translation; expected "
                "world to camera, OpenCV axes"
            )
        cameras[str(serial)] = camera
    return cameras


def scaled_camera(camera: Camera, width: int, height: int, where: str = "video") -> Camera:
    """A camera at the size of a reduced video.

    Raises:
        CaptureError: the video is not the calibrated image made smaller.
    """
    x, y = width / camera.width, height / camera.height
    if abs(x / y - 1) > _SAME_SCALE:
        raise CaptureError(
            f"{where}: {width} x {height} is not the calibrated {camera.width} x {camera.height} "
            "at another scale; it was cropped or turned: use the data set's own videos"
        )
    return camera.resized(width, height)


def _recordings(
    folder: Path, name: str, serials: set[str]
) -> tuple[dict[str, Sequence], dict[str, Path]]:
    """Videos and plates of a participant, wherever the three layouts keep them."""
    alone = folder.resolve().name == name
    archives = (folder.resolve().parent if alone else folder).glob(f"sequence_*_part-*/{name}")
    roots = [folder if alone else folder / name, *sorted(archives)]
    videos: dict[str, dict[str, Path]] = {}
    alphas: dict[str, dict[str, Path]] = {}
    plates: dict[str, Path] = {}
    for root in roots:
        for path in sorted(root.rglob("*")):
            parts = path.relative_to(root).parts
            named = parts[1:2] if parts[0] == "sequences" and len(parts) > 2 else parts[:-1]
            own = parts[0] == "sequences" and BACKGROUND not in parts
            sequence = next((p for p in named if own or _SEQUENCE.fullmatch(p)), None)
            video, plate = _VIDEO.fullmatch(path.name), _PLATE.fullmatch(path.name)
            if video and sequence and video[1] in serials:
                kept = alphas if "alpha_maps" in parts else videos
                kept.setdefault(sequence, {})[video[1]] = path
            elif plate and BACKGROUND in parts[:-1] and plate[1] in serials:
                plates[plate[1]] = path
    sequences = {s: Sequence(s, videos[s], alphas.get(s, {})) for s in sorted(videos)}
    return sequences, plates


def _colours(
    cameras_file: Path, folder: Path, name: str, cameras: Mapping[str, Camera]
) -> tuple[dict[str, NDArray[np.float64]], list[Path]]:
    path = cameras_file.parent / _COLOURS
    if path.is_file():
        body = read_object(path)
        # Per camera the matrix itself, or an object that holds it.
        rows = {s: v.get("ccm", v.get("CCM")) if isinstance(v, dict) else v
                for s, v in body.items() if s in cameras}  # fmt: skip
        return {s: checked(v, f"{path}: camera {s}") for s, v in rows.items()}, [path]
    colours, files = {}, []
    for root in (folder, folder.parent):
        for file in sorted((root / "color_correction" / name).glob("*.npy")):
            if file.stem in cameras:
                try:
                    affine = np.load(file, allow_pickle=False)
                except (OSError, ValueError) as error:
                    raise CaptureError(f"{file}: not readable ({error})") from None
                if affine.shape != (3, 4):
                    raise CaptureError(f"{file}: expected a 3 x 4 affine, got {affine.shape}")
                # rgb' = rgb . A[:, :3] + A[:, 3]
                stacked = np.concatenate([affine[:, :3], affine[:, 3:].T])
                colours[file.stem] = checked(stacked, str(file))
                files.append(file)
        if colours:
            break
    return colours, files


def copy_participant(
    folder: Path, target: Path, check: Callable[[Path], None] = lambda path: None
) -> Participant:
    """Copy one participant, of any layout, into a folder in the layout of the second release.

    Args:
        folder: as in `read_participant`. target: the participant's new folder.
        check: looks at every video before anything is copied; raises to refuse it.

    Raises:
        CaptureError: see `read_participant`.
    """
    person = read_participant(folder)
    for sequence in person.sequences.values():
        for path in sequence.videos.values():
            check(path)
    write_calibration(target, person.cameras, person.colour or None)
    for sequence in person.sequences.values():
        for kind, files in (("images", sequence.videos), ("alpha_maps", sequence.alphas)):
            for path in files.values():
                own = target / "sequences" / sequence.name / kind / path.name
                own.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, own)
    for path in person.plates.values():
        own = target / "sequences" / BACKGROUND / path.name
        own.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, own)
    return person


def write_calibration(
    folder: Path, cameras: Mapping[str, Camera], colour: Mapping[str, NDArray[Any]] | None = None
) -> None:
    """`calibration/` of one participant: cameras and colour (no correction unless given).

    Intrinsics are written once where all cameras share them, as the data set does, else per camera.

    Args:
        folder: of the participant. cameras: serial -> camera. colour: serial -> [3, T].

    Raises:
        ValueError: cameras of different image sizes.
    """
    sizes = {(camera.width, camera.height) for camera in cameras.values()}
    if len(sizes) != 1:
        raise ValueError(f"cameras of one size are expected, got {sorted(sizes)}")
    ((width, height),) = sizes
    Ks = {serial: camera.K.tolist() for serial, camera in cameras.items()}
    first = next(iter(Ks.values()))
    body = {
        "world_2_cam": {serial: camera.viewmat.tolist() for serial, camera in cameras.items()},
        "intrinsics": first if all(first == K for K in Ks.values()) else Ks,
        "height": height,
        "width": width,
    }
    target = Path(folder) / "calibration"
    target.mkdir(parents=True, exist_ok=True)
    (target / _CAMERAS).write_text(json.dumps(body, indent=1) + "\n")
    matrices = colour or {serial: np.eye(3) for serial in cameras}
    rows = {serial: np.asarray(matrix).tolist() for serial, matrix in matrices.items()}
    (target / _COLOURS).write_text(json.dumps(rows, indent=1) + "\n")


def write_recording(
    folder: Path, sequence: str, serial: str, frames: Iterable[NDArray[np.uint8]],
    fps: float = FPS, crf: int = CRF, alpha: bool = False,
) -> Path:  # fmt: skip
    """One camera's video of one sequence.

    Args:
        folder: of the participant. sequence: its name. serial: of the camera.
        frames: uint8 [H, W, 3]. fps: frames per second. crf: x264 rate factor.
        alpha: whether this is the matte (the benchmark's `alpha_maps`).
    """
    from headworks.formats.video import write_mp4

    kind = "alpha_maps" if alpha else "images"
    path = Path(folder) / "sequences" / sequence / kind / f"cam_{serial}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, frames, fps, crf)
    return path


def write_plate(folder: Path, serial: str, image: NDArray[np.uint8]) -> Path:
    """The picture of the empty rig that one camera takes."""
    from PIL import Image

    path = Path(folder) / "sequences" / BACKGROUND / f"image_{serial}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)
    return path


def write_metadata(root: Path, rows: Mapping[str, tuple[bool, Iterable[str]]]) -> None:
    """`metadata_participants.csv` and `metadata_sequences.csv` of a data set.

    Args:
        root: of the data set. rows: participant -> (wears glasses, names of the sequences).
    """
    found = {name: (glasses, set(sequences)) for name, (glasses, sequences) in rows.items()}
    names = sorted({s for _, sequences in found.values() for s in sequences})
    root.mkdir(parents=True, exist_ok=True)
    with (root / "metadata_sequences.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["ID", "wears_glasses", *names])
        for name, (glasses, sequences) in sorted(found.items()):
            cells = ["x" if s in sequences else "" for s in names]
            table.writerow([int(name), "x" if glasses else "", *cells])
    with (root / "metadata_participants.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["ID", "wears_glasses"])
        for name, (glasses, _) in sorted(found.items()):
            table.writerow([int(name), "x" if glasses else ""])
