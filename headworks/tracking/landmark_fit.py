"""From 68 landmarks per frame to identity, focal length, pose and expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headworks.heads.base import JOINTS, HeadModel
from headworks.tracking import rotations
from headworks.tracking.contour import SLIDING, contour_paths, outermost, outward_directions
from headworks.tracking.energy import (
    Observations,
    Problem,
    State,
    Weights,
    fit_chain,
    fit_shared,
    predict,
    project,
)
from headworks.tracking.landmark_sets import (
    EYE_CORNERS,
    OPENING_WEIGHTS,
    OPENINGS,
    RIGID,
    landmark_weights,
)
from headworks.tracking.points import PointModel, concatenate, surface_points, vertex_points

Array = NDArray[np.float64]

LANDMARK_SIGMA_IOD = 0.02
"""Standard deviation of a detected landmark, in interocular distances."""

_LEAST_MOTION_M = 0.0006
# Not seen by landmarks, or seen only with another shape (mouthClose corrects jawOpen).
_NEVER = ("eyeLook", "cheekPuff", "tongue", "jawForward", "mouthClose", "PupilDilate")
_FAST = ("eyeBlink", "jawOpen", "eyeWide")
_ONE_SIDED = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")


@dataclass(frozen=True)
class LandmarkRig:
    """The landmarks of a head as model points, with the sliding contour's candidates.

    Attributes:
        model: 68 landmarks, then the candidates path by path.
        candidates: [L * path] their vertices.
        outward: [L, 3] outward directions of the sliding landmarks.
        path: candidates per sliding landmark.
    """

    model: PointModel
    candidates: NDArray[np.int64]
    outward: Array
    path: int

    def index(self, state: State) -> NDArray[np.int64]:
        """[T, 68] points that stand for the landmarks at the state's poses."""
        rows, k = len(SLIDING), self.path
        everything = np.arange(68, 68 + rows * k)
        points = self.model.points(everything, state.identity, state.expression, state.jaw)
        pixels = project(points, state.rotation, state.translation, state.focal)
        best = outermost(pixels.reshape(len(state), rows, k, 2), state.rotation, self.outward)
        chosen = np.tile(np.arange(68), (len(state), 1))
        chosen[:, SLIDING] = 68 + np.arange(rows) * k + best
        return chosen


def landmark_rig(head: HeadModel) -> LandmarkRig:
    """Build the landmark points of a head model."""
    paths = contour_paths(head)
    fixed = surface_points(head, head.landmark_faces.numpy(), head.landmark_bary.numpy())
    model = concatenate([fixed, vertex_points(head, paths.reshape(-1))])
    return LandmarkRig(model, paths.reshape(-1), outward_directions(head), paths.shape[1])


def make_problem(
    head: HeadModel,
    rig: LandmarkRig,
    focal_prior: float,
    linked: NDArray[np.bool_],
    rate: float,
    weights: Weights,
) -> Problem:
    """Decide which unknowns landmarks can tell, and bundle them.

    Args:
        head: the model. rig: its landmarks. focal_prior: expected focal length, pixels.
        linked: bool [T-1], frames that follow each other. rate: frames per second.
        weights: of the energy's terms.
    """
    names = head.expression_names
    motion = np.linalg.norm(rig.model.expression[:68], axis=1).max(0)
    active = np.array(
        [not n.startswith(_NEVER) and motion[k] > _LEAST_MOTION_M for k, n in enumerate(names)]
    )
    return Problem(
        model=rig.model,
        focal_prior=focal_prior,
        active=active,
        # One way to open the mouth: the shape where the model has it, else the joint.
        use_jaw="jawOpen" not in names
        and float(head.skin_weights[:, JOINTS.index("jaw")].max()) > 0,
        fast=np.array([n.startswith(_FAST) for n in names]),
        mirror=mirror_pairs(names),
        linked=linked,
        rate=rate,
        weights=weights,
        signed=np.array(head.signed(), bool),
    )


