"""`Avatar`: what every method's result can do; `BoundAvatar`, the network-free one."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

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
from headworks.tracks import Tracking

FILE = "avatar.safetensors"
WHITE = (1.0, 1.0, 1.0)
Picture = tuple[NDArray[np.float32], NDArray[np.float32]]
"""rgb [H, W, 3] in [0, 1], composited; alpha [H, W] in [0, 1]."""


@runtime_checkable
class Avatar(Protocol):
    """An animatable head avatar, whichever method made it."""

    @property
    def head(self) -> HeadModel:
        """The head model that carries it."""

    @property
    def identity(self) -> Tensor:
        """[Ki] coefficients of the person; another person's tracking drives it with these."""

    @property
    def method(self) -> str:
        """Which method made it."""

    @property
    def setting(self) -> str:
        """From what kind of data: "photo", "monocular" or "multiview"."""

    def vertices(self, expression: Tensor, pose: HeadPose) -> Tensor:
        """Posed mesh [V, 3], metres, for an expression [Ke] and a pose (batch of 1)."""

    def gaussians(self, expression: Tensor, pose: HeadPose) -> Gaussians:
        """World Gaussians [N, .]; colours as they are without any dependence on the view."""

    def render(
        self,
        expression: Tensor,
        pose: HeadPose,
        camera: Camera,
        background: tuple[float, float, float] = WHITE,
    ) -> Picture:
        """One picture.

        Args:
            expression: [Ke]. pose: batch of 1. camera: the view. background: sRGB in [0, 1].

        Returns:
            rgb float32 [H, W, 3] in [0, 1], composited; alpha float32 [H, W].
        """

    def state(self, tracking: Tracking, time: int) -> tuple[Tensor, HeadPose]:
        """How to show a time of the capture it was made from: expression [Ke], pose (batch of 1).

        As tracked, unless fitting refined that time.
        """

    def save(self, path: Path) -> dict[str, Any]:
        """Write the avatar as one safetensors file.

        Returns:
            Facts for the artifact's description (counts, method, head).
        """


def tracked_state(tracking: Tracking, time: int) -> tuple[Tensor, HeadPose]:
    """Expression [Ke] and pose (batch of 1) of a time, as tracked."""
    return tracking.expression[time], tracking.pose[time : time + 1]


def picture_of(
    gaussians: Gaussians, camera: Camera, background: tuple[float, float, float]
) -> Picture:
    """World Gaussians as one camera sees them, without gradient; see `Avatar.render`."""
    with torch.no_grad():
        rgb, alpha = splat_view(
            gaussians,
            torch.from_numpy(camera.viewmat.astype(np.float32)),
            torch.from_numpy(camera.K.astype(np.float32)),
            (camera.width, camera.height),
            torch.tensor(background),
        )
    return rgb.clamp(0, 1).numpy(), alpha.clamp(0, 1).numpy()


class ViewDependentAvatar(ABC):
    """What avatars have in common whose colours depend on where they are seen from."""

    head: HeadModel
    identity: Tensor

    @abstractmethod
    def gaussians(
        self, expression: Tensor, pose: HeadPose, centre: Tensor | None = None
    ) -> Gaussians:
        """World Gaussians [N, .] for an expression [Ke] and a pose (batch of 1).

        Args:
            centre: [3] camera centre that sees the colours; None leaves their view-dependent part
                out.
        """

    def vertices(self, expression: Tensor, pose: HeadPose) -> Tensor:
        """Posed mesh [V, 3], metres, for an expression [Ke] and a pose (batch of 1)."""
        return self.head.vertices(self.identity[None], expression[None], pose)[0]

    def render(
        self,
        expression: Tensor,
        pose: HeadPose,
        camera: Camera,
        background: tuple[float, float, float] = WHITE,
    ) -> Picture:
        """One picture; see `Avatar.render`."""
        centre = torch.from_numpy(camera.centre.astype(np.float32))
        return picture_of(self.gaussians(expression, pose, centre), camera, background)


