"""Training of a GaussianAvatars avatar on one subject's pictures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headworks.avatars.gaussian_avatars.avatar import GaussianAvatar
from headworks.avatars.gaussian_avatars.density import (
    Change,
    GradientRecord,
    carry_moments,
    densify,
    prunable,
    reset_opacities,
    spare_faces,
)
from headworks.avatars.gaussian_avatars.losses import position_loss, scale_loss
from headworks.avatars.gaussian_avatars.model import (
    FaceGaussians,
    face_frames,
    initial_gaussians,
    world_gaussians,
)
from headworks.avatars.gaussian_avatars.tuning import RATES as TUNING_RATES
from headworks.avatars.gaussian_avatars.tuning import Tuned
from headworks.avatars.losses import image_loss
from headworks.avatars.training import (
    Curve,
    Progress,
    Recorder,
    adam_tensors,
    psnr_of,
    read_checkpoint,
    restore_adam,
    training_background,
    write_checkpoint,
)
from headworks.avatars.views import Views, shuffled_forever, splat_view_with_meta
from headworks.heads.base import HeadModel
from headworks.seeds import derive_seed, generator

RATES = {
    "means": 5e-3, "log_scales": 1.7e-2, "quats": 1e-3, "sh_dc": 2.5e-3, "sh_rest": 1.25e-4,
    "opacities": 5e-2,
}  # fmt: skip
"""Adam rates of GaussianAvatars' arguments/__init__.py."""
MEANS_FALL = 1e-2
"""The rate of the means falls log-linearly to this share."""
PERCENT_DENSE = 0.01
"""Scale, in scene extents, up to which a Gaussian is cloned and from which on it is split."""
LARGEST = 0.1
"""Scale, in scene extents, above which a Gaussian is pruned once opacities have been reset."""
RESET_OPACITY = 0.01
CHECKPOINT = "gaussian_avatars.safetensors"


@dataclass(frozen=True)
class GaussianAvatarsConfig:
    """Numbers of GaussianAvatars; the paper's in brackets. Parts of the schedule are shares of it.

    Attributes:
        steps: training steps, one picture each [600 000].
        rate: factor on the Gaussians' Adam rates [1]; short runs need more.
        means_rate: factor on the means' rate besides [1].
        sh_degree: of the colours [3]; None: 3 for several cameras, else 0.
        sh_every: share of the steps after which a degree is added [1/600].
        densify_from, densify_until: shares between which Gaussians are added [1/60, 1].
        densify_every: share between two densifications [1/300].
        gradient_threshold: mean gradient of the 2D mean from which on a Gaussian is cloned or
            split [2e-4].
        max_gaussians: no more than so many [no limit].
        least_opacity: fainter Gaussians are pruned [0.005].
        reset_every: share between two resets of the opacities [1/10]; 0: none.
        lambda_position, lambda_scale: weights of the two losses [0.01, 1].
        extent: size of the scene in metres that scale thresholds and the means' rate refer to
            [from the cameras, which makes it 0 for a single static one].
        tune: also refine expression, pose and translation of the training times [yes].
        background: "white" or "random", that pictures are composited over [white or black].
        checkpoint_every: steps between two checkpoints in `scratch`.
    """

    steps: int = 800
    rate: float = 8.0
    means_rate: float = 1.0
    sh_degree: int | None = None
    sh_every: float = 0.1
    densify_from: float = 0.2
    densify_until: float = 0.7
    densify_every: float = 0.08
    gradient_threshold: float = 2e-4
    max_gaussians: int = 60_000
    least_opacity: float = 0.005
    reset_every: float = 0.0
    lambda_position: float = 0.01
    lambda_scale: float = 1.0
    extent: float = 1.0
    tune: bool = True
    background: str = "random"
    checkpoint_every: int = 500

    def degree(self, setting: str) -> int:
        """Degree of the colours' harmonics for a setting."""
        if self.sh_degree is not None:
            return self.sh_degree
        return 3 if setting == "multiview" else 0

    def period(self, share: float) -> int:
        """Steps of a share of the schedule, at least 1."""
        return max(1, round(share * self.steps))


