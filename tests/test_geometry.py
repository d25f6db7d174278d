"""Rotations, frames, cameras and the head model's algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from headworks.cameras import Camera, intrinsics, look_at, orbit
from headworks.geometry import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quat,
    quat_multiply,
    quat_to_matrix,
    similarity_align,
    triangle_frames,
    vertex_normals,
)
from headworks.heads.base import HeadPose
from tests.toyhead import toy_head

angles = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3)


@given(angles)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_axis_angle_agrees_with_scipy(values):
    vector = torch.tensor(values, dtype=torch.float64)
    expected = Rotation.from_rotvec(values).as_matrix()
    assert np.allclose(axis_angle_to_matrix(vector).numpy(), expected, atol=1e-8)


@given(angles)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_quaternion_and_axis_angle_round_trips(values):
    matrix = axis_angle_to_matrix(torch.tensor(values, dtype=torch.float64))
    assert torch.allclose(quat_to_matrix(matrix_to_quat(matrix)), matrix, atol=1e-9)
    assert torch.allclose(axis_angle_to_matrix(matrix_to_axis_angle(matrix)), matrix, atol=1e-6)


def test_axis_angle_is_differentiable_at_zero():
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    axis_angle_to_matrix(zero)[2, 1].backward()
    assert torch.allclose(zero.grad, torch.tensor([1.0, 0, 0], dtype=torch.float64))


def test_quaternion_product_composes_rotations():
    a, b = torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    composed = quat_to_matrix(quat_multiply(a, b))
    assert torch.allclose(composed, quat_to_matrix(a) @ quat_to_matrix(b), atol=1e-9)


def test_triangle_frames_are_proper_and_follow_similarities():
    head = toy_head()
    vertices = head.template.double()
    rotation = axis_angle_to_matrix(torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64))
    r0, k0 = triangle_frames(vertices, head.faces)
    r1, k1 = triangle_frames(2.5 * vertices @ rotation.T + 0.1, head.faces)
    eye = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(r0.mT @ r0, eye.expand_as(r0), atol=1e-6)
    assert torch.allclose(torch.det(r0), torch.ones(len(r0), dtype=torch.float64), atol=1e-6)
    assert torch.allclose(r1, rotation @ r0, atol=1e-6)
    assert torch.allclose(k1, 2.5 * k0, atol=1e-9)


def test_faces_of_the_toy_head_wind_outwards():
    head = toy_head()
    normals = vertex_normals(head.template, head.faces)
    outward = torch.nn.functional.normalize(head.template, dim=-1)
    assert ((normals * outward).sum(-1) > 0.5).all()


def test_similarity_alignment_recovers_scale_rotation_translation():
    points = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    rotation = axis_angle_to_matrix(torch.tensor([0.1, 2.0, -0.4], dtype=torch.float64))
    target = 1.7 * points @ rotation.T + torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    scale, found, shift = similarity_align(points, target)
    assert float(scale) == pytest.approx(1.7)
    assert torch.allclose(found, rotation, atol=1e-9)
    assert torch.allclose(scale * points @ found.T + shift, target, atol=1e-9)


def test_the_orbit_camera_sees_its_target_upright_in_the_middle():
    camera = Camera(orbit(0.7, 0.3, 1.2, (0, 0.05, 0)), intrinsics(500, 320, 240), 320, 240)
    assert np.allclose(camera.project(np.array([0, 0.05, 0])), [160, 120, 1.2])
    above = camera.project(np.array([0, 0.10, 0]))
    assert above[1] < 120
    left = Camera(orbit(0, 0, 1), intrinsics(500, 320, 240), 320, 240).project(
        np.array([0.05, 0, 0])
    )
    assert left[0] > 160, "the subject's left is on the right of a frontal picture"


def test_resizing_a_camera_scales_the_projection():
    camera = Camera(
        look_at(np.array([0, 0, 1.0]), np.zeros(3)), intrinsics(500, 320, 240), 320, 240
    )
    point = np.array([0.03, -0.02, 0.01])
    assert np.allclose(camera.resized(640, 480).project(point)[:2], 2 * camera.project(point)[:2])


def test_a_camera_refuses_non_finite_numbers():
    with pytest.raises(ValueError, match="non-finite"):
        Camera(np.eye(4), intrinsics(np.nan, 10, 10), 10, 10)


def test_the_neck_turns_the_head_and_leaves_the_torso():
    head = toy_head()
    pose = HeadPose.zeros(1)
    pose.neck[0, 1] = 0.4
    moved = head.vertices(torch.zeros(1, 2), torch.zeros(1, 2), pose)[0]
    torso, skull = head.skin_weights[:, 0] == 1, head.skin_weights[:, 1] == 1
    assert torch.allclose(moved[torso], head.template[torso], atol=1e-6)
    joint = head.joints[1]
    rotation = axis_angle_to_matrix(torch.tensor([0, 0.4, 0]))
    expected = (head.template[skull] - joint) @ rotation.T + joint
    assert torch.allclose(moved[skull], expected, atol=1e-6)


def test_the_root_moves_everything_rigidly():
    head = toy_head()
    pose = HeadPose.zeros(2)
    pose.rotation[1] = torch.tensor([0.1, 0.2, -0.3])
    pose.translation[1] = torch.tensor([0.5, -0.1, 2.0])
    both = head.vertices(torch.ones(2, 2), torch.ones(2, 2), pose)
    rotation = axis_angle_to_matrix(pose.rotation[1])
    assert torch.allclose(both[1], both[0] @ rotation.T + pose.translation[1], atol=1e-6)


def test_the_restricted_model_gives_the_same_vertices():
    head = toy_head()
    ids = [5, 100, 17]
    pose = HeadPose.zeros(1)
    pose.neck[0] = 0.2
    arguments = (torch.randn(1, 2), torch.randn(1, 2), pose)
    full = head.vertices(*arguments)[:, ids]
    assert torch.allclose(head.restricted(ids).vertices(*arguments), full, atol=1e-7)


def test_the_digest_changes_with_any_tensor():
    from dataclasses import replace

    head = toy_head()
    moved = head.template.clone()
    moved[3, 1] += 1e-4
    assert replace(head, template=moved).digest != head.digest
    assert toy_head().digest == head.digest


def test_the_upright_pose_keeps_the_head_canonical_and_the_torso_where_it_was():
    from headworks.tracks import Tracking

    head = toy_head()
    pose = HeadPose.zeros(3)
    pose.neck[:] = torch.tensor([0.2, -0.1, 0.3])
    pose.neck_translation[:] = torch.tensor([0.01, 0.0, -0.02])
    tracking = Tracking(
        "toy", head.digest, torch.ones(2), torch.zeros(3, 2), pose, np.ones(3, bool),
        np.eye(4)[None], np.eye(3)[None, None].repeat(3, 0),
    )  # fmt: skip
    upright = tracking.upright_pose(head)
    shaped = head.rest_vertices(torch.ones(1, 2), torch.zeros(1, 2))[0]
    moved = head.vertices(torch.ones(1, 2), torch.zeros(1, 2), upright)[0]
    skull, torso = head.skin_weights[:, 1] == 1, head.skin_weights[:, 0] == 1
    assert torch.allclose(moved[skull], shaped[skull], atol=1e-6)
    assert float((moved[torso] - shaped[torso]).abs().max()) > 0.01
    posed = tracking.vertices(head, [0])[0]
    distances = torch.cdist(posed[torso], posed[skull])
    assert torch.allclose(torch.cdist(moved[torso], moved[skull]), distances, atol=1e-5)
