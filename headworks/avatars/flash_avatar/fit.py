"""Training of a FlashAvatar avatar on one subject's pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headworks.avatars.avatar import tracked_state
from headworks.avatars.binding import Binding
from headworks.avatars.flash_avatar.avatar import FlashAvatar
from headworks.avatars.flash_avatar.losses import mouth_mask, picture_loss
from headworks.avatars.flash_avatar.model import (
    Carried,
    FlashGaussians,
    canonical_points,
    carry,
    head_weights,
    initial_gaussians,
    sample,
    world_gaussians,
)
from headworks.avatars.flash_avatar.network import (
    OffsetNetwork,
    condition,
    condition_size,
    encode,
)
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
from headworks.avatars.views import Views, shuffled_forever, splat_view
from headworks.heads.base import HeadModel
from headworks.seeds import derive_seed, generator

RATES = {
    "log_scales": 5e-3, "quats": 1e-3, "sh_dc": 2.5e-3, "sh_rest": 1.25e-4, "opacities": 5e-2,
}  # fmt: skip
"""Adam rates of FlashAvatar's arguments/__init__.py."""
NETWORK_RATE = 1e-4
CHECKPOINT = "flash_avatar.safetensors"
Perceptual = Callable[[Tensor, Tensor], Tensor]
"""Two images [1, 3, H, W] in [0, 1] -> distance []."""


@dataclass(frozen=True)
class FlashAvatarConfig:
    """Numbers of FlashAvatar; the official code's in brackets.

    Attributes:
        steps: training steps, one picture each [150 000].
        uv_size: texels per side of the UV map that Gaussians are sampled on [128].
        width: of the network's hidden layers [256].
        rate: factor on the Gaussians' Adam rates [1]; short runs need more.
        network_rate: Adam rate of the network [1e-4].
        final_gain: factor on the start of the network's last layer [1]; near 0, it starts at the
            mesh.
        fall: share of all rates that is left at the end, log-linearly over the last 30 % [1].
        sh_degree: of the colours [3]; None: 3 for several cameras, else 0.
        sh_every: share of the steps after which a degree is added [1/300].
        scale_mode: "additive" or "log_mult" [log_mult].
        lambda_lpips: weight of the perceptual distance [0.05]. lpips_from: share of the steps
            after which it joins in [0.1].
        background: "white" or "random", that pictures are composited over [green].
        checkpoint_every: steps between two checkpoints in `scratch`.
    """

    steps: int = 600
    uv_size: int = 80
    width: int = 64
    rate: float = 8.0
    network_rate: float = 2e-3
    final_gain: float = 0.02
    fall: float = 0.1
    sh_degree: int | None = None
    sh_every: float = 0.1
    scale_mode: str = "additive"
    lambda_lpips: float = 0.0
    lpips_from: float = 0.1
    background: str = "random"
    checkpoint_every: int = 500

    def degree(self, setting: str) -> int:
        """Degree of the colours' harmonics for a setting."""
        if self.sh_degree is not None:
            return self.sh_degree
        return 3 if setting == "multiview" else 0


def fit_flash_avatar(
    head: HeadModel,
    views: Views,
    setting: str,
    config: FlashAvatarConfig,
    seed: int,
    progress: Progress,
    scratch: Path | None = None,
    perceptual: Perceptual | None = None,
) -> tuple[FlashAvatar, list[Curve]]:
    """Fit a subject.

    Args:
        head: the head model of the tracking. views: the training pictures.
        setting: "photo", "monocular" or "multiview". seed: seeds network, view order, backgrounds.
        progress: called with (fraction, message). scratch: folder where an interrupted fit left
            its state and the next one goes on, to the same result. perceptual: distance of two
            images [1, 3, H, W], LPIPS in the official code; None leaves its term out.

    Returns:
        The avatar and its training curve.

    Source: FlashAvatar train.py.
    """
    trainer = _Trainer(head, views, setting, config, seed, progress, scratch, perceptual)
    while trainer.step < config.steps:
        trainer.advance()
    avatar = FlashAvatar(
        head,
        views.tracking.identity,
        FlashGaussians(*(x.detach() for x in trainer.raw)),
        trainer.binding,
        trainer.network.requires_grad_(False),
        config.scale_mode,
        setting,
    )
    return avatar, trainer.recorder.curves


