"""The oracle itself against finite differences; broken rules in it are noticed by the parity."""

from __future__ import annotations

import pytest
import torch

from headworks.splat import rasterization, reference
from headworks.splat.semantics import installed
from tests.splat_scenes import PARTS, Scene, assert_parity, head, relative, run

WIDTH, HEIGHT = 24, 20


def five() -> Scene:
    """Five Gaussians with overlaps; no pixel is near to a threshold of the rules."""
    scene = head(5, WIDTH, seed=4)
    return scene._replace(scales=scene.scales * 3)


def _distance_to_thresholds(scene: Scene, antialiased: bool) -> float:
    """Smallest relative distance of any alpha or transmittance to one of the rules' thresholds."""
    rules = installed()
    double = [t.double() for t in scene]
    means2d, conics, opacities, depths, radii = reference.project(
        *double[:4], double[5][0], double[6][0], WIDTH, HEIGHT, 0.01, 1e10, 0.3, 0.0, antialiased,
        rules.rho_floor,
    )  # fmt: skip
    assert (radii > 0).all()
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    d = torch.stack([x, y], -1).double()[None] - means2d[:, None, None]
    A, B, C = (conics[:, k, None, None] for k in range(3))
    sigma = 0.5 * (A * d[..., 0] ** 2 + C * d[..., 1] ** 2) + B * d[..., 0] * d[..., 1]
    alpha = opacities[:, None, None] * torch.exp(-sigma)
    used = torch.where(alpha >= 1 / 255, alpha, 0)[torch.argsort(depths)]
    through = torch.cumprod(1 - used, 0)
    pairs = (alpha, 1 / 255), (alpha, rules.max_alpha), (through, 1e-4)
    return min(float((value / threshold - 1).abs().min()) for value, threshold in pairs)


@pytest.mark.parametrize(
    "options", [{}, {"render_mode": "RGB+ED", "rasterize_mode": "antialiased"}], ids=["rgb", "ed"]
)
def test_gradients_equal_finite_differences(options, simd):
    """Of the oracle to 1e-5, of the kernels to 1e-3; depth's included."""
    scene = five()
    assert _distance_to_thresholds(scene, "rasterize_mode" in options) > 1e-3
    generator = torch.Generator().manual_seed(5)
    shapes = (1, HEIGHT, WIDTH, 4 if "render_mode" in options else 3), (1, HEIGHT, WIDTH, 1)
    noise = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]

    def loss(parts: list[torch.Tensor]) -> float:
        image, alpha, _ = rasterization(
            *parts, scene.Ks.double(), WIDTH, HEIGHT, backend="torch", **options
        )
        return float((image * noise[0]).sum() + (alpha * noise[1]).sum())

    oracle = run(scene, WIDTH, HEIGHT, torch.float64, backend="torch", **options).gradients
    kernels = run(scene, WIDTH, HEIGHT, torch.float32, backend="cpu", **options).gradients
    parts = [t.double().clone() for t in scene[:6]]
    step = 1e-6
    for name, part in zip(PARTS, parts):
        differences = torch.zeros_like(part)
        flat, out = part.view(-1), differences.view(-1)
        for k in range(len(flat)):
            value = float(flat[k])
            flat[k] = value + step
            above = loss(parts)
            flat[k] = value - step
            out[k] = (above - loss(parts)) / (2 * step)
            flat[k] = value
        assert relative(oracle[name], differences) <= 1e-5, name
        assert relative(kernels[name], differences) <= 1e-3, name


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


def _reverse_ties(argsort):
    return lambda keys, stable: len(keys) - 1 - argsort(keys.flip(0), stable=stable)


MUTATIONS = (
    "stop", "b gradient", "tangent margin", "eps2d gradient", "least alpha", "extent", "ties",
)  # fmt: skip


@pytest.mark.parametrize("wrong", MUTATIONS)
def test_wrong_rules_are_noticed(wrong, monkeypatch):
    """The comparison above would fail if a rule were broken: here it is broken in the oracle."""
    scene = head(700, 48)
    if wrong == "stop":
        monkeypatch.setattr(reference, "_composited", lambda before, after: before > 1e-4)
    elif wrong == "b gradient":
        monkeypatch.setattr(reference, "project", _halve_gradient_of_b(reference.project))
    elif wrong == "least alpha":
        monkeypatch.setattr(reference, "MIN_ALPHA", 1 / 200)
    elif wrong == "extent":
        monkeypatch.setattr(reference, "MAX_EXTENT", 2.5)
    elif wrong == "ties":
        scene.viewmats[0, :3, :3] = torch.eye(3)
        scene.means[:, 2] = 0
        monkeypatch.setattr(torch, "argsort", _reverse_ties(torch.argsort))
    elif wrong == "eps2d gradient":
        monkeypatch.setattr(reference, "project", _forget_eps2d_in_gradient(reference.project))
    else:
        monkeypatch.setattr(reference, "TAN_MARGIN", 0.0)
        scene.viewmats[0, 2, 3] = 0.9
    with pytest.raises(AssertionError):
        assert_parity(scene, 48, 48)
    monkeypatch.undo()
    assert_parity(scene, 48, 48)
