"""Adaptive density control with binding inheritance: new Gaussians live on their parent's face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from headworks.avatars.gaussian_avatars.model import FaceGaussians
from headworks.geometry import quat_to_matrix

SPLIT_SHRINK = 1.6
CHILDREN = 2


@dataclass
class GradientRecord:
    """How strongly the pictures since the last densification pull at each Gaussian.

    Attributes:
        total: [N] sum of the gradients' lengths with respect to the 2D means, in normalised device
            coordinates. seen: [N] in how many pictures each was visible.
    """

    total: Tensor
    seen: Tensor

    @staticmethod
    def of(count: int) -> GradientRecord:
        """An empty record of `count` Gaussians."""
        return GradientRecord(torch.zeros(count), torch.zeros(count))

    def add(self, means2d_grad: Tensor, visible: Tensor, size: tuple[int, int]) -> None:
        """Note one picture.

        Args:
            means2d_grad: [N, 2] per pixel. visible: bool [N]. size: (width, height) in pixels.
        """
        half = means2d_grad.new_tensor([size[0] / 2, size[1] / 2])
        length = (means2d_grad * half).square().sum(-1).sqrt()
        self.total[visible] += length[visible]
        self.seen[visible] += 1

    def mean(self) -> Tensor:
        """[N] mean over the pictures that saw each; 0 where none did."""
        return self.total / self.seen.clamp_min(1)


class Change(NamedTuple):
    """Gaussians after a change of their number.

    Attributes:
        local, binding: the Gaussians and their faces. origin: int64 [N], which former Gaussian
            each one is (its optimiser moments go on), or -1 for a new one (its start at zero).
    """

    local: FaceGaussians
    binding: Tensor
    origin: Tensor

    def keep(self, mask: Tensor) -> Change:
        """The Gaussians of a bool [N] mask."""
        local = FaceGaussians(*(x[mask] for x in self.local))
        return Change(local, self.binding[mask], self.origin[mask])


def densify(
    local: FaceGaussians,
    binding: Tensor,
    sizes: Tensor,
    gradient: Tensor,
    threshold: float,
    largest_clone: float,
    room: int,
    rng: torch.Generator,
) -> Change:
    """Clone small Gaussians that the pictures pull at, split large ones; faces are inherited.

    Args:
        local, binding: N Gaussians and their faces. sizes: [F] metres, current face sizes.
        gradient: [N], `GradientRecord.mean`. threshold: from which gradient on.
        largest_clone: metres; Gaussians with a larger scale are split. room: so many more
            Gaussians at most, those with the strongest gradients first. rng: places children.

    Source: 3D Gaussian Splatting section 5.2. Children are drawn with the local
        scales: the official code draws with world scales, in which they nearly coincide.
    """
    hot = gradient >= threshold
    if int(hot.sum()) > room:  # each adds one: a clone one copy, a split two for one
        order = torch.argsort(gradient, descending=True, stable=True)[:room]
        hot = torch.zeros_like(hot)
        hot[order] = True
    world = sizes[binding] * local.log_scales.exp().max(1).values
    clone = (hot & (world <= largest_clone)).nonzero()[:, 0]
    split = (hot & (world > largest_clone)).nonzero()[:, 0]
    keep = torch.ones(len(binding), dtype=torch.bool)
    keep[split] = False
    kept = keep.nonzero()[:, 0]
    parents = split.repeat(CHILDREN)
    index = torch.cat([kept, clone, parents])
    after = FaceGaussians(*(x[index].clone() for x in local))
    if len(parents):
        first = len(kept) + len(clone)
        scales = local.log_scales[parents].exp()
        draws = torch.randn(scales.shape, generator=rng) * scales
        shift = torch.einsum("nij,nj->ni", quat_to_matrix(local.quats[parents]), draws)
        after.means[first:] += shift
        after.log_scales[first:] = (scales / SPLIT_SHRINK).log()
    origin = torch.cat([kept, torch.full((len(clone) + len(parents),), -1)])
    return Change(after, binding[index], origin)


def prunable(
    local: FaceGaussians,
    binding: Tensor,
    sizes: Tensor,
    least_opacity: float,
    largest: float | None,
) -> Tensor:
    """Bool [N]: Gaussians that are too faint or (where `largest` metres is given) too large."""
    faint = torch.sigmoid(local.opacities) < least_opacity
    if largest is None:
        return faint
    return faint | (sizes[binding] * local.log_scales.exp().max(1).values > largest)


def spare_faces(prune: Tensor, binding: Tensor, faces: int) -> Tensor:
    """The pruning mask, less all candidates of any face that it would empty.

    Args:
        prune: bool [N]. binding: int64 [N]. faces: how many faces there are.

    Source: GaussianAvatars scene/gaussian_model.py, prune_points.
    """
    left = per_face(binding, faces) - per_face(binding[prune], faces)
    return prune & (left > 0)[binding]


def per_face(binding: Tensor, faces: int) -> Tensor:
    """Int64 [F]: how many Gaussians live on each face."""
    return torch.bincount(binding, minlength=faces)


def carry_moments(
    adam: torch.optim.Adam, name: str, new: torch.nn.Parameter, origin: Tensor
) -> None:
    """Put a parameter of another length into the optimiser's group `name`.

    Moments of Gaussians that were there before go on; those of new ones start at zero.

    Args:
        new: [N', ...]. origin: int64 [N'], see `Change`.
    """
    group = next(g for g in adam.param_groups if g["name"] == name)
    old = group["params"][0]
    state = adam.state.pop(old, {})
    for moment in ("exp_avg", "exp_avg_sq"):
        if moment in state:
            moved = state[moment][origin.clamp_min(0)].clone()
            moved[origin < 0] = 0
            state[moment] = moved
    group["params"][0] = new
    adam.state[new] = state


def reset_opacities(adam: torch.optim.Adam, opacities: torch.nn.Parameter, highest: float) -> None:
    """No opacity above `highest`; the optimiser forgets what it knew of opacities."""
    with torch.no_grad():
        opacities.clamp_(max=float(torch.tensor(highest).logit()))
    for moment in ("exp_avg", "exp_avg_sq"):
        if moment in adam.state[opacities]:
            adam.state[opacities][moment].zero_()
