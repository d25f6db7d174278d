"""Square crops of faces by landmarks, framed as LivePortrait was trained to see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SOURCE_SCALE, SOURCE_SHIFT = 2.3, -0.125
"""Side in sides of the landmarks' box, and the shift (negative: up) in sides, of looks to lend."""
DRIVING_SCALE, DRIVING_SHIFT = 2.2, -0.1
"""The same for driving pictures, which are not turned upright."""

# Outer and inner corner of both eyes, and the corners of the mouth (iBUG 68).
_EYE_CORNERS = ([36, 39], [42, 45])
_MOUTH_CORNERS = [48, 54]


@dataclass(frozen=True)
class FaceCrop:
    """A square in a picture.

    Attributes:
        centre: [2] pixels (centres at +0.5). side: pixels. axes: [2, 2], rows: the crop's x and y
            in the picture.
    """

    centre: NDArray[np.float64]
    side: float
    axes: NDArray[np.float64]

    def matrix(self, size: int) -> NDArray[np.float64]:
        """[3, 3] picture -> crop of `size` pixels a side, both with pixel centres at +0.5."""
        out = np.eye(3)
        out[:2, :2] = self.axes * size / self.side
        out[:2, 2] = size / 2 - out[:2, :2] @ self.centre
        return out

    def cut(self, picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """The crop, uint8 [size, size, 3]; black beyond the picture."""
        import cv2

        # Drawn at twice the size and averaged, as the published cropping does.
        half = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
        matrix = half @ self.matrix(2 * size) @ np.linalg.inv(half)
        large = cv2.warpAffine(picture, matrix[:2], (2 * size,) * 2, flags=cv2.INTER_LINEAR)
        small = cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)


def face_crop(
    points: NDArray[np.floating],
    scale: float = SOURCE_SCALE,
    shift: float = SOURCE_SHIFT,
    upright: bool = True,
) -> FaceCrop:
    """The square around a face.

    Args:
        points: landmarks [68, >= 2], pixels. scale: its side in sides of the landmarks' box.
        shift: along the face's vertical, in sides; negative shows more forehead.
        upright: turn the line from the eyes to the mouth upright.

    Source: Guo et al., LivePortrait, 2024, its published cropping, with 68 landmarks.
    """
    points = np.asarray(points, np.float64)[:, :2]
    down = np.array([0.0, 1.0])
    if upright:
        eyes = np.mean([points[pair].mean(0) for pair in _EYE_CORNERS], 0)
        line = points[_MOUTH_CORNERS].mean(0) - eyes
        length = float(np.linalg.norm(line))
        if length > 1e-3:
            down = line / length
    axes = np.array([[down[1], -down[0]], down])
    middle = points.mean(0)
    local = (points - middle) @ axes.T
    low, high = local.min(0), local.max(0)
    side = float((high - low).max()) * scale
    centre = middle + ((low + high) / 2) @ axes + shift * side * down
    return FaceCrop(centre, side, axes)
