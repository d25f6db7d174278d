"""What a fit sees and moves: unknowns, observations in images and in space, and their Jacobians."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from headworks.tracking import rotations
from headworks.tracking.points import PointModel

Array = NDArray[np.float64]
MOST_SIGMAS = 3.0
"""Bound of signed expressions, and how much faster than activations they may change."""


@dataclass(frozen=True)
class Weights:
    """How strongly the priors hold; see the energy above.

    Attributes:
        identity: per keyframe. l1, l2, symmetry: of the expression. focal_log_sigma: of log f.
        turn_sigma: rad per frame^2. shift_sigma: m per frame^2 across, depth_sigma along the view.
        expression_sigma: change per frame; fast_sigma: of lids and jaw.
    """

    identity: float = 0.25
    l1: float = 1.2
    l2: float = 2.0
    symmetry: float = 3.0
    focal_log_sigma: float = 0.3
    turn_sigma: float = 0.012
    shift_sigma: float = 0.002
    depth_sigma: float = 0.003
    expression_sigma: float = 0.10
    fast_sigma: float = 0.35


@dataclass(frozen=True)
class State:
    """What is estimated.

    The head's pose maps its own frame into the camera (OpenCV axes), or into the world of a rig of
    cameras that are known (`Lens`).

    Attributes:
        identity: [Ki]. focal: pixels. rotation: [T, 3, 3]. translation: [T, 3] metres.
        expression: [T, Ke]. jaw: [T] radians.
    """

    identity: Array
    focal: float
    rotation: Array
    translation: Array
    expression: Array
    jaw: Array

    def __len__(self) -> int:
        return len(self.jaw)

    def frames(self, index: NDArray[np.int64] | slice) -> State:
        """Some of the frames."""
        return replace(
            self,
            rotation=self.rotation[index],
            translation=self.translation[index],
            expression=self.expression[index],
            jaw=self.jaw[index],
        )


@dataclass(frozen=True)
class Lens:
    """One known camera of a rig.

    Attributes:
        rotation: [3, 3], translation: [3] world to camera. focal: pixels.
    """

    rotation: Array
    translation: Array
    focal: float

    def state(self, world: State) -> State:
        """The state as this camera sees it: poses map into the camera."""
        return replace(
            world,
            focal=self.focal,
            rotation=self.rotation @ world.rotation,
            translation=world.translation @ self.rotation.T + self.translation,
        )


@dataclass(frozen=True)
class Observations:
    """2D points that the projection of model points shall meet.

    Attributes:
        index: int [T, N] into the point model. target: [T, N, 2] pixels about the principal point.
        weight: [T, N], 0 where there is nothing to meet. sigma: [T] pixels.
        pairs: int [P, 2] into N whose difference counts, too. pair_weight: [P].
        robust: residuals beyond so many sigmas lose their say.
        normal: [T, N, 2] unit directions in which alone a point shall meet its target.
        lens: the camera that saw them; None where the state's poses map into the one camera.
    """

    index: NDArray[np.int64]
    target: Array
    weight: Array
    sigma: Array
    pairs: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    pair_weight: Array = field(default_factory=lambda: np.zeros(0))
    robust: float = 3.0
    normal: Array | None = None
    lens: Lens | None = None

    def frames(self, index: NDArray[np.int64] | slice) -> Observations:
        """Some of the frames."""
        return replace(
            self,
            index=self.index[index],
            target=self.target[index],
            weight=self.weight[index],
            sigma=self.sigma[index],
            normal=None if self.normal is None else self.normal[index],
        )


@dataclass(frozen=True)
class SpacePoints:
    """3D points that model points shall meet, or, with normals, planes on which they shall lie.

    Attributes:
        index: int [T, N] into the point model. target: [T, N, 3] metres, in the state's frame.
        weight: [T, N], 0 where there is nothing to meet. sigma: [T] metres.
        normal: [T, N, 3] unit normals of the planes, or None.
        robust: residuals beyond so many sigmas lose their say.
    """

    index: NDArray[np.int64]
    target: Array
    weight: Array
    sigma: Array
    normal: Array | None = None
    robust: float = 3.0

    def frames(self, index: NDArray[np.int64] | slice) -> SpacePoints:
        """Some of the frames."""
        return replace(
            self,
            index=self.index[index],
            target=self.target[index],
            weight=self.weight[index],
            sigma=self.sigma[index],
            normal=None if self.normal is None else self.normal[index],
        )


@dataclass(frozen=True)
class Problem:
    """A head model's points, a camera and the unknowns that may move.

    Attributes:
        model: the points. focal_prior: pixels.
        active: bool [Ke] expressions that are fitted. use_jaw: whether the jaw joint is.
        fast: bool [Ke] expressions that may change quickly. mirror: int [P, 2] left-right pairs.
        linked: bool [T-1], whether frame t+1 follows frame t in time.
        rate: frames per second, against which the terms in time are scaled (25 = as they are).
        signed: bool [Ke] expressions that may be negative; None for none.
        prior: [Ki] weights of the identity's N(0, 1) prior over the whole fit; None: the same for
            all, `weights.identity` per frame.
    """

    model: PointModel
    focal_prior: float
    active: NDArray[np.bool_]
    use_jaw: bool
    fast: NDArray[np.bool_]
    mirror: NDArray[np.int64]
    linked: NDArray[np.bool_]
    rate: float = 25.0
    weights: Weights = field(default_factory=Weights)
    signed: NDArray[np.bool_] | None = None
    prior: Array | None = None

    @property
    def active_signed(self) -> NDArray[np.bool_]:
        """Which of the active expressions may be negative."""
        signed = np.zeros(len(self.active), bool) if self.signed is None else self.signed
        return signed[self.active]

    @property
    def size(self) -> int:
        """Unknowns per frame: rotation, translation, jaw, active expressions."""
        return 7 + int(self.active.sum())


def project(points: Array, rotation: Array, translation: Array, focal: float) -> Array:
    """[T, N, 3] points of the head's frame -> [T, N, 2] pixels about the principal point."""
    camera = np.einsum("txy,tny->tnx", rotation, points) + translation[:, None]
    return focal * camera[..., :2] / camera[..., 2:]


