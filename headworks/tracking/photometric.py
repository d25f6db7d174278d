"""Photometric refinement: per-frame pose and expression against the pixels themselves.

Landmarks leave the head a pixel or two off, and say nothing of hair and shoulders. Here a coarse
Gaussian copy of the person, bound to the tracked mesh, is fitted to all frames together with
small corrections of the tracking (bundle adjustment by rendering). The copy is thrown away, the
corrections stay. Differentiable rendering by Gaussians gives what a mesh has not: gradients at
silhouettes and of hair that the mesh lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.avatars.binding import (
    LocalGaussians,
    bind_uv,
    gaussian_frames,
    initial_gaussians,
    place,
)
from headworks.avatars.views import splat_view
from headworks.geometry import axis_angle_to_matrix, matrix_to_axis_angle
from headworks.heads.base import HeadModel, HeadPose
from headworks.images import resize
from headworks.seeds import generator
from headworks.tracking.checkpoints import Checkpoints

UV_SIZE = 60
WARMUP_PASSES = 3
GAUSSIAN_RATES = {
    "means": 1e-2, "log_scales": 1e-2, "quats": 5e-3, "colors": 4e-2, "opacities": 3e-2,
}  # fmt: skip
CORRECTION_RATES = {
    "neck": 2.5e-3, "neck_translation": 4e-4, "rotation": 1.5e-3, "translation": 4e-4,
    "gaze": 2e-2, "expression": 2e-2,
}  # fmt: skip
"""Adam rates of the corrections: radians, metres, activations."""
SIGMAS = {
    "neck": 0.05, "neck_translation": 4e-3, "rotation": 0.03, "translation": 6e-3,
    "gaze": 0.3, "expression": 0.2,
}  # fmt: skip
"""How far a correction goes before its penalty equals PENALTY."""
BLINK_SIGMA = 0.6
"""Lids are a few pixels high for a landmark detector, and plain to see in the picture."""
PENALTY = 2e-3
SMOOTHNESS = 1e-2
MAX_PIXEL_STEP = 0.15
"""Residuals above this count linearly less: a moving shadow must not pull the head."""


@dataclass(frozen=True)
class PhotometricConfig:
    """Attributes: passes over all frames; side of the images that are compared, pixels."""

    passes: int = 20
    size: int = 128


_ROW_PARTS = ("values", "first", "second", "count")


class _RowAdam:
    """Adam on the rows of a [T, D] tensor; rows that were not visited do not move."""

    def __init__(self, values: Tensor, rate: float) -> None:
        self.values, self.rate = values, rate
        self.first = torch.zeros_like(values)
        self.second = torch.zeros_like(values)
        self.count = torch.zeros(len(values))

    def step(self, row: int, gradient: Tensor, factor: float) -> None:
        self.count[row] += 1
        n = float(self.count[row])
        self.first[row] = 0.8 * self.first[row] + 0.2 * gradient
        self.second[row] = 0.95 * self.second[row] + 0.05 * gradient.square()
        mean = self.first[row] / (1 - 0.8**n)
        spread = (self.second[row] / (1 - 0.95**n)).sqrt()
        self.values[row] -= factor * self.rate * mean / (spread + 1e-9)


def _corrected(
    pose: HeadPose, expression: Tensor, t: int, delta: dict[str, Tensor], bounds: Tensor
) -> tuple[Tensor, HeadPose]:
    """Expression [1, Ke] in bounds [2, Ke] and pose (batch of 1) of frame `t`, corrected."""
    here = pose[[t]]

    def turned(base: Tensor, change: Tensor) -> Tensor:
        return matrix_to_axis_angle(axis_angle_to_matrix(base + change))

    moved = replace(
        here,
        neck=turned(here.neck, delta["neck"]),
        rotation=turned(here.rotation, delta["rotation"]),
        neck_translation=here.neck_translation + delta["neck_translation"],
        translation=here.translation + delta["translation"],
        eyes=here.eyes + torch.nn.functional.pad(delta["gaze"], (0, 1)),
    )
    return (expression[t] + delta["expression"]).clamp(bounds[0], bounds[1])[None], moved


@dataclass(frozen=True)
class Shots:
    """Small pictures of all frames and cameras.

    Attributes:
        rgb: uint8 [T, C, H, W, 3]. alpha: uint8 [T, C, H, W]. Ks: [T, C, 3, 3] of their pixels.
        viewmats: [C, 4, 4]. used: bool [T, C], pictures worth comparing; some camera in each frame.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    Ks: NDArray[np.float64]
    viewmats: NDArray[np.float64]
    used: NDArray[np.bool_]


