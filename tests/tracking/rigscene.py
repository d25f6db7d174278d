"""The scene's head before several cameras."""

from __future__ import annotations

import numpy as np
import torch

from headworks.cameras import Camera, intrinsics
from headworks.mesh import interpolate, rasterize_mesh
from headworks.tracking.energy import predict
from headworks.tracking.rig_view import RigView
from tests.tracking.scene import Scene

SIZE = 192
K = intrinsics(4.2 * SIZE, SIZE, SIZE)
MIDDLE = np.array([0.0, 0.0, 0.8])
"""Where the scene's head stands in its first camera, which is the world."""


def cameras(angles: tuple[float, ...]) -> np.ndarray:
    """View matrices [C, 4, 4] of cameras that look at the head from the sides, radians."""
    out = []
    for angle in angles:
        turn = np.array(
            [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        )
        view = np.eye(4)
        view[:3, :3], view[:3, 3] = turn, MIDDLE - turn @ MIDDLE
        out.append(view)
    return np.stack(out)


def world_vertices(of: Scene, t: int) -> np.ndarray:
    """[V, 3] of the whole head at frame t."""
    rest = of.head.rest_vertices(
        torch.from_numpy(of.truth.identity).float()[None],
        torch.from_numpy(of.truth.expression[t]).float()[None],
    )[0].numpy()
    return rest @ of.truth.rotation[t].T + of.truth.translation[t]


def pictures(of: Scene, viewmat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [T, H, W, 3] and alpha [T, H, W] of one camera; a skin full of fine texture."""
    head = of.head
    template = head.template.numpy()
    waves = [np.sin(template @ w) for w in np.random.default_rng(3).normal(0, 450, (8, 3))]
    colour = (0.5 + 0.07 * np.sum(waves, 0))[:, None] + 0.0 * template
    rgb, alpha = [], []
    for t in range(len(of.truth)):
        camera = Camera(viewmat, K, SIZE, SIZE)
        buffers = rasterize_mesh(world_vertices(of, t), head.faces.numpy(), camera)
        drawn = interpolate(buffers, colour.astype(np.float32), head.faces.numpy())
        covered = buffers.face_ids >= 0
        drawn[~covered] = 0.2
        rgb.append((np.clip(drawn, 0, 1) * 255).astype(np.uint8))
        alpha.append(np.where(covered, 255, 0).astype(np.uint8))
    return np.stack(rgb), np.stack(alpha)


def rig_view(
    of: Scene, angles: tuple[float, ...], noise_px: float = 0.0, drawn: bool = False
) -> RigView:
    """The scene through cameras at angles; blank pictures unless drawn."""
    t, c = len(of.truth), len(angles)
    viewmats = cameras(angles)
    rng = np.random.default_rng(5)
    blank = np.zeros((t, SIZE, SIZE, 3), np.uint8)
    taken = [pictures(of, m) if drawn else (blank, blank[..., 0]) for m in viewmats]
    view = RigView(
        viewmats, np.tile(K, (t, c, 1, 1)), lambda i: taken[i][0], lambda i: taken[i][1],
        (SIZE, SIZE), np.ones((t, c, 68, 3)), np.ones(t - 1, bool), 25.0,
    )  # fmt: skip
    for i in range(c):
        own = view.lens(i).state(of.truth)
        marks = predict(of.problem, own, of.rig.index(own)) + SIZE / 2
        view.landmarks[:, i, :, :2] = marks + noise_px * rng.standard_normal(marks.shape)
    return view
