"""Gradients of the rasterised mesh against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headworks.cameras import Camera, intrinsics, orbit
from headworks.mesh import differentiable as soft
from headworks.mesh import interpolate, rasterize_mesh
from tests.test_mesh_raster import sphere


def view(size: int, distance: float = 0.5) -> Camera:
    return Camera(orbit(0.3, 0.2, distance), intrinsics(1.7 * size, size, size), size, size)


def test_weights_equal_the_rasterised_ones_and_have_right_gradients():
    vertices, faces = sphere(10)
    camera = view(24)
    buffers = rasterize_mesh(vertices, faces, camera)
    attributes = np.random.default_rng(0).normal(size=(len(vertices), 4))
    leaf = torch.tensor(vertices, requires_grad=True)
    corner = torch.tensor(faces)
    values = soft.interpolate(buffers, torch.tensor(attributes), leaf, corner, camera)
    expected = interpolate(buffers, attributes, faces)
    np.testing.assert_allclose(values.detach().numpy(), expected, atol=1e-5)
    assert torch.autograd.gradcheck(
        lambda v, a: soft.interpolate(buffers, a, v, corner, camera),
        (leaf, torch.tensor(attributes, requires_grad=True)), fast_mode=True,
    )  # fmt: skip
    pixels, _, depth = soft.surface_weights(buffers, leaf, corner, camera)
    np.testing.assert_allclose(
        depth.detach().numpy(), buffers.depth[tuple(pixels.T.numpy())], rtol=1e-6
    )


@pytest.mark.parametrize("n", [12, 40])
def test_soft_mask_area_and_its_growth_equal_a_supersampled_render(n):
    vertices, faces = sphere(n)
    camera, fine = view(96), view(96).resized(768, 768)

    def hard_area(radius: float) -> float:
        return (rasterize_mesh(vertices * radius, faces, fine).face_ids >= 0).sum() / 64

    radius = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    buffers = rasterize_mesh(vertices, faces, camera)
    mask = soft.soft_mask(buffers, torch.tensor(vertices) * radius, torch.tensor(faces), camera)
    assert mask.sum().item() == pytest.approx(hard_area(1.0), rel=0.003)
    mask.sum().backward()
    growth = (hard_area(1.05) - hard_area(0.95)) / 0.1
    assert radius.grad.item() == pytest.approx(growth, rel=0.02)


def test_contours_inside_the_outline_do_not_move_the_mask():
    def disc(center, radius):
        angle = np.arange(40) * 2 * np.pi / 40
        ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1) * radius + center
        fan = [[40, k, (k + 1) % 40] for k in range(40)]
        return np.concatenate([ring, [center]]), np.array(fan)

    camera = Camera(np.eye(4), intrinsics(120.0, 128, 128), 128, 128)
    large, faces = disc(np.array([0.0, 0, 2.0]), 0.6)
    for x, crosses in ((0.1, False), (0.55, True)):
        small, _ = disc(np.array([x, 0, 1.9]), 0.2)
        both = np.concatenate([faces, faces + len(large)])
        shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        moved = torch.cat([torch.tensor(large), torch.tensor(small) + shift])
        buffers = rasterize_mesh(moved.detach().numpy(), both, camera)
        soft.soft_mask(buffers, moved, torch.tensor(both), camera).sum().backward()

        def area(dx, small=small, both=both):
            points = np.concatenate([large, small + np.array([dx, 0, 0])])
            ids = rasterize_mesh(points, both, camera.resized(1024, 1024))
            return (ids.face_ids >= 0).sum() / 64

        growth = (area(0.02) - area(-0.02)) / 0.04
        if crosses:
            assert shift.grad[0].item() == pytest.approx(growth, rel=0.06)
        else:
            assert shift.grad[0].item() == 0
            assert growth == 0
