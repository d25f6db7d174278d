"""Tracking a head through the pictures of a calibrated rig, from landmarks to the artifact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.geometry import axis_angle_to_matrix, matrix_to_axis_angle
from headworks.heads.base import HeadModel, HeadPose
from headworks.tracking.checkpoints import Checkpoints
from headworks.tracking.contour import SLIDING
from headworks.tracking.dense import followed
from headworks.tracking.eyes import lids_follow, track_gaze
from headworks.tracking.landmark_fit import found_frames
from headworks.tracking.photometric import Shots, refine_photometric, shrink
from headworks.tracking.points import concatenate
from headworks.tracking.pose import world_view
from headworks.tracking.report import Tracked, measure
from headworks.tracking.rig import (
    IOD_M,
    Evidence,
    RigFit,
    fit_all,
    fit_identity,
    fit_surface,
    keyframes,
    prepare,
    start,
)
from headworks.tracking.rig_view import RigView
from headworks.tracking.shoulders import fit_shoulders
from headworks.tracking.terms import State
from headworks.tracking.tracker import (
    CLEAR_OF_CHIN_IOD,
    MIN_PHOTOMETRIC_FRAMES,
    Options,
    View,
    split,
)

Array = NDArray[np.float64]
_FRONTAL = 0.75  # cosine between face and camera above which gaze and skin are read
_PIXEL_CAMERAS, _GAZE_CAMERAS, _SHOT_CAMERAS = 3, 3, 6


def track_rig(
    head: HeadModel,
    view: RigView,
    options: Options,
    progress: Callable[[float, str], None] = lambda done, message: None,
    store: Checkpoints | None = None,
) -> Tracked:
    """Track one head through all frames and cameras of a rig.

    Args:
        head: the model. view: what was seen. options: choices. progress: told now and then.
        store: where finished steps are kept.

    Raises:
        CaptureError: no picture has landmarks.
    """
    store = store or Checkpoints(None)
    fit = prepare(head, view, options)
    state = store.get_state("landmarks")
    if state is None:
        state = store.put_state("landmarks", _landmark_fit(fit, progress))
    progress(0.35, "landmarks and surface fitted")
    fit, count = fit.with_offsets()
    order = _frontal_first(fit, state)
    eyes = _gaze(fit, head, state, order[:_GAZE_CAMERAS])
    state = replace(state, expression=lids_follow(head.expression_names, state.expression, eyes))
    state = fit_all(fit, fit.problem, state, steps=2)
    for turn in range(options.pixel_rounds if len(view) > 1 else 0):
        kept = store.get_state(f"pixels{turn}")
        if kept is None:
            kept = store.put_state(f"pixels{turn}", _pixels(fit, state, order[:_PIXEL_CAMERAS]))
        state = kept
        progress(0.35 + 0.2 * (turn + 1) / options.pixel_rounds, "pixels followed")
    state = replace(state, identity=state.identity[: len(state.identity) - count])
    contour = _contour(fit, state)
    identity, pose = _posed(head, view, state, eyes, order[0], options)
    progress(0.6, "torso tracked")
    expression = torch.from_numpy(state.expression.astype(np.float32))
    shape = torch.from_numpy(identity.astype(np.float32))
    if options.photometric.passes and len(view) >= MIN_PHOTOMETRIC_FRAMES:
        expression, pose, _ = refine_photometric(
            head, shape, expression, pose, _shots(fit, state, options.photometric.size),
            view.linked, options.photometric.passes, options.seed,
            lambda done, message: progress(0.6 + 0.4 * done, message), store,
        )  # fmt: skip
    return measure(
        head,
        identity=shape.numpy(),
        expression=expression.numpy(),
        pose=pose,
        viewmats=view.viewmats,
        Ks=view.Ks,
        rgb=view.rgb,
        alpha=view.alpha,
        landmarks=view.landmarks,
        contour=contour,
    )


def _landmark_fit(fit: RigFit, progress: Callable[[float, str], None]) -> State:
    """Identity with offsets, pose and expression of all frames."""
    state = start(fit)
    keys = keyframes(fit, state)
    few = fit_identity(fit, state.frames(keys), keys)
    progress(0.15, "identity from landmarks and outlines")
    wide, count = fit.with_offsets()
    few = replace(few, identity=np.concatenate([few.identity, np.zeros(count)]))
    few = fit_surface(wide, count, few, keys)
    progress(0.3, "identity from the surface that cameras share")
    nearest = np.abs(np.arange(len(state))[:, None] - keys).argmin(1)
    state = replace(
        state, identity=few.identity, expression=few.expression[nearest], jaw=few.jaw[nearest]
    )
    # The poses of triangulated landmarks were those of the mean shape.
    turn = few.rotation @ np.swapaxes(state.rotation[keys], 1, 2)
    shift = few.translation - state.translation[keys]
    rotation = turn[nearest] @ state.rotation
    state = replace(state, rotation=rotation, translation=state.translation + shift[nearest])
    state = fit_all(wide, wide.problem, state, steps=4, damping=1e-2)
    return fit_all(wide, wide.problem, state, steps=6)


def facing_cameras(view: RigView, state: State) -> Array:
    """[T, C] cosines between the face's direction and the way to each camera."""
    centres = np.stack([-m[:3, :3].T @ m[:3, 3] for m in view.viewmats])
    way = centres - state.translation[:, None]
    way /= np.linalg.norm(way, axis=2, keepdims=True)
    return np.einsum("tx,tcx->tc", state.rotation[:, :, 2], way)


