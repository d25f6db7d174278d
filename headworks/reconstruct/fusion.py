"""Depth maps that agree become points: what one camera alone believes is left out."""

# mypy: allow-untyped-defs

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.reconstruct.clouds import PointCloud, empty_cloud
from headworks.reconstruct.stereo import DepthMap

# Two depths are of one surface point when they differ by less than this share of the depth.
_DEPTH_TOLERANCE = 0.0025
_NORMAL_TOLERANCE = math.cos(math.radians(50))


@njit(cache=True, nogil=True)
def _fuse(
    depth, normal, cost, colour, viewmats, Ks, most_cost, least_views, tolerance, facing,
    points, normals, colours, confidences, counts,
):  # fmt: skip
    """Fill the outputs; the number of points. Normals are in the world's axes."""
    views, height, width = depth.shape
    used = np.zeros((views, height, width), np.bool_)
    deltas = np.empty(views)
    total = 0
    for a in range(views):
        for y in range(height):
            for x in range(width):
                if used[a, y, x] or depth[a, y, x] <= 0 or cost[a, y, x] > most_cost:
                    continue
                d = depth[a, y, x]
                cx = (x + 0.5 - Ks[a, 0, 2]) / Ks[a, 0, 0] * d - viewmats[a, 0, 3]
                cy = (y + 0.5 - Ks[a, 1, 2]) / Ks[a, 1, 1] * d - viewmats[a, 1, 3]
                cz = d - viewmats[a, 2, 3]
                px = viewmats[a, 0, 0] * cx + viewmats[a, 1, 0] * cy + viewmats[a, 2, 0] * cz
                py = viewmats[a, 0, 1] * cx + viewmats[a, 1, 1] * cy + viewmats[a, 2, 1] * cz
                pz = viewmats[a, 0, 2] * cx + viewmats[a, 1, 2] * cy + viewmats[a, 2, 2] * cz
                nx, ny, nz = normal[a, y, x]
                sx, sy, sz = nx, ny, nz
                red, green, blue = (
                    1.0 * colour[a, y, x, 0],
                    1.0 * colour[a, y, x, 1],
                    1.0 * colour[a, y, x, 2],
                )
                weight = cost[a, y, x]
                count = 1
                deltas[0] = 0.0
                for b in range(views):
                    if b == a:
                        continue
                    qz = (
                        viewmats[b, 2, 0] * px
                        + viewmats[b, 2, 1] * py
                        + viewmats[b, 2, 2] * pz
                        + viewmats[b, 2, 3]
                    )
                    if qz <= 0:
                        continue
                    qx = (
                        viewmats[b, 0, 0] * px
                        + viewmats[b, 0, 1] * py
                        + viewmats[b, 0, 2] * pz
                        + viewmats[b, 0, 3]
                    )
                    qy = (
                        viewmats[b, 1, 0] * px
                        + viewmats[b, 1, 1] * py
                        + viewmats[b, 1, 2] * pz
                        + viewmats[b, 1, 3]
                    )
                    u = Ks[b, 0, 0] * qx / qz + Ks[b, 0, 2]
                    v = Ks[b, 1, 1] * qy / qz + Ks[b, 1, 2]
                    if u < 0 or v < 0 or u >= width or v >= height:
                        continue
                    j, i = int(u), int(v)
                    e = depth[b, i, j]
                    if e <= 0 or cost[b, i, j] > most_cost or abs(e - qz) > 3 * tolerance * qz:
                        continue
                    mx, my, mz = normal[b, i, j]
                    if mx * nx + my * ny + mz * nz < facing:
                        continue
                    # Signed distance of the point to the plane that camera b holds there.
                    fx = (j + 0.5 - Ks[b, 0, 2]) / Ks[b, 0, 0] * e - viewmats[b, 0, 3]
                    fy = (i + 0.5 - Ks[b, 1, 2]) / Ks[b, 1, 1] * e - viewmats[b, 1, 3]
                    fz = e - viewmats[b, 2, 3]
                    ox = (
                        viewmats[b, 0, 0] * fx
                        + viewmats[b, 1, 0] * fy
                        + viewmats[b, 2, 0] * fz
                        - px
                    )
                    oy = (
                        viewmats[b, 0, 1] * fx
                        + viewmats[b, 1, 1] * fy
                        + viewmats[b, 2, 1] * fz
                        - py
                    )
                    oz = (
                        viewmats[b, 0, 2] * fx
                        + viewmats[b, 1, 2] * fy
                        + viewmats[b, 2, 2] * fz
                        - pz
                    )
                    delta = mx * ox + my * oy + mz * oz
                    if abs(delta) > tolerance * qz:
                        continue
                    deltas[count] = delta
                    count += 1
                    sx, sy, sz = sx + mx, sy + my, sz + mz
                    red += colour[b, i, j, 0]
                    green += colour[b, i, j, 1]
                    blue += colour[b, i, j, 2]
                    weight += cost[b, i, j]
                    used[b, i, j] = True
                if count < least_views:
                    continue
                length = math.sqrt(sx * sx + sy * sy + sz * sz)
                shift = np.median(deltas[:count])
                normals[total, 0], normals[total, 1], normals[total, 2] = (
                    sx / length,
                    sy / length,
                    sz / length,
                )
                points[total, 0] = px + shift * sx / length
                points[total, 1] = py + shift * sy / length
                points[total, 2] = pz + shift * sz / length
                colours[total, 0], colours[total, 1], colours[total, 2] = (
                    red / count,
                    green / count,
                    blue / count,
                )
                mean = weight / count
                confidences[total] = max(0.0, 1.0 - mean / most_cost * 0.5) * (
                    1.0 - 0.5 ** (count - 1)
                )
                counts[total] = count
                total += 1
    return total