def shrink(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], Ks: NDArray[np.float64], side: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64]]:
    """One camera's pictures [T, H, W, 3], mattes and intrinsics [T, 3, 3] at width `side`."""
    height, width = rgb.shape[1:3]
    size = (side, max(1, round(side * height / width)))
    scale = np.diag([size[0] / width, size[1] / height, 1.0])
    return (
        np.stack([resize(x, *size) for x in rgb]),
        np.stack([resize(x, *size) for x in alpha]),
        scale @ Ks,
    )


def refine_photometric(
    head: HeadModel,
    identity: Tensor,
    expression: Tensor,
    pose: HeadPose,
    shots: Shots,
    linked: NDArray[np.bool_],
    passes: int,
    seed: int,
    progress: Callable[[float, str], None],
    store: Checkpoints | None = None,
) -> tuple[Tensor, HeadPose, list[float]]:
    """Correct expression and pose of every frame by rendering.

    Each pass looks at every frame through one of its cameras, in turn.

    Args:
        head: the head model. identity: [Ki]. expression: [T, Ke]. pose: batch of T.
        shots: what to compare with.
        linked: bool [T - 1], whether frame t + 1 follows frame t in time. passes: over all frames.
        seed: seeds frame order and backgrounds. progress: (fraction, message).
        store: where finished passes are kept.

    Returns:
        expression [T, Ke], pose (batch of T), and the mean loss of each pass.

    Source: our own; the idea is bundle adjustment by differentiable rendering, as photometric 3DMM
        trackers do with a mesh (Thies et al., Face2Face, section 4).
    """
    store = store or Checkpoints(None)
    frames_count = len(shots.rgb)
    size = (shots.rgb.shape[3], shots.rgb.shape[2])
    # Matrix products round by how memory is aligned: torch aligns its own, NumPy does not.
    K = torch.from_numpy(shots.Ks.astype(np.float32)).clone()
    views = torch.from_numpy(shots.viewmats.astype(np.float32)).clone()
    identity, expression = identity.clone(), expression.clone()
    pose = HeadPose(*(getattr(pose, name).clone() for name in HeadPose.__dataclass_fields__))

    binding = bind_uv(head, UV_SIZE, fine_regions=("lips", "eyes"))
    local = LocalGaussians(*(torch.nn.Parameter(x) for x in initial_gaussians(head, binding)))
    adam = torch.optim.Adam(
        [{"params": [x], "lr": GAUSSIAN_RATES[n]} for n, x in local._asdict().items()], eps=1e-15
    )
    base_rates = [g["lr"] for g in adam.param_groups]
    widths = dict.fromkeys(CORRECTION_RATES, 3) | {"gaze": 2, "expression": expression.shape[1]}
    sigmas = {n: torch.full((w,), SIGMAS[n]) for n, w in widths.items()}
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        if name in head.expression_names:
            sigmas["expression"][head.expression_index(name)] = BLINK_SIGMA
    signed = torch.tensor(head.signed(), dtype=torch.bool)
    bounds = torch.stack([torch.where(signed, -3.3, -0.3), torch.where(signed, 3.3, 1.3)])
    deltas = {n: torch.zeros(frames_count, w) for n, w in widths.items()}
    optimisers = {n: _RowAdam(deltas[n], rate) for n, rate in CORRECTION_RATES.items()}

    rng = generator(seed, "photometric")
    losses: list[float] = []
    kept = store.get("photometric")
    if kept is not None:
        losses = list(kept[1]["losses"])
        _restore(kept, rng, adam, optimisers)
    for run in range(len(losses), passes):
        warm = run < min(WARMUP_PASSES, passes // 3)
        fade = 0.1 ** max(0.0, (run / passes - 0.5) * 2)
        for group, rate in zip(adam.param_groups, base_rates):
            group["lr"] = rate * fade
        total = 0.0
        for t in rng.permutation(frames_count).tolist():
            rows = {n: d[t].clone().requires_grad_(not warm) for n, d in deltas.items()}
            e, p = _corrected(pose, expression, t, rows, bounds)
            vertices = head.vertices(identity[None], e, p)[0]
            background = torch.from_numpy(rng.random(3, dtype=np.float32))
            frames = gaussian_frames(vertices, head.faces, binding)
            cameras = np.flatnonzero(shots.used[t])
            c = int(cameras[run % len(cameras)])
            picture, coverage = splat_view(
                place(local, frames), views[c], K[t, c], size, background
            )
            a = torch.from_numpy(shots.alpha[t, c].astype(np.float32) / 255)
            target = torch.from_numpy(shots.rgb[t, c].astype(np.float32) / 255)
            target = target * a[..., None] + background * (1 - a[..., None])
            error = (picture - target).abs()
            data = torch.where(error < MAX_PIXEL_STEP, error, 0.5 * (error + MAX_PIXEL_STEP)).mean()
            loss = data + 0.1 * (coverage - a).abs().mean()
            loss = loss + 1e-3 * local.means.square().sum(-1).mean()
            if not warm:
                loss = loss + _penalty(rows, deltas, sigmas, t, linked)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            total += float(data.detach())
            if not warm:
                with torch.no_grad():
                    for name, optimiser in optimisers.items():
                        gradient = rows[name].grad
                        if gradient is not None:
                            optimiser.step(t, gradient, fade)
        losses.append(total / frames_count)
        _keep(store, losses, rng, adam, optimisers)
        progress((run + 1) / passes, f"pass {run + 1}, error {losses[-1]:.4f}")
    with torch.no_grad():
        corrected = [
            _corrected(pose, expression, t, {n: d[t] for n, d in deltas.items()}, bounds)
            for t in range(frames_count)
        ]
    fields = HeadPose.__dataclass_fields__
    joined = HeadPose(*(torch.cat([getattr(p, f) for _, p in corrected]) for f in fields))
    return torch.cat([e for e, _ in corrected]), joined, losses


def _keep(
    store: Checkpoints,
    losses: list[float],
    rng: np.random.Generator,
    adam: torch.optim.Adam,
    optimisers: dict[str, _RowAdam],
) -> None:
    """Everything that the next pass depends on."""
    if store.folder is None:
        return
    arrays: dict[str, NDArray[Any]] = {}
    for i, group in enumerate(adam.param_groups):
        parameter = group["params"][0]
        arrays[f"local{i}"] = parameter.detach().numpy()
        for name, value in adam.state[parameter].items():
            arrays[f"adam{i}_{name}"] = value.numpy()
    for name, own in optimisers.items():
        for part in _ROW_PARTS:
            arrays[f"{name}_{part}"] = getattr(own, part).numpy()
    store.put("photometric", arrays, {"losses": losses, "rng": rng.bit_generator.state})


def _restore(
    kept: tuple[dict[str, NDArray[Any]], dict[str, Any]],
    rng: np.random.Generator,
    adam: torch.optim.Adam,
    optimisers: dict[str, _RowAdam],
) -> None:
    arrays, facts = kept
    rng.bit_generator.state = facts["rng"]
    for i, group in enumerate(adam.param_groups):
        parameter = group["params"][0]
        parameter.data.copy_(torch.from_numpy(arrays[f"local{i}"]))
        prefix = f"adam{i}_"
        adam.state[parameter] = {
            key.removeprefix(prefix): torch.from_numpy(value)
            for key, value in arrays.items()
            if key.startswith(prefix)
        }
    for name, own in optimisers.items():
        for part in _ROW_PARTS:
            getattr(own, part).copy_(torch.from_numpy(arrays[f"{name}_{part}"]))


def _penalty(
    rows: dict[str, Tensor],
    deltas: dict[str, Tensor],
    sigmas: dict[str, Tensor],
    t: int,
    linked: NDArray[np.bool_],
) -> Tensor:
    """Corrections are small, and alike in neighbouring frames."""
    total = torch.zeros(())
    for name, row in rows.items():
        total = total + PENALTY * (row / sigmas[name]).square().mean()
        for other, joined in (
            (t - 1, t > 0 and linked[t - 1]),
            (t + 1, t < len(linked) and linked[t]),
        ):
            if joined:
                change = (row - deltas[name][other]) / sigmas[name]
                total = total + SMOOTHNESS * change.square().mean()
    return total
