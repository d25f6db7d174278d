"""The monocular tracker: landmarks, then pixels, then the torso."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.errors import CaptureError
from headworks.heads.base import HeadModel, HeadPose
from headworks.mesh import rasterize_mesh
from headworks.tracking import rotations
from headworks.tracking.contour import SLIDING
from headworks.tracking.dense import refine
from headworks.tracking.energy import Problem, State, Weights
from headworks.tracking.landmark_fit import (
    LandmarkRig,
    fit_landmarks,
    interocular,
    landmark_rig,
    make_problem,
)
from headworks.tracking.pose import root_from_motion, split_pose, torso_orientation, world_view
from headworks.tracking.silhouette import intersection_over_union
from headworks.tracking.torso import track_torso

Array = NDArray[np.float64]
HIGH_ERROR_IOD = 0.10


@dataclass(frozen=True)
class View:
    """What one camera saw.

    Attributes:
        rgb: uint8 [T, H, W, 3]. alpha: uint8 [T, H, W]. landmarks: [T, 68, 3] pixels, confidence.
        principal: [T, 2] principal points, working pixels. magnification: [T], working pixels per
            pixel of the source over its mean (1 where all frames are cut alike).
        focal_prior: working pixels at magnification 1. linked: bool [T-1]. rate: per second.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    landmarks: Array
    principal: Array
    magnification: Array
    focal_prior: float
    linked: NDArray[np.bool_]
    rate: float

    def __len__(self) -> int:
        return len(self.rgb)


@dataclass(frozen=True)
class Options:
    """Choices of the tracker; see `stages.tracking.TrackingParams`."""

    keyframes: int = 40
    pixel_rounds: int = 2
    weights: Weights = field(default_factory=Weights)


@dataclass(frozen=True)
class Tracked:
    """Everything the tracking artifact holds, for one camera.

    Attributes:
        identity: [Ki]. expression: [T, Ke]. pose: batch of T. viewmat: [4, 4]. Ks: [T, 3, 3].
        valid: bool [T]. error_px, error_iod, inner_iod: [T] landmark errors, the last without the
            jaw contour; NaN where there are no landmarks. iou: [T]. flags: T strings.
    """

    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    pose: HeadPose
    viewmat: Array
    Ks: Array
    valid: NDArray[np.bool_]
    error_px: Array
    error_iod: Array
    inner_iod: Array
    iou: Array
    flags: list[str]


def track(
    head: HeadModel,
    view: View,
    options: Options,
    progress: Callable[[float, str], None] = lambda done, message: None,
) -> Tracked:
    """Track one head through one camera's frames.

    Args:
        head: the model. view: what was seen. options: choices. progress: told now and then.

    Raises:
        CaptureError: no frame has landmarks.
    """
    valid = np.isfinite(view.landmarks).all((1, 2))
    if not valid.any():
        raise CaptureError(
            f"no frame of {len(view)} has all 68 landmarks; tracking needs a face that the "
            "landmark detector finds: use a sharper or more frontal capture"
        )
    rig = landmark_rig(head)
    problem = make_problem(
        head, rig, view.focal_prior, view.linked, view.rate, options.weights
    )
    seen = view.landmarks.copy()
    seen[..., :2] = (seen[..., :2] - view.principal[:, None]) / view.magnification[:, None, None]
    state, _ = fit_landmarks(head, rig, problem, seen, options.keyframes)
    progress(0.2, "landmarks fitted")
    Ks = intrinsics(view, state.focal)
    if options.pixel_rounds and len(view) > 1:
        state = refine(
            head, rig, problem, state, seen, grey_frames(view.rgb), Ks, view.magnification,
            float(np.nanmedian(interocular(view.landmarks))), options.pixel_rounds,
            lambda done, message: progress(0.2 + 0.5 * done, message),
        )  # fmt: skip
    world = world_view(state.translation[valid])
    pose = split(head, view, state, world)
    progress(0.7, "torso tracked")
    return report(head, view, rig, problem, state, pose, world, Ks, valid)


def intrinsics(view: View, focal: float) -> Array:
    """[T, 3, 3] in working pixels."""
    Ks = np.tile(np.eye(3), (len(view), 1, 1))
    Ks[:, 0, 0] = Ks[:, 1, 1] = focal * view.magnification
    Ks[:, :2, 2] = view.principal
    return Ks