def _frontal_first(fit: RigFit, state: State) -> list[int]:
    """Cameras by how squarely they see the face, and how often its landmarks were found."""
    found = found_frames(fit.view.landmarks).mean(0)
    score = facing_cameras(fit.view, state).mean(0) * (0.5 + 0.5 * found)
    return [int(c) for c in np.argsort(-score, kind="stable")]


def _gaze(fit: RigFit, head: HeadModel, state: State, cameras: list[int]) -> Array:
    """[T, 2, 3] eye rotations: the mean over cameras in front of the face."""
    total, weight = np.zeros((len(state), 2, 3)), np.zeros((len(state), 1, 1))
    facing = facing_cameras(fit.view, state)
    for place, c in enumerate(cameras):
        own = fit.view.lens(c).state(state)
        gaze = track_gaze(
            head, replace(own, identity=own.identity[: len(head.identity_basis)]),
            fit.view.rgb(c), fit.view.landmarks[:, c], fit.view.Ks[:, c], fit.view.linked,
        )  # fmt: skip
        share = np.where(facing[:, c] > _FRONTAL, gaze.seen.mean(1), 0) + 1e-3 * (place == 0)
        total += share[:, None, None] * gaze.eyes
        weight += share[:, None, None]
    return total / np.maximum(weight, 1e-9)


def _pixels(fit: RigFit, state: State, cameras: list[int]) -> State:
    """Pose and expression with the skin's texture followed in the cameras before the face."""
    further: Evidence = []
    models = [fit.rig.model]
    facing = facing_cameras(fit.view, state)
    for c in cameras:
        lens = fit.view.lens(c)
        own = lens.state(state)
        iod = float(np.median(fit.view.Ks[:, c, 0, 0] * IOD_M / own.translation[:, 2]))
        model, seen = followed(
            fit.surface, own, fit.view.rgb(c), fit.view.Ks[:, c], iod,
            sum(len(m) for m in models), np.flatnonzero(facing[:, c] > 0.3),
        )  # fmt: skip
        models.append(model)
        target = fit.view.centred(c, seen.target)
        further.append(replace(seen, target=target, lens=lens))
    problem = replace(fit.problem, model=concatenate(models))
    return fit_all(fit, problem, state, further, steps=4)


def _contour(fit: RigFit, state: State) -> NDArray[np.int64]:
    """[T, C, 12] vertices that stand for the sliding landmarks."""
    rig, cameras = fit.rig, range(fit.view.cameras)
    more = rig.model.identity.shape[-1] - len(state.identity)
    whole = replace(state, identity=np.concatenate([state.identity, np.zeros(more)]))
    chosen = [rig.index(fit.view.lens(c).state(whole))[:, SLIDING] - 68 for c in cameras]
    return rig.candidates[np.stack(chosen, 1)]


def _posed(
    head: HeadModel, view: RigView, state: State, eyes: Array, c: int, options: Options
) -> tuple[Array, HeadPose]:
    """Torso and neck under the head, as camera c (the most frontal) saw them; world of the rig."""
    lens = view.lens(c)
    own = lens.state(state)
    world = world_view(own.translation)
    seen = View(
        view.rgb(c), view.alpha(c), view.landmarks[:, c], view.Ks[:, c, :2, 2],
        view.magnification(c), lens.focal, view.linked, view.rate,
    )  # fmt: skip
    pose_of = split(head, seen, own, world, eyes)
    identity, offset = state.identity, (0.0, 0.0)
    if options.outline:
        iod = view.Ks[:, c, 0, 0] * IOD_M / own.translation[:, 2]
        chin = view.landmarks[:, c, 8, 1] + CLEAR_OF_CHIN_IOD * iod
        frames = np.flatnonzero(np.isfinite(chin))
        if len(frames):
            identity, offset = fit_shoulders(
                head, identity, pose_of, world, view.Ks[:, c], seen.alpha, chin, frames
            )
    pose = pose_of(identity, offset)
    move = torch.from_numpy(np.linalg.inv(view.viewmats[c]) @ world)
    turned = move[:3, :3] @ axis_angle_to_matrix(pose.rotation.double())
    return identity, replace(
        pose,
        rotation=matrix_to_axis_angle(turned).float(),
        translation=(pose.translation.double() @ move[:3, :3].T + move[:3, 3]).float(),
    )


def _shots(fit: RigFit, state: State, side: int) -> Shots:
    """Small pictures of the cameras that see the face."""
    view, facing = fit.view, facing_cameras(fit.view, state)
    order = np.argsort(-facing.mean(0), kind="stable")[:_SHOT_CAMERAS]
    chosen = np.sort(order)
    rgb, alpha, Ks = zip(
        *(shrink(view.rgb(c), view.alpha(c), view.Ks[:, c], side) for c in chosen), strict=True
    )
    used = facing[:, chosen] > 0.2
    used[~used.any(1)] = True
    return Shots(np.stack(rgb, 1), np.stack(alpha, 1), np.stack(Ks, 1), view.viewmats[chosen], used)
