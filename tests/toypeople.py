"""People for fast tests: the toy head painted with smooth colours, and pictures of them."""

from __future__ import annotations

import numpy as np
import torch

from headworks.avatars.avatar import BoundAvatar
from headworks.avatars.binding import bind_uv, initial_gaussians
from headworks.avatars.views import Views, make_views
from headworks.cameras import intrinsics, orbit
from headworks.heads.base import HeadPose
from headworks.images import to_uint8
from headworks.tracks import Tracking

SIZE = 48


def painted(head, hue: float) -> BoundAvatar:
    """A person: the toy head painted with a smooth colour that depends on `hue`."""
    binding = bind_uv(head, 40)
    local = initial_gaussians(head, binding)
    height = head.template[head.faces[binding.faces]].mean(1)[:, 1:2] / 0.1
    colors = torch.cat([3 * hue - 1.5 + 0 * height, 2 * height, 1.5 - 3 * hue + height], 1)
    return BoundAvatar(head, torch.zeros(2), local._replace(colors=colors), binding, "toy", "toy")


def capture(avatar, azimuths, count: int = 4, seed: int = 0) -> Views:
    """Pictures of a toy person from several sides with random expressions."""
    rng = np.random.default_rng(seed)
    expression = torch.from_numpy(rng.random((count, 2)).astype(np.float32))
    Ks = np.broadcast_to(intrinsics(1.3 * SIZE, SIZE, SIZE), (count, len(azimuths), 3, 3))
    viewmats = np.stack([orbit(a, 0.1, 0.45) for a in azimuths])
    tracking = Tracking(
        "toy", avatar.head.digest, avatar.identity, expression, HeadPose.zeros(count),
        np.ones(count, bool), viewmats, Ks.copy(),
    )  # fmt: skip
    pairs = [(t, c) for t in range(count) for c in range(len(azimuths))]
    pictures = []
    for t, c in pairs:
        camera = tracking.camera(t, c, SIZE, SIZE)
        pictures.append(avatar.render(expression[t], HeadPose.zeros(1), camera, (0, 0, 0)))
    alpha = np.stack([to_uint8(a) for _, a in pictures])
    rgb = np.stack([to_uint8(c / np.maximum(a, 1e-3)[..., None]) for c, a in pictures])
    return make_views(avatar.head, tracking, rgb, alpha, pairs)
