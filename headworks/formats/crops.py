"""The square around a head: chosen once per sequence and camera, applied to every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Sides of dlib's face box that hold the whole head with hair and the top of the shoulders.
HEAD_SCALE = 2.6
# Below this the hair or the chin is cut; then padding is better than a smaller square.
TIGHT_SCALE = 1.6
_BAR_LUMINANCE = 20.0


@dataclass(frozen=True)
class Crop:
    """A square of the source image.

    Attributes:
        x: left edge in source pixels; negative where the square is padded.
        y: top edge in source pixels.
        side: length in source pixels.
    """

    x: float
    y: float
    side: float

    def to_working(self, points: NDArray[np.floating], size: int) -> NDArray[np.float64]:
        """Source pixels [..., 2] -> pixels of the crop resized to `size`."""
        return (np.asarray(points, np.float64) - [self.x, self.y]) * (size / self.side)

    def intrinsics(self, K: NDArray[np.floating], size: int) -> NDArray[np.float64]:
        """K [..., 3, 3] of the source image -> K of the crop resized to `size`."""
        scale = size / self.side
        move = np.array([[scale, 0, -self.x * scale], [0, scale, -self.y * scale], [0, 0, 1]])
        return move @ np.asarray(K, np.float64)


def content_rectangle(frames: Sequence[NDArray[np.uint8]]) -> tuple[int, int, int, int]:
    """The part of a clip inside black bars.

    A bar is a run of rows or columns at an edge that is black in every frame.

    Args:
        frames: sampled frames, each uint8 [H, W, 3].

    Returns:
        x0, y0, x1, y1 in pixels, x1 and y1 exclusive; the whole image where there are no bars.
    """
    brightest = frames[0].max(-1).astype(np.float32)
    for frame in frames[1:]:
        np.maximum(brightest, frame.max(-1), out=brightest)
    spans = []
    for axis in (0, 1):
        # A high percentile, not the maximum: compression leaves specks inside a bar.
        line = np.percentile(brightest, 98, axis=axis)
        lit = np.flatnonzero(line > _BAR_LUMINANCE)
        spans.append((0, len(line)) if len(lit) == 0 else (int(lit[0]), int(lit[-1]) + 1))
    (x0, x1), (y0, y1) = spans
    height, width = brightest.shape
    # The line beside a bar is a blend of both after chroma subsampling: it goes too.
    return (
        x0 + (x0 > 0),
        y0 + (y0 > 0),
        x1 - (x1 < width),
        y1 - (y1 < height),
    )


def choose_crop(
    boxes: NDArray[np.floating],
    content: tuple[int, int, int, int],
    scale: float = HEAD_SCALE,
) -> Crop:
    """One square that holds the head in all sampled frames.

    Args:
        boxes: face boxes [N, 4] x0, y0, x1, y1 in source pixels, N >= 1.
        content: x0, y0, x1, y1 of the usable part of the image.
        scale: wanted side relative to the face box, motion coming on top.

    Returns:
        A square inside `content` where that can hold the head; else one that reaches beyond it
        (to be padded) as little as the head needs.
    """
    boxes = np.asarray(boxes, np.float64)
    left, top = np.percentile(boxes[:, 0], 5), np.percentile(boxes[:, 1], 5)
    right, bottom = np.percentile(boxes[:, 2], 95), np.percentile(boxes[:, 3], 95)
    face = float(np.median(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])))
    moved = max(right - left, bottom - top) - face
    x0, y0, x1, y1 = content
    width, height = x1 - x0, y1 - y0
    wanted = scale * face + max(moved, 0.0)
    tight = TIGHT_SCALE * face + max(moved, 0.0)
    side = min(wanted, max(min(width, height), min(tight, max(width, height))))
    side = float(max(1, int(side)))
    centre_x = (left + right) / 2
    # The detector's box ends at the brows, so the middle of the head lies above the box's middle;
    # the shoulders below want the opposite. Slightly up serves both.
    centre_y = (top + bottom) / 2 - 0.08 * face
    x = _inside(centre_x - side / 2, side, x0, x1)
    y = _inside(centre_y - side / 2, side, y0, y1)
    return Crop(float(round(x)), float(round(y)), side)


def _inside(start: float, side: float, low: float, high: float) -> float:
    if side >= high - low:
        return (low + high - side) / 2
    return min(max(start, low), high - side)


def apply_crop(
    image: NDArray[np.uint8],
    crop: Crop,
    size: int,
    content: tuple[int, int, int, int] | None = None,
) -> NDArray[np.uint8]:
    """Cut a square out of an image and resize it with area filtering.

    Args:
        image: uint8 [H, W] or [H, W, C].
        crop: whole-pixel square; where it leaves `content` the edge pixels are repeated.
        size: side of the result in pixels.
        content: usable part of the image, all of it by default.

    Returns:
        uint8 [size, size] or [size, size, C].
    """
    import cv2

    x0, y0, x1, y1 = content or (0, 0, image.shape[1], image.shape[0])
    left, top, side = int(crop.x), int(crop.y), int(crop.side)
    part = image[max(top, y0) : min(top + side, y1), max(left, x0) : min(left + side, x1)]
    pads = (y0 - top, top + side - y1, x0 - left, left + side - x1)
    if max(pads) > 0:
        above, below, before, after = (max(p, 0) for p in pads)
        part = np.pad(
            part, ((above, below), (before, after), *([(0, 0)] * (part.ndim - 2))), mode="edge"
        )
    if side == size:
        return np.ascontiguousarray(part)
    mode = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, (size, size), interpolation=mode), np.uint8)
