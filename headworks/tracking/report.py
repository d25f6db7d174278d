"""What a tracking says, and how well it agrees with what was seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.heads.base import HeadModel, HeadPose
from headworks.mesh import rasterize_mesh
from headworks.tracking.contour import SLIDING
from headworks.tracking.landmark_fit import face_scale, found_frames, interocular
from headworks.tracking.quality import Quality, SkinProbe, rate, sharpness
from headworks.tracking.silhouette import intersection_over_union

Array = NDArray[np.float64]
Pictures = NDArray[np.uint8] | Callable[[int], NDArray[np.uint8]]


@dataclass(frozen=True)
class Tracked:
    """Everything the tracking artifact holds.

    Attributes:
        identity: [Ki]. expression: [T, Ke]. pose: batch of T. viewmats: [C, 4, 4].
        Ks: [T, C, 3, 3]. valid: bool [T], seen by some camera.
        error_px, error_iod, inner_iod: [T, C] mean landmark errors in pixels and in interocular
            distances, the last without the jaw contour; NaN where there are no landmarks.
        iou: [T, C]. flags: [T][C] strings. quality: of the pictures.
    """

    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    pose: HeadPose
    viewmats: Array
    Ks: Array
    valid: NDArray[np.bool_]
    error_px: Array
    error_iod: Array
    inner_iod: Array
    iou: Array
    flags: list[list[str]]
    quality: Quality

    @property
    def weights(self) -> Array:
        """[T] in [0, 1]: mean over the cameras."""
        return self.quality.weight.mean(1)


def measure(
    head: HeadModel,
    identity: NDArray[np.float32],
    expression: NDArray[np.float32],
    pose: HeadPose,
    viewmats: Array,
    Ks: Array,
    rgb: Pictures,
    alpha: Pictures,
    landmarks: Array,
    contour: NDArray[np.int64] | None = None,
) -> Tracked:
    """Measure a tracking with the head model itself, posed as it will be written down.

    Args:
        head: the model. identity, expression, pose, viewmats, Ks: as in `Tracked`.
        rgb: uint8 [T, C, H, W, 3], or camera -> [T, H, W, 3]. alpha: likewise without channels.
        landmarks: [T, C, 68, 3], NaN where not found.
        contour: [T, C, 12] vertices that stand for the sliding contour landmarks; None takes the
            model's own places.
    """
    t, c = landmarks.shape[:2]
    shape = torch.from_numpy(identity)[None]
    faces = head.faces.numpy()
    error, iou = np.full((t, c, 68), np.nan), np.empty((t, c))
    posed = [
        head.vertices(shape, torch.from_numpy(expression[i : i + 1]), pose[slice(i, i + 1)])
        for i in range(t)
    ]
    sharp, covered = np.full((t, c), np.nan), np.zeros((t, c))
    for j in range(c):
        mattes = alpha(j) if callable(alpha) else alpha[:, j]
        pictures = rgb(j) if callable(rgb) else rgb[:, j]
        probe = SkinProbe(head, t)
        h, w = mattes.shape[1:]
        for i in range(t):
            vertices, marks = posed[i][0].numpy(), head.landmarks(posed[i])[0].numpy()
            camera = Camera(viewmats[j], Ks[i, j], w, h)
            if contour is not None:
                marks[list(SLIDING)] = vertices[contour[i, j]]
            error[i, j] = np.linalg.norm(
                camera.project(marks)[:, :2] - landmarks[i, j, :, :2], axis=-1
            )
            buffers = rasterize_mesh(vertices, faces, camera)
            iou[i, j] = intersection_over_union(buffers.face_ids >= 0, mattes[i])
            sharp[i, j] = sharpness(pictures[i], landmarks[i, j])
            probe.look(i, vertices, buffers, camera, pictures[i])
        covered[:, j] = probe.occlusion()
    iod = interocular(landmarks.reshape(t * c, 68, -1)).reshape(t, c)
    seen = found_frames(landmarks)
    error_iod = error.mean(2) / iod

    # In a profile the eyes' corners nearly meet: what is trusted must not depend on that.
    facing = face_scale(landmarks.reshape(t * c, 68, -1)).reshape(t, c)
    quality, flags = rate(sharp, covered, error.mean(2) / facing, seen)
    return Tracked(
        identity=identity,
        expression=expression,
        pose=pose,
        viewmats=viewmats,
        Ks=Ks,
        valid=np.asarray(seen.any(1)),
        error_px=error.mean(2),
        error_iod=error_iod,
        inner_iod=error[:, :, 17:].mean(2) / iod,
        iou=iou,
        flags=flags,
        quality=quality,
    )
