"""The loops over triangles give what the tensor formulas give, and their gradients."""

from __future__ import annotations

import pytest
import torch

from headworks.avatars.binding import bind_uv, gaussian_frames
from headworks.avatars.gaussian_avatars.model import FaceFrames, face_frames
from headworks.geometry import matrix_to_quat, triangle_frames
from headworks.heads import load_head
from headworks.heads.base import HeadModel


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("procedural")


def _posed(head: HeadModel) -> torch.Tensor:
    noise = torch.randn(head.template.shape, generator=torch.Generator().manual_seed(0))
    return head.template + 5e-4 * noise


def test_frames_of_gaussians_do_not_depend_on_the_path(head: HeadModel) -> None:
    binding, vertices = bind_uv(head, 32), _posed(head)
    quick = gaussian_frames(vertices, head.faces, binding)
    by_tensors = gaussian_frames(vertices.double(), head.faces, binding)
    for a, b in zip(quick, by_tensors, strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max()) < 1e-4 * float(b.abs().max())


def _by_tensors(vertices: torch.Tensor, faces: torch.Tensor) -> FaceFrames:
    rotations, sizes = triangle_frames(vertices, faces)
    return FaceFrames(vertices[faces].mean(1), rotations, matrix_to_quat(rotations), sizes)


def test_gradients_of_face_frames_are_those_of_the_tensor_formulas(head: HeadModel) -> None:
    vertices = _posed(head)
    corners = vertices[head.faces].double()
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    faces = head.faces[area.norm(dim=-1) > 1e-7]  # no slivers: single precision has few digits
    rng = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=rng) for x in _by_tensors(vertices, faces)]
    gradients = []
    for frames, points in ((face_frames, vertices), (_by_tensors, vertices.double())):
        points = points.clone().requires_grad_()
        found = frames(points, faces)
        sum((w * x).sum() for w, x in zip(weights, found, strict=True)).backward()
        gradients.append(points.grad)
    quick, exact = gradients
    assert float((quick - exact).norm() / exact.norm()) < 1e-4
