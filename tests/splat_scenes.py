"""Scenes and comparisons shared by the rasteriser's tests and benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from headworks.splat import rasterization

PARTS = ("means", "quats", "scales", "opacities", "colors", "viewmats")


class Scene(NamedTuple):
    """Inputs of `rasterization`, float32, one camera."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor

    def leaves(self, dtype: torch.dtype = torch.float32) -> Scene:
        """Copies that collect gradients (all but the intrinsics)."""
        copies = [t.detach().to(dtype).clone().requires_grad_() for t in self[:6]]
        return Scene(*copies, self.Ks.to(dtype))


def _hamilton(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    aw, ax, ay, az = a.T
    bw, bx, by, bz = b.T
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        1,
    )


def head(n: int, size: int, channels: int = 3, seed: int = 0) -> Scene:
    """A head-sized ellipsoid shell of flat Gaussians that cover 2 to 4 pixels sigma each."""
    rng = np.random.default_rng(seed)
    d = rng.normal(size=(n, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    axes = np.array([0.75, 1.0, 0.85])
    points = d * axes * (1 + 0.02 * rng.normal(size=(n, 1)))
    normal = d / axes
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    align = np.stack([1 + normal[:, 2], -normal[:, 1], normal[:, 0], 0 * normal[:, 0]], 1)
    align[normal[:, 2] < -0.9999] = [0, 1, 0, 0]
    align /= np.linalg.norm(align, axis=1, keepdims=True)
    angle = rng.uniform(0, 2 * np.pi, n) / 2
    spin = np.stack([np.cos(angle), 0 * angle, 0 * angle, np.sin(angle)], 1)
    focal, distance = 1.4 * size, 4.0
    tangential = np.exp(rng.uniform(np.log(2), np.log(4), (n, 2)))
    sigma_px = np.concatenate([tangential, 0.2 * tangential.mean(1, keepdims=True)], 1)
    opacities = rng.uniform(0.3, 0.95, n)
    colors = rng.uniform(0, 1, (n, channels))
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    view = np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, distance], [0, 0, 0, 1]])
    K = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    arrays = (
        points, _hamilton(align, spin), sigma_px * distance / focal, opacities, colors,
        view[None], K[None],
    )  # fmt: skip
    return Scene(*(torch.tensor(a, dtype=torch.float32) for a in arrays))


def garden(path: Path, camera: int = 0, quarter: bool = False) -> tuple[Scene, int, int]:
    """gsplat's test scene: points, colours, cameras of the file; the rest drawn (seed 0).

    Args:
        path: test_garden.npz of gsplat's repository. camera: 0 to 2.
        quarter: render at a quarter of the width and height.

    Returns:
        scene, width, height.
    """
    with np.load(path, allow_pickle=False) as file:
        means, colors = file["means3d"], file["colors"] / 255.0
        view, K = file["viewmats"][camera][None], file["Ks"][camera][None].astype(np.float64)
        width, height = int(file["width"]), int(file["height"])
    near = (np.abs(means) <= 2).all(1)
    means, colors = means[near], colors[near]
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(len(means), 4))
    scales = rng.random((len(means), 3)) * 0.0199 + 1e-4
    opacities = rng.random(len(means))
    if quarter:
        width, height = width // 4, height // 4
        K[:, :2] /= 4
    arrays = means, quats, scales, opacities, colors, view, K
    return Scene(*(torch.tensor(a, dtype=torch.float32) for a in arrays)), width, height


class Run(NamedTuple):
    """Image, alpha and the six gradients of one backward pass, in float64."""

    image: Tensor
    alpha: Tensor
    gradients: dict[str, Tensor]
    meta: dict[str, Any]


def run(scene: Scene, width: int, height: int, dtype: torch.dtype, **options: Any) -> Run:
    """Render and differentiate the outputs' sum with fixed Gaussian noise (seed 5)."""
    leaves = scene.leaves(dtype)
    options = {k: v.to(dtype) if isinstance(v, Tensor) else v for k, v in options.items()}
    image, alpha, meta = rasterization(*leaves, width, height, **options)
    generator = torch.Generator().manual_seed(5)
    noise = [
        torch.randn(t.shape, generator=generator, dtype=torch.float64).to(dtype)
        for t in (image, alpha)
    ]
    ((image * noise[0]).sum() + (alpha * noise[1]).sum()).backward()
    gradients = {
        name: torch.zeros_like(t).double() if t.grad is None else t.grad.double()
        for name, t in zip(PARTS, leaves)
    }
    return Run(image.detach().double(), alpha.detach().double(), gradients, meta)


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|, L2; 0 when both vanish."""
    return float((a - b).norm() / b.norm()) if b.norm() > 0 else float(a.norm())


def assert_parity(
    scene: Scene, width: int, height: int, tolerance: float = 1e-4, **options: Any
) -> None:
    """The kernels against the float64 oracle: bulk tolerance, a counted few threshold flips."""
    truth = run(scene, width, height, torch.float64, backend="torch", **options)
    ours = run(scene, width, height, torch.float32, backend="cpu", **options)
    for got, want in ((ours.image, truth.image), (ours.alpha, truth.alpha)):
        error = (got - want).abs() / want.abs().clamp_min(1.0)
        assert error.mean() <= 1e-6
        assert int((error.amax(-1) > 1e-4).sum()) <= max(2, 1e-4 * width * height)
        assert error.max() <= 5e-3
    for name in PARTS:
        limit = 1e-3 if name == "viewmats" else tolerance
        assert relative(ours.gradients[name], truth.gradients[name]) <= limit, name
