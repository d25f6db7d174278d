"""Gauss-Newton fit of a head model to 2D observations: terms, priors and the two solvers.

Energy (all residuals in units of their standard deviation):
  sum_t sum_i w_i rho(|project(R_t x_i(identity, e_t, jaw_t) + t_t) - u_ti| / sigma)      points
  + the same on differences of paired points (lids, lips)                              openings
  + id |identity|^2 + sum_t (l2 |e_t|^2 + l1 sum e_t + sym |e_left - e_right|^2)          priors
  + (log f - log f0)^2 / s_f^2 + acceleration of the pose + change of the expression     in time
with e in [0, 1], or in [-3, 3] and without the l1 term where a model's expressions are standard
deviations of either sign. The shape of the energy is that of public landmark trackers (multi-view
3DMM fitting as used by GPHM: landmarks and squared coefficients); the box, the paired differences
and the terms in time are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from headworks.tracking import rotations
from headworks.tracking.points import PointModel
from headworks.tracking.solve import solve_chain, solve_shared

Array = NDArray[np.float64]
MOST_SIGMAS = 3.0
"""Bound of signed expressions, and how much faster than activations they may change."""

_CHUNK = 64  # frames linearised at once: bounds memory, changes nothing


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
    """What is estimated; the head's pose maps its own frame into the camera (OpenCV axes).

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
class Observations:
    """2D points that the projection of model points shall meet.

    Attributes:
        index: int [T, N] into the point model. target: [T, N, 2] pixels about the principal point.
        weight: [T, N], 0 where there is nothing to meet. sigma: [T] pixels.
        pairs: int [P, 2] into N whose difference counts, too. pair_weight: [P].
        robust: residuals beyond so many sigmas lose their say.
        normal: [T, N, 2] unit directions in which alone a point shall meet its target.
    """

    index: NDArray[np.int64]
    target: Array
    weight: Array
    sigma: Array
    pairs: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    pair_weight: Array = field(default_factory=lambda: np.zeros(0))
    robust: float = 3.0
    normal: Array | None = None

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
class Problem:
    """A head model's points, a camera and the unknowns that may move.

    Attributes:
        model: the points. focal_prior: pixels.
        active: bool [Ke] expressions that are fitted. use_jaw: whether the jaw joint is.
        fast: bool [Ke] expressions that may change quickly. mirror: int [P, 2] left-right pairs.
        linked: bool [T-1], whether frame t+1 follows frame t in time.
        rate: frames per second, against which the terms in time are scaled (25 = as they are).
        signed: bool [Ke] expressions that may be negative; None for none.
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


def _linearise(
    problem: Problem, state: State, seen: Observations, shared: bool
) -> tuple[Array, Array, Array, Array]:
    """Whitened residuals [T, R], their weights and Jacobians by frame and shared unknowns."""
    model, active = problem.model, np.flatnonzero(problem.active)
    rest = model.rest(seen.index, state.identity, state.expression)
    points, by_jaw = model.opened(seen.index, rest, state.jaw)
    turned = np.einsum("txy,tny->tnx", state.rotation, points)
    camera = turned + state.translation[:, None]
    depth = camera[..., 2:]
    pixels = state.focal * camera[..., :2] / depth
    t, n = seen.index.shape

    by_point = np.zeros((t, n, 2, 3))
    by_point[..., 0, 0] = by_point[..., 1, 1] = (state.focal / depth)[..., 0]
    by_point[..., 2] = -pixels / depth
    by_rest = by_point @ state.rotation[:, None]
    frame = np.concatenate(
        [
            by_point @ -rotations.cross_matrix(turned),
            by_point,
            by_rest @ by_jaw[..., None],
            by_rest @ model.shapes(state.identity)[seen.index][..., active],
        ],
        -1,
    )
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
        by_shared = np.concatenate([by_rest @ model.identity[seen.index], pixels[..., None]], -1)
        by_shared = by_shared * scale[..., None]
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

    def flat(parts: list[Array]) -> Array:
        joined = np.concatenate(parts, 1)
        return joined.reshape(t, joined.shape[1] * 2, *joined.shape[3:])

    doubled = np.repeat(np.concatenate(weights, 1), 2, axis=1)
    empty = np.zeros((t, doubled.shape[1], 0))
    return flat(rows), doubled, flat(frames), flat(shareds) if shared else empty


def _normal(
    problem: Problem, state: State, groups: Sequence[Observations], shared: bool
) -> tuple[Array, Array, Array, Array, Array]:
    """Gauss-Newton blocks of the data terms: frame, cross, shared; minus the gradients."""
    t, n = len(state), problem.size
    m = len(state.identity) + 1 if shared else 0
    h, c, s = np.zeros((t, n, n)), np.zeros((t, n, m)), np.zeros((m, m))
    g, gs = np.zeros((t, n)), np.zeros(m)
    for start in range(0, t, _CHUNK):
        part = slice(start, min(start + _CHUNK, t))
        for seen in groups:
            r, w, by_frame, by_shared = _linearise(
                problem, state.frames(part), seen.frames(part), shared
            )
            weighted = np.swapaxes(by_frame * w[..., None], 1, 2)
            h[part] += weighted @ by_frame
            g[part] -= (weighted @ r[..., None])[..., 0]
            if shared:
                c[part] += weighted @ by_shared
                flat = by_shared.reshape(-1, m)
                scaled = flat * w.reshape(-1, 1)
                s += scaled.T @ flat
                gs -= scaled.T @ r.reshape(-1)
    return h, c, s, g, gs


def _add_frame_priors(problem: Problem, state: State, h: Array, g: Array) -> None:
    w = problem.weights
    active = np.flatnonzero(problem.active)
    e = state.expression[:, active]
    at = 7 + np.arange(len(active))
    h[:, at, at] += w.l2
    g[:, at] -= w.l2 * e + np.where(problem.active_signed, 0.0, w.l1 / 2)
    place = np.full(len(problem.active), -1)
    place[active] = at
    for left, right in place[problem.mirror]:
        if left < 0 or right < 0:
            continue
        gap = w.symmetry * (e[:, left - 7] - e[:, right - 7])
        h[:, left, left] += w.symmetry
        h[:, right, right] += w.symmetry
        h[:, left, right] -= w.symmetry
        h[:, right, left] -= w.symmetry
        g[:, left] -= gap
        g[:, right] += gap
    h[:, 6, 6] += 1.0 / 0.3**2 if problem.use_jaw else 0.0
    g[:, 6] -= state.jaw / 0.3**2 if problem.use_jaw else 0.0


def _held(problem: Problem, state: State, g: Array) -> NDArray[np.bool_]:
    """Unknowns that stay in this step: at a bound and pushed against it, or not in use."""
    e = state.expression[:, problem.active]
    held = np.zeros(g.shape, bool)
    held[:, 6] = (not problem.use_jaw) | ((state.jaw <= 0) & (g[:, 6] < 0))
    low, high = _bounds(problem)
    held[:, 7:] = ((e <= low) & (g[:, 7:] < 0)) | ((e >= high) & (g[:, 7:] > 0))
    return held


def _bounds(problem: Problem) -> tuple[Array, Array]:
    """Least and largest value of each active expression."""
    signed = problem.active_signed
    return np.where(signed, -MOST_SIGMAS, 0.0), np.where(signed, MOST_SIGMAS, 1.0)


def _moved(problem: Problem, state: State, step: Array) -> State:
    expression = state.expression.copy()
    expression[:, problem.active] = np.clip(
        expression[:, problem.active] + step[:, 7:], *_bounds(problem)
    )
    return replace(
        state,
        rotation=rotations.exp(np.clip(step[:, :3], -0.5, 0.5)) @ state.rotation,
        translation=state.translation + step[:, 3:6],
        expression=expression,
        jaw=np.maximum(state.jaw + step[:, 6], 0),
    )


def fit_shared(
    problem: Problem,
    state: State,
    groups: Sequence[Observations],
    damping: float = 1e-3,
    fit_focal: bool = True,
) -> State:
    """One Gauss-Newton step of everything over frames that are independent in time.

    Args:
        problem: the model. state: the keyframes' state. groups: their observations.
        damping: relative, on every diagonal. fit_focal: False keeps the focal length.

    Returns:
        The state after the step.
    """
    h, c, s, g, gs = _normal(problem, state, groups, shared=True)
    _add_frame_priors(problem, state, h, g)
    w, ki, t = problem.weights, len(state.identity), len(state)
    diagonal = np.arange(ki)
    s[diagonal, diagonal] += w.identity * t
    gs[:ki] -= w.identity * t * state.identity
    # The prior of the focal length must weigh as all frames' landmarks do: their error is shared.
    focal_weight = t / w.focal_log_sigma**2
    s[ki, ki] += focal_weight
    gs[ki] -= focal_weight * np.log(state.focal / problem.focal_prior)
    if not fit_focal:
        c[..., ki] = 0
        s[ki, :ki] = s[:ki, ki] = 0
        gs[ki] = 0

    held = _held(problem, state, g)
    h, g = _without(h, g, held)
    c = np.where(held[..., None], 0, c)
    h = _damped(h, damping)
    s = _damped(s, damping)
    step, shared = solve_shared(h, c, s, g, gs)
    moved = _moved(problem, state, np.where(held, 0, step))
    return replace(
        moved,
        identity=state.identity + shared[:ki],
        focal=float(state.focal * np.exp(np.clip(shared[ki], -0.2, 0.2))),
    )


def fit_chain(
    problem: Problem,
    state: State,
    groups: Sequence[Observations],
    damping: float = 1e-3,
    pose_only: bool = False,
) -> State:
    """One Gauss-Newton step of all frames, coupled in time, with identity and focal length kept.

    Args:
        problem: the model. state: all frames. groups: their observations.
        damping: relative, on every diagonal. pose_only: keep expressions and jaw.

    Returns:
        The state after the step.
    """
    h, _, _, g, _ = _normal(problem, state, groups, shared=False)
    _add_frame_priors(problem, state, h, g)
    first, second = _add_time(problem, state, h, g)
    held = _held(problem, state, g)
    if pose_only:
        held[:, 6:] = True
    h, g = _without(h, g, held)
    free = ~held
    first = first * (free[:-1] & free[1:])
    second = second * (free[:-2] & free[2:])
    step = solve_chain(_damped(h, damping), first, second, g)
    return _moved(problem, state, np.where(held, 0, step))


def _without(h: Array, g: Array, held: NDArray[np.bool_]) -> tuple[Array, Array]:
    free = ~held
    h = h * (free[:, :, None] & free[:, None, :])
    n = np.arange(h.shape[1])
    h[:, n, n] += held
    return h, np.where(held, 0, g)


def _damped(h: Array, damping: float) -> Array:
    n = np.arange(h.shape[-1])
    out = h.copy()
    out[..., n, n] = h[..., n, n] * (1 + damping) + 1e-9
    return out


def _add_time(problem: Problem, state: State, h: Array, g: Array) -> tuple[Array, Array]:
    """Terms between frames: adds to the diagonal blocks, returns the couplings."""
    w, t, n = problem.weights, len(state), problem.size
    first, second = np.zeros((max(t - 1, 0), n)), np.zeros((max(t - 2, 0), n))
    if t < 2:
        return first, second
    diagonal = np.einsum("tii->ti", h)
    speed = problem.rate / 25.0  # sigma of a change per frame falls with the frame rate
    link = problem.linked.astype(np.float64)[:, None]

    sigma = np.full(n, np.inf)
    sigma[:3], sigma[3:6], sigma[6] = 0.3, 0.1, 0.08  # pose: only holds frames without evidence
    active = np.flatnonzero(problem.active)
    sigma[7:] = np.where(problem.fast[active], w.fast_sigma, w.expression_sigma)
    sigma[7:] *= np.where(problem.active_signed, MOST_SIGMAS, 1.0)
    weight = link * (speed / sigma) ** 2
    values = np.concatenate(
        [np.zeros((t, 3)), state.translation, state.jaw[:, None], state.expression[:, active]], 1
    )
    change = values[1:] - values[:-1]
    turn = rotations.log(state.rotation[1:] @ np.swapaxes(state.rotation[:-1], 1, 2))
    change[:, :3] = turn
    diagonal[1:] += weight
    diagonal[:-1] += weight
    first -= weight
    g[1:] -= weight * change
    g[:-1] += weight * change

    if t < 3:
        return first, second
    sigma = np.full(n, np.inf)
    sigma[:3], sigma[3:5], sigma[5] = w.turn_sigma, w.shift_sigma, w.depth_sigma
    weight = link[1:] * link[:-1] * (speed**2 / sigma) ** 2
    bend = change[1:] - change[:-1]
    diagonal[2:] += weight
    diagonal[1:-1] += 4 * weight
    diagonal[:-2] += weight
    first[1:] -= 2 * weight
    first[:-1] -= 2 * weight
    second += weight
    g[2:] -= weight * bend
    g[1:-1] += 2 * weight * bend
    g[:-2] -= weight * bend
    return first, second
