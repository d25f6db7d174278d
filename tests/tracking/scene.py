"""A head with known coefficients, its landmarks and its pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from headworks.cameras import Camera
from headworks.heads import HeadModel, load_head
from headworks.mesh import interpolate, rasterize_mesh
from headworks.tracking import rotations
from headworks.tracking.energy import Problem, State, Weights, predict
from headworks.tracking.landmark_fit import LandmarkRig, landmark_rig, make_problem
from headworks.tracking.tracker import View

SIDE = 160
FOCAL = 2.2 * SIDE


@dataclass(frozen=True)
class Scene:
    """Truth and what a detector would have said of it."""

    head: HeadModel
    rig: LandmarkRig
    problem: Problem
    truth: State
    landmarks: np.ndarray  # [T, 68, 3] pixels about the principal point, confidence 1


@cache
def procedural() -> HeadModel:
    return load_head("procedural")


@cache
def procedural_rig() -> LandmarkRig:
    return landmark_rig(procedural())


def scene(
    frames: int = 40, noise_px: float = 0.0, seed: int = 0, other: HeadModel | None = None
) -> Scene:
    """A head (the procedural one, or another) that turns, speaks and blinks once."""
    head = other or procedural()
    rig = procedural_rig() if other is None else landmark_rig(other)
    rng = np.random.default_rng(seed)
    time = np.arange(frames)
    turn = np.zeros((frames, 3))
    turn[:, 1] = 0.35 * np.sin(2 * np.pi * time / 40)
    turn[:, 0] = 0.12 * np.sin(2 * np.pi * time / 25 + 1)
    turn[:, 2] = 0.08 * np.cos(2 * np.pi * time / 31)
    expression = np.zeros((frames, len(head.expression_names)))
    expression[:, head.expression_index("jawOpen")] = 0.4 - 0.4 * np.cos(2 * np.pi * time / 20)
    blink = np.exp(-(((time - frames // 2) / 1.5) ** 2))
    for side in ("Left", "Right"):
        expression[:, head.expression_index(f"eyeBlink{side}")] = blink
    shift = np.stack([0.01 * np.sin(time / 9), 0.005 * np.cos(time / 7), 0.8 + 0 * time], -1)
    truth = State(
        identity=0.8 * rng.standard_normal(len(head.identity_basis)),
        focal=FOCAL,
        rotation=rotations.exp(turn) @ np.diag([1.0, -1.0, -1.0]),
        translation=shift,
        expression=expression,
        jaw=np.zeros(frames),
    )
    problem = make_problem(head, rig, FOCAL, np.ones(frames - 1, bool), 25.0, Weights())
    points = predict(problem, truth, rig.index(truth))
    points = points + noise_px * rng.standard_normal(points.shape)
    landmarks = np.concatenate([points, np.ones((frames, 68, 1))], -1)
    return Scene(head, rig, problem, truth, landmarks)


def pictures(of: Scene) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [T, H, W, 3] pictures with a skin full of texture, and alpha [T, H, W]."""
    head, truth = of.head, of.truth
    template = head.template.numpy()
    waves = [np.sin(template @ w) for w in np.random.default_rng(3).normal(0, 350, (6, 3))]
    colour = 0.5 + 0.18 * np.sum(waves, 0, keepdims=True).T / 2 + 0.0 * template
    rgb, alpha = [], []
    for t in range(len(truth)):
        rest = head.rest_vertices(
            torch.from_numpy(truth.identity).float()[None],
            torch.from_numpy(truth.expression[t]).float()[None],
        )[0].numpy()
        vertices = rest @ truth.rotation[t].T + truth.translation[t]
        K = np.array([[truth.focal, 0, SIDE / 2], [0, truth.focal, SIDE / 2], [0, 0, 1]])
        buffers = rasterize_mesh(vertices, head.faces.numpy(), Camera(np.eye(4), K, SIDE, SIDE))
        drawn = interpolate(buffers, colour.astype(np.float32), head.faces.numpy())
        covered = buffers.face_ids >= 0
        drawn[~covered] = 0.2
        rgb.append((np.clip(drawn, 0, 1) * 255).astype(np.uint8))
        alpha.append(np.where(covered, 255, 0).astype(np.uint8))
    return np.stack(rgb), np.stack(alpha)


def view(of: Scene) -> View:
    """The scene as the tracker's input."""
    rgb, alpha = pictures(of)
    landmarks = of.landmarks.copy()
    landmarks[..., :2] += SIDE / 2
    t = len(rgb)
    return View(
        rgb, alpha, landmarks, np.full((t, 2), SIDE / 2), np.ones(t), FOCAL,
        np.ones(t - 1, bool), 25.0,
    )  # fmt: skip


def turn_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles [T] between rotations, degrees."""
    return np.degrees(np.linalg.norm(rotations.log(a @ np.swapaxes(b, 1, 2)), axis=1))
