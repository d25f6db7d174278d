"""The baselines are honest: the nearest is nearest, the texture shows only what was seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headworks.avatars.baselines import NearestFrame, gather_texture, head_states
from headworks.avatars.baselines.nearest_frame import HeadStates, geodesic
from headworks.avatars.baselines.textured_mesh import TrainingView, bilinear
from headworks.cameras import Camera, intrinsics, orbit
from headworks.geometry import axis_angle_to_matrix
from headworks.heads.base import HeadPose
from headworks.tracks import Tracking
from tests.tinycapture import textured_toy
from tests.toyhead import toy_head


def states(expression: np.ndarray, yaw: np.ndarray) -> HeadStates:
    axis = np.zeros((len(yaw), 3))
    axis[:, 1] = yaw
    rotations = axis_angle_to_matrix(torch.from_numpy(axis)).numpy()
    return HeadStates(expression, rotations, np.zeros((len(yaw), 3)))


def test_a_training_frame_is_its_own_nearest() -> None:
    rng = np.random.default_rng(0)
    train = states(rng.random((12, 5)), rng.normal(0, 0.3, 12))
    retrieval = NearestFrame.of(train)
    for i in range(12):
        own = HeadStates(*(part[i : i + 1] for part in train))
        assert retrieval.nearest(own) == i
        assert retrieval.nearest(own, exclude=i) not in (i, None)


def test_a_busy_expression_does_not_drown_a_quiet_one() -> None:
    # In raw units the first coefficient, which varies ten times as much, would decide alone.
    train = states(np.array([[0.0, 0.1], [1.0, 0.0]]), np.zeros(2))
    assert NearestFrame.of(train).nearest(states(np.array([[0.55, 0.1]]), np.zeros(1))) == 0


def test_head_pose_counts() -> None:
    train = states(np.zeros((3, 2)), np.array([-0.5, 0.0, 0.5]))
    assert NearestFrame.of(train).nearest(states(np.zeros((1, 2)), np.array([0.4]))) == 2


def test_a_single_photo_has_no_other_frame() -> None:
    only = states(np.zeros((1, 2)), np.zeros(1))
    assert NearestFrame.of(only).nearest(only, exclude=0) is None


def test_turning_the_head_or_the_camera_looks_the_same() -> None:
    head = toy_head()
    pose = HeadPose.zeros(2)
    pose.rotation[1, 1] = -0.4
    tracking = Tracking(
        "toy", head.digest, torch.zeros(2), torch.zeros(2, 2), pose, np.ones(2, bool),
        np.stack([orbit(0.0, 0, 0.6), orbit(0.4, 0, 0.6)]), np.tile(np.eye(3), (2, 2, 1, 1)),
    )  # fmt: skip
    turned_camera, turned_head = (head_states(head, tracking, [p]) for p in ((0, 1), (1, 0)))
    assert geodesic(turned_camera.rotations, turned_head.rotations[0])[0] < 1e-3
    np.testing.assert_allclose(turned_camera.positions, turned_head.positions, atol=1e-6)


def test_texture_holds_what_one_view_sees_and_nothing_of_the_back() -> None:
    mesh = textured_toy()
    vertices = toy_head().template.numpy()
    camera = Camera(orbit(0, 0, 0.6), intrinsics(300.0, 128, 128), 128, 128)
    rgb, alpha = mesh.render(vertices, camera)
    texture = gather_texture(
        mesh.faces, mesh.uvs, mesh.faces_uv, [TrainingView(vertices, camera, rgb, alpha)], 64
    )
    error = np.abs(texture.rgb - mesh.texture.rgb)[texture.seen]
    assert error.mean() < 0.03
    assert 0.2 < texture.seen.mean() < 0.5  # about half of the ball
    # u runs once around; its ends are the back of the head.
    assert not texture.seen[:, :8].any()
    assert not texture.seen[:, -8:].any()
    assert np.isfinite(texture.rgb).all()


def test_background_never_enters_the_texture() -> None:
    mesh = textured_toy()
    vertices = toy_head().template.numpy()
    camera = Camera(orbit(0, 0, 0.6), intrinsics(300.0, 128, 128), 128, 128)
    rgb, alpha = mesh.render(vertices, camera)
    alpha[:, :64] = 0
    rgb[:, :64] = (1, 0, 1)
    texture = gather_texture(
        mesh.faces, mesh.uvs, mesh.faces_uv, [TrainingView(vertices, camera, rgb, alpha)], 64
    )
    error = np.abs(texture.rgb - mesh.texture.rgb)[texture.seen]
    assert error.max() < 0.3
    with pytest.raises(ValueError, match="no training picture"):
        gather_texture(
            mesh.faces, mesh.uvs, mesh.faces_uv, [TrainingView(vertices, camera, rgb, 0 * alpha)]
        )


def test_bilinear_meets_pixel_centres_and_is_linear_between() -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    at = np.array([[0.5, 0.5], [3.5, 2.5], [1.0, 0.5], [0.5, 1.0], [-9, -9], [99, 99]])
    np.testing.assert_allclose(bilinear(image, at), [0, 11, 0.5, 2, 0, 11], atol=1e-6)


def test_a_surface_behind_another_takes_none_of_its_colour() -> None:
    """Two parallel squares; the near one, red, hides the left half of the far one."""
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * 0.1
    near = square * (0.5, 1, 1) + (-0.05, 0, 0.02)
    vertices = np.concatenate([square, near])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    uvs = np.concatenate([corners * (0.5, 1), corners * (0.5, 1) + (0.5, 0)])
    camera = Camera(orbit(0, 0, 5.0), intrinsics(1200.0, 64, 64), 64, 64)
    rgb = np.zeros((64, 64, 3), np.float32)
    rgb[:, :32] = (1, 0, 0)
    rgb[:, 32:] = (0, 1, 0)
    view = TrainingView(vertices, camera, rgb, np.ones((64, 64), np.float32))
    texture = gather_texture(faces, uvs, faces, [view], 32)
    far = slice(0, 16)
    assert texture.seen[8:24, 10:15].all()
    assert not texture.seen[8:24, 1:7].any()
    # Filled texels take the green of the seen half, not the red of what hides them.
    assert texture.rgb[8:24, far, 1].mean() > 0.9
    assert texture.rgb[8:24, 18:30, 0].mean() > 0.9
