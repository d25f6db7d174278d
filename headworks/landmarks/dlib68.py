"""68 landmarks by dlib's regression trees, made sub-pixel and steady by averaging many starts.

The predictor returns whole pixels and depends on the box it starts from, which the face detector
quantises coarsely. So each frame is enlarged, the box is re-derived from a first estimate of the
landmarks, and the predictor is run from a fixed pattern of boxes around it, on the image and on its
mirror image. The mean is the landmark, the spread its uncertainty.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.dlib_models import model_file
from headworks.landmarks.faces import detect_faces

WEIGHTS = "shape_predictor_68_face_landmarks.dat"
NAME = "dlib"

# Side of the enlarged frame that the predictor sees.
_SIDE = 768
_DETECTION_SIDE = 512
# Mean offset and side of the detector's box in units of the landmarks' RMS radius, measured over
# frontal frames of clips; with them the box follows the landmarks without quantisation.
_BOX_OFFSET = (0.0, -0.16)
_BOX_SIDE = 2.74
# Start boxes: shifts in box sides and relative sizes.
_SHIFTS = ((-0.03, -0.03), (0.03, -0.03), (-0.03, 0.03), (0.03, 0.03))
_SIZES = (0.94, 1.0, 1.06)
# A spread of this fraction of the interocular distance between starts halves the confidence.
_HALF_SPREAD = 0.05
# Below this mean confidence the starts do not agree on a face at all.
_LEAST_AGREEMENT = 0.5
# While the starts agree this well the face is followed without the detector, which looks again
# after so many frames.
_FOLLOWED = 0.8
_LOOK_AGAIN = 8

# iBUG 68 point that takes each point's place in the mirror image.
MIRROR = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *range(27, 31),
        *range(35, 30, -1),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ]
)


def weights_path() -> Path:
    """The predictor's file.

    Raises:
        WeightsError: when the package that carries it is absent.
    """
    return model_file(WEIGHTS)


@lru_cache(maxsize=1)
def _predictor() -> Any:
    import dlib

    return dlib.shape_predictor(str(weights_path()))


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

    Source: Kazemi and Sullivan, One Millisecond Face Alignment, 2014; dlib.
    """
    points = np.full((len(frames), 68, 3), np.nan, np.float32)
    boxes = np.full((len(frames), 4), np.nan, np.float32)
    previous: NDArray[np.float64] | None = None
    followed = 0
    for t, frame in enumerate(frames):
        found = _one(frame, previous, look=followed % _LOOK_AGAIN == 0)
        previous, sure = None, False
        if found is not None:
            points[t], boxes[t] = found
            previous = found[0][:, :2]
            sure = found[0][:, 2].mean() > _FOLLOWED
        followed = followed + 1 if sure else 0
        if progress is not None:
            progress((t + 1) / len(frames))
    return points, boxes


