"""Pictures cut by the tracking: face and non-face images, and head crops.

All methods that are conditioned on such pictures read the same ones. Places come from the tracked
mesh, so that every frame and camera has them, whatever the landmark detector found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
GREY = 128
"""What is left out of face and non-face images: 0.5 grey."""

MOST_YAW = 70.0
"""Degrees by which a face may turn from the camera and still count as visible."""

HEAD_SCALE = 1.65
"""Side of a head crop in mean sides of the head's box (GAGAvatar)."""

BOX_PACE = 0.03
"""Share of a new frame's box in the smoothed one (GAGAvatar)."""

# Eyes' and mouth's middles in the aligned face, shares of its side.
_EYE_LEFT, _EYE_RIGHT, _MOUTH = (0.34, 0.42), (0.66, 0.42), (0.5, 0.76)
_RAISE, _DILATE = 0.25, 0.03


@dataclass(frozen=True)
class HeadBoxes:
    """Square head crops of one camera.

    Attributes:
        box: [T, 4] smoothed head boxes x0, y0, x1, y1, pixels. corner: int [T, 2] upper left of
            the square. side: int [T].
    """

    box: Array
    corner: NDArray[np.int64]
    side: NDArray[np.int64]

    def relative(self) -> Array:
        """[T, 4] boxes in the crop, shares of its side."""
        shift = np.tile(self.corner, 2)
        return (self.box - shift) / self.side[:, None]


def head_boxes(boxes: Array, linked: NDArray[np.bool_]) -> HeadBoxes:
    """Smooth head boxes over time and widen them to squares.

    Args:
        boxes: [T, 4] x0, y0, x1, y1 of the head in one camera. linked: bool [T-1].

    Source: GAGAvatar (NeurIPS 2024), its data preparation: exponential average of pace 0.03, side
        sqrt(w h) 1.65, corners cut to whole pixels.
    """
    smooth = boxes.copy()
    for t in range(1, len(boxes)):
        if linked[t - 1]:
            smooth[t] = BOX_PACE * boxes[t] + (1 - BOX_PACE) * smooth[t - 1]
    centre = (smooth[:, :2] + smooth[:, 2:]) / 2
    size = smooth[:, 2:] - smooth[:, :2]
    side = np.sqrt(size.prod(1)) * HEAD_SCALE
    low = np.trunc(centre - side[:, None] / 2).astype(np.int64)
    high = np.trunc(centre + side[:, None] / 2).astype(np.int64)
    return HeadBoxes(smooth, low, (high - low).max(1).clip(2))


def head_crop(
    picture: NDArray[np.uint8], alpha: NDArray[np.uint8], corner: NDArray[np.int64], side: int,
    size: int,
) -> NDArray[np.uint8]:  # fmt: skip
    """A head over black, [size, size, 3]; black beyond the picture.

    Args:
        picture: [H, W, 3]. alpha: [H, W]. corner: upper left of the square. side: pixels.
        size: of the crop, reached by antialiased bilinear resampling.
    """
    h, w = alpha.shape
    low, high = np.maximum(corner, 0), np.minimum(corner + side, [w, h])
    square = np.zeros((side, side, 3), np.float32)
    if (high > low).all():
        part = (slice(low[1], high[1]), slice(low[0], high[0]))
        x, y = low - corner
        square[y : y + high[1] - low[1], x : x + high[0] - low[0]] = (
            picture[part].astype(np.float32) * (alpha[part].astype(np.float32) / 255)[..., None]
        )
    planes = torch.from_numpy(square).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(
        planes, (size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return small[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def face_matrix(marks: Array, size: int) -> Array:
    """Similarity [2, 3] from picture to aligned face, pixel centres at +0.5 on both.

    Args:
        marks: [68, 2] pixels. size: side of the face image.

    Source: GPHMv2 names a face image cut by landmarks; eyes' and mouth's middles on fixed places
        are our choice of alignment.
    """
    # The picture's left eye is the subject's right one, landmarks 36-41.
    source = np.stack([marks[36:42].mean(0), marks[42:48].mean(0), marks[48:60].mean(0)])
    target = np.array([_EYE_LEFT, _EYE_RIGHT, _MOUTH]) * size
    a, b = source - source.mean(0), target - target.mean(0)
    scale = (a**2).sum()
    cos = (a * b).sum() / scale
    sin = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / scale
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn, target.mean(0) - turn @ source.mean(0)])


def face_hull(marks: Array) -> Array:
    """Corners [N, 2] of the face's hull: jaw, and brows raised by a quarter of the face's height.

    Args:
        marks: [68, 2] pixels.
    """
    import cv2

    up = marks[27] - marks[8]
    raised = marks[17:27] + _RAISE * up
    hull = cv2.convexHull(np.concatenate([marks, raised]).astype(np.float32))[:, 0]
    middle = hull.mean(0)
    return (middle + (1 + _DILATE) * (hull - middle)).astype(np.float64)


def hull_mask(hull: Array, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels [H, W] inside a hull; size is (width, height)."""
    import cv2

    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(mask, np.rint((hull - 0.5) * 16).astype(np.int32), 1, cv2.LINE_8, 4)
    return mask > 0


def face_image(
    picture: NDArray[np.uint8], alpha: NDArray[np.uint8], marks: Array, size: int
) -> NDArray[np.uint8]:
    """The aligned face, grey outside of its hull and of the matte: uint8 [size, size, 3].

    Args:
        picture: [H, W, 3]. alpha: [H, W]. marks: [68, 2] pixels. size: side of the image.
    """
    import cv2

    matrix = face_matrix(marks, size)
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    shrinks = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    share = alpha.astype(np.float32)[..., None] / 255
    source = (picture * share + GREY * (1 - share)).round().astype(np.uint8)
    if shrinks < 1:
        source[:] = cv2.GaussianBlur(source, (0, 0), 0.5 / shrinks)
    out = cv2.warpAffine(
        source, centred, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    hull = face_hull(marks) @ matrix[:, :2].T + matrix[:, 2]
    out[~hull_mask(hull, (size, size))] = GREY
    return np.asarray(out, np.uint8)


def non_face_image(
    picture: NDArray[np.uint8], alpha: NDArray[np.uint8], marks: Array | None, size: int
) -> NDArray[np.uint8]:
    """The whole picture over black with the face's hull grey: uint8 [size, size, 3].

    Args:
        picture: [H, W, 3]. alpha: [H, W]. marks: [68, 2] pixels; None where no face is seen.
        size: side of the image.
    """
    from headworks.images import resize

    share = alpha.astype(np.float32)[..., None] / 255
    out = (picture * share).round().astype(np.uint8)
    if marks is not None:
        h, w = alpha.shape
        out[hull_mask(face_hull(marks), (w, h))] = GREY
    return resize(out, size, size)


def turned_away(rotation: Array, centre: Array, viewmat: Array) -> Array:
    """Degrees [T] between the face's direction and the way to a camera.

    Args:
        rotation: [T, 3, 3] head to world. centre: [T, 3] head, world. viewmat: [4, 4].
    """
    way = -viewmat[:3, :3].T @ viewmat[:3, 3] - centre
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    return np.degrees(np.arccos(np.clip((rotation[:, :, 2] * way).sum(1), -1, 1)))
