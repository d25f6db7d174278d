"""LPIPS in its published form, and the substitute that needs no weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from headworks.errors import WeightsError
from headworks.metrics.lpips import backbone, load_lpips, lpips_from, lpips_score
from headworks.metrics.lpips_files import lpips_files
from headworks.metrics.perceptual import GradientStructure
from headworks.networks.checkpoints import read_checkpoint

SIDE = 256
Y, X, C = np.meshgrid(np.arange(64), np.arange(64), np.arange(3), indexing="ij")
A = 0.5 + 0.4 * np.sin(2 * np.pi * ((3 + C) * X / SIDE + (2 + 2 * C) * Y / SIDE)) * np.cos(
    2 * np.pi * 5 * (X + Y) / (2 * SIDE)
)
B = np.clip(0.95 * A + 0.02 + 0.03 * np.cos(2 * np.pi * (17 * X / SIDE - 11 * Y / SIDE)), 0, 1)
GOLDEN = {
    "alex": (0.09709463, (0.00912184, 0.01446326, 0.02535548, 0.02046666, 0.02768739)),
    "vgg": (0.11146123, (0.00211389, 0.00364739, 0.02165697, 0.05579045, 0.02825253)),
}


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def rule_made(net: str) -> dict[str, torch.Tensor]:
    """A torchvision state dict by a rule: weight = sin(0.37 i + k) sqrt(6 / fan-in), bias 0."""
    state = {}
    for index, layer in enumerate(backbone(net)):
        if isinstance(layer, torch.nn.Conv2d):
            shape = layer.weight.shape
            i = np.arange(math.prod(shape), dtype=np.float64)
            weight = np.sin(0.37 * i + index) * np.sqrt(6 / math.prod(shape[1:]))
            state[f"features.{index}.weight"] = torch.from_numpy(weight.reshape(shape))
            state[f"features.{index}.bias"] = torch.zeros(shape[0], dtype=torch.float64)
    state["classifier.6.weight"] = torch.zeros(10, 10)
    return state


def random(net: str) -> dict[str, torch.Tensor]:
    """A state dict of seeded random weights, which tell pictures apart better than the rule's."""
    rng = torch.Generator().manual_seed(0)
    state = rule_made(net)
    for name, tensor in state.items():
        if name.endswith("weight") and tensor.ndim == 4:
            noise = torch.randn(tensor.shape, generator=rng, dtype=torch.float64)
            state[name] = noise * (2 / tensor[0].numel()) ** 0.5
    return state


def even_heads(net: str, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """Linear weights that are all the same."""
    taps = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}[net]
    return {f"lin{k}.model.1.weight": torch.full((1, c, 1, 1), scale) for k, c in enumerate(taps)}


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_with_rule_made_features_hits_the_golden_numbers(net: str) -> None:
    heads = lpips_files(net, None)[f"lpips {net} heads"]
    if heads is None:
        pytest.skip("the published linear weights: pip install --no-deps lpips")
    model = lpips_from(net, rule_made(net), read_checkpoint(heads), dtype=torch.float64)
    total, layers = GOLDEN[net]
    with torch.no_grad():
        assert float(model(tensor(A), tensor(B))) == pytest.approx(total, abs=2e-8)
        found = model.layers(2 * tensor(A) - 1, 2 * tensor(B) - 1)[0]
    assert found.tolist() == pytest.approx(layers, abs=2e-8)


def test_lpips_is_a_symmetric_distance_with_gradients() -> None:
    model = lpips_from("alex", random("alex"), even_heads("alex"), dtype=torch.float64)
    a, b = tensor(A), tensor(B)
    assert float(model(a, a)) == 0
    assert float(model(a, b)) == pytest.approx(float(model(b, a)), rel=1e-9)
    assert lpips_score(model.float(), A, B) == pytest.approx(float(model.double()(a, b)), rel=1e-4)
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(A.shape))
    noisy = [float(model(a + s * noise.permute(2, 0, 1), a)) for s in (0.01, 0.02, 0.05)]
    assert noisy == sorted(noisy)
    flat = torch.zeros_like(a, requires_grad=True)  # where features may be 0 altogether
    model(flat, b).backward()
    assert bool(flat.grad.isfinite().all())
    assert float(flat.grad.abs().max()) > 0


def test_the_weights_folder_is_searched_and_checked(tmp_path) -> None:
    with pytest.raises(WeightsError, match="alexnet-owt"):
        load_lpips("alex", tmp_path)
    (tmp_path / "lpips").mkdir()
    torch.save(even_heads("alex"), tmp_path / "lpips" / "alex.pth")
    wrong = tmp_path / "alexnet-owt-7be5be79.pth"
    torch.save(rule_made("alex"), wrong)
    with pytest.raises(WeightsError, match="SHA-256"):
        load_lpips("alex", tmp_path)
    # As safetensors the name promises no digest, and the content is what counts.
    from safetensors.torch import save_file

    wrong.unlink()
    save_file(rule_made("alex"), tmp_path / "alexnet-owt-7be5be79.safetensors")
    assert load_lpips("alex", tmp_path).name == "lpips_alex"
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg16-397923af.safetensors")
    torch.save(even_heads("vgg"), tmp_path / "lpips" / "vgg.pth")
    with pytest.raises(WeightsError, match="wrong shape"):
        load_lpips("vgg", tmp_path)


def test_the_substitute_is_a_distance_that_sees_blur_and_shift() -> None:
    distance = GradientStructure()
    assert "substitute" in distance.name
    assert "lpips" not in distance.name.lower()
    a = tensor(A)
    assert float(distance(a, a)) == pytest.approx(0, abs=1e-9)
    shifted = torch.roll(a, 2, -1)
    blurred = torch.nn.functional.avg_pool2d(a, 5, 1, 2)
    brighter = (a + 0.01).clamp(0, 1)
    assert float(distance(shifted, a)) > float(distance(brighter, a))
    assert float(distance(blurred, a)) > float(distance(brighter, a))
    x = shifted.clone().requires_grad_(True)
    before = float(distance(x, a).detach())
    for _ in range(20):
        (gradient,) = torch.autograd.grad(distance(x, a), x)
        x = (x - 20 * gradient).detach().requires_grad_(True)
    assert float(distance(x, a).detach()) < 0.9 * before