def to_world(state: State, world: Array) -> tuple[Array, Array]:
    """Head rotations [T, 3, 3] and translations [T, 3] in the world of a view matrix."""
    back = world[:3, :3].T
    return back @ state.rotation, (state.translation - world[:3, 3]) @ back.T


def split(head: HeadModel, view: View, state: State, world: Array) -> HeadPose:
    """The tracked head pose as torso and neck."""
    rotation, translation = to_world(state, world)
    neck_joint = (
        head.joints[1].double().numpy()
        + np.einsum("k,kc->c", state.identity, head.joint_identity[:, 1].double().numpy())
    )
    t = len(view)
    root_rotation, root_motion = np.empty((t, 3, 3)), np.zeros((t, 3))
    parts = [np.empty((t, 3)) for _ in range(4)]
    grey = grey_frames(view.rgb)
    motion = track_torso(grey, view.alpha, view.landmarks, view.linked, view.rate)
    # Each run of frames has its own reference, so its own torso orientation and neck offset.
    cuts = np.concatenate([[0], np.flatnonzero(~view.linked) + 1, [t]])
    focal = state.focal * view.magnification
    for a, b in zip(cuts[:-1], cuts[1:]):
        run = slice(a, b)
        root_rotation[run], root_motion[run] = root_from_motion(
            motion.frames(run),
            torso_orientation(rotation[run]),
            float(focal[run].mean()),
            float(world[2, 3]),
            view.principal[run].mean(0),
        )
        found = split_pose(
            rotation[run], translation[run], neck_joint, root_rotation[run], root_motion[run]
        )
        for part, values in zip(
            parts, (found.rotation, found.translation, found.neck, found.neck_translation)
        ):
            part[run] = values
    jaw = np.zeros((t, 3))
    jaw[:, 0] = state.jaw
    tensors = [torch.from_numpy(x.astype(np.float32)) for x in (*parts, jaw)]
    return HeadPose(*tensors, torch.zeros(t, 2, 3))


def grey_frames(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[T, H, W, 3] -> [T, H, W]."""
    import cv2

    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in rgb])


def report(
    head: HeadModel,
    view: View,
    rig: LandmarkRig,
    problem: Problem,
    state: State,
    pose: HeadPose,
    world: Array,
    Ks: Array,
    valid: NDArray[np.bool_],
) -> Tracked:
    """Measure the result with the head model itself, posed as it was written down."""
    identity = torch.from_numpy(state.identity.astype(np.float32))[None]
    expression = torch.from_numpy(state.expression.astype(np.float32))
    t, (h, w) = len(view), view.rgb.shape[1:3]
    choice = rig.index(state)[:, SLIDING] - 68
    faces = head.faces.numpy()
    error = np.full((t, 68), np.nan)
    iou = np.empty(t)
    for i in range(t):
        vertices = head.vertices(identity, expression[i : i + 1], pose[i : i + 1])
        camera = Camera(world, Ks[i], w, h)
        marks = head.landmarks(vertices)[0].numpy()
        marks[list(SLIDING)] = vertices[0].numpy()[rig.candidates[choice[i]]]
        if valid[i]:
            error[i] = np.linalg.norm(
                camera.project(marks)[:, :2] - view.landmarks[i, :, :2], axis=1
            )
        covered = rasterize_mesh(vertices[0].numpy(), faces, camera).face_ids >= 0
        iou[i] = intersection_over_union(covered, view.alpha[i])
    iod = interocular(view.landmarks)
    error_iod = error.mean(1) / iod
    flags = [
        "interpolated" if not valid[i] else "high_error" if error_iod[i] > HIGH_ERROR_IOD else ""
        for i in range(t)
    ]
    return Tracked(
        identity=state.identity.astype(np.float32),
        expression=state.expression.astype(np.float32),
        pose=pose,
        viewmat=world,
        Ks=Ks,
        valid=valid,
        error_px=error.mean(1),
        error_iod=error_iod,
        inner_iod=error[:, 17:].mean(1) / iod,
        iou=iou,
        flags=flags,
    )
