"""Fitting a subject in three stages: inversion, decoder fine-tuning, Gaussian refinement."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headworks.avatars.avatar import BoundAvatar
from headworks.avatars.binding import (
    FINE_REGIONS,
    WIDE_REGIONS,
    Binding,
    LocalGaussians,
    bind_uv,
    inherit,
    initial_gaussians,
    refine,
)
from headworks.avatars.gasp.checkpoint import Checkpoints, as_plan
from headworks.avatars.gasp.config import FitConfig
from headworks.avatars.gasp.decoder import GaussianPrior
from headworks.avatars.gasp.prior import image_losses
from headworks.avatars.gasp.training import (
    Order,
    Surface,
    Training,
    choose_device,
    make_surface,
    picture_loss,
    regulariser,
)
from headworks.avatars.gasp.unseen import fill_unseen
from headworks.avatars.losses import prior_distance
from headworks.avatars.training import Curve
from headworks.avatars.views import Views
from headworks.heads.base import HeadModel
from headworks.metrics.perceptual import PerceptualDistance
from headworks.seeds import derive_seed, generator

STAGES = ("inversion", "decoder", "refinement")
FROM_SCRATCH = "from_scratch"
"""What the curves call the first two stages where there is no prior."""


def fit_avatar(
    head: HeadModel,
    prior: GaussianPrior,
    binding: Binding,
    views: Views,
    setting: str,
    config: FitConfig,
    seed: int,
    progress: Callable[[float, str], None],
    scratch: Path | None = None,
    perceptual: PerceptualDistance | None = None,
) -> tuple[BoundAvatar, list[Curve]]:
    """Fit a subject.

    Stage 1 optimises the identity code, stage 2 the decoder, stage 3 the raw Gaussians (on the
    finer UV map of `config.uv_size`, if any); stages 2 and 3 stay near the outcome of stage 1,
    which holds what no picture shows; with `config.paint_unseen`, what stays unseen is put back
    and painted like its surroundings. A stage of no steps is left out. With
    `config.from_scratch` the prior lends nothing but the sizes of its network: template, features,
    code and decoder start anew and learn together during the steps of stages 1 and 2.

    Args:
        head: the head model of prior and tracking. prior, binding: from `train_prior`.
        views: the training pictures. setting: "photo", "monocular" or "multiview".
        seed: seeds view order and backgrounds. progress: called with (fraction, message).
        scratch: folder that outlives a kill: checkpoints, from which a fit goes on.
        perceptual: LPIPS, or None for its substitute; used where `config.lambda_lpips` is not 0.

    Returns:
        The avatar and the training curves of the stages.

    Source: GASP section 3.5.
    """
    fit = _Fit(head, prior, views, config, seed, progress, scratch, perceptual)
    fine = _final_binding(head, binding, config)
    if config.from_scratch:
        raw, anchor = fit.from_scratch(prior, fine)
    else:
        raw, anchor = fit.with_prior(prior, binding, fine)
    raw = fit.refine(raw, anchor, fine)
    final = raw.detach()
    if config.paint_unseen:
        final = fill_unseen(head, final, anchor, fine, views)
    avatar = BoundAvatar(head, views.tracking.identity, final, fine, method="gasp", setting=setting)
    return avatar, fit.curves


def _final_binding(head: HeadModel, binding: Binding, config: FitConfig) -> Binding:
    """Where the avatar's Gaussians sit: as the prior's, or on a UV map of their own."""
    if config.uv_size is None:
        return binding
    return bind_uv(
        head,
        config.uv_size,
        FINE_REGIONS if config.min_per_face else (),
        WIDE_REGIONS if config.wide_regions else (),
    )


class _Fit:
    """One subject's pictures, losses, curves and checkpoints, which the stages share."""

    def __init__(
        self,
        head: HeadModel,
        prior: GaussianPrior,
        views: Views,
        config: FitConfig,
        seed: int,
        progress: Callable[[float, str], None],
        scratch: Path | None,
        perceptual: PerceptualDistance | None,
    ) -> None:
        self.head, self.views, self.config, self.seed = head, views, config, seed
        self.progress = progress
        self.device = choose_device(config.device)
        self.losses = image_losses(config, perceptual, self.device)
        self.total = config.inversion_steps + config.decoder_steps + config.refine_steps
        self.done = 0
        self.curves: list[Curve] = []
        plan = as_plan(
            config=config,
            seed=seed,
            head=head.digest,
            views=views.digest(),
            prior=prior.digest(),
            perceptual=perceptual is not None,
        )
        self.checkpoints = Checkpoints(scratch, plan)

    def with_prior(
        self, prior: GaussianPrior, binding: Binding, fine: Binding
    ) -> tuple[LocalGaussians, LocalGaussians]:
        """Stages 1 and 2: raw Gaussians on the final binding, and stage 1's outcome there."""
        c = self.config
        prior = copy.deepcopy(prior).to(self.device)
        prior.requires_grad_(False)
        code = torch.nn.Parameter(prior.codes.mean(0))
        surface = self.surface(binding)
        self.run(
            "inversion", c.inversion_steps, [({"code": code}, c.code_rate)],
            lambda: prior.decode(code), surface,
        )  # fmt: skip
        code.requires_grad_(False)
        anchor = prior.decode(code).detach()
        prior.decoder.requires_grad_(True)
        self.run(
            "decoder", c.decoder_steps, [(dict(prior.decoder.named_parameters()), c.decoder_rate)],
            lambda: prior.decode(code), surface, anchor,
        )  # fmt: skip
        start = prior.decode(code).detach()
        start, anchor = (LocalGaussians(*(x.cpu() for x in g)) for g in (start, anchor))
        if c.uv_size is None:
            return start, anchor
        link = refine(self.head, binding, fine)
        return inherit(start, *link), inherit(anchor, *link)

    def from_scratch(
        self, sizes: GaussianPrior, fine: Binding
    ) -> tuple[LocalGaussians, LocalGaussians]:
        """What takes the place of stages 1 and 2 where there is no prior."""
        c, network = self.config, sizes.decoder
        new = GaussianPrior(
            initial_gaussians(self.head, fine), 1, network.code_dim, network.width, network.depth,
            derive_seed(self.seed, "fit from scratch"),
        ).to(self.device)  # fmt: skip
        rates = c.template_rates()
        groups: list[tuple[Mapping[str, Tensor], float]] = [
            ({name: new.template[name]}, rate) for name, rate in rates.items()
        ]
        rest = {"features": new.features, **dict(new.decoder.named_parameters())}
        groups += [(rest, c.decoder_rate), ({"codes": new.codes}, c.code_rate)]
        self.run(
            FROM_SCRATCH, c.inversion_steps + c.decoder_steps, groups,
            lambda: new.decode(new.codes[0]), self.surface(fine),
        )  # fmt: skip
        start = LocalGaussians(*(x.cpu() for x in new.decode(new.codes[0]).detach()))
        return start, start

    def refine(
        self, start: LocalGaussians, anchor: LocalGaussians, binding: Binding
    ) -> LocalGaussians:
        """Stage 3: the raw Gaussians themselves."""
        c = self.config
        raw = LocalGaussians(*(torch.nn.Parameter(x.clone().to(self.device)) for x in start))
        held = LocalGaussians(*(x.to(self.device) for x in anchor))
        rates = c.template_rates()
        self.run(
            "refinement",
            c.refine_steps,
            [({name: x}, c.refine_rate * rates[name]) for name, x in raw._asdict().items()],
            lambda: raw,
            self.surface(binding),
            None if c.from_scratch else held,
        )
        return LocalGaussians(*(x.detach().cpu() for x in raw))

    def surface(self, binding: Binding) -> Surface:
        """The mesh under a binding, on the device."""
        return make_surface(self.head, binding, self.config, self.device)

    def run(
        self,
        stage: str,
        steps: int,
        groups: Sequence[tuple[Mapping[str, Tensor], float]],
        current: Callable[[], LocalGaussians],
        surface: Surface,
        anchor: LocalGaussians | None = None,
    ) -> None:
        """`steps` Adam steps on `groups`; `current` gives the Gaussians of this moment."""
        if not steps:
            return
        c, count = self.config, self.config.views_per_step
        early, late = self.losses
        order = Order(len(self.views), self.seed, "fit views", stage)

        def loss_at(step: int) -> tuple[Tensor, float]:
            image = early if step < c.lpips_from * steps else late
            local = current()
            loss = regulariser(surface, local, c)
            if anchor is not None and c.lambda_prior:
                loss = loss + c.lambda_prior * prior_distance(local, anchor, c.pulls())
            rng = generator(self.seed, "fit backgrounds", stage, step)
            backgrounds = torch.from_numpy(rng.random((count, 3), dtype=np.float32))
            quality = 0.0
            for i, background in enumerate(backgrounds):
                index = order[step * count + i]
                term, psnr = picture_loss(surface, local, self.views, index, background, image)
                loss, quality = loss + term / count, quality + psnr / count
            return loss, quality

        def report(share: float, text: str) -> None:
            self.progress((self.done + share * steps) / self.total, text)

        training = Training(stage, steps, groups, c, self.checkpoints)
        training.run(loss_at, report)
        self.curves += training.curves()
        self.done += steps
