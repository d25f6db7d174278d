"""Training of GASP's prior: an auto-decoder over synthetic people (GASP section 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headworks.avatars.binding import (
    Binding,
    LocalGaussians,
    bind_uv,
    gaussian_frames,
    initial_gaussians,
    place,
)
from headworks.avatars.gasp.decoder import GaussianPrior
from headworks.avatars.losses import (
    INNER_DISPLACEMENT_WEIGHT,
    SCALP_DISPLACEMENT_WEIGHT,
    geometry_regulariser,
    image_loss,
)
from headworks.avatars.views import Views, shuffled_forever, splat_view
from headworks.heads.base import HeadModel
from headworks.seeds import derive_seed, generator

TEMPLATE_RATES = {
    "means": 4e-3,
    "log_scales": 5e-3,
    "quats": 2e-3,
    "colors": 2e-2,
    "opacities": 2e-2,
}
"""Adam rates of raw Gaussians, in triangle units and logits."""
SCALE_ROOM = 2.5
DECAY_FROM, DECAY_TO = 0.7, 0.1
"""The rate is constant, then falls exponentially to DECAY_TO after this share of the steps."""


@dataclass(frozen=True)
class PriorConfig:
    """Numbers of the prior; every field is described in `stages.prior.PriorParams`."""

    uv_size: int
    code_dim: int
    width: int
    depth: int
    steps: int
    views_per_step: int
    rate: float
    code_rate: float
    lambda_alpha: float
    lambda_mean: float
    lambda_scale: float
    lambda_code: float


@dataclass(frozen=True)
class Curve:
    """One point of a training curve."""

    stage: str
    step: int
    loss: float
    psnr: float


def rate_factor(step: int, steps: int) -> float:
    """Learning-rate factor at a step: 1, then exponentially down to DECAY_TO."""
    share = (step / max(steps, 1) - DECAY_FROM) / (1 - DECAY_FROM)
    return float(DECAY_TO ** min(max(share, 0.0), 1.0))


def displacement_weights(head: HeadModel, binding: Binding) -> Tensor:
    """[N]: how strongly each Gaussian is held on the mesh; weakly where hair leaves it."""
    weights = torch.ones(len(binding.faces))
    weights[head.region_faces("scalp")[binding.faces]] = SCALP_DISPLACEMENT_WEIGHT
    inner = head.region_faces("eyes", "teeth", "tongue", "mouth_inner")[binding.faces]
    weights[inner] = INNER_DISPLACEMENT_WEIGHT
    return weights


def scale_limit(head: HeadModel, binding: Binding) -> Tensor:
    """[N, 1]: log scale of a Gaussian SCALE_ROOM times the size of its texel."""
    start = initial_gaussians(head, binding).log_scales
    return start.max(1, keepdim=True).values + float(np.log(SCALE_ROOM))


def psnr_of(pred: Tensor, target: Tensor) -> float:
    """PSNR in dB of two images in [0, 1], without gradient."""
    mse = float((pred.detach().clamp(0, 1) - target).square().mean())
    return float(10 * np.log10(1 / max(mse, 1e-10)))


def train_prior(
    head: HeadModel,
    people: list[Views],
    config: PriorConfig,
    seed: int,
    progress: Callable[[float, str], None],
) -> tuple[GaussianPrior, Binding, list[Curve]]:
    """Train template, features, codes and decoder on rendered people.

    Args:
        head: the head model of all people. people: one `Views` per identity, with exact tracking.
        seed: seeds codes, features, view order and backgrounds.
        progress: called with (fraction, message).

    Returns:
        The prior, its binding, and the training curve.

    Source: GASP section 3.4; several views of one identity share one evaluation of the decoder.
    """
    binding = bind_uv(head, config.uv_size)
    prior = GaussianPrior(
        initial_gaussians(head, binding),
        len(people),
        config.code_dim,
        config.width,
        config.depth,
        derive_seed(seed, "prior init"),
    )
    groups: list[dict[str, Any]] = [
        {"params": [prior.template[k]], "lr": lr} for k, lr in TEMPLATE_RATES.items()
    ]
    groups.append({"params": [*prior.decoder.parameters(), prior.features], "lr": config.rate})
    groups.append({"params": [prior.codes], "lr": config.code_rate})
    base = [g["lr"] for g in groups]
    adam = torch.optim.Adam(groups, eps=1e-15)
    weights, limit = displacement_weights(head, binding), scale_limit(head, binding)
    rng = generator(seed, "prior views")
    orders = [
        shuffled_forever(len(p), generator(seed, "prior views", i)) for i, p in enumerate(people)
    ]
    person_order = shuffled_forever(len(people), rng)
    curves: list[Curve] = []
    recent: list[tuple[float, float]] = []
    for step in range(config.steps):
        for group, lr in zip(adam.param_groups, base):
            group["lr"] = lr * rate_factor(step, config.steps)
        j = next(person_order)
        views = people[j]
        local = prior.decode(prior.codes[j])
        loss = geometry_regulariser(local, weights, limit, config.lambda_mean, config.lambda_scale)
        loss = loss + config.lambda_code * prior.codes[j].square().sum()
        quality = 0.0
        for _ in range(config.views_per_step):
            index = next(orders[j])
            background = torch.from_numpy(rng.random(3, dtype=np.float32))
            term, psnr = view_loss(
                head, binding, local, views, index, background, config.lambda_alpha
            )
            loss = loss + term / config.views_per_step
            quality += psnr / config.views_per_step
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        recent.append((float(loss.detach()), quality))
        if len(recent) == 20 or step + 1 == config.steps:
            mean = np.mean(recent, 0)
            curves.append(Curve("prior", step + 1, float(mean[0]), float(mean[1])))
            recent.clear()
            progress((step + 1) / config.steps, f"step {step + 1}, {mean[1]:.1f} dB")
    return prior, binding, curves


def view_loss(
    head: HeadModel,
    binding: Binding,
    local: LocalGaussians,
    views: Views,
    index: int,
    background: Tensor,
    lambda_alpha: float,
    weight: Tensor | None = None,
) -> tuple[Tensor, float]:
    """Loss of one picture, composited over the same background on both sides.

    Args:
        head, binding: the mesh and where the Gaussians sit on it. local: raw Gaussians [N, .].
        views: pictures. index: which. background: [3] sRGB. lambda_alpha: weight of the matte's
            term. weight: [H, W] of the L1 term, mean about 1, or None.

    Returns:
        The loss (differentiable in `local`) and the PSNR in dB.
    """
    with torch.no_grad():
        frames = gaussian_frames(views.vertices[views.times[index]], head.faces, binding)
    target, alpha = views.target(index, background)
    pred, pred_alpha = splat_view(
        place(local, frames), views.viewmats[index], views.Ks[index], views.size, background
    )
    loss = image_loss(pred, target, weight) + lambda_alpha * (pred_alpha - alpha).abs().mean()
    return loss, psnr_of(pred, target)
