"""Pictures in which a person sees at a glance whether tracking is right.

Over each frame: the posed mesh, shaded and half transparent; detected landmarks in green, the
mesh's own in white; the gaze as lines; flags and weight as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.formats.video import write_mp4
from headworks.geometry import axis_angle_to_matrix
from headworks.heads.base import HeadModel
from headworks.images import resize
from headworks.mesh import interpolate, rasterize_mesh
from headworks.tracking.report import Tracked

Array = NDArray[np.float64]
MOST_FRAMES, SIDE, MOST_CAMERAS = 100, 288, 3
CRF = 26
_MESH = np.array([120.0, 170.0, 255.0])
_DETECTED, _OWN, _GAZE = (60, 230, 60), (255, 255, 255), (255, 210, 40)
_OPACITY = 0.4
_GAZE_M = 0.06
_TORSO = ("torso",)


@dataclass(frozen=True)
class Overlay:
    """What is drawn over pictures of one tracking.

    Attributes:
        head: the model. tracked: the tracking. landmarks: [T, C, 68, 3] as detected.
        cameras: which are shown side by side.
    """

    head: HeadModel
    tracked: Tracked
    landmarks: Array
    cameras: tuple[int, ...]

    def frames(self, rgb: Callable[[int, int], NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """Frames of the video, uint8 [H, W, 3].

        Args:
            rgb: (time, camera) -> uint8 [H, W, 3].
        """
        t = len(self.tracked.expression)
        identity = torch.from_numpy(self.tracked.identity)[None]
        shown = ~self.head.region_faces(*_TORSO).numpy()
        faces = self.head.faces.numpy()[shown]
        for i in np.unique(np.linspace(0, t - 1, min(t, MOST_FRAMES)).astype(int)):
            expression = torch.from_numpy(self.tracked.expression[i : i + 1])
            pose = self.tracked.pose[slice(i, i + 1)]
            posed = self.head.vertices(identity, expression, pose)
            marks = self.head.landmarks(posed)[0].double().numpy()
            turns, places = self.head.joint_transforms(identity, pose, expression)
            rest = self.head.joints + torch.einsum(
                "k,kjc->jc", identity[0], self.head.joint_identity
            )
            eyes = (turns[0, 3:] @ rest[3:, :, None])[..., 0] + places[0, 3:]
            looks = (turns[0, 1] @ axis_angle_to_matrix(pose.eyes[0]))[:, :, 2]
            parts = [
                self._picture(
                    rgb(int(i), c), posed[0].numpy(), faces, marks,
                    eyes.double().numpy(), looks.double().numpy(), int(i), c,
                )
                for c in self.cameras
            ]  # fmt: skip
            yield np.concatenate(parts, 1)

    def _picture(
        self, picture: NDArray[np.uint8], vertices: NDArray[np.float32],
        faces: NDArray[np.int64], marks: Array, eyes: Array, looks: Array, i: int, c: int,
    ) -> NDArray[np.uint8]:  # fmt: skip
        import cv2

        h, w = picture.shape[:2]
        side = (SIDE, 2 * round(SIDE * h / w / 2))
        camera = Camera(self.tracked.viewmats[c], self.tracked.Ks[i, c], w, h).resized(*side)
        out = drawn_mesh(resize(picture, *side), vertices, faces, camera)
        scale = np.array([side[0] / w, side[1] / h])

        def dots(points: Array, colour: tuple[int, int, int]) -> None:
            for x, y in points[np.isfinite(points).all(1)]:
                place = (round(float(x) * 16 - 8), round(float(y) * 16 - 8))
                cv2.circle(out, place, 20, colour, -1, cv2.LINE_AA, 4)

        dots(self.landmarks[i, c, :, :2] * scale, _DETECTED)
        dots(camera.project(marks)[:, :2], _OWN)
        for eye, look in zip(eyes, looks):
            a, b = camera.project(np.stack([eye, eye + _GAZE_M * look]))[:, :2]
            if np.isfinite([a, b]).all():
                ends = [(round(float(p[0])), round(float(p[1]))) for p in (a, b)]
                cv2.line(out, ends[0], ends[1], _GAZE, 2, cv2.LINE_AA)
        weight = float(self.tracked.quality.weight[i, c])
        error = self.tracked.error_iod[i, c]
        lines = [
            f"frame {i}  weight {weight:.2f}"
            + (f"  landmarks {100 * error:.1f} %" if np.isfinite(error) else ""),
            self.tracked.flags[i][c].replace(",", ", "),
        ]
        for row, text in enumerate(lines):
            place = (6, 14 + 15 * row)
            cv2.putText(out, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 3, cv2.LINE_AA)
            colour = (255, 255, 255) if row == 0 else (255, 120, 90)
            cv2.putText(out, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1, cv2.LINE_AA)
        return out


def write_overlay(
    path: Path, overlay: Overlay, rgb: Callable[[int, int], NDArray[np.uint8]], rate: float
) -> None:
    """Write the video; arguments as for `Overlay.frames`, `rate` of the capture per second."""
    shown = min(len(overlay.tracked.expression), MOST_FRAMES)
    pace = rate * shown / len(overlay.tracked.expression)
    write_mp4(path, overlay.frames(rgb), float(np.clip(pace, 2, 30)), CRF)


def drawn_mesh(
    picture: NDArray[np.uint8], vertices: NDArray[np.float32], faces: NDArray[np.int64],
    camera: Camera,
) -> NDArray[np.uint8]:  # fmt: skip
    """The mesh over a picture, half transparent, shaded by how squarely it faces the camera."""
    buffers = rasterize_mesh(vertices, faces, camera)
    corner = vertices[faces].astype(np.float64)
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    ray = corner.mean(1) - camera.centre
    length = np.linalg.norm(normal, axis=1) * np.linalg.norm(ray, axis=1) + 1e-20
    facing = np.abs((normal * ray).sum(1)) / length
    smooth = np.zeros(len(vertices))
    count = np.zeros(len(vertices))
    np.add.at(smooth, faces.reshape(-1), np.repeat(facing, 3))
    np.add.at(count, faces.reshape(-1), 1.0)
    shade = interpolate(buffers, (smooth / np.maximum(count, 1))[:, None], faces)[..., :1]
    covered = buffers.face_ids >= 0
    mixed = (1 - _OPACITY) * picture + _OPACITY * _MESH * (0.25 + 0.75 * shade)
    return np.where(covered[..., None], mixed, picture).clip(0, 255).astype(np.uint8)


def shown_cameras(tracked: Tracked) -> tuple[int, ...]:
    """Up to `MOST_CAMERAS` cameras, spread over those in which landmarks were found most."""
    found = np.isfinite(tracked.error_px).sum(0)
    able = np.flatnonzero(found >= 0.7 * found.max())
    pick = (np.arange(MOST_CAMERAS) + 0.5) * len(able) / MOST_CAMERAS
    return tuple(int(c) for c in able[np.unique(pick.astype(int))])
