"""Where the head is in a calibrated rig, and the square that each camera sees it in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.errors import CaptureError
from headworks.formats.crops import Crop

_RAISED = 0.08
_MOST_APART = 0.5
"""Of a face's width: boxes of turned faces have their middles on the cheek."""


def locate_face(
    cameras: Mapping[str, Camera], boxes: Mapping[str, NDArray[np.floating]]
) -> tuple[NDArray[np.float64], float]:
    """The point where the rays through the middles of face boxes meet, and the face's width.

    Args:
        cameras: by name. boxes: [4] x0, y0, x1, y1 in pixels, of the cameras that see the face.

    Returns:
        [3] metres in the world, and the box's width there in metres.

    Raises:
        CaptureError: fewer than two cameras see a face, or their rays do not meet.
    """
    if len(boxes) < 2:
        raise CaptureError(
            f"a face was found by {len(boxes)} of {len(cameras)} cameras; two or more are needed "
            "to know where the head is: look at the recordings, light and framing"
        )
    A, b = np.zeros((3, 3)), np.zeros(3)
    rays = {}
    for name, box in boxes.items():
        camera = cameras[name]
        middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1.0])
        way = camera.viewmat[:3, :3].T @ np.linalg.solve(camera.K, middle)
        way /= np.linalg.norm(way)
        across = np.eye(3) - np.outer(way, way)
        A += across
        b += across @ camera.centre
        rays[name] = (camera.centre, across)
    point = np.linalg.solve(A, b)
    apart = {name: float(np.linalg.norm(m @ (point - c))) for name, (c, m) in rays.items()}
    depths = {name: float(cameras[name].project(point)[2]) for name in boxes}
    widths = [(box[2] - box[0]) * depths[n] / cameras[n].K[0, 0] for n, box in boxes.items()]
    if (
        min(depths.values()) <= 0
        or np.median(list(apart.values()))
        > _MOST_APART * max(abs(float(np.median(widths))), 1e-9) * 4
    ):
        worst = max(apart, key=lambda name: apart[name])
        raise CaptureError(
            f"the cameras do not agree where the face is (camera {worst} looks "
            f"{apart[worst]:.2f} m past it); expected world_2_cam with OpenCV axes, in metres, and "
            "intrinsics of the calibrated image size"
        )
    return np.asarray(point, np.float64), float(np.median(widths))


def crop_around(camera: Camera, point: NDArray[np.float64], side_m: float) -> Crop:
    """The square of whole pixels around a point of the world.

    It is moved into the picture where that can hold it; else it reaches beyond, to be padded.

    Args:
        camera: the view. point: [3] metres. side_m: what the square shows at the point, metres.
    """
    x, y, z = camera.project(point)
    side = max(8, round(side_m * camera.K[0, 0] / z))
    # As for a single camera: a little up, for hair above and shoulders below.
    left = _inside(round(x - side / 2), side, camera.width)
    top = _inside(round(y - (0.5 + _RAISED / 2.6) * side), side, camera.height)
    return Crop(float(left), float(top), side)


def _inside(start: int, side: int, length: int) -> int:
    return start if side > length else min(max(start, 0), length - side)
