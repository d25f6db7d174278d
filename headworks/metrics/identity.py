"""FD: distance of two faces in dlib's 128-d identity space."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.dlib_models import model_file
from headworks.errors import WeightsError

DETECTOR_UPSAMPLES = 1
MISSING_FACE_DISTANCE = 1.0
"""FD of a prediction in which no face is found: a failure that must cost."""
_FIVE_POINTS = "shape_predictor_5_face_landmarks.dat"
_RECOGNISER = "dlib_face_recognition_resnet_model_v1.dat"


def face_encoding(image: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """128-d encoding of the first face of an image, as the package `face_recognition` computes it.

    Args:
        image: uint8 RGB [H, W, 3].

    Returns:
        float64 [128] (not of unit length), or None where no face is found.

    Raises:
        WeightsError: when dlib or its models are absent.
    """
    detector, points, recogniser = _models()
    image = np.ascontiguousarray(image, np.uint8)
    faces = detector(image, DETECTOR_UPSAMPLES)
    if len(faces) == 0:
        return None
    return np.array(recogniser.compute_face_descriptor(image, points(image, faces[0]), 1))


def face_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Euclidean distance of two encodings [128]: about 0.4 for one person, above 0.6 for two."""
    return float(np.linalg.norm(np.asarray(first) - np.asarray(second)))


def weights_digests() -> dict[str, str | None]:
    """SHA-256 of the model files that FD uses; None where one is not installed."""
    digests: dict[str, str | None] = {}
    for name in (_FIVE_POINTS, _RECOGNISER):
        try:
            digests[name] = hashlib.sha256(model_file(name).read_bytes()).hexdigest()
        except WeightsError:
            digests[name] = None
    return digests


@cache
def _models() -> tuple[Any, Any, Any]:
    try:
        import dlib
    except ImportError:
        raise WeightsError("the identity distance needs dlib (pip install dlib-bin)") from None
    return (
        dlib.get_frontal_face_detector(),
        dlib.shape_predictor(str(model_file(_FIVE_POINTS))),
        dlib.face_recognition_model_v1(str(model_file(_RECOGNISER))),
    )
