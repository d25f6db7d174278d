"""What a backward pass computes, keeps and frees; parts of lists; processors without AVX-512."""

from __future__ import annotations

import gc
import inspect
import os
import platform
import subprocess
import sys
import weakref

import pytest
import torch

from headworks.splat import gsplat_backend, rasterization
from headworks.splat.cpu import autograd
from tests.splat_scenes import PARTS, Scene, head, relative, run


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


def _loss(scene: Scene, size: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    image, alpha, _ = rasterization(*scene, size, size)
    return image.square().sum() + alpha.sum(), image


@pytest.mark.parametrize("names", [(name,) for name in PARTS] + [("means", "colors")])
def test_only_what_asks_for_a_gradient_gets_one_and_the_same(names, simd):
    scene = head(200, 48)
    everything = scene.leaves()
    _loss(everything)[0].backward()
    some = Scene(
        *(t.clone().requires_grad_(name in names) for name, t in zip(PARTS, scene)), scene.Ks
    )
    _loss(some)[0].backward()
    for name, leaf, full in zip(PARTS, some, everything):
        if name in names:
            assert torch.equal(leaf.grad, full.grad), name
        else:
            assert leaf.grad is None


@pytest.fixture
def kernels_run(monkeypatch):
    """Names of the kernels that are run, and their arguments by name."""
    calls = []
    original = autograd.threads.share

    def record(threads, *several):
        for kernel, _, args in several:
            names = list(inspect.signature(kernel.py_func).parameters)[3:]
            calls.append((kernel.py_func.__name__, dict(zip(names, args, strict=True))))
        original(threads, *several)

    monkeypatch.setattr(autograd.threads, "share", record)
    return calls


def _named(calls, kernel: str):
    return next(named for name, named in reversed(calls) if name == kernel)


def test_colours_alone_need_no_gradient_of_the_geometry(kernels_run):
    scene = head(200, 48)
    _loss(scene._replace(colors=scene.colors.clone().requires_grad_()))[0].backward()
    assert "project_backward" not in [name for name, _ in kernels_run]
    assert _named(kernels_run, "backward")["wanted"] == autograd.COLORED


def test_opacities_alone_need_no_gradient_of_shapes_and_view(kernels_run, simd):
    scene = head(200, 48)
    _loss(scene._replace(opacities=scene.opacities.clone().requires_grad_()))[0].backward()
    named = _named(kernels_run, "project_backward")
    assert named["wanted"] == 0
    assert len(named["g_quats"]) == len(named["g_scales"]) == 0


@pytest.mark.parametrize("how", ["no_grad", "no leaf"])
def test_without_gradient_no_buffers_of_the_backward_pass_are_made(how, kernels_run):
    scene = head(200, 48)
    if how == "no_grad":
        with torch.no_grad():
            image, _, _ = rasterization(*scene.leaves(), 48, 48)
    else:
        image, _, _ = rasterization(*scene, 48, 48)
    assert image.grad_fn is None
    lists = _named(kernels_run, "forward")
    assert lists["slots"].shape == lists["slot_offsets"].shape == (0,)
    other, _, _ = rasterization(*scene.leaves(), 48, 48)
    assert _named(kernels_run, "forward")["slot_offsets"].shape == (201,)
    assert torch.equal(image, other)


@pytest.fixture
def kept(monkeypatch):
    """Weak references to what a frame hands to the backward pass."""
    references = []
    original = autograd.Blend.forward

    def remember(ctx, *inputs):
        frame = inputs[-1]
        arrays = frame.records, frame.radii, frame.places, frame.numbers
        references.extend(weakref.ref(a) for a in arrays)
        return original(ctx, *inputs)

    monkeypatch.setattr(autograd.Blend, "forward", staticmethod(remember))
    return references


def test_memory_of_a_step_is_freed_by_its_backward_pass(kept):
    loss, image = _loss(head(200, 48).leaves())
    assert all(reference() is not None for reference in kept)
    loss.backward()
    gc.collect()
    assert all(reference() is None for reference in kept)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    assert image.grad_fn is not None


def test_retained_graph_gives_the_same_gradients_again(kept):
    scene = head(200, 48).leaves()
    loss, _ = _loss(scene)
    loss.backward(retain_graph=True)
    first = [leaf.grad.clone() for leaf in scene[:6]]
    assert all(reference() is not None for reference in kept)
    for leaf in scene[:6]:
        leaf.grad = None
    loss.backward()
    for leaf, before in zip(scene, first):
        assert torch.equal(leaf.grad, before)


def test_one_camera_wakes_the_others_once_in_each_direction(kernels_run, monkeypatch):
    """All kernels of a pass run one after the other, without torch in between."""
    wakes = []
    original = autograd.threads.share

    def count(threads, *calls):
        wakes.append(len(calls))
        original(threads, *calls)

    monkeypatch.setattr(autograd.threads, "share", count)
    _loss(head(200, 48).leaves())[0].backward()
    assert wakes == [2, 2]
    assert [n for n, _ in kernels_run] == ["prepare", "forward", "backward", "project_backward"]


@pytest.mark.parametrize("how", ["depth in the loss", "hook", "changed in place", "both cameras"])
def test_gradients_between_projection_and_blending_count(how, simd):
    """What the backward pass makes at once must not hide what is added or changed in between."""
    scene = head(200, 48)

    def gradients(backend: str, dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = scene.leaves(dtype)
        image, _, meta = rasterization(*leaves, 48, 48, backend=backend)
        loss, means2d = image.square().sum(), meta["means2d"]
        if how == "depth in the loss":
            seen = (meta["radii"] > 0).all(-1)
            loss = loss + (meta["depths"] * seen).square().sum()
        elif how == "hook":
            means2d.register_hook(lambda g: 3 * g)
        elif how == "changed in place":
            means2d.register_hook(lambda g: g.mul_(3))
        else:
            second = rasterization(*leaves, 40, 40, backend=backend)[0]
            loss = loss + second.square().sum()
        loss.backward()
        return [leaf.grad for leaf in leaves[:6]]

    ours, truth = gradients("cpu", torch.float32), gradients("torch", torch.float64)
    for name, a, b in zip(PARTS, ours, truth):
        assert relative(a.double(), b) < 1e-3, name


def test_too_little_room_for_the_lists_changes_no_bit(kernels_run, monkeypatch):
    scene = head(500, 48)
    usual = run(scene, 48, 48, torch.float32)
    monkeypatch.setattr(autograd, "room", lambda n, tiles: 10)
    kernels_run.clear()
    cramped = run(scene, 48, 48, torch.float32)
    assert [name for name, _ in kernels_run].count("forward") == 2
    assert torch.equal(cramped.image, usual.image)
    for name in PARTS:
        assert torch.equal(cramped.gradients[name], usual.gradients[name]), name


def test_input_changed_in_place_before_the_backward_pass_is_noticed():
    scene = head(50, 32).leaves()
    scene = scene._replace(means=scene.means * 1.0, colors=scene.colors * 1.0)
    loss, _ = _loss(scene, 32)
    with torch.no_grad():
        scene.colors.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("render_mode", ["RGB", "RGB+D"])
def test_absgrad_sums_absolute_gradients_over_pixels(render_mode, simd):
    scene = head(30, 16).leaves(torch.float64)
    options = {"backend": "torch", "render_mode": render_mode}
    image, alpha, meta = rasterization(*scene, 16, 12, **options)
    generator = torch.Generator().manual_seed(5)
    noise = [torch.randn(t.shape, generator=generator) for t in (image, alpha)]
    pixels = (image * noise[0]).sum(-1) + (alpha * noise[1]).sum(-1)
    expected = torch.zeros_like(meta["means2d"])
    for pixel in pixels.flatten():
        if pixel != 0:
            (gradient,) = torch.autograd.grad(pixel, meta["means2d"], retain_graph=True)
            expected += gradient.abs()

    leaves = head(30, 16).leaves()
    options["backend"] = "cpu"
    image, alpha, meta = rasterization(*leaves, 16, 12, absgrad=True, **options)
    meta["means2d"].retain_grad()
    ((image * noise[0]).sum() + (alpha * noise[1]).sum()).backward()
    found = meta["means2d"].absgrad
    assert relative(found, expected) < 1e-4
    assert (found >= meta["means2d"].grad.abs() * (1 - 1e-4) - 1e-6).all()
    plain = head(30, 16).leaves()
    image, alpha, _ = rasterization(*plain, 16, 12, **options)
    ((image * noise[0]).sum() + (alpha * noise[1]).sum()).backward()
    for a, b in zip(plain[:6], leaves):
        assert torch.equal(a.grad, b.grad)


def test_absgrad_of_every_camera_of_a_batch():
    scene = head(60, 32)
    views = scene.viewmats.repeat(2, 1, 1)
    views[1, 0, 3] = 0.2
    both = [scene._replace(viewmats=views[k : k + 1]).leaves() for k in range(2)]
    single = [rasterization(*s, 32, 32, absgrad=True) for s in both]
    sum(image.square().sum() for image, _, _ in single).backward()
    batch = scene._replace(viewmats=views, Ks=scene.Ks.repeat(2, 1, 1)).leaves()
    image, _, meta = rasterization(*batch, 32, 32, absgrad=True)
    image.square().sum().backward()
    expected = torch.cat([m["means2d"].absgrad for _, _, m in single])
    assert torch.equal(meta["means2d"].absgrad, expected)
    assert expected.sum() > 0


def test_lists_in_parts_give_the_same_bits(simd, monkeypatch):
    """Lists beyond one part of 1024 entries, and lists within one, in parts of another length."""
    longest = []
    original = autograd.Blend.forward

    def measure(ctx, *inputs):
        offsets = inputs[-1].offsets
        longest.append(int((offsets[1:] - offsets[:-1]).max()))
        return original(ctx, *inputs)

    monkeypatch.setattr(autograd.Blend, "forward", staticmethod(measure))
    for scene, size in ((head(12000, 128), 128), (head(600, 64), 64)):
        whole = run(scene, size, size, torch.float32)
        for step in (1024 // 3, 16):
            monkeypatch.setattr(autograd, "STEP", step)
            parts = run(scene, size, size, torch.float32)
            assert torch.equal(parts.image, whole.image)
            for name in PARTS:
                assert torch.equal(parts.gradients[name], whole.gradients[name]), name
            monkeypatch.setattr(autograd, "STEP", autograd.CHUNK)
    assert longest[0] > autograd.CHUNK > longest[-1] > 16


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX2 belongs to x86")
def test_processor_without_avx512_renders_the_same():
    code = (
        "from headworks.splat.cpu import simd\n"
        "from tests.splat_scenes import assert_parity, head\n"
        "assert not simd._AVX512\n"
        "assert_parity(head(300, 48), 48, 40)\n"
    )
    features = "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+popcnt,+lzcnt,+f16c"
    environment = os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features}
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=300, env=environment, check=False, text=True,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


class OnCuda(torch.Tensor):
    """A tensor that says it is on a CUDA device."""

    is_cuda = True


def test_gsplat_is_called_by_its_own_argument_names(monkeypatch):
    """Without a device only the call can be checked: names, order, and what is refused."""
    gsplat = pytest.importorskip("gsplat")
    signature = inspect.signature(gsplat.rasterization)
    calls = []

    def record(*args, **kwargs):
        calls.append(signature.bind(*args, **kwargs).arguments)
        return "image", "alpha", {}

    monkeypatch.setattr(gsplat, "rasterization", record)
    monkeypatch.setattr(gsplat_backend, "extension_loads", lambda: True)
    scene = [t.as_subclass(OnCuda) for t in head(10, 16)]
    backgrounds = torch.ones(1, 3).as_subclass(OnCuda)
    rasterization(
        *scene, 16, 12, absgrad=True, render_mode="RGB+ED", rasterize_mode="antialiased",
        backgrounds=backgrounds, near_plane=0.1, far_plane=9.0, eps2d=0.2, radius_clip=1.0,
    )  # fmt: skip
    call = calls[0]
    assert call["packed"] is False
    given = {"width": 16, "height": 12, "absgrad": True, "render_mode": "RGB+ED",
             "rasterize_mode": "antialiased", "near_plane": 0.1, "far_plane": 9.0, "eps2d": 0.2,
             "radius_clip": 1.0}  # fmt: skip
    assert {name: call[name] for name in given} == given
    for name, tensor in zip((*PARTS, "Ks"), scene):
        assert torch.equal(call[name], tensor), name
    rasterization(*scene, 16, 12, render_mode="ED", backgrounds=backgrounds)
    assert call is not calls[1]
    assert calls[1]["backgrounds"] is None
    with pytest.raises(NotImplementedError, match="max_alpha"):
        rasterization(*scene, 16, 12, max_alpha=0.5)
    monkeypatch.setattr(gsplat_backend, "extension_loads", lambda: False)
    with pytest.raises(RuntimeError, match="CUDA extension is not there"):
        rasterization(*scene, 16, 12)


@pytest.mark.parametrize("mode", ["RGB", "ED", "RGB+D"])
def test_gsplat_backend_without_gaussians_gives_background(mode):
    scene = head(10, 16)
    none = [t[:0].as_subclass(OnCuda) for t in scene[:5]]
    cameras = [t.as_subclass(OnCuda) for t in scene[5:]]
    background = torch.tensor([[0.1, 0.2, 0.3]])
    there = rasterization(*none, *cameras, 16, 12, backgrounds=background, render_mode=mode)
    here = rasterization(
        *(t[:0] for t in scene[:5]), *scene[5:], 16, 12, backgrounds=background, render_mode=mode
    )
    for a, b in zip(there[:2], here[:2]):
        assert a.shape == b.shape
        assert torch.equal(a.as_subclass(torch.Tensor), b)
    assert set(there[2]) == set(here[2])


def test_arguments_that_only_gsplat_knows_are_named():
    scene = head(10, 16)
    with pytest.raises(NotImplementedError, match="sh_degree=3"):
        rasterization(*scene, 16, 16, sh_degree=3)
    with pytest.raises(TypeError, match="no argument 'colour'"):
        rasterization(*scene, 16, 16, colour=1)
    same = rasterization(*scene, 16, 16, packed=False, tile_size=16)[0]
    assert torch.equal(same, rasterization(*scene, 16, 16)[0])
    known = set(inspect.signature(pytest.importorskip("gsplat").rasterization).parameters)
    ours = set(inspect.signature(rasterization).parameters)
    from headworks.splat.api import GSPLAT_ONLY, NO_EFFECT

    assert known == (ours & known) | set(GSPLAT_ONLY) | NO_EFFECT


def test_gsplat_backend_needs_cuda_tensors():
    with pytest.raises(ValueError, match="needs CUDA tensors"):
        rasterization(*head(10, 16), 16, 16, backend="gsplat")


def test_absgrad_of_more_channels_than_one_pass_is_refused():
    with pytest.raises(NotImplementedError, match="absgrad"):
        rasterization(*head(10, 16, 40), 16, 16, absgrad=True)
