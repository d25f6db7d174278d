"""The tracker of a calibrated rig: all cameras and frames of a capture together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headworks.errors import CaptureError
from headworks.geometry import vertex_normals
from headworks.heads.base import HeadModel
from headworks.landmarks.triangulate import triangulate_landmarks
from headworks.tracking import rotations
from headworks.tracking.cloud import cloud_observations, skin_vertices
from headworks.tracking.contour import SLIDING
from headworks.tracking.energy import fit_chain, fit_shared
from headworks.tracking.landmark_fit import (
    LandmarkRig,
    farthest,
    found_frames,
    initial_pose,
    landmark_observations,
    landmark_rig,
    make_problem,
)
from headworks.tracking.landmark_sets import RIGID
from headworks.tracking.offsets import OFFSET_PRIOR, with_offsets
from headworks.tracking.points import concatenate
from headworks.tracking.rig_view import RigView
from headworks.tracking.rigid import interpolate, poses
from headworks.tracking.silhouette import outline_observations, scalp_vertices
from headworks.tracking.stereo import stereo_planes
from headworks.tracking.terms import Observations, Problem, SpacePoints, State
from headworks.tracking.texture import HEAD, FaceSurface, face_surface
from headworks.tracking.tracker import Options

Array = NDArray[np.float64]
Evidence = list[Observations | SpacePoints]
LANDMARK_SIGMA_M = 0.0018
"""Standard deviation of a detected landmark, at the head."""

SPACE_SIGMA_M = 0.003
KEYFRAMES = 12
"""At most: each is seen by every camera, and so tells more than a clip's."""

IOD_M = 0.09
"""Distance of the outer eye corners of a usual adult, for what is measured in such distances."""

AGREEMENT = 0.025
"""Share of the picture's longer side by which cameras that agree on a landmark may differ."""

OUTLINE_CAMERAS = 8
STEREO_WEIGHT = 250.0
"""Of all planes of one frame together: neighbours on a surface err alike."""

SURFACE_FIRMNESS = 4.0
"""By how much the identity's prior is stronger once the surface counts: planes tell nothing of
slides along the surface, and what a person has that no mode spans must not be bought with them."""

_FACING = (-0.05, 0.35)  # a landmark counts from the first cosine towards the camera, fully above


