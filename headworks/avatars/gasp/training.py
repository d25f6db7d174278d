"""What prior and fit share: the loss of one picture, and a loop of Adam steps that can resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from headworks.avatars.binding import (
    Binding,
    LocalGaussians,
    gaussian_frames,
    initial_gaussians,
    place,
)
from headworks.avatars.gasp.checkpoint import Checkpoints
from headworks.avatars.gasp.config import TrainingConfig
from headworks.avatars.losses import ImageLoss, geometry_regulariser
from headworks.avatars.training import EVERY, Curve, loss_fall, psnr_of
from headworks.avatars.views import Views, splat_view
from headworks.heads.base import HeadModel
from headworks.seeds import generator

INNER_REGIONS = ("eyes", "teeth", "tongue", "mouth_inner")


def rate_factor(step: int, steps: int, decay_from: float = 0.7, decay_to: float = 0.1) -> float:
    """Learning-rate factor at a step: 1, then from a share of the steps on exponentially down."""
    share = (step / max(steps, 1) - decay_from) / max(1 - decay_from, 1e-9)
    return float(decay_to ** min(max(share, 0.0), 1.0))


def choose_device(name: str) -> torch.device:
    """The device that a config's `device` names; auto is CUDA where there is one."""
    from headworks.device import default_device

    return default_device() if name == "auto" else torch.device(name)


class Order:
    """Indices 0..count-1 in random order, pass after pass, each pass complete; any place at once.

    Where a training stands is its step alone, and so it resumes without a generator's state.
    """

    def __init__(self, count: int, seed: int, *purpose: object) -> None:
        self._count, self._seed, self._purpose = count, seed, purpose
        self._pass = -1
        self._indices = np.empty(0, np.int64)

    def __getitem__(self, place: int) -> int:
        number, rest = divmod(place, self._count)
        if number != self._pass:
            rng = generator(self._seed, *self._purpose, number)
            self._indices, self._pass = rng.permutation(self._count), number
        return int(self._indices[rest])


class Surface(NamedTuple):
    """The mesh as bound Gaussians see it, on the device of the training.

    Attributes:
        faces: int64 [F, 3]. binding: of N Gaussians. displacement_weights: [N].
        scale_limits: [N, 1] log scale from which on size costs.
    """

    faces: Tensor
    binding: Binding
    displacement_weights: Tensor
    scale_limits: Tensor


def make_surface(
    head: HeadModel, binding: Binding, config: TrainingConfig, device: torch.device
) -> Surface:
    """Everything about a binding that each step needs, computed once."""
    weights = displacement_weights(head, binding, config.scalp_weight, config.inner_weight)
    return Surface(
        head.faces.to(device),
        Binding(*(x.to(device) for x in binding)),
        weights.to(device),
        scale_limit(head, binding, config.scale_room).to(device),
    )


def displacement_weights(
    head: HeadModel, binding: Binding, scalp: float = 0.01, inner: float = 30.0
) -> Tensor:
    """[N]: how strongly each Gaussian is held on the mesh.

    Args:
        scalp: weight where hair leaves the mesh. inner: weight of eyes and mouth, which would
            show through closed lids and lips if they moved.
    """
    weights = torch.ones(len(binding.faces))
    weights[head.region_faces("scalp")[binding.faces]] = scalp
    weights[head.region_faces(*INNER_REGIONS)[binding.faces]] = inner
    return weights


def scale_limit(head: HeadModel, binding: Binding, room: float = 2.5) -> Tensor:
    """[N, 1]: log scale of a Gaussian `room` times the size of its texel."""
    start = initial_gaussians(head, binding).log_scales
    return start.max(1, keepdim=True).values + float(np.log(room))


def picture_loss(
    surface: Surface,
    local: LocalGaussians,
    views: Views,
    index: int,
    background: Tensor,
    loss: ImageLoss,
) -> tuple[Tensor, float]:
    """Loss of one picture, composited over the same background on both sides.

    Args:
        local: raw Gaussians [N, .]. views: pictures. index: which. background: [3] sRGB.

    Returns:
        The loss (differentiable in `local`) and the PSNR in dB.
    """
    device = surface.faces.device
    with torch.no_grad():
        vertices = views.vertices[views.times[index]].to(device)
        frames = gaussian_frames(vertices, surface.faces, surface.binding)
    target, alpha = (x.to(device) for x in views.target(index, background))
    pred, pred_alpha = splat_view(
        place(local, frames),
        views.viewmats[index].to(device),
        views.Ks[index].to(device),
        views.size,
        background.to(device),
    )
    return loss(pred, pred_alpha, target, alpha), psnr_of(pred, target)


