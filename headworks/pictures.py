"""Pictures for people: overlays, error maps, preview cameras. Nothing here is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera, intrinsics, orbit
from headworks.images import composite, to_float, to_uint8
from headworks.mesh import interpolate, rasterize_mesh

Picture = NDArray[np.uint8]

IBUG_LINES: tuple[tuple[int, int, bool], ...] = (
    (0, 17, False), (17, 22, False), (22, 27, False), (27, 31, False), (31, 36, False),
    (36, 42, True), (42, 48, True), (48, 60, True), (60, 68, True),
)  # fmt: skip
"""Start, end and closedness of the curves of the 68 landmarks."""
_CHECKS = (0.86, 0.94)
_CHECK_SIDE = 16
_LANDMARK_COLOUR = (255, 196, 61)
_MESH_COLOUR = np.array([0.42, 0.68, 0.93])


def over_checks(rgb: NDArray[np.floating], alpha: NDArray[np.floating]) -> Picture:
    """A matted picture [H, W, 3] over a grey checkerboard, so that the matte's edge is seen."""
    height, width = alpha.shape
    y, x = np.mgrid[:height, :width] // _CHECK_SIDE
    checks = np.where((x + y) % 2, *_CHECKS)[..., None]
    return to_uint8(rgb * alpha[..., None] + checks * (1 - alpha[..., None]))


def draw_landmarks(rgb: Picture, landmarks: NDArray[np.floating], scale: int = 2) -> Picture:
    """The 68 landmarks as curves and dots on an enlarged picture.

    Args:
        rgb: uint8 [H, W, 3]. landmarks: [68, >= 2] pixels, centres at +0.5; NaN: not drawn.
        scale: enlargement, so that thin lines stay thin.
    """
    import cv2

    height, width = rgb.shape[:2]
    out: Picture = np.ascontiguousarray(
        cv2.resize(rgb, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)
    )
    points = np.asarray(landmarks, np.float64)[:, :2] * scale - 0.5
    if not np.isfinite(points).all():
        return out
    fixed = np.rint(points * 16).astype(np.int32)  # cv2 takes 4 fractional bits
    for start, end, closed in IBUG_LINES:
        cv2.polylines(out, [fixed[start:end]], closed, _LANDMARK_COLOUR, 1, cv2.LINE_AA, 4)
    for point in fixed:
        cv2.circle(out, tuple(int(v) for v in point), 32, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return out


def shade_mesh(
    rgb: Picture,
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    camera: Camera,
    strength: float = 0.7,
    scale: int = 2,
) -> Picture:
    """A shaded mesh over a picture, enlarged.

    Args:
        rgb: uint8 [H, W, 3]. vertices: [V, 3] metres, world. faces: [F, 3]. camera: of the picture.
        strength: opacity of the mesh. scale: enlargement.
    """
    import cv2

    width, height = camera.width * scale, camera.height * scale
    enlarged: Picture = np.asarray(
        cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8
    )
    base = to_float(enlarged)
    buffers = rasterize_mesh(vertices, faces, camera.resized(width, height))
    hit = buffers.face_ids >= 0
    normals = interpolate(buffers, _vertex_normals(vertices, faces), faces)[hit]
    in_camera = normals @ camera.viewmat[:3, :3].T
    in_camera /= np.maximum(np.linalg.norm(in_camera, axis=1, keepdims=True), 1e-20)
    light = np.array([-0.35, -0.5, -0.79])  # from the upper left, behind the camera
    shade = 0.25 + 0.75 * np.clip(np.abs(in_camera @ light), 0, 1)
    layer = np.zeros((height, width, 3), np.float32)
    layer[hit] = np.clip(shade[:, None] * _MESH_COLOUR * 1.25, 0, 1)
    mixed = composite(layer, strength * hit, (0, 0, 0)) + base * (1 - strength * hit[..., None])
    return to_uint8(mixed)


def _vertex_normals(
    vertices: NDArray[np.floating], faces: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Area-weighted normals [V, 3], not of unit length."""
    triangles = np.asarray(vertices, np.float64)[faces]
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    out = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(out, faces[:, corner], normals)
    return out / max(float(np.abs(out).max()), 1e-20)


def heat(values: NDArray[np.floating], top: float) -> Picture:
    """A map [H, W] from 0 (black) to `top` (pale yellow) in perceptually even steps."""
    import matplotlib

    colours = matplotlib.colormaps["magma"](np.clip(values / top, 0, 1))
    return to_uint8(colours[..., :3])


def beside(pictures: Sequence[Picture], gap: int = 0) -> Picture:
    """Pictures of one height in a row, `gap` white pixels apart."""
    height = pictures[0].shape[0]
    parts: list[Picture] = []
    for number, picture in enumerate(pictures):
        if number and gap:
            parts.append(np.full((height, gap, 3), 255, np.uint8))
        parts.append(picture)
    return np.concatenate(parts, 1)


def portrait_camera(
    vertices: NDArray[np.floating], side: int, azimuth: float = 0.0, elevation: float = 0.0
) -> Camera:
    """A camera on a circle around a head in canonical pose that shows it with room for hair.

    Args:
        vertices: [V, 3] metres, canonical frame, of the head alone (no torso).
        side: pixels of the square picture.
        azimuth: radians, positive to the subject's left. elevation: radians, positive from above.
    """
    low, high = np.min(vertices, 0), np.max(vertices, 0)
    centre = (low + high) / 2
    half = PORTRAIT_ROOM * float(high[1] - low[1]) / 2
    distance = _DISTANCE_IN_HALVES * half
    focal = side / 2 * _DISTANCE_IN_HALVES
    return Camera(
        orbit(azimuth, elevation, distance, centre), intrinsics(focal, side, side), side, side
    )


PORTRAIT_ROOM = 1.45
"""Height of the picture in heights of the head."""
_DISTANCE_IN_HALVES = 6.0
"""Far enough that the face is not distorted."""


def save_png(path: str, picture: Picture) -> None:
    """Write a PNG (equal pictures give equal bytes)."""
    from PIL import Image

    Image.fromarray(picture).save(path, format="PNG", optimize=True)


def save_jpeg(path: Path | str, picture: Picture, quality: int = 90) -> None:
    """Write a JPEG (equal pictures give equal bytes); colours at full resolution from 85 on."""
    from PIL import Image

    sampling = "4:4:4" if quality >= 85 else "4:2:0"
    Image.fromarray(picture).save(
        path, format="JPEG", quality=quality, subsampling=sampling, optimize=True, progressive=False
    )
