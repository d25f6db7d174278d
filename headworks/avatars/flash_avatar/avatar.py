"""The result of FlashAvatar: Gaussians of a UV map, the network that moves them, an identity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headworks.avatars.avatar import (
    AvatarFile,
    ViewDependentAvatar,
    tracked_state,
    write_avatar,
)
from headworks.avatars.binding import Binding
from headworks.avatars.flash_avatar.model import (
    FlashGaussians,
    canonical_points,
    carry,
    head_weights,
    world_gaussians,
)
from headworks.avatars.flash_avatar.network import (
    OffsetNetwork,
    condition,
    condition_size,
    encode,
)
from headworks.errors import ArtifactError
from headworks.gaussians import Gaussians
from headworks.heads.base import HeadModel, HeadPose
from headworks.splat.sh import degree_of_coefficients
from headworks.tracks import Tracking

METHOD = "flash_avatar"


@dataclass(frozen=True)
class FlashAvatar(ViewDependentAvatar):
    """An avatar of FlashAvatar; every picture asks its network.

    Attributes:
        head: head model that carries it. identity: [Ki]. raw: its Gaussians. binding: where they
            sit. network: gives their offsets. scale_mode: see `model.world_gaussians`.
        setting: from what kind of data. method: "flash_avatar".
    """

    head: HeadModel
    identity: Tensor
    raw: FlashGaussians
    binding: Binding
    network: OffsetNetwork
    scale_mode: str
    setting: str
    method: str = METHOD

    @property
    def sh_degree(self) -> int:
        """Degree of the colour's spherical harmonics."""
        return degree_of_coefficients(1 + self.raw.sh_rest.shape[1])

    @cached_property
    def _encoded(self) -> Tensor:
        return encode(canonical_points(self.head, self.identity, self.binding))

    @cached_property
    def _weights(self) -> Tensor:
        return head_weights(self.head, self.binding)

    @torch.no_grad()
    def gaussians(
        self, expression: Tensor, pose: HeadPose, centre: Tensor | None = None
    ) -> Gaussians:
        """World Gaussians [N, .]; see `ViewDependentAvatar.gaussians`."""
        carried = carry(
            self.head, self.identity, pose, self.vertices(expression, pose), self.binding,
            self._weights,
        )  # fmt: skip
        outputs = self.network(self._encoded, condition(expression, pose))
        return world_gaussians(self.raw, outputs, carried, centre, self.sh_degree, self.scale_mode)

    def state(self, tracking: Tracking, time: int) -> tuple[Tensor, HeadPose]:
        """As tracked; see `Avatar.state`."""
        return tracked_state(tracking, time)

    def save(self, path: Path) -> dict[str, Any]:
        """Write the avatar as one safetensors file; see `Avatar.save`."""
        facts = {
            "method": self.method,
            "setting": self.setting,
            "head": self.head.name,
            "head_digest": self.head.digest,
            "gaussians": len(self.binding.faces),
            "color": f"SH degree {self.sh_degree}, max(0, 0.5 + SH)",
            "quats": "wxyz, axes of the head",
            "units": "metres",
            "scale_mode": self.scale_mode,
            "width": self.network.width,
        }
        tensors = self.raw._asdict() | {
            "faces": self.binding.faces.to(torch.int32),
            "bary": self.binding.bary,
            "identity": self.identity,
        }
        tensors |= {f"network.{k}": v for k, v in self.network.state_dict().items()}
        write_avatar(path, facts, tensors)
        return facts


def flash_avatar(file: AvatarFile) -> FlashAvatar:
    """The avatar that a file of this method holds.

    Raises:
        ArtifactError: tensors are missing, or the network does not fit the head model.
    """
    file.require("faces", "bary", *FlashGaussians._fields)
    weights = {
        name.removeprefix("network."): value
        for name, value in file.tensors.items()
        if name.startswith("network.")
    }
    try:
        network = OffsetNetwork(condition_size(file.head), int(file.facts["width"]), seed=0)
        network.load_state_dict(weights)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"{file.path}: its network does not fit the head model {file.head.name!r} ({error}); "
            "fit again"
        ) from None
    return FlashAvatar(
        head=file.head,
        identity=file.tensors["identity"],
        raw=FlashGaussians(*(file.tensors[name] for name in FlashGaussians._fields)),
        binding=Binding(file.tensors["faces"].long(), file.tensors["bary"]),
        network=network.requires_grad_(False),
        scale_mode=file.facts["scale_mode"],
        setting=file.facts["setting"],
    )
