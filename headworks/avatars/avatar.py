"""The network-free avatar: bound Gaussians, their triangles and an identity, in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from headworks.avatars.binding import Binding, LocalGaussians, gaussian_frames, place
from headworks.avatars.views import splat_view
from headworks.cameras import Camera
from headworks.errors import ArtifactError
from headworks.gaussians import Gaussians
from headworks.heads import load_exact
from headworks.heads.base import HeadModel, HeadPose

FILE = "avatar.safetensors"


@dataclass(frozen=True)
class BoundAvatar:
    """An animatable head avatar that needs no network to be shown.

    Attributes:
        head: head model that carries it. identity: [Ki]. local: raw local Gaussians.
        binding: their triangles. method: which method made it. setting: from what kind of data.
    """

    head: HeadModel
    identity: Tensor
    local: LocalGaussians
    binding: Binding
    method: str
    setting: str

    def vertices(self, expression: Tensor, pose: HeadPose) -> Tensor:
        """Posed mesh [V, 3], metres, for an expression [Ke] and a pose (batch of 1)."""
        return self.head.vertices(self.identity[None], expression[None], pose)[0]

    @torch.no_grad()
    def gaussians(self, expression: Tensor, pose: HeadPose) -> Gaussians:
        """World Gaussians [N, .] for an expression [Ke] and a pose (batch of 1)."""
        frames = gaussian_frames(self.vertices(expression, pose), self.head.faces, self.binding)
        return place(self.local, frames)

    @torch.no_grad()
    def render(
        self,
        expression: Tensor,
        pose: HeadPose,
        camera: Camera,
        background: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One picture.

        Args:
            expression: [Ke]. pose: batch of 1. camera: the view. background: sRGB in [0, 1].

        Returns:
            rgb float32 [H, W, 3] in [0, 1], composited; alpha float32 [H, W].
        """
        rgb, alpha = splat_view(
            self.gaussians(expression, pose),
            torch.from_numpy(camera.viewmat.astype(np.float32)),
            torch.from_numpy(camera.K.astype(np.float32)),
            (camera.width, camera.height),
            torch.tensor(background),
        )
        return rgb.clamp(0, 1).numpy(), alpha.clamp(0, 1).numpy()

    def save(self, path: Path) -> dict[str, Any]:
        """Write the avatar as one safetensors file.

        Returns:
            Facts for the artifact's description (counts, method, head).
        """
        facts = {
            "method": self.method,
            "setting": self.setting,
            "head": self.head.name,
            "head_digest": self.head.digest,
            "gaussians": len(self.binding.faces),
            "color": "sigmoid sRGB",
            "quats": "wxyz, local",
            "units": "triangle sizes",
        }
        tensors = {k: v.detach().contiguous() for k, v in self.local._asdict().items()}
        tensors |= {
            "faces": self.binding.faces.to(torch.int32),
            "bary": self.binding.bary.contiguous(),
            "identity": self.identity.contiguous(),
        }
        save_file(tensors, path, metadata={"headworks": json.dumps(facts, sort_keys=True)})
        return facts


def load_bound_avatar(path: Path) -> BoundAvatar:
    """Read an avatar file.

    Raises:
        ArtifactError: not an avatar, or made for another version of its head model.
    """
    try:
        with safe_open(path, "pt") as file:
            facts: Mapping[str, Any] = json.loads((file.metadata() or {}).get("headworks", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise ArtifactError(f"{path}: not a readable avatar file ({error})") from None
    wanted = {"head", "head_digest", "method", "setting"}
    named = {"identity", "faces", "bary", *LocalGaussians._fields}
    if not isinstance(facts, dict) or not wanted <= set(facts) or not named <= set(tensors):
        raise ArtifactError(f"{path}: a safetensors file, but not an avatar of headworks")
    head = load_exact(facts["head"], facts["head_digest"], str(path))
    return BoundAvatar(
        head=head,
        identity=tensors["identity"],
        local=LocalGaussians(*(tensors[name] for name in LocalGaussians._fields)),
        binding=Binding(tensors["faces"].long(), tensors["bary"]),
        method=facts["method"],
        setting=facts["setting"],
    )