class _Trainer:
    """One subject's training: picture, losses, Adam step."""

    def __init__(
        self,
        head: HeadModel,
        views: Views,
        setting: str,
        config: FlashAvatarConfig,
        seed: int,
        progress: Progress,
        scratch: Path | None,
        perceptual: Perceptual | None,
    ) -> None:
        self.head, self.views, self.config, self.perceptual = head, views, config, perceptual
        self.step = 0
        self.max_degree = config.degree(setting)
        self.recorder = Recorder("flash_avatar", config.steps, progress)
        self.order = shuffled_forever(len(views), generator(seed, "flash avatar views"))
        self.backgrounds = generator(seed, "flash avatar backgrounds")
        self.centres = views.centres
        self.binding: Binding = sample(head, config.uv_size)
        self.weights = head_weights(head, self.binding)
        points = canonical_points(head, views.tracking.identity, self.binding)
        self.encoded = encode(points)
        start = initial_gaussians(points, self.max_degree)
        self.raw = FlashGaussians(*(torch.nn.Parameter(x) for x in start))
        self.network = OffsetNetwork(
            condition_size(head), config.width, derive_seed(seed, "flash avatar network"),
            config.final_gain,
        )  # fmt: skip
        groups: list[dict[str, Any]] = [
            {"name": k, "params": [x], "lr": config.rate * RATES[k]}
            for k, x in self.raw._asdict().items()
        ]
        groups.append(
            {
                "name": "network",
                "params": list(self.network.parameters()),
                "lr": config.network_rate,
                "eps": 1e-8,
            }
        )
        self.base = [group["lr"] for group in groups]
        self.adam = torch.optim.Adam(groups, eps=1e-15)
        self.carried: dict[int, Carried] = {}
        self.mouths: dict[int, Tensor] = {}
        self.checkpoint = None if scratch is None else scratch / CHECKPOINT
        self.recipe = _digest(head, views, setting, config, seed, perceptual is not None)
        if self.checkpoint is not None:
            self._restore(self.checkpoint)

    def advance(self) -> None:
        """One step."""
        c, step, views = self.config, self.step, self.views
        index = next(self.order)
        background = self._background()
        share = (step / c.steps - 0.7) / 0.3
        for group, lr in zip(self.adam.param_groups, self.base):
            group["lr"] = lr * c.fall ** min(max(share, 0.0), 1.0)
        time = int(views.times[index])
        outputs = self.network(self.encoded, condition(*tracked_state(views.tracking, time)))
        degree = min(self.max_degree, step // max(1, round(c.sh_every * c.steps)))
        gaussians = world_gaussians(
            self.raw, outputs, self._carried(time), self.centres[index], degree, c.scale_mode
        )
        pred, _ = splat_view(
            gaussians, views.viewmats[index], views.Ks[index], views.size, background
        )
        target, alpha = views.target(index, background)
        loss = picture_loss(pred, target, self._mouth(index))
        if self.perceptual is not None and c.lambda_lpips and step >= c.lpips_from * c.steps:
            inside = ((x * alpha[..., None]).permute(2, 0, 1)[None] for x in (pred, target))
            loss = loss + c.lambda_lpips * self.perceptual(*inside)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()
        self.recorder.add(step, float(loss.detach()), psnr_of(pred, target))
        self.step += 1
        if self.checkpoint is not None and self.step % c.checkpoint_every == 0:
            self._save(self.checkpoint)

    def _background(self) -> Tensor:
        return training_background(self.config.background, self.backgrounds)

    def _carried(self, time: int) -> Carried:
        if time not in self.carried:
            tracking = self.views.tracking
            self.carried[time] = carry(
                self.head, tracking.identity, tracking.pose[time : time + 1],
                self.views.vertices[time], self.binding, self.weights,
            )  # fmt: skip
        return self.carried[time]

    def _mouth(self, index: int) -> Tensor:
        """Mask [H, W] of the mouth in a picture."""
        if index not in self.mouths:
            views = self.views
            time, camera = int(views.times[index]), int(views.cameras[index])
            view = views.tracking.camera(time, camera, *views.size)
            mask = mouth_mask(self.head, views.vertices[time], view)
            self.mouths[index] = torch.from_numpy(mask).float()
        return self.mouths[index]

    def _save(self, path: Path) -> None:
        tensors: dict[str, Tensor] = dict(self.raw._asdict())
        tensors |= {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"adam.{k}": v for k, v in adam_tensors(self.adam).items()}
        facts = {"step": self.step, "recipe": self.recipe, "recorder": self.recorder.state()}
        write_checkpoint(path, tensors, facts)

    def _restore(self, path: Path) -> None:
        """Go on where a checkpoint of the same recipe stopped."""
        found = read_checkpoint(path)
        if found is None or found[1]["recipe"] != self.recipe:
            return
        tensors, facts = found

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        for name, parameter in self.raw._asdict().items():
            parameter.data.copy_(tensors[name])
        self.network.load_state_dict(part("network."))
        restore_adam(self.adam, part("adam."))
        self.recorder.restore(facts["recorder"])
        self.step = int(facts["step"])
        for _ in range(self.step):  # the generators go on where they were
            next(self.order)
            self._background()


def _digest(
    head: HeadModel,
    views: Views,
    setting: str,
    config: FlashAvatarConfig,
    seed: int,
    perceptual: bool,
) -> str:
    """What a checkpoint must agree with."""
    facts = [head.digest, setting, asdict(config), seed, perceptual, views.digest()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
