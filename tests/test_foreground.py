"""Promises of the foreground's colours: the old background is gone from half-covered pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

from headworks.cameras import Camera
from headworks.images import composite, to_float, to_uint8
from headworks.matting.foreground import estimate_foreground, own_colours
from headworks.synthetic import Picture, make_person, render_person
from headworks.synthetic.capture import ring
from headworks.tracks import load_tracking
from stages.fit import training_views
from tests.tinycapture import BACKGROUND, textured_toy, write_subject
from tests.toyhead import toy_head

GREEN = (0.15, 0.68, 0.25)


def error(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], true: NDArray[np.floating]) -> float:
    """Mean absolute error over white of the half-covered pixels."""
    half = (alpha > 0) & (alpha < 255)
    return float(np.abs(composite(to_float(rgb), to_float(alpha)) - true)[half].mean())


@pytest.fixture(scope="module")
def picture() -> Picture:
    return render_person(make_person(7, 256), ring(3, 128)[1], supersampling=4)


@pytest.mark.parametrize("background", [GREEN, (1.0, 1.0, 1.0), (0.3, 0.3, 0.35)])
def test_the_rim_of_a_synthetic_person_disappears(
    picture: Picture, background: tuple[float, float, float]
) -> None:
    frame, alpha = to_uint8(picture.over(background)), to_uint8(picture.alpha)
    true = composite(picture.rgb, picture.alpha)
    own = own_colours(frame, alpha)
    # least to gain where the background is nearly as dark as the hair
    assert error(own, alpha, true) < 0.4 * error(frame, alpha, true)
    whole = (alpha == 0) | (alpha == 255)
    np.testing.assert_array_equal(own[whole], frame[whole])


def test_two_plain_colours_are_separated_exactly() -> None:
    alpha = np.linspace(0, 1, 40, dtype=np.float32)[None].repeat(30, 0)
    person, screen = np.array([0.7, 0.5, 0.4]), np.array([0.1, 0.6, 0.2])
    image = alpha[..., None] * person + (1 - alpha[..., None]) * screen
    found = estimate_foreground(image.astype(np.float32), alpha)
    np.testing.assert_allclose(found[:, 1:], np.broadcast_to(person, (30, 39, 3)), atol=2e-3)


def test_few_sweeps_come_near_the_minimum_of_the_energy() -> None:
    """Against a direct solution of the same linear system on one level."""
    n = 16
    y, x = np.mgrid[:n, :n] / n
    alpha = np.clip(2.5 * (x - 0.3), 0, 1).astype(np.float32)
    rng = np.random.default_rng(0)
    image = np.clip(0.4 + 0.3 * np.stack([np.sin(5 * x), y, x * y], -1), 0, 1).astype(np.float32)
    image += 0.02 * rng.standard_normal(image.shape).astype(np.float32)
    rows, columns, values = [], [], []

    def add(r: int, c: int, value: float) -> None:
        rows.append(r)
        columns.append(c)
        values.append(value)

    m = n * n
    for i in range(m):
        a = float(alpha.flat[i])
        add(i, i, a * a)
        add(i, m + i, a * (1 - a))
        add(m + i, i, a * (1 - a))
        add(m + i, m + i, (1 - a) ** 2)
        for j in ([i + 1] if (i + 1) % n else []) + ([i + n] if i + n < m else []):
            weight = 1e-5 + abs(a - float(alpha.flat[j]))
            for base in (0, m):
                for p, q in ((i, j), (j, i)):
                    add(base + p, base + p, weight)
                    add(base + p, base + q, -weight)
    system = coo_matrix((values, (rows, columns)), (2 * m, 2 * m)).tocsr()
    flat, share = image.reshape(m, 3), alpha.reshape(m, 1)
    right = np.concatenate([share * flat, (1 - share) * flat])
    exact = np.stack([spsolve(system, right[:, c]) for c in range(3)], -1)[:m].reshape(n, n, 3)
    found = estimate_foreground(image, alpha)
    seen = alpha > 0.2
    assert np.abs(found - exact)[seen].mean() < 0.01


def test_training_pictures_are_free_of_the_old_background(tmp_path: Path) -> None:
    folders = write_subject(tmp_path, 4)
    head = toy_head()
    tracking = load_tracking(folders["tracking"])
    views = training_views(head, tracking, folders["ingest"], folders["matting"])
    mesh = textured_toy()
    half = (views.alpha > 0) & (views.alpha < 255)
    assert half.any()
    for i in range(len(views)):
        camera = Camera(views.viewmats[i].numpy(), views.Ks[i].numpy(), *views.size)
        vertices = views.vertices[views.times[i]].numpy()
        true, alpha = mesh.render(vertices, camera, (1.0, 1.0, 1.0))
        mixed = to_uint8(mesh.render(vertices, camera, tuple(BACKGROUND))[0])
        coverage = to_uint8(alpha)
        assert error(views.rgb[i], coverage, true) < 0.6 * error(mixed, coverage, true)
