"""Promises of landmarks triangulated from several cameras."""

from __future__ import annotations

import numpy as np
import pytest

from headworks.cameras import Camera, intrinsics, orbit
from headworks.landmarks.triangulate import triangulate_landmarks

SIDE = 256


def rig(count: int = 8, span: float = 1.6) -> list[Camera]:
    azimuths = np.linspace(-span / 2, span / 2, count)
    heights = np.resize([0.25, -0.2], count)
    K = intrinsics(640.0, SIDE, SIDE)
    return [Camera(orbit(a, e, 1.1), K, SIDE, SIDE) for a, e in zip(azimuths, heights)]


def scene(seed: int = 0, times: int = 3) -> tuple[list[Camera], np.ndarray, np.ndarray]:
    """Cameras, true points [T, 68, 3] and what the cameras see of them [T, C, 68, 3]."""
    cameras = rig()
    points = np.random.default_rng(seed).uniform(-0.07, 0.07, (times, 68, 3))
    seen = np.stack([c.project(points) for c in cameras], 1)
    seen[..., 2] = 1.0
    return cameras, points, seen


def millimetres(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return 1e3 * np.linalg.norm(found - true, axis=-1)


def test_exact_views_give_exact_points_with_full_confidence() -> None:
    cameras, points, seen = scene()
    found = triangulate_landmarks(seen, cameras)
    assert millimetres(found.points, points).max() < 1e-3
    assert found.residual.max() < 1e-3
    assert found.confidence.min() > 0.95
    assert (found.views == len(cameras)).all()


def test_a_third_of_the_views_may_be_anywhere() -> None:
    cameras, points, seen = scene(1)
    rng = np.random.default_rng(2)
    seen[..., :2] += rng.normal(0, 0.4, seen[..., :2].shape)
    wrong = rng.random(seen.shape[:3]) < 0.33
    seen[wrong, :2] += rng.uniform(-50, 50, (wrong.sum(), 2))
    found = triangulate_landmarks(seen, cameras)
    error = millimetres(found.points, points)
    assert np.nanmedian(error) < 0.8
    assert np.nanpercentile(error, 97) < 3.0
    plain, _ = triangulate_landmarks(seen, cameras, tolerance_px=1e4)[:2]
    assert np.nanmedian(error) < 0.5 * np.nanmedian(millimetres(plain, points))


def test_confidence_tells_agreement_from_contradiction() -> None:
    cameras, _, seen = scene(3)
    rng = np.random.default_rng(4)
    slides = seen.copy()
    slides[:, :, :17, :2] += rng.normal(0, 4, slides[:, :, :17, :2].shape)
    found = triangulate_landmarks(slides, cameras)
    assert np.median(found.confidence[:, :17]) < 0.4 * found.confidence[:, 17:].min()
    assert np.nanmean(found.residual[:, :17]) > 10 * np.nanmean(found.residual[:, 17:])


def test_hidden_views_count_for_nothing() -> None:
    cameras, points, seen = scene(5)
    hidden = seen.copy()
    hidden[:, ::2, :, :2] = 7.0
    hidden[:, ::2, :, 2] = 0.0
    found = triangulate_landmarks(hidden, cameras)
    assert millimetres(found.points, points).max() < 1e-3
    assert (found.views == len(cameras) // 2).all()
    hidden[:, ::2] = np.nan
    np.testing.assert_array_equal(triangulate_landmarks(hidden, cameras).points, found.points)


def test_one_view_gives_no_point_and_no_confidence() -> None:
    cameras, _, seen = scene(6)
    seen[:, 1:, 5] = np.nan
    found = triangulate_landmarks(seen, cameras)
    assert np.isnan(found.points[:, 5]).all()
    assert (found.confidence[:, 5] == 0).all()
    assert np.isfinite(np.delete(found.points, 5, 1)).all()


def test_two_cameras_side_by_side_do_not_measure_depth() -> None:
    _, points, _ = scene(7)
    K = intrinsics(640.0, SIDE, SIDE)
    close = [Camera(orbit(a, 0.0, 1.1), K, SIDE, SIDE) for a in (0.0, 0.02)]
    seen = np.stack([c.project(points) for c in close], 1)
    seen[..., 2] = 1.0
    assert np.isnan(triangulate_landmarks(seen, close).points).all()


def test_cameras_and_views_must_be_as_many() -> None:
    cameras, _, seen = scene()
    with pytest.raises(ValueError, match="8 views"):
        triangulate_landmarks(seen, cameras[:-1])
