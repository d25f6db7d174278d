"""The CPU kernels against the float64 reference: images, alphas and all six gradients."""

from __future__ import annotations

import pytest
import torch

from headworks.splat import rasterization, reference
from tests.splat_scenes import PARTS, Scene, head, relative, run


@pytest.fixture(autouse=True)
def one_torch_thread():
    """The reference's small tensors only lose by sharing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_parity(scene: Scene, width: int, height: int, tolerance: float = 1e-4, **options):
    """Section 6.5 of the rasteriser's page: bulk tolerance, a counted few threshold flips."""
    truth = run(scene, width, height, torch.float64, backend="torch", **options)
    ours = run(scene, width, height, torch.float32, backend="cpu", **options)
    for got, want in ((ours.image, truth.image), (ours.alpha, truth.alpha)):
        error = (got - want).abs() / want.abs().clamp_min(1.0)
        assert error.mean() <= 1e-6
        assert int((error.amax(-1) > 1e-4).sum()) <= max(2, 1e-4 * width * height)
        assert error.max() <= 5e-3
    for name in PARTS:
        limit = 1e-3 if name == "viewmats" else tolerance
        assert relative(ours.gradients[name], truth.gradients[name]) <= limit, name


def test_head_scene_equals_reference():
    assert_parity(head(3000, 128), 128, 128)


def test_auto_vectorised_twin_equals_reference(monkeypatch):
    monkeypatch.setenv("HEADWORKS_SIMD", "auto")
    assert_parity(head(600, 48), 48, 40)
    small = head(300, 48)
    small = small._replace(scales=small.scales * 0.2)
    assert_parity(small, 48, 40, rasterize_mode="antialiased")


@pytest.mark.slow
def test_large_head_scene_equals_reference():
    assert_parity(head(12000, 256), 256, 256)


def test_odd_size_with_background_equals_reference():
    scene = head(500, 100)
    assert_parity(scene, 100, 70, backgrounds=torch.tensor([[0.2, 0.5, 0.9]]))


@pytest.mark.parametrize("mode", ["D", "ED", "RGB+D", "RGB+ED"])
def test_depth_modes_equal_reference(mode):
    assert_parity(head(400, 64), 64, 48, render_mode=mode)


def test_antialiased_equals_reference():
    scene = head(500, 100)
    small = scene._replace(scales=scene.scales * 0.2)
    assert_parity(small, 100, 70, rasterize_mode="antialiased")
    plain = run(small, 100, 70, torch.float32, backend="cpu")
    other = run(small, 100, 70, torch.float32, backend="cpu", rasterize_mode="antialiased")
    assert (plain.image - other.image).abs().max() > 0.01


@pytest.mark.parametrize(
    "channels", [1, 36, *(pytest.param(d, marks=pytest.mark.slow) for d in (7, 16, 40))]
)
def test_channel_counts_equal_reference(channels):
    assert_parity(head(300, 64, channels), 64, 64)


def test_scene_close_to_the_camera_equals_reference():
    """Wide-angle, Gaussians around the frustum's edge: the tangent limits act."""
    scene = head(600, 64)
    scene.Ks[0, :2, :2] *= 0.25
    scene.viewmats[0, 2, 3] = 0.9
    scene = scene._replace(scales=scene.scales * 0.5)
    assert_parity(scene, 64, 64)


def test_long_lists_equal_reference():
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


def test_means2d_in_meta_collects_its_gradient():
    leaves = head(200, 48).leaves()
    image, _, meta = rasterization(*leaves, 48, 48)
    meta["means2d"].retain_grad()
    image.square().sum().backward()
    gradient = meta["means2d"].grad
    assert gradient.shape == (1, 200, 2)
    assert gradient.abs().sum() > 0
    culled = (meta["radii"][0] == 0).all(-1)
    assert (gradient[0][culled] == 0).all()


def test_reference_equals_finite_differences():
    scene = head(5, 24)
    scene = scene._replace(scales=scene.scales * 6).leaves(torch.float64)

    def outputs(*leaves):
        image, alpha, _ = rasterization(
            *leaves, scene.Ks, 24, 20, backend="torch", render_mode="RGB+ED",
            rasterize_mode="antialiased",
        )  # fmt: skip
        return image[..., :3], alpha, image[..., 3:] * alpha

    assert torch.autograd.gradcheck(outputs, scene[:6], eps=1e-6, atol=1e-5, fast_mode=True)


def _halve_gradient_of_b(project):
    def mutated(*args):
        means2d, conics, *rest = project(*args)
        b = 0.5 * conics[:, 1] + 0.5 * conics[:, 1].detach()
        return means2d, torch.stack([conics[:, 0], b, conics[:, 2]], -1), *rest

    return mutated


def _forget_eps2d_in_gradient(project):
    def mutated(*args):
        means2d, conics, *rest = project(*args)
        sharp = project(*args[:10], 1e-3, *args[11:])[1]
        return means2d, sharp + (conics - sharp).detach(), *rest

    return mutated


@pytest.mark.parametrize("wrong", ["stop", "b gradient", "tangent margin", "eps2d gradient"])
def test_wrong_rules_are_noticed(wrong, monkeypatch):
    """The comparison above would fail if a rule were broken: here it is broken in the oracle."""
    scene = head(700, 48)
    if wrong == "stop":
        monkeypatch.setattr(reference, "_composited", lambda before, after: before > 1e-4)
    elif wrong == "b gradient":
        monkeypatch.setattr(reference, "project", _halve_gradient_of_b(reference.project))
    elif wrong == "eps2d gradient":
        monkeypatch.setattr(reference, "project", _forget_eps2d_in_gradient(reference.project))
    else:
        monkeypatch.setattr(reference, "TAN_MARGIN", 0.0)
        scene.viewmats[0, 2, 3] = 0.9
    with pytest.raises(AssertionError):
        assert_parity(scene, 48, 48)
    monkeypatch.undo()
    assert_parity(scene, 48, 48)


def test_gsplat_backend_needs_cuda_tensors():
    with pytest.raises(ValueError, match="needs CUDA tensors"):
        rasterization(*head(10, 16), 16, 16, backend="gsplat")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device for gsplat")
@pytest.mark.parametrize("options", [{}, {"rasterize_mode": "antialiased"},
                                     {"render_mode": "RGB+ED"}])  # fmt: skip
def test_cpu_equals_gsplat_on_cuda(options):
    scene = head(3000, 128)
    ours = run(scene, 128, 128, torch.float32, backend="cpu", **options)
    cuda = Scene(*(t.cuda() for t in scene))
    leaves = cuda.leaves()
    image, alpha, _ = rasterization(*leaves, 128, 128, backend="gsplat", **options)
    generator = torch.Generator().manual_seed(5)
    noise = [
        torch.randn(t.shape, generator=generator, dtype=torch.float64).float().cuda()
        for t in (image, alpha)
    ]
    ((image * noise[0]).sum() + (alpha * noise[1]).sum()).backward()
    error = (image.detach().cpu().double() - ours.image).abs() / ours.image.abs().clamp_min(1.0)
    assert error.mean() <= 1e-6
    assert int((error.amax(-1) > 1e-4).sum()) <= 2
    for name, leaf in zip(PARTS, leaves):
        assert relative(ours.gradients[name], leaf.grad.cpu().double()) <= 5e-3, name
