"""What fitting landmarks promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from headworks.heads import load_head
from headworks.tracking.contour import SLIDING
from headworks.tracking.energy import State
from headworks.tracking.landmark_fit import (
    choose_keyframes,
    fit_frames,
    fit_shape,
    landmark_errors,
    mirror_pairs,
    start,
)
from headworks.tracking.solve import solve_chain, solve_shared
from tests.tracking.scene import FOCAL, Scene, scene, turn_error


def fitted(of: Scene, landmarks: np.ndarray, keyframes: int = 20) -> State:
    found = np.isfinite(landmarks).all((1, 2))
    state = start(of.head, of.rig, of.problem, landmarks)
    keys = choose_keyframes(state.rotation, landmarks, found, keyframes)
    few = fit_shape(of.rig, of.problem, state.frames(keys), landmarks[keys])
    return fit_frames(of.rig, of.problem, state, keys, few, landmarks)


def test_pose_expression_and_focal_length_come_back_from_noisy_landmarks() -> None:
    of = scene(40, noise_px=0.3)
    of = replace(of, problem=replace(of.problem, focal_prior=FOCAL * 1.15))
    state = fitted(of, of.landmarks)
    error = landmark_errors(of.rig, of.problem, state, of.landmarks)
    assert error.mean() < 0.8
    # A constant offset of the pose is the mean face's, not the person's: motion is what counts.
    turned = [s.rotation @ s.rotation[0].T for s in (state, of.truth)]
    assert turn_error(*turned).mean() < 1.5
    assert turn_error(state.rotation, of.truth.rotation).mean() < 4.0
    assert abs(np.log(state.focal / FOCAL)) < 0.25
    jaw = of.head.expression_index("jawOpen")
    assert np.corrcoef(state.expression[:, jaw], of.truth.expression[:, jaw])[0, 1] > 0.95
    assert np.abs(state.expression[:, jaw] - of.truth.expression[:, jaw]).mean() < 0.15


def test_an_imported_head_is_tracked_as_the_procedural_one(shared: Path) -> None:
    of = scene(20, noise_px=0.3, other=load_head(f"ict:{shared / 'data' / 'ict_facekit.npz'}"))
    state = fitted(of, of.landmarks, 8)
    assert landmark_errors(of.rig, of.problem, state, of.landmarks).mean() < 0.8
    turned = [s.rotation @ s.rotation[0].T for s in (state, of.truth)]
    assert turn_error(*turned).mean() < 1.5
    for name in ("jawOpen", "eyeBlinkLeft"):
        k = of.head.expression_index(name)
        assert np.corrcoef(state.expression[:, k], of.truth.expression[:, k])[0, 1] > 0.9


def test_smoothness_does_not_flatten_a_blink() -> None:
    of = scene(40, noise_px=0.3)
    state = fitted(of, of.landmarks)
    lids = [of.head.expression_index(f"eyeBlink{side}") for side in ("Left", "Right")]
    blink = state.expression[:, lids].mean(1)
    assert abs(int(blink.argmax()) - 20) <= 1
    assert blink.max() - np.median(blink) > 0.6


def test_expressions_stay_in_the_unit_interval() -> None:
    state = fitted(of := scene(20, noise_px=1.5), of.landmarks)
    assert state.expression.min() >= 0
    assert state.expression.max() <= 1
    assert not state.expression[:, ~of.problem.active].any()


def test_same_landmarks_give_the_same_bytes() -> None:
    of = scene(16, noise_px=0.5)
    a, b = (fitted(of, of.landmarks, 8) for _ in range(2))
    for name in ("identity", "rotation", "translation", "expression"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes()


def test_frames_without_landmarks_lie_between_their_neighbours() -> None:
    of = scene(30, noise_px=0.2)
    landmarks = of.landmarks.copy()
    landmarks[12:15] = np.nan
    state = fitted(of, landmarks)
    assert np.isfinite(state.rotation).all()
    assert turn_error(state.rotation[12:15], of.truth.rotation[12:15]).max() < 5
    step = np.linalg.norm(np.diff(state.translation[11:17], axis=0), axis=1)
    assert step.max() < 0.02


def test_the_far_contour_slides_over_the_cheek_and_the_near_one_stays() -> None:
    of = scene(2)
    turned = replace(of.truth, rotation=of.truth.rotation.copy())
    angle = 0.6  # towards the subject's left: the left cheek becomes the far outline
    c, s = np.cos(angle), np.sin(angle)
    turned.rotation[:] = np.diag([1.0, -1, -1]) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    moved = of.rig.index(turned)[0, SLIDING] - 68 - np.arange(len(SLIDING)) * of.rig.path
    sliding = np.array(SLIDING)
    assert moved[sliding < 8].max() <= 1  # the subject's right, near the camera
    assert (moved[sliding > 10] > 0).sum() >= 3
    assert moved[sliding > 10].max() >= 4


def test_left_and_right_are_paired_by_name() -> None:
    names = ("eyeBlinkLeft", "jawLeft", "eyeBlinkRight", "jawRight", "mouthSmileLeft")
    assert mirror_pairs(names).tolist() == [[0, 2]]


def test_the_chain_solver_equals_a_dense_one() -> None:
    rng = np.random.default_rng(0)
    t, n = 6, 4
    root = rng.standard_normal((t, n, n))
    blocks = root @ np.swapaxes(root, 1, 2) + 9 * np.eye(n)
    first, second = rng.standard_normal((t - 1, n)), rng.standard_normal((t - 2, n))
    dense = np.zeros((t * n, t * n))
    for i in range(t):
        dense[i * n : i * n + n, i * n : i * n + n] = blocks[i]
    for offset, values in ((1, first), (2, second)):
        for i, row in enumerate(values):
            a, b = slice(i * n, i * n + n), slice((i + offset) * n, (i + offset) * n + n)
            dense[a, b] = dense[b, a] = np.diag(row)
    rhs = rng.standard_normal((t, n))
    expected = np.linalg.solve(dense, rhs.ravel()).reshape(t, n)
    np.testing.assert_allclose(solve_chain(blocks, first, second, rhs), expected, atol=1e-10)


def test_the_shared_solver_equals_a_dense_one() -> None:
    rng = np.random.default_rng(1)
    t, n, m = 3, 4, 5
    j = rng.standard_normal((t, 20, n + m))
    full = np.swapaxes(j, 1, 2) @ j
    dense = np.zeros((t * n + m, t * n + m))
    for i in range(t):
        a = slice(i * n, i * n + n)
        dense[a, a], dense[a, t * n :] = full[i, :n, :n], full[i, :n, n:]
        dense[t * n :, a] = full[i, n:, :n]
    dense[t * n :, t * n :] = full[:, n:, n:].sum(0)
    rhs = rng.standard_normal(t * n + m)
    frame, shared = solve_shared(
        full[:, :n, :n], full[:, :n, n:], full[:, n:, n:].sum(0), rhs[:-m].reshape(t, n), rhs[-m:]
    )
    expected = np.linalg.solve(dense, rhs)
    np.testing.assert_allclose(np.concatenate([frame.ravel(), shared]), expected, atol=1e-8)