def predict(problem: Problem, state: State, index: NDArray[np.int64]) -> Array:
    """Where the state puts model points `index` ([T, N] or [N]): [T, N, 2] pixels."""
    points = problem.model.points(index, state.identity, state.expression, state.jaw)
    return project(points, state.rotation, state.translation, state.focal)


def linearise(
    problem: Problem, state: State, seen: Observations | SpacePoints, shared: bool
) -> tuple[Array, Array, Array, Array]:
    """Whitened residuals [T, R], their weights, and Jacobians by frame and shared unknowns.

    Args:
        problem: the fit. state: where to linearise. seen: T frames of observations.
        shared: also by identity and log focal length; else the last Jacobian is empty.
    """
    moved = _Moved(problem, state, seen.index)
    if isinstance(seen, SpacePoints):
        return _linearise_space(problem, seen, moved, shared)
    return _linearise_image(problem, state, seen, moved, shared)


class _Moved:
    """Points of the model in the state's frame and how they move: [T, N, 3, unknowns]."""

    def __init__(self, problem: Problem, state: State, index: NDArray[np.int64]) -> None:
        model, active = problem.model, np.flatnonzero(problem.active)
        rest = model.rest(index, state.identity, state.expression)
        points, by_jaw = model.opened(index, rest, state.jaw)
        self.turned = np.einsum("txy,tny->tnx", state.rotation, points)
        self.world = self.turned + state.translation[:, None]
        self._jaw = by_jaw[..., None]
        self._shapes = model.shapes(state.identity)[index][..., active]
        self._rotation = state.rotation[:, None]

    def by_frame(self, outer: Array) -> Array:
        """outer [T, N, D, 3], derivative by the point -> by the frame's unknowns."""
        rest = outer @ self._rotation
        return np.concatenate(
            [
                outer @ -rotations.cross_matrix(self.turned), outer, rest @ self._jaw,
                rest @ self._shapes,
            ],
            -1,
        )  # fmt: skip

    def by_identity(self, outer: Array, modes: Array) -> Array:
        """The same by the identity; modes [T, N, 3, Ki]."""
        return outer @ self._rotation @ modes


