"""What no picture shows: unseen Gaussians take the prior's shape and their neighbours' colour.

Adam moves a parameter by its full rate however small the gradient, so Gaussians that are hardly
ever visible come out of the refinement with noise. They are told apart by their visible footprint,
put back where the prior had them, and painted like the nearest seen ones of their region on
either side of the face.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from headworks.avatars.binding import Binding, LocalGaussians, gaussian_frames, place
from headworks.avatars.views import Views, splat_view
from headworks.heads.base import HeadModel

SEEN_PIXELS = 0.1
"""A Gaussian counts as seen when its unoccluded footprint over all views sums to this."""
HIDDEN_PIXELS = 1e-3
"""Below this a Gaussian is nowhere to be seen, and may move without changing any picture."""
FADED = 0.02
"""An opacity below this is the fit's doing: the Gaussian was in the way, hence seen."""
MAX_VIEWS = 32
NEIGHBOURS = 8
PAINTED_FROM = {
    "skin": ("skin", "eyelids"),
    "eyelids": ("skin", "eyelids"),
    "ears": ("ears", "skin"),
    "lips": ("lips",),
    "scalp": ("scalp",),
    "neck": ("neck",),
    "torso": ("torso",),
}
"""Regions whose unseen parts look like their seen parts. Eyes and mouth keep the prior's colour."""


def visible_pixels(
    head: HeadModel, local: LocalGaussians, binding: Binding, views: Views
) -> Tensor:
    """How much of each Gaussian shows in at most MAX_VIEWS evenly spaced training views.

    The gradient of the summed picture with respect to a Gaussian's colour is its transmittance
    times its alpha, summed over the pixels; divided by the opacity it is the footprint that
    nothing hides.

    Returns:
        [N] pixels, summed over the views; infinite where the fit made the Gaussian fade.
    """
    total = torch.zeros(len(binding.faces))
    count = min(MAX_VIEWS, len(views))
    for index in np.linspace(0, len(views) - 1, count).round().astype(int).tolist():
        with torch.no_grad():
            frames = gaussian_frames(views.vertices[views.times[index]], head.faces, binding)
            placed = place(local, frames)
        colors = placed.colors.detach().clone().requires_grad_(True)
        picture, _ = splat_view(
            placed._replace(colors=colors),
            views.viewmats[index],
            views.Ks[index],
            views.size,
            torch.zeros(3),
        )
        (gradient,) = torch.autograd.grad(picture.sum(), colors)
        total += gradient.mean(1)
    opacities = torch.sigmoid(local.opacities)
    return torch.where(opacities < FADED, torch.inf, total / opacities)


def fill_unseen(
    head: HeadModel,
    local: LocalGaussians,
    anchor: LocalGaussians,
    binding: Binding,
    views: Views,
) -> LocalGaussians:
    """Colour and size blend from seen to unseen; place and opacity change only where hidden.

    A hidden Gaussian that would come into view where the anchor has it was moved away by the fit
    for good reason, and stays where it is.

    Args:
        local: fitted. anchor: what the prior says. views: the pictures that were fitted.
    """
    pixels = visible_pixels(head, local, binding, views)
    seen = (pixels / SEEN_PIXELS).clamp(0, 1)
    painted = _painted(head, local, anchor, binding, seen)
    hidden = pixels < HIDDEN_PIXELS
    tried = visible_pixels(head, _blend(local, anchor, painted, seen, hidden), binding, views)
    return _blend(local, anchor, painted, seen, hidden & (tried < HIDDEN_PIXELS))


def _painted(
    head: HeadModel, local: LocalGaussians, anchor: LocalGaussians, binding: Binding, seen: Tensor
) -> Tensor:
    """Colours [N, 3] of unseen Gaussians from the nearest seen ones, mirrored ones included."""
    positions = gaussian_frames(head.template, head.faces, binding).origins.numpy()
    regions = {name: head.region_faces(name)[binding.faces] for name in PAINTED_FROM}
    colors = anchor.colors.clone()
    for name, sources in PAINTED_FROM.items():
        donors = torch.stack([regions[s] for s in sources]).any(0) & (seen >= 1)
        takers = regions[name] & (seen < 1)
        if not takers.any() or int(donors.sum()) < NEIGHBOURS:
            continue
        both_sides = np.concatenate([positions[donors], positions[donors] * [-1, 1, 1]])
        palette = local.colors[donors].repeat(2, 1)
        _, nearest = cKDTree(both_sides).query(positions[takers], k=NEIGHBOURS)
        colors[takers] = palette[torch.from_numpy(nearest)].mean(1)
    return colors


def _blend(
    local: LocalGaussians,
    anchor: LocalGaussians,
    painted: Tensor,
    seen: Tensor,
    hidden: Tensor,
) -> LocalGaussians:
    """Fitted values where seen [N] is 1; the anchor's place, opacity and turn where hidden [N]."""
    share = seen[:, None]
    return LocalGaussians(
        means=torch.where(hidden[:, None], anchor.means, local.means),
        log_scales=share * local.log_scales + (1 - share) * anchor.log_scales,
        quats=torch.where(hidden[:, None], anchor.quats, local.quats),
        colors=share * local.colors + (1 - share) * painted,
        opacities=torch.where(hidden, anchor.opacities, local.opacities),
    )
