"""A state's motion, or a swing around a still, as an MP4 file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from headworks.formats.video import write_mp4
from headworks.geometry import axis_angle_to_matrix, matrix_to_quat, quat_to_matrix
from headworks.viewer.state import State, View
from headworks.viewer.studio import Picture, Studio, write_on

SWING_S = 4.0
SWING = np.deg2rad(40.0)
_FPS = 25.0
MARK = "synthetic"


def film(
    studio: Studio,
    state: State,
    view: View,
    path: Path,
    centre: tuple[float, float, float],
    progress: Callable[[float], None] = lambda share: None,
    mark: bool = True,
) -> int:
    """Write what a browser sees: its motion once, or, without one, a swing to both sides.

    Args:
        view: the browser's camera. path: the file. centre: [3] what a swing turns about.
        progress: hears the share done. mark: write "synthetic" into every picture.

    Returns:
        Number of frames.
    """
    motion = studio.motion_or_none(state)
    fps = _FPS
    if motion is not None:
        fps = next(a.motions[motion].fps for a in studio.actors if motion in a.motions)
    count = max(2, round((studio.duration(motion) if motion else SWING_S) * fps))

    def frames() -> Iterator[Picture]:
        for number in range(count):
            if motion is not None:
                picture = studio.picture(replace(state, time=number / fps), view)
            else:
                angle = float(SWING * np.sin(2 * np.pi * number / count))
                picture = studio.picture(state, swung(view, centre, angle))
            if mark:
                write_on(picture, MARK, below=True)
            progress((number + 1) / count)
            yield picture

    return write_mp4(path, frames(), fps)


def swung(view: View, centre: tuple[float, float, float], angle: float) -> View:
    """A view carried around the vertical through a point, radians."""
    turn = axis_angle_to_matrix(torch.tensor([0.0, angle, 0.0], dtype=torch.float64))
    middle = torch.tensor(centre, dtype=torch.float64)
    position = turn @ (torch.tensor(view.position, dtype=torch.float64) - middle) + middle
    rotation = turn @ quat_to_matrix(torch.tensor(view.wxyz, dtype=torch.float64))
    w, x, y, z = matrix_to_quat(rotation).tolist()
    a, b, c = position.tolist()
    return replace(view, wxyz=(w, x, y, z), position=(a, b, c))
