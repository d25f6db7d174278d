"""68 landmarks by the face-alignment networks, where their weights are at hand. Never downloads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.errors import WeightsError
from headworks.landmarks import dlib68
from headworks.landmarks.faces import detect_faces

WEIGHTS = "2DFAN4-11f355bf06.pth.tar"
WEIGHTS_3D = "3DFAN4-7835d9f11d.pth.tar"
WEIGHTS_DEPTH = "depth-2a464da4ea.pth.tar"
NAME = "face_alignment"
NAME_3D = "face_alignment_3d"

_SIDE = 768
_DETECTION_SIDE = 512
# Heat-map maxima of the two passes (image and mirror image) are summed: 2 is certainty.
_CERTAIN = 2.0


def checkpoints() -> Path:
    """Where torch.hub keeps checkpoints: `$TORCH_HOME/hub/checkpoints` or its defaults."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def weights_path() -> Path:
    """The file of the network whose points follow the visible outline.

    Raises:
        WeightsError: when it is absent; with the name and the folder it belongs in.
    """
    return _present(WEIGHTS)


def weights_paths_3d() -> tuple[Path, Path]:
    """The files of the networks whose points stay on the head, and of their depth.

    Raises:
        WeightsError: when one is absent; with the name and the folder it belongs in.
    """
    return _present(WEIGHTS_3D), _present(WEIGHTS_DEPTH)


def _present(name: str) -> Path:
    path = checkpoints() / name
    if not path.is_file():
        raise WeightsError(
            f"{path}: the face-alignment weights are absent; put {name} there (research use: "
            "check its terms), or set `landmarks.backend` to dlib"
        )
    return path


def detect(
    frames: NDArray[np.uint8], progress: Callable[[float], None] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Landmarks of the main face in each frame of one camera, in order of time.

    Args:
        frames: uint8 [T, H, W, 3].
        progress: called with the fraction done.

    Returns:
        float32 [T, 68, 3] x, y in pixels (centres at +0.5) and confidence in [0, 1], NaN where no
        face is found; float32 [T, 4] box the landmarks were found in, x0, y0, x1, y1.

    Raises:
        WeightsError: weights absent.

    Source: Bulat and Tzimiropoulos, How far are we from solving the 2D & 3D face alignment
        problem?, 2017.
    """
    return _detect(frames, False, progress)[:2]


def detect_3d(
    frames: NDArray[np.uint8], progress: Callable[[float], None] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """As `detect`, of points that stay where they are on the head when the outline moves.

    Args:
        frames: uint8 [T, H, W, 3]. progress: called with the fraction done.

    Returns:
        Points and boxes as `detect`, and float32 [T, 68] depths in pixels, up to a constant.

    Raises:
        WeightsError: weights absent, or no such networks'.

    Source: as `detect`, and its network of depths.
    """
    return _detect(frames, True, progress)


def _network(three: bool) -> Any:
    """The package's aligner with weights that we read: nothing in the files can run code."""
    import face_alignment
    from face_alignment.models import FAN, ResNetDepth

    from headworks.device import default_device
    from headworks.networks.checkpoints import load_state, read_checkpoint

    files: list[Path] = [*weights_paths_3d()] if three else [weights_path()]

    class Aligner(face_alignment.FaceAlignment):
        def _load_native(self, name: str, size: int, device: str, dtype: Any) -> Any:
            network = load_state(FAN(size), read_checkpoint(files[0]), str(files[0]))
            return network.to(device, dtype=dtype).eval()

        def _load_native_depth(self, device: str, dtype: Any) -> Any:
            content = read_checkpoint(files[1])
            weights = content.get("state_dict", content)
            weights = {name.removeprefix("module."): value for name, value in weights.items()}
            network = load_state(ResNetDepth(), weights, str(files[1]))
            return network.to(device, dtype=dtype).eval()

    kind = face_alignment.LandmarksType.THREE_D if three else face_alignment.LandmarksType.TWO_D
    return Aligner(kind, device=str(default_device()), face_detector="folder", compile=False)


def _detect(
    frames: NDArray[np.uint8], three: bool, progress: Callable[[float], None] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    import cv2

    network = _network(three)
    points = np.full((len(frames), 68, 3), np.nan, np.float32)
    depths = np.full((len(frames), 68), np.nan, np.float32)
    boxes = np.full((len(frames), 4), np.nan, np.float32)
    previous: NDArray[np.float64] | None = None
    for t, frame in enumerate(frames):
        # The network rounds to whole pixels of its input: enlarging keeps a fraction of them.
        scale = _SIDE / max(frame.shape[:2])
        size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
        large = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
        detected = detect_faces(frame, _DETECTION_SIDE)
        if len(detected):
            box = dlib68.main_face(detected, previous)
        elif previous is not None:
            box = dlib68.landmark_box(previous)
        else:
            continue
        found, scores, _ = network.get_landmarks_from_image(
            large,
            detected_faces=[list(map(float, box * scale))],
            return_landmark_score=True,
            return_bboxes=True,
        )
        previous = None
        xy = (found[0][:, :2] + 0.5) / scale
        if dlib68.plausible_face(xy):
            points[t, :, :2] = xy
            points[t, :, 2] = np.clip(scores[0] / _CERTAIN, 0, 1)
            boxes[t] = dlib68.landmark_box(xy)
            previous = xy.astype(np.float64)
            if three:
                depths[t] = found[0][:, 2] / scale
        if progress is not None:
            progress((t + 1) / len(frames))
    return points, boxes, depths
