"""Synthetic captures in NeRSemble's own layout: data with ground truth for every reader of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.formats import nersemble
from headworks.formats.sequences import sequence_runs
from headworks.images import to_uint8


def write_nersemble(
    root: Path, name: str, cameras: Mapping[str, Camera], sequences: Sequence[str],
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], fps: float,
    backdrop: tuple[float, float, float], glasses: bool,
) -> Path:  # fmt: skip
    """Write one participant: calibration, videos, mattes, plates and metadata.

    Args:
        root: of the data set. name: three digits. cameras: serial -> camera, in the order of C.
        sequences: name of each time step. rgb: [T, C, H, W, 3]. alpha: [T, C, H, W].
        fps: frames per second. backdrop: grey behind the person. glasses: whether worn.

    Returns:
        The participant's folder.
    """
    folder = root / name
    nersemble.write_calibration(folder, cameras)
    runs = [(sequences[run.start], run) for run in sequence_runs(sequences)]
    first = next(iter(cameras.values()))
    plate = np.broadcast_to(to_uint8(np.array(backdrop)), (first.height, first.width, 3))
    for c, serial in enumerate(cameras):
        for sequence, run in runs:
            nersemble.write_recording(folder, sequence, serial, rgb[run, c], fps)
            mattes = (np.repeat(frame[..., None], 3, -1) for frame in alpha[run, c])
            nersemble.write_recording(folder, sequence, serial, mattes, fps, alpha=True)
        nersemble.write_plate(folder, serial, np.ascontiguousarray(plate))
    nersemble.write_metadata(root, {name: (glasses, [s for s, _ in runs])})
    return folder
