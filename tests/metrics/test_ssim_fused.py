"""The fast training form of SSIM says what the torch form says."""

from __future__ import annotations

import pytest
import torch

from headworks.metrics.ssim import WINDOW, ssim_3dgs, ssim_map
from headworks.metrics.ssim_fused import fused_ssim


def _pair(height: int, width: int, channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(height + width)
    target = torch.rand(height, width, channels, generator=rng)
    target[: height // 3] = 1.0  # a plain part, where variances vanish
    pred = (target + 0.2 * torch.randn(target.shape, generator=rng)).clamp(0, 1)
    pred[:, : width // 4] = target[:, : width // 4]
    return pred, target


def _slow(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    images = (x.double().permute(2, 0, 1)[None] for x in (pred, target))
    return ssim_map(*images, padding=WINDOW // 2).mean()


@pytest.mark.parametrize("shape", [(64, 64, 3), (37, 52, 3), (11, 11, 3), (40, 24, 1)])
def test_fused_value_and_gradient_are_those_of_torch(shape: tuple[int, int, int]) -> None:
    pred, target = _pair(*shape)
    fast, slow = pred.clone().requires_grad_(True), pred.clone().requires_grad_(True)
    value, expected = fused_ssim(fast, target), _slow(slow, target)
    assert float(value.detach()) == pytest.approx(float(expected.detach()), abs=2e-6)
    (3.0 * value).backward()
    (3.0 * expected).backward()
    assert fast.grad is not None
    assert slow.grad is not None
    assert (fast.grad - slow.grad).abs().max() < 2e-4 * slow.grad.abs().max()


def test_equal_images_score_one_without_gradient() -> None:
    target = _pair(32, 32)[1]
    pred = target.clone().requires_grad_(True)
    value = fused_ssim(pred, target)
    value.backward()
    assert float(value.detach()) == pytest.approx(1.0, abs=1e-6)
    assert pred.grad is not None
    assert pred.grad.abs().max() < 1e-5


def test_training_form_takes_the_fast_path_in_place_and_batches() -> None:
    pairs = [_pair(32, 40), _pair(32, 40)]
    pred = torch.stack([p for p, _ in pairs]).permute(0, 3, 1, 2).requires_grad_(True)
    target = torch.stack([t for _, t in pairs]).permute(0, 3, 1, 2)
    value = ssim_3dgs(pred, target)
    expected = torch.stack([_slow(p, t) for p, t in pairs]).mean()
    assert type(value.grad_fn).__name__ != "NoneType"
    assert float(value.detach()) == pytest.approx(float(expected), abs=2e-6)
    # A target that asks for a gradient gets one, from the torch form.
    wanted = target.clone().requires_grad_(True)
    ssim_3dgs(pred.detach(), wanted).backward()
    assert wanted.grad is not None
    assert wanted.grad.abs().max() > 0
