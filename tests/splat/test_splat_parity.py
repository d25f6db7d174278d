"""The CPU kernels against the float64 reference: images, alphas and all six gradients."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from headworks.splat import rasterization
from headworks.splat.cpu import frame
from tests.splat_scenes import assert_parity, garden, head, run


def test_head_scene_equals_reference(simd):
    assert_parity(head(3000, 128), 128, 128)


@pytest.mark.slow
def test_large_head_scene_equals_reference(simd):
    assert_parity(head(12000, 256), 256, 256)


@pytest.mark.slow
@pytest.mark.parametrize("camera", [0, 2])
def test_garden_equals_reference(simd, camera):
    """A quarter of the size of gsplat's test scene; HEADWORKS_GARDEN names its test_garden.npz."""
    path = os.environ.get("HEADWORKS_GARDEN")
    if not path:
        pytest.skip("HEADWORKS_GARDEN does not name test_garden.npz of gsplat's repository")
    scene, width, height = garden(Path(path), camera, quarter=True)
    assert_parity(scene, width, height, tolerance=5e-3)


def test_odd_size_with_background_equals_reference(simd):
    scene = head(500, 100)
    assert_parity(scene, 100, 70, backgrounds=torch.tensor([[0.2, 0.5, 0.9]]))


@pytest.mark.parametrize("mode", ["D", "ED", "RGB+D", "RGB+ED"])
def test_depth_modes_equal_reference(mode, simd):
    assert_parity(head(400, 64), 64, 48, render_mode=mode)


def test_antialiased_equals_reference(simd):
    scene = head(500, 100)
    small = scene._replace(scales=scene.scales * 0.2)
    assert_parity(small, 100, 70, rasterize_mode="antialiased")
    plain = run(small, 100, 70, torch.float32, backend="cpu")
    other = run(small, 100, 70, torch.float32, backend="cpu", rasterize_mode="antialiased")
    assert (plain.image - other.image).abs().max() > 0.01


@pytest.mark.parametrize(
    "channels", [1, 4, 32, 64, *(pytest.param(d, marks=pytest.mark.slow) for d in (7, 16, 36, 40))]
)
def test_channel_counts_equal_reference(channels):
    assert_parity(head(300, 64, channels), 64, 64)


@pytest.mark.parametrize(
    "channels", [1, 4, *(pytest.param(d, marks=pytest.mark.slow) for d in (16, 32, 64))]
)
def test_channel_counts_of_the_auto_vectorised_twin_equal_reference(channels, monkeypatch):
    monkeypatch.setattr(frame, "SIMD", "auto")
    assert_parity(head(300, 64, channels), 64, 64)


@pytest.mark.parametrize("max_alpha", [0.99, 0.5])
def test_other_clamp_of_alpha_equals_reference(max_alpha, simd):
    """gsplat 1.5 clamps at 0.999, 1.6 and the original at 0.99: an argument, the same everywhere"""
    scene = head(500, 48)
    scene = scene._replace(opacities=1 - 0.005 * scene.opacities)
    assert_parity(scene, 48, 48, max_alpha=max_alpha)
    usual, other = (rasterization(*scene, 48, 48, max_alpha=m)[0] for m in (None, max_alpha))
    assert not torch.equal(usual, other)


def test_batch_of_cameras_equals_reference(simd):
    scene = head(300, 48)
    views = scene.viewmats.repeat(3, 1, 1)
    views[1, 0, 3], views[2, 2, 3] = 0.2, 5.0
    colors = torch.stack([scene.colors, scene.colors.flip(0), scene.colors * 0.5])
    scene = scene._replace(viewmats=views, Ks=scene.Ks.repeat(3, 1, 1), colors=colors)
    backgrounds = torch.tensor([[0.2, 0.5, 0.9], [0, 0, 0], [1, 1, 1.0]])
    assert_parity(scene, 48, 40, backgrounds=backgrounds, render_mode="RGB+ED")


def test_scene_close_to_the_camera_equals_reference(simd):
    """Wide-angle, Gaussians around the frustum's edge: the tangent limits act."""
    scene = head(600, 64)
    scene.Ks[0, :2, :2] *= 0.25
    scene.viewmats[0, 2, 3] = 0.9
    scene = scene._replace(scales=scene.scales * 0.5)
    assert_parity(scene, 64, 64)


def test_long_lists_equal_reference(simd):
    """More than 1024 Gaussians in one tile: several chunks."""
    scene = head(2600, 32)
    assert_parity(scene._replace(opacities=scene.opacities * 0.05), 32, 32)


def test_cameras_of_a_batch_equal_single_calls_to_the_bit():
    scene = head(300, 48)
    views = scene.viewmats.repeat(3, 1, 1)
    views[1, 0, 3], views[2, 2, 3] = 0.2, 5.0
    Ks = scene.Ks.repeat(3, 1, 1)
    colors = torch.stack([scene.colors, scene.colors.flip(0), scene.colors * 0.5])
    for batch in (scene.colors, colors):
        image, alpha, meta = rasterization(*scene[:4], batch, views, Ks, 48, 40)
        assert image.shape == (3, 40, 48, 3)
        assert alpha.shape == (3, 40, 48, 1)
        assert meta["means2d"].shape == (3, 300, 2)
        for k in range(3):
            single = batch if batch.ndim == 2 else batch[k]
            one, _, _ = rasterization(*scene[:4], single, views[k : k + 1], Ks[:1], 48, 40)
            assert torch.equal(one[0], image[k])
