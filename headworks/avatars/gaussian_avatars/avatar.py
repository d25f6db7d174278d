"""The result of GaussianAvatars: Gaussians on the faces of a head, and an identity."""

from __future__ import annotations

from dataclasses import dataclass
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
from headworks.avatars.gaussian_avatars.model import FaceGaussians, face_frames, world_gaussians
from headworks.avatars.gaussian_avatars.tuning import Tuned
from headworks.gaussians import Gaussians
from headworks.heads.base import HeadModel, HeadPose
from headworks.splat.sh import degree_of_coefficients
from headworks.tracks import POSE_FIELDS, Tracking

METHOD = "gaussian_avatars"


@dataclass(frozen=True)
class GaussianAvatar(ViewDependentAvatar):
    """An avatar of GaussianAvatars; needs no network to be shown.

    Attributes:
        head: head model that carries it. identity: [Ki]. local: raw local Gaussians.
        binding: int64 [N], face of each. setting: from what kind of data. tuned: coefficients of
            the training times as fitting refined them, or None. method: "gaussian_avatars".
    """

    head: HeadModel
    identity: Tensor
    local: FaceGaussians
    binding: Tensor
    setting: str
    tuned: Tuned | None = None
    method: str = METHOD

    @property
    def sh_degree(self) -> int:
        """Degree of the colour's spherical harmonics."""
        return degree_of_coefficients(1 + self.local.sh_rest.shape[1])

    @torch.no_grad()
    def gaussians(
        self, expression: Tensor, pose: HeadPose, centre: Tensor | None = None
    ) -> Gaussians:
        """World Gaussians [N, .]; see `ViewDependentAvatar.gaussians`."""
        frames = face_frames(self.vertices(expression, pose), self.head.faces)
        return world_gaussians(self.local, self.binding, frames, centre, self.sh_degree)

    def state(self, tracking: Tracking, time: int) -> tuple[Tensor, HeadPose]:
        """As refined where `time` was a training time, else as tracked; see `Avatar.state`."""
        row = None if self.tuned is None else self.tuned.row(time)
        if self.tuned is None or row is None:
            return tracked_state(tracking, time)
        return self.tuned.at(row)

    def save(self, path: Path) -> dict[str, Any]:
        """Write the avatar as one safetensors file; see `Avatar.save`."""
        facts = {
            "method": self.method,
            "setting": self.setting,
            "head": self.head.name,
            "head_digest": self.head.digest,
            "gaussians": len(self.binding),
            "color": f"SH degree {self.sh_degree}, max(0, 0.5 + SH)",
            "quats": "wxyz, local",
            "units": "triangle sizes",
            "origin": "centroid",
        }
        tensors = self.local._asdict() | {
            "faces": self.binding.to(torch.int32),
            "identity": self.identity,
        }
        if self.tuned is not None:
            tensors["tuned.times"] = torch.from_numpy(self.tuned.times)
            tensors |= {f"tuned.{k}": v for k, v in self.tuned.tensors().items()}
        write_avatar(path, facts, tensors)
        return facts


def gaussian_avatar(file: AvatarFile) -> GaussianAvatar:
    """The avatar that a file of this method holds.

    Raises:
        ArtifactError: tensors are missing.
    """
    file.require("faces", *FaceGaussians._fields)
    t = file.tensors
    tuned = None
    if "tuned.times" in t:
        names = ("expression", *POSE_FIELDS)
        file.require(*(f"tuned.{name}" for name in names))
        tuned = Tuned.of(t["tuned.times"].numpy(), {name: t[f"tuned.{name}"] for name in names})
    return GaussianAvatar(
        head=file.head,
        identity=t["identity"],
        local=FaceGaussians(*(t[name] for name in FaceGaussians._fields)),
        binding=t["faces"].long(),
        setting=file.facts["setting"],
        tuned=tuned,
    )