def _one(
    frame: NDArray[np.uint8], previous: NDArray[np.float64] | None, look: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Points [68, 3] and box [4]; starts from the detector where told to look or else lost."""
    import cv2

    height, width = frame.shape[:2]
    scale = _SIDE / max(height, width)
    large: NDArray[Any] = frame
    if scale != 1:
        size = (round(width * scale), round(height * scale))
        mode = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        large = cv2.resize(frame, size, interpolation=mode)
    mirrored = np.ascontiguousarray(large[:, ::-1])

    # A face seen a moment ago is where the landmarks were, turned too far for the detector or not.
    known = [] if previous is None else [landmark_box(previous * scale)]
    for source in ("detector", "previous") if look or not known else ("previous", "detector"):
        starts = known
        if source == "detector":
            detected = detect_faces(frame, _DETECTION_SIDE)
            starts = [main_face(detected, previous) * scale] if len(detected) else []
        for start in starts:
            mean, confidence = _from(large, mirrored, start)
            if plausible_face(mean) and confidence.mean() > _LEAST_AGREEMENT:
                points = np.concatenate([mean / scale, confidence[:, None]], 1)
                return points, landmark_box(mean) / scale
    return None


def _from(
    large: NDArray[np.uint8], mirrored: NDArray[np.uint8], start: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean landmarks [68, 2] and confidence [68], searched from a box."""
    # One round moves the box from where it was seen to where the landmarks say.
    rough = _runs(large, mirrored, start, ((0.0, 0.0),), (1.0,)).mean(0)
    runs = _runs(large, mirrored, landmark_box(rough), _SHIFTS, _SIZES)
    mean = runs.mean(0)
    spread = np.sqrt(((runs - mean) ** 2).sum(-1).mean(0))
    iod = np.linalg.norm(mean[36] - mean[45])
    return mean, 1 / (1 + (spread / max(_HALF_SPREAD * iod, 1e-6)) ** 2)


def main_face(
    detected: NDArray[np.float32], previous: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """The largest face, or the one nearest to where it was.

    Args:
        detected: [N, >= 4] boxes x0, y0, x1, y1 in pixels, largest first, N >= 1.
        previous: [68, 2] landmarks a moment ago, pixels, or None.

    Returns:
        float64 [4] x0, y0, x1, y1.
    """
    boxes = detected[:, :4].astype(np.float64)
    if previous is None:
        return boxes[0]
    before = landmark_box(previous)
    distance = np.abs(boxes - before).sum(-1)
    return boxes[np.argmin(distance)]


def _runs(
    image: NDArray[np.uint8],
    mirrored: NDArray[np.uint8],
    box: NDArray[np.float64],
    shifts: tuple[tuple[float, float], ...],
    sizes: tuple[float, ...],
) -> NDArray[np.float64]:
    """The predictor from every start box, on both images: [N, 68, 2] in the image's pixels."""
    import dlib

    width = image.shape[1]
    centre = (box[:2] + box[2:]) / 2
    side = float(np.mean(box[2:] - box[:2]))
    runs = []
    for size in sizes:
        for dx, dy in shifts:
            x, y = centre + side * np.array([dx, dy])
            half = side * size / 2
            for flip, picture in ((False, image), (True, mirrored)):
                start = width - x if flip else x
                rectangle = dlib.rectangle(
                    round(start - half), round(y - half), round(start + half) - 1,
                    round(y + half) - 1,
                )  # fmt: skip
                shape = _predictor()(picture, rectangle)
                # Whole pixels name a pixel; its centre is half a pixel further.
                xy = np.array([(p.x + 0.5, p.y + 0.5) for p in shape.parts()])
                if flip:
                    xy[:, 0] = width - xy[:, 0]
                    xy = xy[MIRROR]
                runs.append(xy)
    return np.stack(runs)


def landmark_box(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """The box a face detector would give for these landmarks, without its quantisation.

    Args:
        points: [68, 2] pixels.

    Returns:
        float64 [4] x0, y0, x1, y1.
    """
    points = np.asarray(points, np.float64)
    centre = points.mean(0)
    radius = np.sqrt(((points - centre) ** 2).sum(-1).mean())
    centre = centre + radius * np.array(_BOX_OFFSET)
    half = _BOX_SIDE * radius / 2
    return np.concatenate([centre - half, centre + half])


def plausible_face(points: NDArray[np.floating]) -> bool:
    """Whether 68 points lie like an upright face: eyes over nose over mouth, of sensible size.

    Args:
        points: [68, 2] pixels.
    """
    right, left = points[36:42].mean(0), points[42:48].mean(0)
    across = left - right
    iod = float(np.linalg.norm(across))
    if iod < 4:
        return False
    x_axis = across / iod
    y_axis = np.array([-x_axis[1], x_axis[0]])
    middle = (right + left) / 2
    nose = (points[30] - middle) @ y_axis / iod
    mouth = (points[48:60].mean(0) - middle) @ y_axis / iod
    chin = (points[8] - middle) @ y_axis / iod
    upright = x_axis[0] > 0.5
    return bool(upright and 0.15 < nose < mouth < chin < 4.0 and mouth > 0.5)
