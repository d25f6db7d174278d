"""`Views`: the training pictures of one subject, with the meshes that they show."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks.gaussians import Gaussians
from headworks.heads.base import HeadModel
from headworks.matting.foreground import own_colours
from headworks.tracks import Tracking


@dataclass(frozen=True)
class Views:
    """Pictures of one subject.

    Attributes:
        rgb: uint8 [M, H, W, 3], the person's own colours, free of the background where alpha is
            between 0 and 255. alpha: uint8 [M, H, W]. viewmats: [M, 4, 4]. Ks: [M, 3, 3].
        times: int64 [M], index into `tracking`. cameras: int64 [M].
        tracking: the subject's tracking. vertices: [T, V, 3] posed meshes, metres.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    viewmats: Tensor
    Ks: Tensor
    times: NDArray[np.int64]
    cameras: NDArray[np.int64]
    tracking: Tracking
    vertices: Tensor

    def __len__(self) -> int:
        return len(self.rgb)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.rgb.shape[2], self.rgb.shape[1]

    @property
    def centres(self) -> Tensor:
        """Camera centre of each picture, [M, 3] metres."""
        return -(self.viewmats[:, :3, :3].mT @ self.viewmats[:, :3, 3:])[..., 0]

    def digest(self) -> str:
        """SHA-256 over everything that training reads of them."""
        h = hashlib.sha256()
        for array in (self.rgb, self.alpha, self.times, self.cameras):
            h.update(np.ascontiguousarray(array).tobytes())
        for tensor in (self.viewmats, self.Ks, self.vertices):
            h.update(tensor.contiguous().numpy().tobytes())
        return h.hexdigest()

    def target(self, index: int, background: Tensor) -> tuple[Tensor, Tensor]:
        """One picture over a background.

        Args:
            index: which view. background: [3] sRGB.

        Returns:
            rgb [H, W, 3] in [0, 1] and alpha [H, W] in [0, 1].
        """
        alpha = torch.from_numpy(self.alpha[index].astype(np.float32) / 255)
        rgb = torch.from_numpy(self.rgb[index].astype(np.float32) / 255)
        return rgb * alpha[..., None] + background * (1 - alpha[..., None]), alpha


def make_views(
    head: HeadModel,
    tracking: Tracking,
    rgb: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    pairs: list[tuple[int, int]],
) -> Views:
    """Gather the (time, camera) pairs of a capture into `Views`, without the old background.

    Args:
        rgb: frames, uint8 [M, H, W, 3], and alpha: uint8 [M, H, W], in the order of `pairs`.
        pairs: M pairs of (t, c).
    """
    times = np.array([t for t, _ in pairs], np.int64)
    cameras = np.array([c for _, c in pairs], np.int64)
    with torch.no_grad():
        meshes = [
            tracking.vertices(head, np.arange(i, min(i + 16, len(tracking))))
            for i in range(0, len(tracking), 16)
        ]
    return Views(
        rgb=np.stack([own_colours(*picture) for picture in zip(rgb, alpha)]),
        alpha=alpha,
        viewmats=torch.from_numpy(tracking.viewmats[cameras].astype(np.float32)),
        Ks=torch.from_numpy(tracking.Ks[times, cameras].astype(np.float32)),
        times=times,
        cameras=cameras,
        tracking=tracking,
        vertices=torch.cat(meshes),
    )


def shuffled_forever(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Indices 0..count-1 in random order, again and again; each pass shows every index once."""
    while True:
        yield from (int(i) for i in rng.permutation(count))


def splat_view(
    gaussians: Gaussians, viewmat: Tensor, K: Tensor, size: tuple[int, int], background: Tensor
) -> tuple[Tensor, Tensor]:
    """Render Gaussians into one view, differentiably.

    Args:
        viewmat: [4, 4]. K: [3, 3]. size: (width, height). background: [3] sRGB.

    Returns:
        rgb [H, W, 3], alpha [H, W].
    """
    return splat_view_with_meta(gaussians, viewmat, K, size, background)[:2]


def splat_view_with_meta(
    gaussians: Gaussians, viewmat: Tensor, K: Tensor, size: tuple[int, int], background: Tensor
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """As `splat_view`, and the rasteriser's meta (means2d [1, N, 2], radii [1, N, 2], ...)."""
    from headworks.splat import rasterization

    renders, alphas, meta = rasterization(
        *gaussians,
        viewmats=viewmat[None],
        Ks=K[None],
        width=size[0],
        height=size[1],
        backgrounds=background[None],
        check_inputs=False,
    )
    return renders[0], alphas[0, ..., 0], meta