def fuse(
    maps: Sequence[DepthMap | None],
    images: Sequence[NDArray[np.uint8]],
    cameras: Sequence[Camera],
    t: int,
    least_views: int = 3,
    most_cost: float = 0.25,
) -> PointCloud:
    """Points on which several depth maps agree, each once, at the median of their planes.

    Args:
        maps: per camera, None where there is none. images: uint8 [H, W, 3]. cameras: as many.
        t: time step. least_views: cameras that must agree.
        most_cost: highest mean 1 - ZNCC of a pixel that counts.

    Returns:
        Dense points with normals; the confidence falls with the cost and grows with the views.

    Source: Schoenberger et al., Pixelwise View Selection for Unstructured Multi-View Stereo, 2016,
        section 3.6 (consistency and fusion).
    """
    known = [c for c, m in enumerate(maps) if m is not None]
    if len(known) < least_views:
        return empty_cloud()
    depth = np.stack([m.depth for m in maps if m is not None]).astype(np.float64)
    cost = np.stack([m.cost for m in maps if m is not None]).astype(np.float64)
    normal = np.stack(
        [m.normal.astype(np.float64) @ cameras[c].viewmat[:3, :3] for c, m in enumerate(maps)
         if m is not None]
    )  # fmt: skip
    most = int((depth > 0).sum())
    points, normals = np.empty((most, 3)), np.empty((most, 3))
    colours, confidences = np.empty((most, 3)), np.empty(most)
    counts = np.empty(most, np.int32)
    total = _fuse(
        depth, normal, cost, np.stack([images[c] for c in known]),
        np.stack([cameras[c].viewmat for c in known]), np.stack([cameras[c].K for c in known]),
        most_cost, least_views, _DEPTH_TOLERANCE,
        _NORMAL_TOLERANCE, points, normals, colours, confidences, counts,
    )  # fmt: skip
    return PointCloud(
        np.full(total, t, np.int32), points[:total].astype(np.float32),
        normals[:total].astype(np.float32), np.rint(colours[:total]).astype(np.uint8),
        confidences[:total].astype(np.float32), counts[:total].copy(), np.ones(total, bool),
    )  # fmt: skip
