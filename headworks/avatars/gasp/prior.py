"""Training of GASP's prior: an auto-decoder over synthetic people (GASP section 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headworks.avatars.binding import (
    FINE_REGIONS,
    Binding,
    LocalGaussians,
    bind_uv,
    initial_gaussians,
)
from headworks.avatars.gasp.checkpoint import Checkpoints, as_plan
from headworks.avatars.gasp.config import PriorConfig, TrainingConfig
from headworks.avatars.gasp.decoder import GaussianPrior
from headworks.avatars.gasp.ranks import LossModule, Ranks, joined
from headworks.avatars.gasp.samples import keep_samples
from headworks.avatars.gasp.training import (
    Order,
    RowAdam,
    Training,
    choose_device,
    make_surface,
    picture_loss,
    regulariser,
)
from headworks.avatars.losses import ImageLoss
from headworks.avatars.training import Curve
from headworks.avatars.views import Views
from headworks.heads.base import HeadModel
from headworks.metrics.perceptual import PerceptualDistance, substitute
from headworks.seeds import derive_seed, generator


def bind_prior(head: HeadModel, config: PriorConfig) -> Binding:
    """Where the prior's Gaussians sit: one per covered texel, and more with `min_per_face`."""
    return bind_uv(head, config.uv_size, FINE_REGIONS if config.min_per_face else ())


def image_losses(
    config: TrainingConfig, perceptual: PerceptualDistance | None, device: torch.device
) -> tuple[ImageLoss, ImageLoss]:
    """Equation (5) without and with its perceptual term, which joins in later."""
    plain = ImageLoss(config.lambda_l1, config.lambda_ssim, config.lambda_alpha)
    if not config.lambda_lpips:
        return plain, plain
    distance = (perceptual or substitute()).to(device)
    weights = (config.lambda_l1, config.lambda_ssim, config.lambda_alpha, config.lambda_lpips)
    return plain, ImageLoss(*weights, distance)


class _Batches:
    """Who and what each step shows; every rank draws the same and keeps its share.

    Args:
        people: pictures per person.
    """

    def __init__(self, counts: list[int], config: PriorConfig, seed: int) -> None:
        self._config, self._seed, self._people = config, seed, len(counts)
        self._order = Order(len(counts), seed, "prior people")
        self._views = [Order(n, seed, "prior views", i) for i, n in enumerate(counts)]

    def people(self, step: int) -> list[int]:
        """Persons of a step, a person perhaps twice."""
        k = self._config.people_per_step
        return [self._order[step * k + i] for i in range(k)]

    def views(self, step: int, slot: int) -> tuple[int, list[int], np.ndarray]:
        """Person, pictures and backgrounds [views, 3] of one slot of a step."""
        place = step * self._config.people_per_step + slot
        person, count = self._order[place], self._config.views_per_step
        visit = place // self._people
        order = self._views[person]
        rng = generator(self._seed, "prior backgrounds", place)
        indices = [order[visit * count + i] for i in range(count)]
        return person, indices, rng.random((count, 3), dtype=np.float32)


def train_prior(
    head: HeadModel,
    people: list[Views],
    config: PriorConfig,
    seed: int,
    progress: Callable[[float, str], None],
    scratch: Path | None = None,
    perceptual: PerceptualDistance | None = None,
) -> tuple[GaussianPrior, Binding, list[Curve]]:
    """Train template, features, codes and decoder on rendered people.

    Args:
        head: the head model of all people. people: one `Views` per identity, with exact tracking.
        seed: seeds codes, features, view order and backgrounds.
        progress: called with (fraction, message).
        scratch: folder that outlives a kill: checkpoints, from which a training goes on to the
            very same result, and sample grids while it trains.
        perceptual: LPIPS, or None for its substitute; used where `config.lambda_lpips` is not 0.

    Returns:
        The prior (on the CPU), its binding, and the training curve.

    Under torchrun (or anything that sets its variables) the people of a step are shared by the
    processes; all of them return the same prior, and the first one writes to `scratch`.

    Source: GASP section 3.4; several views of one identity share one evaluation of the decoder.
    """
    with joined(choose_device(config.device)) as ranks:
        return _train(head, people, config, seed, progress, scratch, perceptual, ranks)


def _train(
    head: HeadModel,
    people: list[Views],
    config: PriorConfig,
    seed: int,
    progress: Callable[[float, str], None],
    scratch: Path | None,
    perceptual: PerceptualDistance | None,
    ranks: Ranks,
) -> tuple[GaussianPrior, Binding, list[Curve]]:
    """`train_prior` as one rank."""
    device, mine = ranks.device, ranks.share(config.people_per_step)
    binding = bind_prior(head, config)
    prior = GaussianPrior(
        initial_gaussians(head, binding),
        len(people),
        config.code_dim,
        config.width,
        config.depth,
        derive_seed(seed, "prior init"),
        config.code_std,
        config.feature_std,
    ).to(device)
    prior.template.requires_grad_(config.template)
    surface = make_surface(head, binding, config, device)
    early, late = image_losses(config, perceptual, device)
    batches = _Batches([len(views) for views in people], config, seed)

    def loss_at(step: int) -> tuple[Tensor, float]:
        image = early if step < config.lpips_from * config.steps else late
        slots = [batches.views(step, i) for i in mine]
        codes = prior.codes[torch.tensor([person for person, _, _ in slots], device=device)]
        batch = prior.decode(codes)
        loss = regulariser(surface, batch, config)
        loss = loss + config.lambda_code * codes.square().sum(-1).mean()
        total, quality = loss, 0.0
        share = 1 / (len(mine) * config.views_per_step)
        for local, (person, indices, backgrounds) in zip(zip(*(x.unbind() for x in batch)), slots):
            for index, background in zip(indices, torch.from_numpy(backgrounds)):
                term, psnr = picture_loss(
                    surface, LocalGaussians(*local), people[person], index, background, image
                )
                total = total + share * term
                quality += share * psnr
        return total, quality

    def used(step: int) -> Tensor:
        return torch.tensor(sorted(set(batches.people(step))), device=device)

    def watch(step: int) -> None:
        due = config.sample_steps and step % config.sample_steps == 0
        if scratch is not None and due and ranks.rank == 0:
            keep_samples(scratch / "samples" / f"step_{step:07d}.png", surface, prior, people)

    rates = config.template_rates()
    network = {f"decoder.{k}": v for k, v in prior.decoder.named_parameters()}
    groups: list[tuple[dict[str, Tensor], float]] = [
        ({f"template.{k}": prior.template[k]}, rates[k]) for k in rates if config.template
    ]
    groups.append(({**network, "features": prior.features}, config.rate))
    plan = as_plan(
        config=config,
        seed=seed,
        head=head.digest,
        people=[views.digest() for views in people],
        perceptual=perceptual is not None,
    )
    training = Training(
        "prior",
        config.steps,
        groups,
        config,
        Checkpoints(scratch, plan, writes=ranks.rank == 0),
        RowAdam(prior.codes, config.code_rate),
        ranks.mean,
        config.flat_fall,
    )
    training.run(ranks.together(LossModule(prior, loss_at)), progress, used, watch)
    return prior.to("cpu"), binding, training.curves()