@dataclass(frozen=True)
class RigFit:
    """What the evidence is asked from.

    Attributes:
        head: the model. view: what was seen. rig: landmark points. surface: the head's skin.
        options: choices. normals: [68, 3] of the landmarks in the head's frame.
        scalp: bool over the surface's vertices. skin: vertices that meet a cloud.
        problem: over landmarks. whole: over landmarks and surface.
    """

    head: HeadModel
    view: RigView
    rig: LandmarkRig
    surface: FaceSurface
    options: Options
    normals: Array
    scalp: NDArray[np.bool_]
    skin: NDArray[np.int64]
    problem: Problem
    whole: Problem

    @property
    def offset(self) -> int:
        """Where the surface begins in the whole point model."""
        return len(self.rig.model)

    def landmarks(self, state: State, at: NDArray[np.int64]) -> Evidence:
        """Every camera's landmarks, and triangulated ones, of the frames `at` (the state's)."""
        out: Evidence = []
        for c in range(self.view.cameras):
            marks = self.view.landmarks[at, c]
            if not np.isfinite(marks).any():
                continue
            lens = self.view.lens(c)
            own = lens.state(state)
            centred = self.view.centred(c, self.view.landmarks[:, c, :, :2])[at]
            seen = landmark_observations(
                np.concatenate([centred, marks[..., 2:]], -1), self.rig.index(own), 1.0
            )
            depth = np.maximum(own.translation[:, 2], 1e-3)
            out.append(
                replace(
                    seen,
                    lens=lens,
                    sigma=lens.focal * LANDMARK_SIGMA_M / depth,
                    weight=seen.weight * facing(self.normals, own),
                )
            )
        if self.view.space is not None:
            space = self.view.space[at, 17:]
            known = np.isfinite(space[..., :3]).all(-1)
            index = np.tile(np.arange(17, 68), (len(at), 1))
            weight = np.where(known, np.nan_to_num(space[..., 3]) ** 2, 0)
            sigma = np.full(len(at), SPACE_SIGMA_M)
            out.append(SpacePoints(index, space[..., :3], weight, sigma))
        return out

    def outlines(self, state: State, at: NDArray[np.int64]) -> Evidence:
        """Where the mattes of some cameras, spread over the rig, end."""
        out: Evidence = []
        most = min(self.view.cameras, OUTLINE_CAMERAS)
        for c in np.linspace(0, self.view.cameras - 1, most).round().astype(int).tolist():
            lens = self.view.lens(c)
            own = lens.state(state)
            scale = self.view.Ks[at, c, 0, 0] * IOD_M / np.maximum(own.translation[:, 2], 1e-3)
            seen = outline_observations(
                self.surface, self.scalp, own, self.view.alpha(c)[at], self.view.Ks[at, c],
                self.view.magnification(c)[at], scale, self.offset,
            )  # fmt: skip
            out.append(replace(seen, lens=lens))
        return out

    def cloud(self, state: State, at: NDArray[np.int64]) -> Evidence:
        """Planes of a reconstructed cloud."""
        if self.view.cloud is None:
            return []
        return [
            cloud_observations(self.surface, self.skin, state, self.view.cloud, at, self.offset)
        ]

    def planes(self, state: State, at: NDArray[np.int64]) -> Evidence:
        """Planes from neighbouring cameras, and those of a cloud."""
        out = self.cloud(state, at)
        if self.options.stereo and self.view.cameras > 1:
            kept = self.head.region_faces(*HEAD).numpy()
            firm = self.head.region_faces("skin", "lips").numpy()[kept]
            found = stereo_planes(self.surface, firm, state, self.view, at, self.offset)
            total = np.maximum(found.weight.sum(1, keepdims=True), STEREO_WEIGHT)
            out.append(replace(found, weight=found.weight * STEREO_WEIGHT / total))
        return out

    def with_offsets(self) -> tuple[RigFit, int]:
        """The same under an identity that ends with the landmarks' offsets, and their number."""
        rig, surface, count = with_offsets(self.rig, self.surface)
        return replace(
            self,
            rig=rig,
            surface=surface,
            problem=replace(self.problem, model=rig.model),
            whole=replace(self.whole, model=concatenate([rig.model, surface.model])),
        ), count


def prepare(head: HeadModel, view: RigView, options: Options) -> RigFit:
    """Bundle a head model and what was seen of it."""
    rig, surface = landmark_rig(head), face_surface(head)
    problem = make_problem(head, rig, 1.0, view.linked, view.rate, options.weights)
    corners = head.faces[head.landmark_faces]
    outward = vertex_normals(head.template, head.faces)[corners]
    normals = (outward * head.landmark_bary[:, :, None]).sum(1).double().numpy()
    return RigFit(
        head, view, rig, surface, options, normals, scalp_vertices(head, surface),
        skin_vertices(head, surface), problem,
        replace(problem, model=concatenate([rig.model, surface.model])),
    )  # fmt: skip


def facing(normals: Array, own: State) -> Array:
    """[T, 68] in [0, 1]: how far landmarks look at a camera; sliding ones count always.

    Args:
        normals: [68, 3] in the head's frame. own: the state in the camera.
    """
    away = own.translation / np.linalg.norm(own.translation, axis=1, keepdims=True)
    cosine = -np.einsum("nx,tyx,ty->tn", normals, own.rotation, away)
    low, high = _FACING
    weight = np.clip((cosine - low) / (high - low), 0, 1)
    weight[:, SLIDING] = 1.0
    return weight


def _in_space(view: RigView, found: NDArray[np.bool_]) -> Array:
    """Landmarks in the world, [T, 68, 3] metres, NaN where cameras do not agree.

    Args:
        view: the capture. found: [T, C], where all landmarks are there.
    """
    cameras = [view.lens_camera(c) for c in range(view.cameras)]
    centred = np.stack([view.centred(c, view.landmarks[:, c, :, :2]) for c in range(len(cameras))])
    marks = np.concatenate([np.swapaxes(centred, 0, 1), view.landmarks[..., 2:]], -1)
    marks = np.where(found[..., None, None], marks, np.nan)
    space = triangulate_landmarks(marks, cameras, AGREEMENT * max(view.size))
    return space.points.astype(np.float64)


