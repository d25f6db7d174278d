"""Where dlib's published model files lie: inside the wheel `face_recognition_models`.

The package itself is not imported: its import needs a module that setuptools dropped.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from headworks.errors import WeightsError

PACKAGE = "face_recognition_models"


def model_file(name: str) -> Path:
    """Path of one of dlib's published model files.

    Args:
        name: file name, e.g. "shape_predictor_68_face_landmarks.dat".

    Raises:
        WeightsError: when the wheel that carries them is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    raise WeightsError(
        f"{name} not found; it ships in the package face-recognition-models: "
        "pip install face-recognition-models"
    )
