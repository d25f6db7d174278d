"""Face detection by dlib's histogram-of-gradients detector; needs no weights."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=1)
def _detector() -> Any:
    import dlib

    return dlib.get_frontal_face_detector()


def detect_faces(
    rgb: NDArray[np.uint8], long_side: int | None = None, threshold: float = 0.0
) -> NDArray[np.float32]:
    """Boxes of the faces in one image, largest first.

    Args:
        rgb: uint8 [H, W, 3].
        long_side: resize the image to this longer side first; the smallest face found is 80
            pixels wide after that. None keeps the size.
        threshold: lowest detector score; 0 is the detector's own choice.

    Returns:
        float32 [N, 5]: x0, y0, x1, y1 in pixels of `rgb`, and the score.

    Source: Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, 2005; dlib.
    """
    import cv2

    height, width = rgb.shape[:2]
    scale = 1.0 if long_side is None else long_side / max(height, width)
    image: NDArray[Any] = rgb
    if scale != 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = cv2.resize(rgb, size, interpolation=mode)
    rectangles, scores, _ = _detector().run(np.ascontiguousarray(image), 0, threshold)
    boxes = np.array(
        [[r.left(), r.top(), r.right() + 1, r.bottom() + 1, s] for r, s in zip(rectangles, scores)],
        np.float32,
    ).reshape(-1, 5)
    boxes[:, :4] /= scale
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return boxes[np.argsort(-area, kind="stable")]


def steady_boxes(boxes: NDArray[np.floating], window: int = 5) -> NDArray[np.float32]:
    """Boxes for every frame of a sequence: gaps interpolated, single jumps removed.

    Args:
        boxes: [T, 4] in order of time, NaN where no face was detected.
        window: odd length of the running median, frames.

    Returns:
        float32 [T, 4]; all NaN where no frame has a box.
    """
    from scipy.ndimage import median_filter

    boxes = np.asarray(boxes, np.float32)
    known = np.flatnonzero(np.isfinite(boxes).all(-1))
    if len(known) == 0:
        return np.full_like(boxes, np.nan)
    times = np.arange(len(boxes))
    filled = np.stack([np.interp(times, known, boxes[known, k]) for k in range(4)], -1)
    return median_filter(filled, size=(window, 1), mode="nearest").astype(np.float32)