def regulariser(surface: Surface, local: LocalGaussians, config: TrainingConfig) -> Tensor:
    """Equation (6), a mean over Gaussians and, for [B, N, .], over people."""
    return geometry_regulariser(
        local,
        surface.displacement_weights,
        surface.scale_limits,
        config.lambda_mean,
        config.lambda_scale,
    )


class RowAdam:
    """Adam whose rows keep their own moments and step counts, so that unused rows do not drift.

    Args:
        rows: [P, D] parameter. rate: Adam's.

    Source: GASP trains one identity code per person; dense Adam would go on moving the codes of
        people that are not in the batch by their momentum.
    """

    BETAS, EPS = (0.9, 0.999), 1e-15

    def __init__(self, rows: Tensor, rate: float) -> None:
        self.rows, self.rate = rows, rate
        self.first, self.second = torch.zeros_like(rows), torch.zeros_like(rows)
        self.count = torch.zeros(len(rows), device=rows.device)

    @torch.no_grad()
    def step(self, used: Tensor, factor: float) -> None:
        """One step of the rows `used` (int64, unique) at `factor` times the rate."""
        gradient = self.rows.grad
        assert gradient is not None
        g, (b1, b2) = gradient[used], self.BETAS
        self.count[used] += 1
        first = b1 * self.first[used] + (1 - b1) * g
        second = b2 * self.second[used] + (1 - b2) * g * g
        self.first[used], self.second[used] = first, second
        t = self.count[used, None].double()  # 1 - 0.999 has few digits in single precision
        first_share, second_share = ((1 - b**t).to(g.dtype) for b in (b1, b2))
        direction = (first / first_share) / ((second / second_share).sqrt() + self.EPS)
        self.rows[used] -= self.rate * factor * direction