def fit_gaussian_avatars(
    head: HeadModel,
    views: Views,
    setting: str,
    config: GaussianAvatarsConfig,
    seed: int,
    progress: Progress,
    scratch: Path | None = None,
) -> tuple[GaussianAvatar, list[Curve]]:
    """Fit a subject.

    Args:
        head: the head model of the tracking. views: the training pictures.
        setting: "photo", "monocular" or "multiview". seed: seeds view order, backgrounds, splits.
        progress: called with (fraction, message). scratch: folder where an interrupted fit left
            its state and the next one goes on, to the same result.

    Returns:
        The avatar and its training curve.

    Source: GaussianAvatars.
    """
    trainer = _Trainer(head, views, setting, config, seed, progress, scratch)
    while trainer.step < config.steps:
        trainer.advance()
    tuned = None if trainer.tuned is None else trainer.tuned.detach()
    local = FaceGaussians(*(x.detach() for x in trainer.local))
    avatar = GaussianAvatar(head, views.tracking.identity, local, trainer.binding, setting, tuned)
    return avatar, trainer.recorder.curves


class _Trainer:
    """One subject's training: picture, losses, Adam step, now and then more or fewer Gaussians."""

    def __init__(
        self,
        head: HeadModel,
        views: Views,
        setting: str,
        config: GaussianAvatarsConfig,
        seed: int,
        progress: Progress,
        scratch: Path | None,
    ) -> None:
        self.head, self.views, self.config, self.seed = head, views, config, seed
        self.step = 0
        self.max_degree = config.degree(setting)
        self.recorder = Recorder("gaussian_avatars", config.steps, progress)
        self.order = shuffled_forever(len(views), generator(seed, "gaussian avatars views"))
        self.backgrounds = generator(seed, "gaussian avatars backgrounds")
        self.centres = views.centres
        local, self.binding = initial_gaussians(head, self.max_degree, seed)
        self.tuned = Tuned.start(views.tracking, views.times) if config.tune else None
        self.record = GradientRecord.of(len(self.binding))
        self.checkpoint = None if scratch is None else scratch / CHECKPOINT
        self.recipe = _digest(head, views, setting, config, seed)
        self._begin(local)
        if self.checkpoint is not None:
            self._restore(self.checkpoint)

    def _begin(self, local: FaceGaussians) -> None:
        """Parameters and optimiser for these Gaussians."""
        self.params = {k: torch.nn.Parameter(x) for k, x in local._asdict().items()}
        groups: list[dict[str, Any]] = [
            {"name": k, "params": [x], "lr": RATES[k]} for k, x in self.params.items()
        ]
        if self.tuned is not None:
            groups += [
                {"name": f"tuned.{k}", "params": [self.tuned.tensor(k)], "lr": lr}
                for k, lr in TUNING_RATES.items()
            ]
        self.adam = torch.optim.Adam(groups, eps=1e-15)

    @property
    def local(self) -> FaceGaussians:
        """The Gaussians of this moment."""
        return FaceGaussians(**self.params)

    def advance(self) -> None:
        """One step."""
        c, step = self.config, self.step
        index = next(self.order)
        background = self._background()
        self._set_rates(step)
        vertices = self._vertices(index)
        frames = face_frames(vertices, self.head.faces)
        degree = min(self.max_degree, step // c.period(c.sh_every))
        gaussians = world_gaussians(self.local, self.binding, frames, self.centres[index], degree)
        pred, _, meta = splat_view_with_meta(
            gaussians, self.views.viewmats[index], self.views.Ks[index], self.views.size, background
        )
        means2d = meta["means2d"]
        means2d.retain_grad()
        visible = (meta["radii"][0] > 0).all(-1)
        target, _ = self.views.target(index, background)
        loss = image_loss(pred, target)
        loss = loss + c.lambda_position * position_loss(self.params["means"], visible)
        loss = loss + c.lambda_scale * scale_loss(self.params["log_scales"], visible)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.record.add(means2d.grad[0], visible, self.views.size)
        self.adam.step()
        self.recorder.add(step, float(loss.detach()), psnr_of(pred, target))
        self.step += 1
        self._control_density(frames.sizes.detach())
        if self.checkpoint is not None and self.step % c.checkpoint_every == 0:
            self._save(self.checkpoint)

    def _background(self) -> Tensor:
        return training_background(self.config.background, self.backgrounds)

    def _set_rates(self, step: int) -> None:
        c = self.config
        for group in self.adam.param_groups:
            name = group["name"]
            if name in RATES:
                group["lr"] = RATES[name] * c.rate
            if name == "means":
                fall = MEANS_FALL ** (step / max(c.steps, 1))
                group["lr"] *= c.means_rate * c.extent * fall

    def _vertices(self, index: int) -> Tensor:
        time = int(self.views.times[index])
        row = None if self.tuned is None else self.tuned.row(time)
        if self.tuned is None or row is None:
            return self.views.vertices[time]
        return self.tuned.vertices(self.head, self.views.tracking.identity, row)

    @torch.no_grad()
    def _control_density(self, sizes: Tensor) -> None:
        """Add and remove Gaussians where it is time to; `sizes`: [F] metres."""
        c, step = self.config, self.step
        start, end = c.period(c.densify_from), c.period(c.densify_until)
        resets = c.period(c.reset_every) if c.reset_every else 0
        if start < step <= end and step < c.steps and step % c.period(c.densify_every) == 0:
            room = max(0, c.max_gaussians - len(self.binding))
            change = densify(
                self.local, self.binding, sizes, self.record.mean(), c.gradient_threshold,
                PERCENT_DENSE * c.extent, room, self._split_rng(),
            )  # fmt: skip
            largest = LARGEST * c.extent if resets and step > resets else None
            prune = prunable(change.local, change.binding, sizes, c.least_opacity, largest)
            prune = spare_faces(prune, change.binding, len(self.head.faces))
            self._apply(change.keep(~prune))
        if resets and step % resets == 0 and step < end:
            reset_opacities(self.adam, self.params["opacities"], RESET_OPACITY)

    def _split_rng(self) -> torch.Generator:
        seed = derive_seed(self.seed, "gaussian avatars splits", self.step)
        return torch.Generator().manual_seed(seed)

    def _apply(self, change: Change) -> None:
        for name, value in change.local._asdict().items():
            self.params[name] = torch.nn.Parameter(value)
            carry_moments(self.adam, name, self.params[name], change.origin)
        self.binding = change.binding
        self.record = GradientRecord.of(len(change.binding))

    def _save(self, path: Path) -> None:
        tensors: dict[str, Tensor] = {**self.params, "binding": self.binding}
        tensors |= {"record.total": self.record.total, "record.seen": self.record.seen}
        tensors |= {f"adam.{k}": v for k, v in adam_tensors(self.adam).items()}
        if self.tuned is not None:
            tensors |= {f"tuned.{k}": v for k, v in self.tuned.tensors().items()}
        facts = {"step": self.step, "recipe": self.recipe, "recorder": self.recorder.state()}
        write_checkpoint(path, tensors, facts)

    def _restore(self, path: Path) -> None:
        """Go on where a checkpoint of the same recipe stopped."""
        found = read_checkpoint(path)
        if found is None or found[1]["recipe"] != self.recipe:
            return
        tensors, facts = found
        self.binding = tensors["binding"]
        self.record = GradientRecord(tensors["record.total"], tensors["record.seen"])
        if self.tuned is not None:
            for name in TUNING_RATES:
                self.tuned.tensor(name).data.copy_(tensors[f"tuned.{name}"])
        self._begin(FaceGaussians(*(tensors[name] for name in FaceGaussians._fields)))
        restore_adam(
            self.adam,
            {k.removeprefix("adam."): v for k, v in tensors.items() if k.startswith("adam.")},
        )
        self.recorder.restore(facts["recorder"])
        self.step = int(facts["step"])
        for _ in range(self.step):  # the generators go on where they were
            next(self.order)
            self._background()


def _digest(
    head: HeadModel, views: Views, setting: str, config: GaussianAvatarsConfig, seed: int
) -> str:
    """What a checkpoint must agree with."""
    facts = [head.digest, setting, asdict(config), seed, views.digest()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