def write_avatar(path: Path, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """One avatar file; `facts` name at least method, setting, head and head_digest."""
    save_file(
        {name: value.detach().contiguous() for name, value in tensors.items()},
        path,
        metadata={"headworks": json.dumps(facts, sort_keys=True)},
    )


@dataclass(frozen=True)
class AvatarFile:
    """What an avatar file holds.

    Attributes:
        path: of the file. facts: method, setting, head, ... tensors: by name. head: the model.
    """

    path: Path
    facts: dict[str, Any]
    tensors: dict[str, Tensor]
    head: HeadModel

    def require(self, *names: str) -> None:
        """Raises ArtifactError unless all these tensors are there."""
        missing = set(names) - set(self.tensors)
        if missing:
            raise ArtifactError(
                f"{self.path}: a safetensors file, but not an avatar of headworks: no "
                f"{', '.join(sorted(missing))}; fit again"
            )


def read_avatar(path: Path) -> AvatarFile:
    """Read an avatar file of any method.

    Raises:
        ArtifactError: not an avatar, or made for another version of its head model.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {}).get("headworks", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise ArtifactError(f"{path}: not a readable avatar file ({error})") from None
    wanted = {"head", "head_digest", "method", "setting"}
    if not isinstance(facts, dict) or not wanted <= set(facts) or "identity" not in tensors:
        raise ArtifactError(f"{path}: a safetensors file, but not an avatar of headworks")
    head = load_exact(facts["head"], facts["head_digest"], str(path))
    return AvatarFile(path, facts, tensors, head)


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

    def render(
        self,
        expression: Tensor,
        pose: HeadPose,
        camera: Camera,
        background: tuple[float, float, float] = WHITE,
    ) -> Picture:
        """One picture; see `Avatar.render`."""
        return picture_of(self.gaussians(expression, pose), camera, background)

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
            "color": "sigmoid sRGB",
            "quats": "wxyz, local",
            "units": "triangle sizes",
        }
        tensors = self.local._asdict() | {
            "faces": self.binding.faces.to(torch.int32),
            "bary": self.binding.bary,
            "identity": self.identity,
        }
        write_avatar(path, facts, tensors)
        return facts


def load_bound_avatar(path: Path) -> BoundAvatar:
    """Read the file of a `BoundAvatar`.

    Raises:
        ArtifactError: not an avatar, one of another kind, or made for another version of its
            head model.
    """
    return bound_avatar(read_avatar(Path(path)))


def bound_avatar(file: AvatarFile) -> BoundAvatar:
    """The `BoundAvatar` that a file holds.

    Raises:
        ArtifactError: it holds another kind of avatar, or tensors that do not fit each other or
            the head model.
    """
    file.require("faces", "bary", *LocalGaussians._fields)
    t, faces = file.tensors, file.tensors["faces"]
    n = faces.numel()
    wanted: dict[str, tuple[int, ...]] = {
        "faces": (n,), "bary": (n, 3), "means": (n, 3), "log_scales": (n, 3), "quats": (n, 4),
        "colors": (n, 3), "opacities": (n,), "identity": (len(file.head.identity_basis),),
    }  # fmt: skip
    wrong = [name for name, shape in wanted.items() if tuple(t[name].shape) != shape]
    if n and (int(faces.min()) < 0 or int(faces.max()) >= len(file.head.faces)):
        wrong.append("faces")
    if wrong:
        raise ArtifactError(f"{file.path}: damaged: {wrong[0]} does not fit the rest; fit again")
    return BoundAvatar(
        head=file.head,
        identity=file.tensors["identity"],
        local=LocalGaussians(*(file.tensors[name] for name in LocalGaussians._fields)),
        binding=Binding(file.tensors["faces"].long(), file.tensors["bary"]),
        method=file.facts["method"],
        setting=file.facts["setting"],
    )