@dataclass
class Training:
    """Adam steps of one stage with schedule, curve, progress and checkpoints.

    Attributes:
        stage: its name on the curve and of its checkpoint. steps: how many, at most.
        groups: (name -> parameter, rate), names unique over all groups.
        config: schedule and checkpoint interval. checkpoints: where they are kept.
        rows: parameter that is trained row by row, besides the groups.
        mean: means of numbers over all ranks, see `headworks.avatars.gasp.ranks`.
        flat_fall: once the loss falls by less than this share (`loss_fall`), the rates begin to
            fall, and the training ends when they have; 0: it takes all steps.
        plateau: the step at which that was, if it was.
    """

    stage: str
    steps: int
    groups: Sequence[tuple[Mapping[str, Tensor], float]]
    config: TrainingConfig
    checkpoints: Checkpoints
    rows: RowAdam | None = None
    mean: Callable[..., tuple[float, ...]] = lambda *values: values
    flat_fall: float = 0.0
    plateau: int | None = None

    def __post_init__(self) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(named.values()), "lr": rate} for named, rate in self.groups
        ]
        self.adam = torch.optim.Adam(groups, eps=1e-15) if groups else None
        self.named = {name: p for named, _ in self.groups for name, p in named.items()}
        self.points: list[tuple[float, float, float]] = []
        self.recent: list[tuple[float, ...]] = []
        self.step = 0
        stored = self.checkpoints.load(self.stage)
        if stored is not None:
            self._restore(stored)

    def run(
        self,
        loss_at: Callable[[int], tuple[Tensor, float]],
        report: Callable[[float, str], None],
        used: Callable[[int], Tensor] | None = None,
        watch: Callable[[int], None] | None = None,
    ) -> None:
        """Go on from where a checkpoint ended.

        Args:
            loss_at: loss and PSNR of a step. report: is told the share done and a text.
            used: rows of `rows` that a step trains. watch: called after every step.
        """
        c = self.config
        rates = [rate for _, rate in self.groups]
        begin, first = time.monotonic(), self.step
        while self.step < self.end:
            step = self.step
            factor = rate_factor(step, self.end, c.decay_from, c.decay_to)
            loss, psnr = loss_at(step)
            for p in self.named.values():
                p.grad = None
            if self.rows is not None:
                self.rows.rows.grad = None
            loss.backward()
            if self.adam is not None:
                for group, rate in zip(self.adam.param_groups, rates):
                    group["lr"] = rate * factor
                self.adam.step()
            if self.rows is not None and used is not None:
                self.rows.step(used(step), factor)
            self.recent.append(self.mean(float(loss.detach()), psnr))
            self.step = step + 1
            last = self.step == self.end
            if len(self.recent) == EVERY or last:
                loss_mean, psnr_mean = np.mean(self.recent, 0).tolist()
                self.points.append((float(self.step), loss_mean, psnr_mean))
                self.recent.clear()
                self._look_for_plateau()
                left = (time.monotonic() - begin) / (self.step - first) * (self.end - self.step)
                text = f"{self.stage} {self.step} of {self.end}, {psnr_mean:.1f} dB"
                report(self.step / self.end, f"{text}, {duration(left)} left")
            if watch is not None:
                watch(self.step)
            if last or (c.checkpoint_steps and self.step % c.checkpoint_steps == 0):
                self.checkpoints.save(self.stage, self._state())

    @property
    def end(self) -> int:
        """The last step: as many as were asked for, or fewer after a plateau."""
        if self.plateau is None:
            return self.steps
        return min(self.steps, math.ceil(self.plateau / max(self.config.decay_from, 1e-9)))

    def _look_for_plateau(self) -> None:
        """Note the step when the loss has stopped falling at full rates."""
        before_decay = self.step < self.config.decay_from * self.steps
        if self.flat_fall and self.plateau is None and before_decay:
            fall = loss_fall(self.curves(), self.step)
            if fall is not None and fall < self.flat_fall:
                self.plateau = self.step

    def curves(self) -> list[Curve]:
        """The training curve so far."""
        return [Curve(self.stage, int(s), loss, psnr) for s, loss, psnr in self.points]

    def _state(self) -> dict[str, Tensor]:
        state = {
            "step": torch.tensor(self.step),
            "plateau": torch.tensor(-1 if self.plateau is None else self.plateau),
            "points": torch.tensor(self.points, dtype=torch.float64).reshape(-1, 3),
            "recent": torch.tensor(self.recent, dtype=torch.float64).reshape(-1, 2),
        }
        for name, p in self.named.items():
            state[f"parameter.{name}"] = p.detach()
            assert self.adam is not None
            moments = self.adam.state[p]
            for key in ("exp_avg", "exp_avg_sq", "step"):
                state[f"{key}.{name}"] = moments[key]
        if self.rows is not None:
            state["parameter.rows"] = self.rows.rows.detach()
            for key in ("first", "second", "count"):
                state[f"rows.{key}"] = getattr(self.rows, key)
        return state

    @torch.no_grad()
    def _restore(self, state: Mapping[str, Tensor]) -> None:
        self.step, plateau = int(state["step"]), int(state["plateau"])
        self.plateau = None if plateau < 0 else plateau
        self.points = [(s, loss, psnr) for s, loss, psnr in state["points"].tolist()]
        self.recent = [(loss, psnr) for loss, psnr in state["recent"].tolist()]
        for name, p in self.named.items():
            p.copy_(state[f"parameter.{name}"])
            assert self.adam is not None
            self.adam.state[p] = {
                "step": state[f"step.{name}"].clone(),
                "exp_avg": state[f"exp_avg.{name}"].to(p.device),
                "exp_avg_sq": state[f"exp_avg_sq.{name}"].to(p.device),
            }
        if self.rows is not None:
            self.rows.rows.copy_(state["parameter.rows"])
            for key in ("first", "second", "count"):
                getattr(self.rows, key).copy_(state[f"rows.{key}"])


def flatness(curves: Sequence[Curve], decay_from: float) -> dict[str, float | None]:
    """How flat the loss of a finished training is: by which share it still fell.

    Returns:
        `fall_before_decay` at the full rates (a fifth of their steps against the fifth before),
        `fall_at_end` over the last tenth of all steps against the tenth before; see `loss_fall`.
    """
    last = curves[-1].step
    return {
        "fall_before_decay": loss_fall(curves, decay_from * last),
        "fall_at_end": loss_fall(curves, last, 0.1),
    }


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