def _linearise_image(
    problem: Problem, state: State, seen: Observations, moved: _Moved, shared: bool
) -> tuple[Array, Array, Array, Array]:
    lens = seen.lens
    focal = state.focal if lens is None else lens.focal
    camera = moved.world
    if lens is not None:
        camera = camera @ lens.rotation.T + lens.translation
    depth = camera[..., 2:]
    pixels = focal * camera[..., :2] / depth
    t, n = seen.index.shape

    by_point = np.zeros((t, n, 2, 3))
    by_point[..., 0, 0] = by_point[..., 1, 1] = (focal / depth)[..., 0]
    by_point[..., 2] = -pixels / depth
    if lens is not None:
        by_point = by_point @ lens.rotation
    frame = moved.by_frame(by_point)
    scale = np.where(seen.weight > 0, 1, 0)[..., None] / seen.sigma[:, None, None]
    residual = np.where(seen.weight[..., None] > 0, pixels - np.nan_to_num(seen.target), 0)
    residual = residual * scale
    along = None
    if seen.normal is not None:
        along = seen.normal[..., :, None] * seen.normal[..., None, :]
        residual = (along @ residual[..., None])[..., 0]
    size = np.linalg.norm(residual, axis=-1)
    weight = seen.weight / (1 + (size / seen.robust) ** 2) ** 2
    frame = frame * scale[..., None]
    if along is not None:
        frame = along @ frame
    rows, weights = [residual], [weight]
    frames, shareds = [frame], []
    if shared:
        # A lens of a rig has its own focal length, and it is known.
        by_focal = np.zeros_like(pixels) if lens is not None else pixels
        by_identity = moved.by_identity(by_point, problem.model.identity[seen.index])
        by_shared = np.concatenate([by_identity, by_focal[..., None]], -1) * scale[..., None]
        shareds.append(by_shared if along is None else along @ by_shared)
    if len(seen.pairs):
        a, b = seen.pairs.T
        difference = residual[:, a] - residual[:, b]
        both = np.minimum(seen.weight[:, a], seen.weight[:, b]) > 0
        size = np.linalg.norm(difference, axis=-1)
        rows.append(difference)
        weights.append(both * seen.pair_weight / (1 + (size / seen.robust) ** 2) ** 2)
        frames.append(frame[:, a] - frame[:, b])
        if shared:
            shareds.append(shareds[0][:, a] - shareds[0][:, b])
    return _flat(rows), _repeated(weights, 2), _flat(frames), _flat(shareds, rows)


def _linearise_space(
    problem: Problem, seen: SpacePoints, moved: _Moved, shared: bool
) -> tuple[Array, Array, Array, Array]:
    known = (seen.weight > 0)[..., None]
    outer = np.broadcast_to(np.eye(3), (*seen.index.shape, 3, 3))
    if seen.normal is not None:
        outer = np.where(known, np.nan_to_num(seen.normal), 0)[..., None, :]  # [T, N, 1, 3]
    outer = outer * known[..., None] / seen.sigma[:, None, None, None]
    gap = np.where(known, moved.world - np.nan_to_num(seen.target), 0)
    residual = (outer @ gap[..., None])[..., 0]
    size = np.linalg.norm(residual, axis=-1)
    weight = seen.weight / (1 + (size / seen.robust) ** 2) ** 2
    shareds = []
    if shared:
        by_identity = moved.by_identity(outer, problem.model.identity[seen.index])
        shareds.append(np.concatenate([by_identity, np.zeros((*residual.shape, 1))], -1))
    return (
        _flat([residual]), _repeated([weight], residual.shape[-1]),
        _flat([moved.by_frame(outer)]), _flat(shareds, [residual]),
    )  # fmt: skip


def _flat(parts: list[Array], like: list[Array] | None = None) -> Array:
    """[T, N, D, ...] joined to [T, N D, ...]; no parts: empty, with as many rows as `like`."""
    if not parts and like is not None:
        rows = _flat(like)
        return np.zeros((*rows.shape, 0))
    joined = np.concatenate(parts, 1)
    return joined.reshape(joined.shape[0], joined.shape[1] * joined.shape[2], *joined.shape[3:])


def _repeated(weights: list[Array], count: int) -> Array:
    return np.repeat(np.concatenate(weights, 1), count, axis=1)
