"""Latent directions: what changes along a prior's codes, added to a fitted avatar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.avatars import Avatar, BoundAvatar
from headworks.avatars.binding import Binding, Frames, LocalGaussians, refine
from headworks.avatars.gasp.decoder import GaussianPrior

PRINCIPAL = 4
"""How many principal axes of the codes there are at most."""


class Latents:
    """Directions in a prior's code space.

    An avatar that was fitted has left its prior's image: the change that the decoder makes of the
    mean code, raw value by raw value, is added to it.

    Args:
        prior, binding: as trained. head_digest: of the head model that carries the binding
            (`HeadModel.digest`). named: further directions, label -> [D] in code units.
    """

    def __init__(
        self,
        prior: GaussianPrior,
        binding: Binding,
        head_digest: str,
        named: Mapping[str, NDArray[np.floating]] | None = None,
    ) -> None:
        self._prior, self._binding, self._head_digest = prior, binding, head_digest
        codes = prior.codes.detach()
        self._centre = codes.mean(0)
        self.directions: dict[str, torch.Tensor] = {
            label: torch.as_tensor(np.asarray(step), dtype=codes.dtype)
            for label, step in (named or {}).items()
        }
        for number, axis in enumerate(_principal(codes - self._centre), 1):
            self.directions[f"principal axis {number}"] = axis
        self._known: tuple[torch.Tensor, torch.Tensor, Frames, Frames] | None = None
        with torch.no_grad():
            self._mean = prior.decode(self._centre)

    def fits(self, avatar: Avatar) -> bool:
        """Whether the avatar's Gaussians live on the head model that the prior's live on."""
        return isinstance(avatar, BoundAvatar) and avatar.head.digest == self._head_digest

    @torch.no_grad()
    def edited(self, avatar: BoundAvatar, steps: Mapping[str, float]) -> BoundAvatar:
        """The avatar moved along directions.

        A finer avatar takes the changes of the prior's nearest Gaussians, offsets in the world.

        Args:
            avatar: one that `fits`. steps: label -> standard deviations.
        """
        code = self._centre + sum(self.directions[name] * v for name, v in steps.items())
        moved = self._prior.decode(code)
        change = LocalGaussians(*(b - c for b, c in zip(moved, self._mean, strict=True)))
        parents, coarse, fine = self._carriers(avatar)
        means = torch.einsum("nij,nj->ni", coarse.rotations[parents], change.means[parents])
        means = torch.einsum("nji,nj->ni", fine.rotations, means)
        ratio = (coarse.sizes[parents] / fine.sizes).clamp_min(1e-6)
        own = avatar.local.detach()
        local = LocalGaussians(
            means=own.means + ratio[:, None] * means,
            log_scales=own.log_scales + change.log_scales[parents],
            quats=own.quats,
            colors=own.colors + change.colors[parents],
            opacities=own.opacities + change.opacities[parents],
        )
        return BoundAvatar(
            avatar.head, avatar.identity, local, avatar.binding, avatar.method, avatar.setting
        )

    def _carriers(self, avatar: BoundAvatar) -> tuple[torch.Tensor, Frames, Frames]:
        """For each Gaussian the prior's nearest, and the frames of both on the mean head."""
        if self._known is None or self._known[0] is not avatar.binding.faces:
            parents, _, coarse, fine = refine(avatar.head, self._binding, avatar.binding)
            self._known = (avatar.binding.faces, parents, coarse, fine)
        return self._known[1:]


def _principal(centred: torch.Tensor) -> Sequence[torch.Tensor]:
    """Principal axes of codes [P, D], each as long as the codes' standard deviation along it."""
    if len(centred) < 3:
        return []
    _, spread, axes = torch.linalg.svd(centred, full_matrices=False)
    lengths = spread / (len(centred) - 1) ** 0.5
    count = min(PRINCIPAL, len(centred) - 1)
    # The sign of an axis is free: the largest entry is made positive.
    signs = torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True)))
    return list((axes * signs * lengths[:, None])[:count])
