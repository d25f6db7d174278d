"""The rules of blending, one by one, against closed forms."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time

import numba
import numpy as np
import pytest
import torch

from headworks.cameras import Camera, intrinsics, look_at
from headworks.gaussians import Gaussians
from headworks.mesh import rasterize_mesh
from headworks.splat import rasterization, render
from headworks.splat.cpu import autograd, frame, threads
from headworks.splat.cpu.gate import abandon, gate, take, wait
from headworks.splat.cpu.workspace import KEEP, Borrowed
from headworks.splat.semantics import installed
from tests.splat_scenes import PARTS, Scene, head, run

EYE = torch.eye(4)[None]


def line_up(depths, opacities, colors, scale=0.02, quats=None) -> Scene:
    """Gaussians on the optical axis of a 33 x 33 camera with focal length 40."""
    n = len(depths)
    means = torch.zeros(n, 3)
    means[:, 2] = torch.tensor(depths)
    scales = torch.as_tensor(scale, dtype=torch.float32).expand(n, 3).clone()
    quats = torch.tensor([[1.0, 0, 0, 0]]).expand(n, 4).clone() if quats is None else quats
    K = torch.tensor([[[40.0, 0, 16.5], [0, 40.0, 16.5], [0, 0, 1]]])
    return Scene(
        means, quats, scales, torch.tensor(opacities), torch.tensor(colors), EYE.clone(), K
    )


def test_single_gaussian_has_the_closed_form():
    scene = line_up([2.0], [0.8], [[1.0, 0.5, 0.25]], scale=0.1)
    image, alpha, _ = rasterization(*scene, 33, 33)
    y, x = torch.meshgrid(torch.arange(33) - 16.0, torch.arange(33) - 16.0, indexing="ij")
    variance = (40 * 0.1 / 2) ** 2 + 0.3
    expected = 0.8 * torch.exp(-(x**2 + y**2) / (2 * variance))
    expected[expected < 1 / 255] = 0
    assert (alpha[0, ..., 0] - expected).abs().max() < 1e-6
    assert (image[0] - expected[..., None] * scene.colors).abs().max() < 1e-6


def test_rotated_gaussian_has_its_axes_where_they_belong():
    angle = 0.5
    quat = torch.tensor([[math.cos(angle / 2), 0, 0, math.sin(angle / 2)]])
    scene = line_up([2.0], [0.9], [[1.0]], scale=(0.2, 0.05, 0.05), quats=quat)
    alpha = rasterization(*scene, 33, 33)[1][0, ..., 0].double()
    y, x = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    mass = alpha / alpha.sum()
    xx, xy, yy = ((mass * t).sum() for t in (x * x, x * y, y * y))
    assert 0.5 * math.atan2(2 * xy, xx - yy) == pytest.approx(angle, abs=0.02)


@pytest.mark.parametrize("swap", [False, True])
def test_nearer_gaussian_covers_the_farther(swap):
    depths = [3.0, 2.0] if swap else [2.0, 3.0]
    scene = line_up(depths, [0.6, 0.5], [[1.0, 0, 0], [0, 1.0, 0]])
    center = rasterization(*scene, 33, 33)[0][0, 16, 16]
    near, far = (1, 0) if swap else (0, 1)
    weight = torch.tensor([0.6, 0.5])
    expected = weight[near] * scene.colors[near]
    expected = expected + (1 - weight[near]) * weight[far] * scene.colors[far]
    assert torch.allclose(center, expected, atol=1e-6)


def test_equal_depths_keep_index_order():
    scene = line_up([2.0, 2.0], [0.6, 0.5], [[1.0, 0, 0], [0, 1.0, 0]])
    center = rasterization(*scene, 33, 33)[0][0, 16, 16]
    assert torch.allclose(center, torch.tensor([0.6, 0.2, 0.0]), atol=1e-6)


def test_blending_stops_before_the_gaussian_that_would_finish_the_pixel():
    scene = line_up([2.0 + 0.1 * k for k in range(10)], [0.9] * 10, [[1.0, 0.5, 0.1]] * 10, 0.5)
    leaves = scene.leaves()
    image, alpha, _ = rasterization(*leaves, 33, 33)
    assert alpha[0, 16, 16, 0].item() == pytest.approx(1 - 1e-3, abs=1e-6)  # 4th: T = 1e-4
    image[0, 16, 16].sum().backward()
    gradient = leaves.colors.grad[:, 0]
    assert (gradient[:3] > 0).all()
    assert (gradient[3:] == 0).all()
    assert (leaves.means.grad[3:] == 0).all()


def test_clamped_alpha_passes_colour_gradient_only():
    scene = line_up([2.0], [1.0], [[0.3, 0.6, 0.9]], scale=3.0)
    leaves = scene.leaves()
    image, _, _ = rasterization(*leaves, 33, 33)
    limit = installed().max_alpha
    assert image[0, 16, 16, 0].item() == pytest.approx(0.3 * limit, abs=1e-6)
    image[0, 16, 16].sum().backward()
    assert leaves.colors.grad.sum().item() == pytest.approx(3 * limit, rel=1e-5)
    assert leaves.opacities.grad.item() == 0
    assert (leaves.scales.grad == 0).all()
    half = rasterization(*scene, 33, 33, max_alpha=0.5)[1]
    assert half[0, 16, 16, 0].item() == pytest.approx(0.5, abs=1e-6)


def test_expected_depth_of_a_plane_is_its_depth():
    scene = line_up([2.5, 2.5, 2.5], [0.5, 0.7, 0.9], [[1.0]] * 3, scale=0.3).leaves()
    depth, alpha, _ = rasterization(*scene, 33, 33, render_mode="ED")
    assert torch.allclose(depth[alpha > 0], torch.tensor(2.5), rtol=1e-5)
    depth[0, 16, 16].sum().backward()
    assert scene.means.grad[:, 2].sum().item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"means": lambda t: t - torch.tensor([0, 0, 10.0])},
        {"means": lambda t: t + torch.tensor([50.0, 0, 0])},
        {"opacities": lambda t: t * 0 + 0.003},
        {"means": lambda t: t[:0], "quats": lambda t: t[:0], "scales": lambda t: t[:0],
         "opacities": lambda t: t[:0], "colors": lambda t: t[:0]},
        {"radius_clip": 1e4},
    ],
    ids=["behind", "outside", "transparent", "none", "small"],
)  # fmt: skip
def test_nothing_visible_gives_background_and_zero_gradients(change):
    options = {"radius_clip": change["radius_clip"]} if "radius_clip" in change else {}
    scene = head(50, 40)
    scene = scene._replace(**{k: f(getattr(scene, k)) for k, f in change.items() if callable(f)})
    background = torch.tensor([[0.1, 0.2, 0.3]])
    result = run(scene, 40, 30, torch.float32, backgrounds=background, **options)
    assert torch.equal(result.image, background.double().expand(1, 30, 40, 3))
    assert (result.alpha == 0).all()
    for name in PARTS:
        assert (result.gradients[name] == 0).all(), name


def test_one_pixel_image():
    scene = head(100, 32)
    small = scene._replace(Ks=scene.Ks * torch.tensor([1 / 32, 1 / 32, 1])[None, :, None])
    whole = run(small, 1, 1, torch.float32)
    truth = run(small, 1, 1, torch.float64, backend="torch")
    assert (whole.image - truth.image).abs().max() < 1e-5


@pytest.mark.parametrize("name", Scene._fields)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_non_finite_input_is_named_with_its_index(name, value, backend):
    scene = head(20, 16)
    tensor = getattr(scene, name)
    index = (0,) * (tensor.ndim - 1) + (1,) if name in ("viewmats", "Ks") else (7, 1)[: tensor.ndim]
    tensor[index] = value
    where = ", ".join(map(str, index))
    with pytest.raises(ValueError, match=rf"{name}\[{where}\] is not finite"):
        rasterization(*scene, 16, 16, backend=backend)


def test_wrong_shapes_and_types_are_refused():
    scene = head(20, 16)
    with pytest.raises(ValueError, match=r"quats must be \[20, 4\]"):
        rasterization(*scene._replace(quats=scene.quats[:, :3]), 16, 16)
    with pytest.raises(TypeError, match="colors must be a floating-point tensor"):
        rasterization(*scene._replace(colors=scene.colors.int()), 16, 16)
    scene.quats[3] = 0
    for backend in ("cpu", "torch"):
        with pytest.raises(ValueError, match=r"quats\[3\] is zero"):
            rasterization(*scene, 16, 16, backend=backend)
    with pytest.raises(ValueError, match="render_mode"):
        rasterization(*head(20, 16), 16, 16, render_mode="depth")


def test_threads_and_repeats_agree_to_the_bit(monkeypatch):
    monkeypatch.setattr(autograd, "GRAIN", 500)  # every region is shared out
    scene = head(2000, 96)
    before = numba.get_num_threads()
    try:
        results = []
        for threads in (1, min(2, before), min(2, before)):
            numba.set_num_threads(threads)
            results.append(run(scene, 96, 90, torch.float32))
    finally:
        numba.set_num_threads(before)
    for other in results[1:]:
        assert torch.equal(other.image, results[0].image)
        for name in PARTS:
            assert torch.equal(other.gradients[name], results[0].gradients[name]), name


def test_far_end_of_a_long_thin_gaussian_never_exceeds_its_opacity():
    """There the exponent is a small difference of large numbers."""
    turn = torch.tensor([math.cos(0.35), 0.0, 0.0, math.sin(0.35)])
    along = 20.0 * torch.tensor([math.cos(0.7), math.sin(0.7), 0.0])
    n = 20
    means = along.repeat(n, 1) + torch.tensor([0.0, 0.0, 1.0])
    means[1:, 2] = -1.0  # behind the camera
    alpha = rasterization(
        means, turn.repeat(n, 1), torch.tensor([10.0, 1e-5, 1e-5]).repeat(n, 1),
        torch.full((n,), 0.9), torch.ones(n, 3), torch.eye(4)[None],
        torch.tensor([[[1000.0, 0, 32], [0, 1000, 32], [0, 0, 1]]]), 64, 64,
    )[1]  # fmt: skip
    assert alpha.max() <= 0.9 + 1e-6


@pytest.mark.parametrize("n", [10, 20])
def test_culled_gaussian_of_absurd_size_has_zero_gradient(n):
    scene = head(n, 32)
    scene.means[3] = torch.tensor([0.0, 0.0, -50.0])
    scene.scales[3] = 1e18
    gradients = run(scene, 32, 32, torch.float32).gradients
    for name in ("means", "quats", "scales", "opacities"):
        assert not gradients[name][3].any(), name
        assert torch.isfinite(gradients[name]).all(), name


def test_quaternion_too_large_for_single_precision_is_named():
    scene = head(20, 16)
    scene.quats[7] = torch.tensor([3e19, 0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match=r"quats\[7\] is too large"):
        rasterization(*scene, 16, 16)


def test_order_of_gaussians_in_memory_does_not_matter():
    scene = head(1500, 64)
    shuffle = torch.randperm(1500, generator=torch.Generator().manual_seed(0))
    shuffled = Scene(*(t[shuffle] for t in scene[:5]), *scene[5:])
    a, b = (rasterization(*s, 64, 64)[0] for s in (scene, shuffled))
    assert torch.equal(a, b)


def test_forked_worker_renders():
    """Worker processes that were forked after the parent rendered must not hang or differ."""
    code = (
        "import os, torch\n"
        "from tests.splat_scenes import head\n"
        "from headworks.splat import rasterization\n"
        "a = rasterization(*head(300, 40), 40, 40)[0]\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if torch.equal(rasterization(*head(300, 40), 40, 40)[0], a) else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=120, env=os.environ, check=False)
    assert done.returncode == 0


def test_worker_forked_while_locks_are_held_renders():
    """Another thread may be starting threads or lending memory at the moment of the fork."""
    code = (
        "import os, torch\n"
        "from tests.splat_scenes import head\n"
        "from headworks.splat import rasterization\n"
        "from headworks.splat.cpu import autograd, threads, workspace\n"
        "autograd.GRAIN = 100\n"
        "a = rasterization(*head(300, 40), 40, 40)[0]\n"
        "threads._lock.acquire(), workspace._lock.acquire()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if torch.equal(rasterization(*head(300, 40), 40, 40)[0], a) else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=120, env=os.environ, check=False)
    assert done.returncode == 0


def test_threads_that_share_one_core_finish_with_the_same_bits():
    """A helper that gets no core of its own comes late, or not: nobody may wait for it."""
    code = (
        "import os, sys, numba, torch\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from headworks.splat.cpu import autograd\n"
        "from tests.splat_scenes import PARTS, head, run\n"
        "autograd.GRAIN = 100\n"
        "autograd.threads.n_threads = lambda: 1\n"
        "alone = run(head(2000, 96), 96, 96, torch.float32)\n"
        "autograd.threads.n_threads = lambda: 3\n"
        "for _ in range(20):\n"
        "    shared = run(head(2000, 96), 96, 96, torch.float32)\n"
        "    assert torch.equal(shared.image, alone.image)\n"
        "    for name in PARTS:\n"
        "        assert torch.equal(shared.gradients[name], alone.gradients[name]), name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=120, env=os.environ, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("failing", [0, 1])
def test_thread_that_fails_in_its_part_leaves_nobody_waiting(failing):
    """What it raised (memory that is not there, say) comes out of the call."""
    began = threading.Event()

    def kernel(thread, threads, work):
        if thread == failing:
            take(work, 0)
            began.set()
            raise MemoryError("no room for a list")
        began.wait()
        wait(work, 0, 1)

    with pytest.raises(MemoryError, match="no room"):
        threads.share(2, (kernel, gate(1), ()))
    threads.share(
        2, (lambda thread, threads, work: None, gate(1), ())
    )  # the next call is not blamed


def test_first_failure_is_the_one_that_is_told(monkeypatch):
    """Not that of a thread which waited for it."""

    def slowly(work):
        abandon(work)
        time.sleep(0.3)  # the other fails in the meantime

    def kernel(thread, threads, work):
        if thread == 0:
            raise MemoryError("no room for a list")
        wait(work, 0, 1)

    monkeypatch.setattr(threads, "abandon", slowly)
    with pytest.raises(MemoryError, match="no room"):
        threads.share(2, (kernel, gate(1), ()))


def test_memory_of_a_failed_call_is_not_lent_again():
    """A thread may still be writing to it."""
    shape = (3, 12345)
    with pytest.raises(MemoryError), Borrowed(*shape) as lent:
        raise MemoryError
    for _ in range(KEEP + 1):
        with Borrowed(*shape) as other:
            assert not np.shares_memory(lent, other)


@pytest.mark.parametrize("simd", ["explicit", "auto"])
def test_late_helper_touches_nothing(simd, monkeypatch):
    """Called after all parts were done, kernels leave every array as it is."""
    monkeypatch.setattr(frame, "SIMD", simd)
    late = []

    def alone_then_late(threads, *calls):
        for kernel, work, args in calls:
            kernel(0, threads, work, *args)
            before = [a.copy() for a in args if isinstance(a, np.ndarray)]
            kernel(1, threads, work, *args)
            after = [a for a in args if isinstance(a, np.ndarray)]
            late.append(kernel.py_func.__name__)
            for a, b in zip(after, before):
                assert np.array_equal(a, b, equal_nan=True), kernel.py_func.__name__

    monkeypatch.setattr(autograd.threads, "share", alone_then_late)
    monkeypatch.setattr(autograd, "_share", lambda n, most: 2)
    run(head(500, 48), 48, 40, torch.float32)
    assert late == ["prepare", "forward", "backward", "project_backward"]


def test_gaussian_at_a_mesh_vertex_lands_on_the_mesh_pixel():
    camera = Camera(
        look_at(np.array([0.1, 0.2, 0.7]), np.array([0.0, 0.02, 0.0])),
        intrinsics(130.0, 80, 60), 80, 60,
    )  # fmt: skip
    rng = np.random.default_rng(3)
    for center in rng.uniform(-0.1, 0.1, (5, 3)):
        size = 0.03 * np.eye(3)
        vertices = np.concatenate([center + size, center - size.mean(0, keepdims=True)])
        faces = np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]])
        seen = rasterize_mesh(vertices, faces, camera).face_ids >= 0
        gaussian = Gaussians(
            torch.tensor(vertices.mean(0)[None], dtype=torch.float32),
            torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 1e-4), torch.tensor([0.99]),
            torch.ones(1, 3),
        )  # fmt: skip
        rgb, alpha = render(gaussian, camera, background=(0, 0, 0))
        y, x = np.unravel_index(int(alpha.argmax()), alpha.shape)
        assert seen[y, x]
        u, v, _ = camera.project(vertices.mean(0))
        assert (int(u), int(v)) == (x, y)
        assert rgb.shape == (60, 80, 3)
