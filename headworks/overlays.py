"""Small videos in which a person sees at a glance what a stage found in a capture's pictures.

`matting/overlay.mp4` shows the mattes, `landmarks/overlay.mp4` the landmarks,
`reconstruct/overlay.mp4` the points in space; the tracking's own is drawn by
`headworks.tracking.overlay`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.formats.video import write_mp4
from headworks.images import resize

SIDE, MOST_FRAMES, MOST_CAMERAS = 240, 60, 3
CRF = 28
_CELL = 12  # pixels of the chequerboard behind a matte
_CERTAIN, _UNSURE, _LINE = (60, 230, 60), (255, 120, 60), (235, 235, 235)
_LINES = (
    range(17), range(17, 22), range(22, 27), range(27, 31), range(31, 36),
    (*range(36, 42), 36), (*range(42, 48), 42), (*range(48, 60), 48), (*range(60, 68), 60),
)  # fmt: skip


def write_overlay(
    path: Path,
    shape: tuple[int, int],
    drawn: Callable[[int, int], NDArray[np.uint8]],
    rate: float | None,
) -> None:
    """Write a video of up to `MOST_FRAMES` frames, up to `MOST_CAMERAS` cameras side by side.

    Args:
        path: file to write. shape: frames and cameras of the capture.
        drawn: (frame, camera) -> the picture, uint8 [h, w, 3], all of one size.
        rate: frames per second of the capture; None where it has none.
    """
    times, cameras = shape
    spread = (np.arange(MOST_CAMERAS) + 0.5) * cameras / MOST_CAMERAS
    shown = np.unique(spread.astype(int)) if cameras > 1 else np.zeros(1, int)
    at = np.unique(np.linspace(0, times - 1, min(times, MOST_FRAMES)).astype(int))

    def frames() -> Iterator[NDArray[np.uint8]]:
        for t in at.tolist():
            yield np.concatenate([drawn(t, int(c)) for c in shown], 1)

    path.parent.mkdir(parents=True, exist_ok=True)
    pace = (rate or 2.0) * len(at) / times
    write_mp4(path, frames(), float(np.clip(pace, 2, 30)), CRF)


def matte_picture(picture: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a matte keeps, over a chequerboard, its edge in red.

    Args:
        picture: [H, W, 3]. alpha: [H, W].

    Returns:
        uint8 [h, SIDE, 3].
    """
    import cv2

    small = resize(picture, *_size(picture))
    matte = resize(alpha, *_size(picture))
    height, width = matte.shape
    row, column = np.mgrid[:height, :width] // _CELL
    board = np.where((row + column) % 2 == 0, 205.0, 245.0)[..., None]
    share = matte[..., None].astype(np.float64) / 255
    out = (small * share + board * (1 - share)).round().astype(np.uint8)
    edges, _ = cv2.findContours(
        (matte > 127).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(out, edges, -1, (230, 40, 40), 1, cv2.LINE_8)
    return out


def landmark_picture(picture: NDArray[np.uint8], points: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Landmarks and the lines they make; sure points green, unsure ones orange.

    Args:
        picture: [H, W, 3]. points: [68, 3] x, y in pixels (centres at +0.5) and confidence; NaN
            where not found.

    Returns:
        uint8 [h, SIDE, 3].
    """
    import cv2

    size = _size(picture)
    out = np.ascontiguousarray(resize(picture, *size))
    scale = np.array([size[0] / picture.shape[1], size[1] / picture.shape[0]])
    if not np.isfinite(points[:, :2]).all():
        place = (6, size[1] - 8)
        for colour, width in (((0, 0, 0), 3), (_UNSURE, 1)):
            cv2.putText(
                out, "no face", place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, width, cv2.LINE_AA
            )
        return out
    at = np.rint((points[:, :2] * scale - 0.5) * 16).astype(np.int32)
    for line in _LINES:
        cv2.polylines(out, [at[list(line)]], False, _LINE, 1, cv2.LINE_AA, 4)
    trust = np.clip(np.nan_to_num(points[:, 2]), 0, 1)[:, None]
    colours = trust * np.array(_CERTAIN) + (1 - trust) * np.array(_UNSURE)
    for (x, y), colour in zip(at.tolist(), colours.tolist()):
        cv2.circle(out, (x, y), 22, colour, -1, cv2.LINE_AA, 4)
    return out


def cloud_picture(
    picture: NDArray[np.uint8],
    camera: Camera,
    points: NDArray[np.floating],
    marks: NDArray[np.floating],
    text: str,
) -> NDArray[np.uint8]:
    """Points in space over a darkened picture, near ones warm, far ones cold; landmarks white.

    Args:
        picture: [H, W, 3]. camera: of that picture. points: [N, 3] metres, world.
        marks: [68, 3] metres, NaN where not known. text: written into the corner.

    Returns:
        uint8 [h, SIDE, 3].
    """
    import cv2

    width, height = _size(picture)
    out = np.ascontiguousarray(resize(picture, width, height) // 2)
    small = camera.resized(width, height)
    if len(points):
        at = small.project(np.asarray(points, np.float64))
        at = at[np.argsort(-at[:, 2], kind="stable")]  # near ones last
        low, high = np.percentile(at[:, 2], [2, 98])
        share = np.clip((at[:, 2] - low) / max(high - low, 1e-6), 0, 1)
        warmth = (255 * (1 - share)).astype(np.uint8)[:, None]
        shades = cv2.applyColorMap(warmth, cv2.COLORMAP_TURBO)
        cell = np.floor(at[:, :2]).astype(int)
        inside = ((cell >= 0) & (cell < [width, height])).all(1) & (at[:, 2] > 0)
        out[cell[inside, 1], cell[inside, 0]] = shades[inside, 0, ::-1]
    known = np.isfinite(marks).all(1)
    for x, y in small.project(np.asarray(marks[known], np.float64))[:, :2]:
        centre = (round(16 * (float(x) - 0.5)), round(16 * (float(y) - 0.5)))
        cv2.circle(out, centre, 20, (255, 255, 255), -1, cv2.LINE_AA, 4)
    for colour, thick in (((0, 0, 0), 3), (_LINE, 1)):
        cv2.putText(
            out, text, (6, height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, thick, cv2.LINE_AA
        )
    return out


def _size(picture: NDArray[np.uint8]) -> tuple[int, int]:
    height, width = picture.shape[:2]
    return SIDE, 2 * max(1, round(SIDE * height / width / 2))
