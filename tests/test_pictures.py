"""Overlays lie where the numbers say."""

from __future__ import annotations

import numpy as np
import pytest

from headworks import pictures
from headworks.cameras import Camera, intrinsics, orbit
from headworks.mesh import rasterize_mesh
from tests.toyhead import toy_head

GREY = np.full((40, 50, 3), 90, np.uint8)


def test_landmarks_are_drawn_at_their_pixels() -> None:
    rng = np.random.default_rng(0)
    points = np.stack([rng.uniform(5, 45, 68), rng.uniform(5, 35, 68)], -1)
    drawn = pictures.draw_landmarks(GREY, points)
    assert drawn.shape == (80, 100, 3)
    for x, y in points:
        assert drawn[int(2 * y), int(2 * x)].min() > 200
    missing = pictures.draw_landmarks(GREY, np.full((68, 3), np.nan))
    assert (missing == 90).all()


def test_mesh_covers_its_silhouette_and_nothing_else() -> None:
    head = toy_head()
    camera = Camera(orbit(0.2, 0.1, 0.6), intrinsics(90.0, 50, 40), 50, 40)
    vertices, faces = head.template.numpy(), head.faces.numpy()
    shaded = pictures.shade_mesh(GREY, vertices, faces, camera)
    hit = rasterize_mesh(vertices, faces, camera.resized(100, 80)).face_ids >= 0
    assert 0.1 < hit.mean() < 0.9
    assert (shaded[~hit] == 90).all()
    assert (shaded[hit] != 90).any(-1).mean() > 0.99


@pytest.mark.parametrize("azimuth", [0.0, 1.0, -2.5])
def test_portrait_shows_the_whole_head_from_everywhere(azimuth: float) -> None:
    vertices = toy_head().template.numpy() * (1, 1.3, 1.1)
    camera = pictures.portrait_camera(vertices, 64, azimuth)
    pixels = camera.project(vertices)
    assert (pixels[:, 2] > 0).all()
    assert pixels[:, :2].min() > 2
    assert pixels[:, :2].max() < 62
    height = np.ptp(pixels[:, 1]) / 64
    assert height == pytest.approx(1 / pictures.PORTRAIT_ROOM, rel=0.1)


def test_portrait_from_the_left_sees_the_left() -> None:
    vertices = toy_head().template.numpy()
    ear = np.array([[0.1, 0.0, 0.0]])
    depth = [pictures.portrait_camera(vertices, 64, a).project(ear)[0, 2] for a in (1.5, -1.5)]
    assert depth[0] < depth[1]


def test_matte_shows_checks_only_where_it_is_empty() -> None:
    rgb = np.full((32, 32, 3), 0.2)
    alpha = np.zeros((32, 32))
    alpha[:, :16] = 1
    shown = pictures.over_checks(rgb, alpha)
    assert (shown[:, :16] == 51).all()
    assert len(np.unique(shown[:, 16:])) == 2


def test_heat_is_brighter_for_larger_errors_and_stops_at_the_top() -> None:
    values = np.linspace(0, 1, 11)[None]
    brightness = pictures.heat(values, 0.5).astype(int).sum(-1)[0]
    assert (np.diff(brightness[:6]) > 0).all()
    assert len(np.unique(brightness[5:])) == 1