def start(fit: RigFit) -> State:
    """Mean shape, neutral expression, and each frame's pose from triangulated landmarks.

    Raises:
        CaptureError: no frame has landmarks.
    """
    view, head = fit.view, fit.head
    t = len(view)
    found = found_frames(view.landmarks)  # [T, C]
    if not found.any():
        raise CaptureError(
            f"no picture of {found.size} has all 68 landmarks; tracking needs a face that the "
            "landmark detector finds: use a sharper or more frontal capture"
        )
    space = _in_space(view, found)
    model = fit.rig.model.template[:68]
    rotation, translation, known = poses(model, space, RIGID)
    for c in range(view.cameras):
        alone = found[:, c] & ~known
        if not alone.any():
            continue
        lens = view.lens(c)
        marks = view.landmarks[:, c].copy()
        marks[..., :2] = view.centred(c, marks[..., :2])
        turn, shift = initial_pose(model, marks, alone, lens.focal)
        rotation[alone] = lens.rotation.T @ turn[alone]
        translation[alone] = (shift[alone] - lens.translation) @ lens.rotation
        known = known | alone
    rotation, translation = interpolate(rotation, translation, known)
    return State(
        np.zeros(len(head.identity_basis)), 1.0, rotation, translation,
        np.zeros((t, len(head.expression_names))), np.zeros(t),
    )  # fmt: skip


def keyframes(fit: RigFit, state: State) -> NDArray[np.int64]:
    """Frames that differ most in pose and in the face's shape, among those with landmarks."""
    view = fit.view
    found = found_frames(view.landmarks)
    at = np.flatnonzero(found.any(1))
    count = min(fit.options.keyframes, KEYFRAMES)
    if len(at) <= count:
        return at
    space = _in_space(view, found)
    local = np.einsum("tyx,tny->tnx", state.rotation, space - state.translation[:, None])[at, 17:]
    shape = np.nan_to_num(local - np.nanmedian(local, 0)) / IOD_M
    turn = rotations.log(state.rotation[at] @ rotations.mean(state.rotation[at]).T)
    features = np.concatenate([shape.reshape(len(at), -1), turn], 1)
    return at[farthest(features, count)]


def fit_identity(fit: RigFit, state: State, keys: NDArray[np.int64], steps: int = 14) -> State:
    """Identity, and the keyframes' pose and expression, from landmarks and outlines.

    Args:
        fit: the evidence. state: the keyframes. keys: their numbers. steps: Gauss-Newton steps.
    """
    stiff = replace(fit.whole, weights=replace(fit.whole.weights, l1=50.0, identity=20.0))
    further: Evidence = []
    for step in range(steps):
        early = step < 4
        if fit.options.outline and step in (6, 10):
            further = fit.outlines(state, keys)
        groups = fit.landmarks(state, keys) + further
        problem, damping = (stiff, 1e-2) if early else (fit.whole, 1e-3)
        state = fit_shared(problem, state, groups, damping, fit_focal=False)
    return state


def fit_surface(
    fit: RigFit, count: int, state: State, keys: NDArray[np.int64], rounds: int = 2, steps: int = 4
) -> State:
    """Identity anew, with the surface that cameras see together; landmarks get their offsets.

    Args:
        fit: the evidence, with offsets. count: how many. state: the keyframes, with offsets.
        keys: their numbers. rounds: how often the surface is looked for. steps: of each round.
    """
    own = len(state.identity) - count
    firm = np.full(own, SURFACE_FIRMNESS * fit.whole.weights.identity * len(keys))
    problem = replace(fit.whole, prior=np.concatenate([firm, np.full(count, OFFSET_PRIOR)]))
    for _ in range(rounds):
        further = fit.planes(state, keys)
        if fit.options.outline:
            further = further + fit.outlines(state, keys)
        for _ in range(steps):
            groups = fit.landmarks(state, keys) + further
            state = fit_shared(problem, state, groups, 1e-3, fit_focal=False)
    return state


def fit_all(
    fit: RigFit,
    problem: Problem,
    state: State,
    further: Evidence | None = None,
    steps: int = 8,
    damping: float = 1e-4,
) -> State:
    """Pose and expression of all frames under one identity.

    Args:
        fit: the evidence. problem: its points. state: all frames. further: more evidence.
        steps: Gauss-Newton steps. damping: relative.
    """
    at = np.arange(len(state))
    for _ in range(steps):
        groups = fit.landmarks(state, at) + (further or [])
        state = fit_chain(problem, state, groups, damping)
    return state
