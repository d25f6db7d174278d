"""Fitting a subject in three stages: inversion, decoder fine-tuning, Gaussian refinement."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headworks.avatars.avatar import BoundAvatar
from headworks.avatars.binding import (
    WIDE_REGIONS,
    Binding,
    LocalGaussians,
    bind_uv,
    inherit,
    refine,
)
from headworks.avatars.gasp.decoder import GaussianPrior
from headworks.avatars.gasp.prior import (
    TEMPLATE_RATES,
    Curve,
    displacement_weights,
    rate_factor,
    scale_limit,
    view_loss,
)
from headworks.avatars.gasp.unseen import fill_unseen
from headworks.avatars.losses import geometry_regulariser, prior_distance
from headworks.avatars.views import Views, shuffled_forever
from headworks.heads.base import HeadModel
from headworks.seeds import generator

CODE_RATE = 2e-2  # Adam at 2e-4 would move a code by no more than 0.1 in 500 steps


@dataclass(frozen=True)
class FitConfig:
    """Numbers of the fit; every field is described in `stages.fit.FitParams`."""

    uv_size: int
    inversion_steps: int
    decoder_steps: int
    refine_steps: int
    decoder_rate: float
    refine_rate: float
    lambda_prior: float
    lambda_alpha: float
    lambda_mean: float
    lambda_scale: float


class _Trainer:
    """The loop that the three stages share: pick a view, loss, one Adam step, curve."""

    def __init__(
        self,
        head: HeadModel,
        views: Views,
        config: FitConfig,
        seed: int,
        progress: Callable[[float, str], None],
    ) -> None:
        self.head, self.views, self.config, self.progress = head, views, config, progress
        self.rng = generator(seed, "fit backgrounds")
        self.order = shuffled_forever(len(views), generator(seed, "fit views"))
        self.curves: list[Curve] = []
        self.total = config.inversion_steps + config.decoder_steps + config.refine_steps
        self.done = 0

    def run(
        self,
        stage: str,
        steps: int,
        groups: list[dict[str, object]],
        current: Callable[[], LocalGaussians],
        binding: Binding,
        penalty: Callable[[LocalGaussians], Tensor],
    ) -> None:
        """`steps` Adam steps on `groups`; `current` gives the Gaussians of this moment."""
        if not steps:
            return
        adam = torch.optim.Adam(groups, eps=1e-15)
        base = [g["lr"] for g in adam.param_groups]
        weights = displacement_weights(self.head, binding)
        limit = scale_limit(self.head, binding)
        c = self.config
        recent: list[tuple[float, float]] = []
        for step in range(steps):
            for group, lr in zip(adam.param_groups, base):
                group["lr"] = lr * rate_factor(step, steps)
            local = current()
            index = next(self.order)
            background = torch.from_numpy(self.rng.random(3, dtype=np.float32))
            loss, psnr = view_loss(
                self.head, binding, local, self.views, index, background, c.lambda_alpha
            )
            loss = loss + geometry_regulariser(local, weights, limit, c.lambda_mean, c.lambda_scale)
            loss = loss + penalty(local)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            recent.append((float(loss.detach()), psnr))
            if len(recent) == 20 or step + 1 == steps:
                mean = np.mean(recent, 0)
                self.curves.append(Curve(stage, step + 1, float(mean[0]), float(mean[1])))
                recent.clear()
                self.progress(
                    (self.done + step + 1) / self.total, f"{stage} {step + 1}, {mean[1]:.1f} dB"
                )
        self.done += steps


def fit_avatar(
    head: HeadModel,
    prior: GaussianPrior,
    prior_binding: Binding,
    views: Views,
    setting: str,
    config: FitConfig,
    seed: int,
    progress: Callable[[float, str], None],
) -> tuple[BoundAvatar, list[Curve]]:
    """Fit a subject.

    Stage 1 optimises the identity code, stage 2 the decoder, stage 3 the raw Gaussians, on the
    finer UV map of `config.uv_size`; stages 2 and 3 stay near the outcome of stage 1, which holds
    what no picture shows; what stays unseen is put back and painted like its surroundings.

    Args:
        head: the head model of prior and tracking. prior, prior_binding: from `train_prior`.
        views: the training pictures. setting: "photo", "monocular" or "multiview".
        seed: seeds view order and backgrounds. progress: called with (fraction, message).

    Returns:
        The avatar and the training curves of the three stages.

    Source: GASP section 3.5.
    """
    prior = copy.deepcopy(prior)
    prior.requires_grad_(False)
    code = torch.nn.Parameter(prior.codes.mean(0))
    trainer = _Trainer(head, views, config, seed, progress)
    trainer.run(
        "inversion",
        config.inversion_steps,
        [{"params": [code], "lr": CODE_RATE}],
        lambda: prior.decode(code),
        prior_binding,
        lambda local: local.means.new_zeros(()),
    )
    code = torch.nn.Parameter(code.detach(), requires_grad=False)
    anchor = prior.decode(code).detach()
    prior.decoder.requires_grad_(True)
    trainer.run(
        "decoder",
        config.decoder_steps,
        [{"params": list(prior.decoder.parameters()), "lr": config.decoder_rate}],
        lambda: prior.decode(code),
        prior_binding,
        lambda local: config.lambda_prior * prior_distance(local, anchor),
    )
    start = prior.decode(code).detach()
    fine = bind_uv(head, config.uv_size, doubled_regions=WIDE_REGIONS)
    link = refine(head, prior_binding, fine)
    fine_anchor = inherit(anchor, *link)
    raw = LocalGaussians(*(torch.nn.Parameter(x.clone()) for x in inherit(start, *link)))
    trainer.run(
        "refinement",
        config.refine_steps,
        [
            {"params": [x], "lr": config.refine_rate * TEMPLATE_RATES[name]}
            for name, x in raw._asdict().items()
        ],
        lambda: raw,
        fine,
        lambda local: config.lambda_prior * prior_distance(local, fine_anchor),
    )
    fitted = raw.detach()
    final = fill_unseen(head, fitted, fine_anchor, fine, views)
    avatar = BoundAvatar(head, views.tracking.identity, final, fine, method="gasp", setting=setting)
    return avatar, trainer.curves
