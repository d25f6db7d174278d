"""Gauss-Newton fit of a head model to 2D observations: terms, priors and the two solvers.

Energy (all residuals in units of their standard deviation):
  sum_t sum_i w_i rho(|project(R_t x_i(identity, e_t, jaw_t) + t_t) - u_ti| / sigma)      points
  + the same on differences of paired points (lids, lips)                              openings
  + sum_t sum_i w_i rho(|n_i . (R_t x_i + t_t - p_ti)| / sigma)                           planes
  + id |identity|^2 + sum_t (l2 |e_t|^2 + l1 sum e_t + sym |e_left - e_right|^2)          priors
  + (log f - log f0)^2 / s_f^2 + acceleration of the pose + change of the expression     in time
with e in [0, 1], or in [-3, 3] and without the l1 term where a model's expressions are standard
deviations of either sign. The shape of the energy is that of public landmark trackers (multi-view
3DMM fitting as used by GPHM: landmarks and squared coefficients); the box, the paired differences
and the terms in time are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headworks.tracking import rotations
from headworks.tracking.solve import solve_chain, solve_shared
from headworks.tracking.terms import (
    MOST_SIGMAS,
    Lens,
    Observations,
    Problem,
    SpacePoints,
    State,
    Weights,
    linearise,
    predict,
    project,
)

__all__ = [
    "Lens", "Observations", "Problem", "SpacePoints", "State", "Weights", "fit_chain",
    "fit_shared", "predict", "project",
]  # fmt: skip

Array = NDArray[np.float64]
_CHUNK = 64  # frames linearised at once: bounds memory, changes nothing


def _normal(
    problem: Problem, state: State, groups: Sequence[Observations | SpacePoints], shared: bool
) -> tuple[Array, Array, Array, Array, Array]:
    """Gauss-Newton blocks of the data terms: frame, cross, shared; minus the gradients."""
    t, n = len(state), problem.size
    m = len(state.identity) + 1 if shared else 0
    h, c, s = np.zeros((t, n, n)), np.zeros((t, n, m)), np.zeros((m, m))
    g, gs = np.zeros((t, n)), np.zeros(m)
    for start in range(0, t, _CHUNK):
        part = slice(start, min(start + _CHUNK, t))
        for seen in groups:
            r, w, by_frame, by_shared = linearise(
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
    groups: Sequence[Observations | SpacePoints],
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
    prior = np.full(ki, w.identity * t) if problem.prior is None else problem.prior
    s[diagonal, diagonal] += prior
    gs[:ki] -= prior * state.identity
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
    groups: Sequence[Observations | SpacePoints],
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
