"""Pictures of a painted toy head with exact tracking, for tests of avatar methods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from headworks.avatars.avatar import BoundAvatar
from headworks.avatars.binding import bind_uv, initial_gaussians
from headworks.avatars.views import Views, make_views
from headworks.cameras import intrinsics, orbit
from headworks.heads.base import HeadPose
from headworks.images import to_uint8
from headworks.tracks import Tracking
from tests.toyhead import toy_head

SIDE = 48


def painted_views(azimuths: Sequence[float], times: int, seed: int = 0) -> Views:
    """A ball painted with smooth colours, from several sides with random expressions.

    Args:
        azimuths: radians, one camera each. times: expressions.
    """
    head = toy_head()
    binding = bind_uv(head, 40)
    height = head.template[head.faces[binding.faces]].mean(1)[:, 1:2] / 0.1
    colours = torch.cat([0 * height - 0.6, 2 * height, 0.6 + height], 1)
    local = initial_gaussians(head, binding)._replace(colors=colours)
    person = BoundAvatar(head, torch.zeros(2), local, binding, "toy", "toy")
    rng = np.random.default_rng(seed)
    expression = torch.from_numpy(rng.random((times, 2)).astype(np.float32))
    Ks = np.broadcast_to(intrinsics(1.3 * SIDE, SIDE, SIDE), (times, len(azimuths), 3, 3))
    viewmats = np.stack([orbit(a, 0.1, 0.45) for a in azimuths])
    tracking = Tracking(
        "toy", head.digest, person.identity, expression, HeadPose.zeros(times),
        np.ones(times, bool), viewmats, Ks.copy(),
    )  # fmt: skip
    pairs = [(t, c) for t in range(times) for c in range(len(azimuths))]
    pictures = [
        person.render(*person.state(tracking, t), tracking.camera(t, c, SIDE, SIDE), (0, 0, 0))
        for t, c in pairs
    ]
    alpha = np.stack([to_uint8(a) for _, a in pictures])
    rgb = np.stack([to_uint8(c / np.maximum(a, 1e-3)[..., None]) for c, a in pictures])
    return make_views(head, tracking, rgb, alpha, pairs)
