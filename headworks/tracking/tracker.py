"""The monocular tracker: landmarks, then pixels, then the torso."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.errors import CaptureError
from headworks.heads.base import HeadModel, HeadPose
from headworks.tracking.checkpoints import Checkpoints
from headworks.tracking.contour import SLIDING
from headworks.tracking.dense import refine
from headworks.tracking.energy import Observations, Problem, State, Weights
from headworks.tracking.eyes import lids_follow, track_gaze
from headworks.tracking.landmark_fit import (
    LandmarkRig,
    choose_keyframes,
    face_scale,
    fit_frames,
    fit_shape,
    found_frames,
    interocular,
    landmark_rig,
    make_problem,
    more_steps,
    start,
)
from headworks.tracking.offsets import OFFSET_PRIOR, with_offsets
from headworks.tracking.photometric import PhotometricConfig, Shots, refine_photometric, shrink
from headworks.tracking.points import concatenate
from headworks.tracking.pose import root_from_motion, split_pose, torso_orientation, world_view
from headworks.tracking.report import Tracked, measure
from headworks.tracking.shoulders import fit_shoulders
from headworks.tracking.silhouette import (
    outline_observations,
    scalp_vertices,
)
from headworks.tracking.smoothing import runs
from headworks.tracking.texture import FaceSurface, face_surface
from headworks.tracking.torso import track_torso

Array = NDArray[np.float64]
MIN_PHOTOMETRIC_FRAMES = 8
CLEAR_OF_CHIN_IOD = 0.1


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
    outline: bool = True
    stereo: bool = True
    weights: Weights = field(default_factory=Weights)
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)
    seed: int = 0


def track(
    head: HeadModel,
    view: View,
    options: Options,
    progress: Callable[[float, str], None] = lambda done, message: None,
    store: Checkpoints | None = None,
) -> Tracked:
    """Track one head through one camera's frames.

    Args:
        head: the model. view: what was seen. options: choices. progress: told now and then.
        store: where finished steps are kept.

    Raises:
        CaptureError: no frame has landmarks.
    """
    valid = found_frames(view.landmarks)
    if not valid.any():
        raise CaptureError(
            f"no frame of {len(view)} has all 68 landmarks; tracking needs a face that the "
            "landmark detector finds: use a sharper or more frontal capture"
        )
    rig = landmark_rig(head)
    problem = make_problem(head, rig, view.focal_prior, view.linked, view.rate, options.weights)
    seen = view.landmarks.copy()
    seen[..., :2] = (seen[..., :2] - view.principal[:, None]) / view.magnification[:, None, None]
    surface = face_surface(head)
    store = store or Checkpoints(None)
    state, eyes = _head_fit(head, view, options, rig, problem, surface, seen, progress, store)
    Ks = intrinsics(view, state.focal)
    world = world_view(state.translation[valid])
    pose_of = split(head, view, state, world, eyes)
    identity, offset = state.identity, (0.0, 0.0)
    if options.outline:
        chin = view.landmarks[:, 8, 1] + CLEAR_OF_CHIN_IOD * face_scale(view.landmarks)
        identity, offset = fit_shoulders(
            head, identity, pose_of, world, Ks, view.alpha, chin, np.flatnonzero(valid)
        )
    state, pose = replace(state, identity=identity), pose_of(identity, offset)
    progress(0.55, "torso tracked")
    if options.photometric.passes and len(view) >= MIN_PHOTOMETRIC_FRAMES:
        small, mattes, small_Ks = shrink(view.rgb, view.alpha, Ks, options.photometric.size)
        expression, pose, _ = refine_photometric(
            head,
            torch.from_numpy(state.identity.astype(np.float32)),
            torch.from_numpy(state.expression.astype(np.float32)),
            pose,
            Shots(
                small[:, None], mattes[:, None], small_Ks[:, None], world[None],
                np.ones((len(view), 1), bool),
            ),
            view.linked,
            options.photometric.passes,
            options.seed,
            lambda done, message: progress(0.55 + 0.45 * done, message),
            store,
        )  # fmt: skip
        state = replace(state, expression=expression.numpy().astype(state.expression.dtype))
    choice = rig.index(state)[:, SLIDING] - 68
    return measure(
        head,
        identity=state.identity.astype(np.float32),
        expression=state.expression.astype(np.float32),
        pose=pose,
        viewmats=world[None],
        Ks=Ks[:, None],
        rgb=view.rgb[:, None],
        alpha=view.alpha[:, None],
        landmarks=view.landmarks[:, None],
        contour=rig.candidates[choice][:, None],
    )


def _head_fit(
    head: HeadModel, view: View, options: Options, rig: LandmarkRig, problem: Problem,
    surface: FaceSurface, seen: Array, progress: Callable[[float, str], None], store: Checkpoints,
) -> tuple[State, Array]:  # fmt: skip
    """Everything but the torso: state of all frames and eye rotations [T, 2, 3]."""
    kept, gaze = store.get_state("head"), store.get("gaze")
    if kept is not None and gaze is not None:
        return kept, gaze[0]["eyes"]
    state = start(head, rig, problem, seen)
    valid = found_frames(view.landmarks)
    keys = choose_keyframes(state.rotation, seen, valid, options.keyframes)
    shape_problem, outline = problem, None
    if options.outline:
        shape_problem = replace(problem, model=concatenate([rig.model, surface.model]))
        outline = _outline(head, surface, view, keys, len(rig.model))
    fitted = fit_shape(rig, shape_problem, state.frames(keys), seen[keys], outline)
    # A detector errs alike in all frames; what it does so is no shape and no pose.
    own = len(fitted.identity)
    rig, surface, count = with_offsets(rig, surface)
    problem = replace(problem, model=rig.model)
    if options.outline:
        outline = _outline(head, surface, view, keys, len(rig.model))
    fitted = replace(fitted, identity=np.concatenate([fitted.identity, np.zeros(count)]))
    firm = np.full(own, problem.weights.identity * len(keys))
    shape_problem = replace(
        problem,
        model=concatenate([rig.model, surface.model]) if options.outline else rig.model,
        prior=np.concatenate([firm, np.full(count, OFFSET_PRIOR)]),
    )
    fitted = fit_shape(rig, shape_problem, fitted, seen[keys], outline, 12, begun=True)
    state = fit_frames(rig, problem, state, keys, fitted, seen)
    Ks = intrinsics(view, state.focal)
    found = track_gaze(
        head,
        replace(state, identity=state.identity[:own]),
        view.rgb,
        view.landmarks,
        Ks,
        view.linked,
    )
    looking = lids_follow(head.expression_names, state.expression, found.eyes)
    state = more_steps(rig, problem, replace(state, expression=looking), seen)
    progress(0.2, "landmarks fitted")
    if options.pixel_rounds and len(view) > 1:
        state = refine(
            surface, rig, problem, state, seen, grey_frames(view.rgb), Ks, view.magnification,
            float(np.nanmedian(interocular(view.landmarks))), options.pixel_rounds,
            lambda done, message: progress(0.2 + 0.3 * done, message),
        )  # fmt: skip
    store.put("gaze", {"eyes": found.eyes})
    state = replace(state, identity=state.identity[:own])
    return store.put_state("head", state), found.eyes


def _outline(
    head: HeadModel, surface: FaceSurface, view: View, keys: NDArray[np.int64], offset: int
) -> Callable[[State], Observations]:
    scalp = scalp_vertices(head, surface)
    few = replace(
        view,
        rgb=view.rgb[keys],
        alpha=view.alpha[keys],
        landmarks=view.landmarks[keys],
        principal=view.principal[keys],
        magnification=view.magnification[keys],
    )
    scale = face_scale(few.landmarks)

    def ask(state: State) -> Observations:
        Ks = intrinsics(few, state.focal)
        return outline_observations(
            surface, scalp, state, few.alpha, Ks, few.magnification, scale, offset
        )

    return ask


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


@dataclass(frozen=True)
class _Split:
    """Poses of all frames as torso and neck, for any identity and place of the torso."""

    head: HeadModel
    rotation: Array
    translation: Array
    root_rotation: Array
    root_motion: Array
    parts: list[slice]
    jaw: Array
    eyes: Array

    def __call__(self, identity: Array, offset: tuple[float, float]) -> HeadPose:
        joint = self.head.joints[1].double().numpy() + np.einsum(
            "k,kc->c", identity, self.head.joint_identity[:, 1].double().numpy()
        )
        # Runs of frames have references of their own, and so neck offsets of their own.
        pieces = [
            split_pose(
                self.rotation[run],
                self.translation[run],
                joint,
                self.root_rotation[run],
                self.root_motion[run],
                offset,
            )
            for run in self.parts
        ]

        def tensor(values: Array) -> torch.Tensor:
            return torch.from_numpy(values.astype(np.float32))

        jaw = np.zeros((len(self.jaw), 3))
        jaw[:, 0] = self.jaw
        return HeadPose(
            tensor(np.concatenate([p.rotation for p in pieces])),
            tensor(np.concatenate([p.translation for p in pieces])),
            tensor(np.concatenate([p.neck for p in pieces])),
            tensor(np.concatenate([p.neck_translation for p in pieces])),
            tensor(jaw),
            tensor(self.eyes),
        )


def split(head: HeadModel, view: View, state: State, world: Array, eyes: Array) -> _Split:
    """The torso's own motion, and with it the tracked head pose as torso and neck."""
    rotation, translation = to_world(state, world)
    t = len(view)
    root_rotation, root_motion = np.empty((t, 3, 3)), np.zeros((t, 3))
    motion = track_torso(grey_frames(view.rgb), view.alpha, view.landmarks, view.linked, view.rate)
    focal = state.focal * view.magnification
    parts = runs(view.linked)
    for run in parts:
        root_rotation[run], root_motion[run] = root_from_motion(
            motion.frames(run),
            torso_orientation(rotation[run]),
            float(focal[run].mean()),
            float(world[2, 3]),
            view.principal[run].mean(0),
        )
    return _Split(head, rotation, translation, root_rotation, root_motion, parts, state.jaw, eyes)


def grey_frames(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[T, H, W, 3] -> [T, H, W]."""
    import cv2

    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in rgb])