def mirror_pairs(names: Sequence[str]) -> NDArray[np.int64]:
    """[P, 2] positions of expressions that are one another's mirror image."""
    pairs = [
        (i, names.index(n[:-4] + "Right"))
        for i, n in enumerate(names)
        if n.endswith("Left") and n not in _ONE_SIDED and n[:-4] + "Right" in names
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def found_frames(landmarks: Array) -> NDArray[np.bool_]:
    """Bool [...]: where all 68 landmarks [..., 68, D] were found."""
    return np.asarray(np.isfinite(landmarks).all((-2, -1)))


def interocular(landmarks: Array) -> Array:
    """Distance [T] of the outer eye corners, pixels; landmarks [T, 68, >=2]."""
    a, b = EYE_CORNERS
    return np.linalg.norm(landmarks[:, a, :2] - landmarks[:, b, :2], axis=-1)


def face_scale(landmarks: Array) -> Array:
    """Interocular distance [T] that a turned head would have if it faced the camera, pixels.

    The mean of the outline's extent in both image directions turns less than the eyes' distance.
    """
    points = landmarks[..., :2]
    vertical = np.linalg.norm(points[:, 27] - points[:, 8], axis=-1)
    return np.maximum(interocular(landmarks), 0.8 * vertical)


def landmark_observations(landmarks: Array, index: NDArray[np.int64], scale: float) -> Observations:
    """Landmarks as observations.

    Args:
        landmarks: [T, 68, 3] pixels and confidence, NaN where not found. index: [T, 68].
        scale: sigma in interocular distances.
    """
    found = np.asarray(np.isfinite(landmarks).all(-1))
    weight = np.where(found, landmark_weights() * np.nan_to_num(landmarks[..., 2]) ** 2, 0)
    sigma = np.where(found.any(1), np.nan_to_num(face_scale(landmarks), nan=1.0) * scale, 1.0)
    return Observations(
        index, landmarks[..., :2], weight, np.maximum(sigma, 1e-3), OPENINGS, OPENING_WEIGHTS
    )


def initial_pose(
    head_points: Array, landmarks: Array, found: NDArray[np.bool_], focal: float
) -> tuple[Array, Array]:
    """Pose of each frame from its rigid landmarks (perspective-n-point).

    Args:
        head_points: [68, 3] metres. landmarks: [T, 68, 3]. found: bool [T].

    Returns:
        rotation [T, 3, 3], translation [T, 3]; frames without landmarks are interpolated.
    """
    import cv2

    camera = np.array([[focal, 0, 0], [0, focal, 0], [0, 0, 1.0]])
    upright = np.array([np.pi, 0.0, 0.0])  # the head's axes against OpenCV's
    rotation = np.tile(np.diag([1.0, -1.0, -1.0]), (len(landmarks), 1, 1))
    translation = np.zeros((len(landmarks), 3))
    for t in np.flatnonzero(found):
        pixels = landmarks[t, RIGID, :2].astype(np.float64)
        span = np.ptp(landmarks[t, :, 0]) + 1e-6
        depth = focal * np.ptp(head_points[:, 0]) / span
        middle = pixels.mean(0) / focal * depth
        guess = np.array([middle[0], middle[1], depth])
        _, turn, shift = cv2.solvePnP(
            head_points[RIGID], pixels, camera, None, upright.copy(), guess,
            useExtrinsicGuess=True, flags=cv2.SOLVEPNP_ITERATIVE,
        )  # fmt: skip
        rotation[t] = rotations.exp(np.asarray(turn, np.float64).reshape(1, 3))[0]
        translation[t] = shift.ravel()
    at = np.flatnonzero(found)
    frames = np.arange(len(landmarks))
    for axis in range(3):
        translation[:, axis] = np.interp(frames, at, translation[at, axis])
    return rotations.fill(rotation, found), translation


def choose_keyframes(
    rotation: Array, landmarks: Array, found: NDArray[np.bool_], count: int
) -> NDArray[np.int64]:
    """Frames that differ most: farthest-point sampling over pose and landmark shape.

    Args:
        rotation: [T, 3, 3]. landmarks: [T, 68, 3]. found: bool [T]. count: how many at most.

    Returns:
        Sorted frame numbers.
    """
    at = np.flatnonzero(found)
    if len(at) <= count:
        return at
    points = landmarks[at, 17:, :2]
    points = points - points.mean(1, keepdims=True)
    points = points / np.linalg.norm(points, axis=(1, 2), keepdims=True)
    turn = rotations.log(rotation[at] @ rotations.mean(rotation[at]).T)
    features = np.concatenate([points.reshape(len(at), -1) * 5, turn], 1)
    return at[farthest(features, count)]


def farthest(features: Array, count: int) -> NDArray[np.int64]:
    """Farthest-point sampling: sorted rows [count] of features [N, D], from the most usual on."""
    chosen = [int(np.linalg.norm(features - np.median(features, 0), axis=1).argmin())]
    distance = np.full(len(features), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.linalg.norm(features - features[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return np.sort(chosen)


def start(head: HeadModel, rig: LandmarkRig, problem: Problem, landmarks: Array) -> State:
    """Mean shape, neutral expression, pose of each frame.

    Args:
        head: the model. rig: its landmark points. problem: from `make_problem`.
        landmarks: [T, 68, 3] about the principal point and confidence, NaN where not found; some
            frame has them.
    """
    found = found_frames(landmarks)
    rotation, translation = initial_pose(
        rig.model.template[:68], landmarks, found, problem.focal_prior
    )
    return State(
        np.zeros(len(head.identity_basis)),
        problem.focal_prior,
        rotation,
        translation,
        np.zeros((len(landmarks), len(head.expression_names))),
        np.zeros(len(landmarks)),
    )


def fit_shape(
    rig: LandmarkRig,
    problem: Problem,
    state: State,
    landmarks: Array,
    outline: Callable[[State], Observations] | None = None,
    steps: int = 16,
    begun: bool = False,
) -> State:
    """Identity, focal length, and the keyframes' pose and expression, together.

    Args:
        rig: the landmark points. problem: the fit. state: the keyframes, from `start`.
        landmarks: theirs. outline: further evidence, asked for now and then at the current state.
        steps: Gauss-Newton steps. begun: the state comes from such a fit, and is to be refined.
    """
    # Coarse to fine: pose first, then shape and expressions, then the outline.
    stiff = replace(problem, weights=replace(problem.weights, l1=50.0, identity=20.0))
    further: list[Observations] = []
    for step in range(steps):
        seen = landmark_observations(landmarks, rig.index(state), LANDMARK_SIGMA_IOD)
        if outline is not None and (step % 3 == 0 if begun else step >= 8 and step % 3 == 2):
            further = [outline(state)]
        early = step < 4 and not begun
        state = fit_shared(
            stiff if early else problem,
            state,
            [seen, *further],
            1e-2 if early else 1e-3,
            not early,
        )
    return state


def fit_frames(
    rig: LandmarkRig,
    problem: Problem,
    state: State,
    keys: NDArray[np.int64],
    fitted: State,
    landmarks: Array,
    steps: int = 8,
) -> State:
    """Pose and expression of all frames under the keyframes' identity and focal length.

    Args:
        rig: the landmark points. problem: the fit. state: all frames. keys: the keyframes' numbers.
        fitted: the keyframes, from `fit_shape`. landmarks: [T, 68, 3]. steps: Gauss-Newton steps.
    """
    found = found_frames(landmarks)
    neutral = np.zeros((1, state.expression.shape[1]))
    shape = rig.model.points(np.arange(68), fitted.identity, neutral, np.zeros(1))[0]
    rotation, translation = initial_pose(shape, landmarks, found, fitted.focal)
    nearest = np.abs(np.arange(len(landmarks))[:, None] - keys).argmin(1)
    state = State(
        fitted.identity,
        fitted.focal,
        rotation,
        translation,
        fitted.expression[nearest],
        fitted.jaw[nearest],
    )
    state = more_steps(rig, problem, state, landmarks, 3, 1e-2)
    return more_steps(rig, problem, state, landmarks, steps - 3)


def more_steps(
    rig: LandmarkRig,
    problem: Problem,
    state: State,
    landmarks: Array,
    steps: int = 3,
    damping: float = 1e-4,
) -> State:
    """Gauss-Newton steps of all frames; arguments as for `fit_frames`."""
    for _ in range(steps):
        seen = landmark_observations(landmarks, rig.index(state), LANDMARK_SIGMA_IOD)
        state = fit_chain(problem, state, [seen], damping)
    return state


def landmark_errors(rig: LandmarkRig, problem: Problem, state: State, landmarks: Array) -> Array:
    """Reprojection error of each landmark [T, 68], pixels; NaN where not found."""
    pixels = predict(problem, state, rig.index(state))
    return np.linalg.norm(pixels - landmarks[..., :2], axis=-1)
