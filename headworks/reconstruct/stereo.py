"""Depth and normals of every camera's picture by PatchMatch stereo, coarse to fine, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.images import resize
from headworks.reconstruct import patches

# Angle between two views that measures depth best: wider hides, narrower is imprecise; radians.
_ANGLE, _LEAST_ANGLE, _MOST_ANGLE = np.radians(22), np.radians(7), np.radians(50)
_COARSEST = 64
# Rounds at the coarsest and at finer sizes.
_ROUNDS = (6, 2)
_TRIALS = 5


@dataclass(frozen=True)
class DepthMap:
    """What one camera's stereo found.

    Attributes:
        depth: float32 [H, W] metres along the optical axis; 0 outside the matte.
        normal: float32 [H, W, 3] in the camera's axes, toward the camera.
        cost: float32 [H, W], mean 1 - ZNCC of the best sources; 2 where nothing was measured.
    """

    depth: NDArray[np.float32]
    normal: NDArray[np.float32]
    cost: NDArray[np.float32]


def choose_sources(
    cameras: Sequence[Camera], middle: NDArray[np.floating], most: int
) -> list[list[int]]:
    """For each camera the others whose view measures depth best.

    Args:
        cameras: C. middle: [3] what they look at. most: sources per camera.

    Returns:
        Per camera up to `most` indices, the best first; none where all look from elsewhere.
    """
    rays = np.stack([np.asarray(middle) - c.centre for c in cameras])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    angle = np.arccos(np.clip(rays @ rays.T, -1, 1))
    chosen = []
    for c, row in enumerate(angle):
        order = np.argsort(np.abs(np.log(np.maximum(row, 1e-3) / _ANGLE)), kind="stable")
        fit = [int(i) for i in order if i != c and _LEAST_ANGLE < row[i] < _MOST_ANGLE]
        chosen.append(fit[: min(most, patches.MOST_SOURCES)])
    return chosen


def depth_maps(
    images: Sequence[NDArray[np.uint8]],
    mattes: Sequence[NDArray[np.uint8]],
    cameras: Sequence[Camera],
    points: NDArray[np.floating],
    sources: int = 5,
    best_of: int = 3,
    radius: int = 5,
    seed: int = 0,
    threads: int = 1,
) -> list[DepthMap | None]:
    """Depth maps of all cameras at one time.

    Each pixel of the matte holds a plane; planes spread from neighbour to neighbour and are varied
    by chance, and the one whose windows agree best with the other pictures stays. First at 64
    pixels, from the nearest known point, then at twice the size until all pixels are used.

    Args:
        images: C of uint8 [H, W, 3]. mattes: uint8 [H, W]. cameras: in pixels of the images.
        points: [N, 3] known points (features, landmarks), metres: where the search begins.
        sources: other pictures per camera. best_of: how many of them must agree.
        radius: of the window at full size, pixels; at smaller sizes it is 5, by every second pixel.
        seed: of the search. threads: cameras worked at once.

    Returns:
        Per camera its map, None where no other camera looks from a suitable side.

    Source: Bleyer, Rhemann and Rother, PatchMatch Stereo, 2011; Galliani, Lasinger and Schindler,
        Massively Parallel Multiview Stereopsis, 2015 (chessboard, several sources).
    """
    import cv2

    known = np.asarray(points, np.float64)
    middle = np.median(known, 0)
    chosen = choose_sources(cameras, middle, sources)
    sides = [max(cameras[0].width, cameras[0].height)]
    while sides[0] >= 2 * _COARSEST:
        sides.insert(0, sides[0] // 2)
    greys = [cv2.cvtColor(np.ascontiguousarray(i), cv2.COLOR_RGB2GRAY) for i in images]
    greys = [g.astype(np.float32) / np.float32(255) for g in greys]
    pyramid = []
    for side in sides:
        factor = side / sides[-1]
        size = (round(cameras[0].width * factor), round(cameras[0].height * factor))
        pyramid.append(
            (
                [c.resized(*size) for c in cameras],
                [np.ascontiguousarray(resize(g, *size)) for g in greys],
                [resize(m, *size) > 127 for m in mattes],
            )
        )

    def one(c: int) -> DepthMap | None:
        if not chosen[c]:
            return None
        return _coarse_to_fine(c, chosen[c], pyramid, known, min(best_of, len(chosen[c])),
                               radius, seed + 7919 * c)  # fmt: skip

    with ThreadPoolExecutor(max(1, threads)) as pool:
        return list(pool.map(one, range(len(cameras))))


def _coarse_to_fine(
    c: int, chosen: list[int], pyramid: list, points: NDArray[np.float64], best_of: int,
    radius: int, seed: int,
) -> DepthMap:  # fmt: skip
    depth, normal = _beginning(pyramid[0][0][c], pyramid[0][2][c], points)
    known = depth[depth > 0]
    low, high = (float(known.min()) - 0.10, float(known.max()) + 0.15) if len(known) else (0.1, 9.0)
    cost = np.full(depth.shape, 2.0, np.float32)
    for level, (cameras, greys, masks) in enumerate(pyramid):
        camera, grey, mask = cameras[c], greys[c], masks[c]
        height, width = grey.shape
        if level:
            index = np.ix_(
                np.minimum(np.arange(height) * depth.shape[0] // height, depth.shape[0] - 1),
                np.minimum(np.arange(width) * depth.shape[1] // width, depth.shape[1] - 1),
            )
            depth, normal = depth[index].copy(), normal[index].copy()
            depth, normal = _filled(depth, normal, mask)
        cost = np.full(grey.shape, 2.0, np.float32)
        relative = [cameras[s].viewmat @ np.linalg.inv(camera.viewmat) for s in chosen]
        inverse_K = np.linalg.inv(camera.K)
        A = np.stack([cameras[s].K @ m[:3, :3] @ inverse_K for s, m in zip(chosen, relative)])
        b = np.stack([cameras[s].K @ m[:3, 3] for s, m in zip(chosen, relative)])
        K = camera.K
        inverse = np.array([1 / K[0, 0], -K[0, 2] / K[0, 0], 1 / K[1, 1], -K[1, 2] / K[1, 1]])
        others = np.stack([greys[s] for s in chosen])
        rounds = _ROUNDS[min(level, 1)]
        # Wide and coarse while the search is coarse, small in the end: windows round off noses.
        window = (radius, 1) if level == len(pyramid) - 1 else (5, 2)
        # A pixel at the head, in metres, bounds what is searched at finer sizes.
        pixel = float(np.median(known)) / K[0, 0] if len(known) else 0.01
        for turn in range(rounds):
            reach = (0.06 if level == 0 else 3 * pixel) * 0.6**turn
            tilt = 0.6 * 0.7**turn if level == 0 else 0.3 * 0.7**turn
            for colour in (0, 1):
                patches.sweep(
                    grey, mask, others, A, b, inverse, depth, normal, cost, low, high,
                    *window, 0.15, best_of, colour, turn, reach, tilt, _TRIALS,
                    (seed + 104729 * level) % 2**31,
                )  # fmt: skip
    mask = pyramid[-1][2][c]
    return DepthMap(np.where(mask, depth, 0), normal, np.where(mask, cost, np.float32(2)))


def _beginning(
    camera: Camera, mask: NDArray[np.bool_], points: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Depth of the nearest known point in the picture, and normals toward the camera."""
    from scipy.spatial import cKDTree

    seen = camera.project(points)
    seen = seen[seen[:, 2] > 0]
    y, x = np.nonzero(mask)
    depth = np.zeros(mask.shape, np.float32)
    if len(seen) and len(y):
        tree = cKDTree(seen[:, :2])
        _, index = tree.query(np.stack([x + 0.5, y + 0.5], -1), min(3, len(seen)))
        depth[y, x] = np.median(seen[np.asarray(index).reshape(len(y), -1), 2], 1)
    ray = np.stack(np.meshgrid(np.arange(mask.shape[1]), np.arange(mask.shape[0])), -1) + 0.5
    ray = (ray - camera.K[:2, 2]) / np.diag(camera.K)[:2]
    normal = -np.concatenate([ray, np.ones((*mask.shape, 1))], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return depth, normal.astype(np.float32)


def _filled(
    depth: NDArray[np.float32], normal: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pixels of the mask that the coarser size did not have take their nearest neighbour's."""
    from scipy.ndimage import distance_transform_edt

    lacking = depth <= 0
    if lacking.any() and not lacking.all():
        row, column = distance_transform_edt(lacking, return_distances=False, return_indices=True)
        depth, normal = depth[row, column], normal[row, column]
    return np.where(mask, depth, 0).astype(np.float32), np.ascontiguousarray(normal)
