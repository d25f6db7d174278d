"""Point clouds of a moving head: points, normals, how sure they are, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera

if TYPE_CHECKING:
    import polars as pl

_NEIGHBOURS = 10
# Flat enough for a normal: the least extent against the middle one.
_FLAT = 0.35
# A plane through points further away than this, metres, says nothing of the surface here.
_REACH = 0.015


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points of several time steps, in order of time.

    Attributes:
        t: int32 [N]. points: float32 [N, 3] metres. normals: float32 [N, 3], of unit length,
            out of the surface; NaN where not known. colors: uint8 [N, 3] sRGB.
        confidence: float32 [N] in [0, 1]. views: int32 [N], how many cameras agree.
        dense: bool [N], from dense stereo (else a triangulated feature).
    """

    t: NDArray[np.int32]
    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    colors: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    views: NDArray[np.int32]
    dense: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, index: object) -> PointCloud:
        return PointCloud(*(getattr(self, f.name)[index] for f in fields(self)))


def empty_cloud() -> PointCloud:
    """No points."""
    three = np.zeros((0, 3), np.float32)
    none = np.zeros(0, np.int32)
    return PointCloud(
        none, three, three, np.zeros((0, 3), np.uint8), np.zeros(0, np.float32), none,
        np.zeros(0, bool),
    )  # fmt: skip


def join(clouds: Sequence[PointCloud]) -> PointCloud:
    """Several clouds as one, in order of time."""
    clouds = [*clouds, empty_cloud()]
    whole = PointCloud(
        *(np.concatenate([getattr(c, f.name) for c in clouds]) for f in fields(PointCloud))
    )
    return whole[np.argsort(whole.t, kind="stable")]


def in_mattes(
    points: NDArray[np.floating], mattes: Sequence[NDArray[np.uint8]], cameras: Sequence[Camera]
) -> NDArray[np.bool_]:
    """Which points lie in the matte of every camera that could see them (the visual hull).

    Args:
        points: [N, 3] metres. mattes: uint8 [H, W] per camera. cameras: as many.
    """
    kept = np.ones(len(points), bool)
    for matte, camera in zip(mattes, cameras, strict=True):
        x, y, z = camera.project(points).T
        column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        height, width = matte.shape
        within = (z > 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
        kept &= ~within | (matte[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)] > 0)
    return kept


def with_normals(cloud: PointCloud, centres: NDArray[np.floating]) -> PointCloud:
    """Normals of the points that have none, from the neighbours of their time step.

    Args:
        cloud: any. centres: [C, 3] camera centres; normals point to the cameras' side.

    Returns:
        The cloud, with the normal of the plane through the nearest points where these are near
        and flat; NaN stays where they are not.

    Source: Hoppe et al., Surface Reconstruction from Unorganized Points, 1992.
    """
    from scipy.spatial import cKDTree

    normals = cloud.normals.copy()
    towards = np.asarray(centres, np.float64)
    for t in np.unique(cloud.t):
        rows = np.flatnonzero(cloud.t == t)
        lacking = rows[~np.isfinite(normals[rows]).all(1)]
        if len(rows) < _NEIGHBOURS or not len(lacking):
            continue
        points = cloud.points[rows].astype(np.float64)
        tree = cKDTree(points)
        here = cloud.points[lacking].astype(np.float64)
        distance, index = tree.query(here, _NEIGHBOURS)
        near = points[index] - points[index].mean(1, keepdims=True)
        values, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", near, near))
        normal = vectors[..., 0]
        side = np.mean(towards[None] - here[:, None], 1)
        normal *= np.where((normal * side).sum(1) < 0, -1.0, 1.0)[:, None]
        flat = np.sqrt(np.maximum(values[:, 0], 0) / np.maximum(values[:, 1], 1e-18)) < _FLAT
        good = flat & (distance[:, -1] < _REACH)
        normals[lacking[good]] = normal[good]
    return PointCloud(
        cloud.t, cloud.points, normals, cloud.colors, cloud.confidence, cloud.views, cloud.dense
    )


def cloud_table(cloud: PointCloud) -> pl.DataFrame:
    """The table that `points.parquet` holds (docs/artifacts.md)."""
    import polars as pl

    x, y, z = cloud.points.T
    nx, ny, nz = cloud.normals.T
    r, g, b = cloud.colors.T
    return pl.DataFrame(
        {"t": cloud.t, "x": x, "y": y, "z": z, "nx": nx, "ny": ny, "nz": nz, "r": r, "g": g,
         "b": b, "confidence": cloud.confidence, "views": cloud.views, "dense": cloud.dense}
    )  # fmt: skip


def table_cloud(table: pl.DataFrame) -> PointCloud:
    """The cloud that such a table holds."""

    def columns(*names: str) -> NDArray:
        return np.stack([table[n].to_numpy() for n in names], -1)

    return PointCloud(
        table["t"].to_numpy(), columns("x", "y", "z"), columns("nx", "ny", "nz"),
        columns("r", "g", "b"), table["confidence"].to_numpy(), table["views"].to_numpy(),
        table["dense"].to_numpy(),
    )  # fmt: skip
