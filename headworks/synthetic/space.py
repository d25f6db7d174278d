"""The mean head as a place: where appearance is laid out before it moves onto a person.

Everything that grows on or lies over a head (hair, clothes, spectacles, paint) is placed around
the mean procedural head, in millimetres, and then carried to a person by the displacement between
the two. Another head model takes part once its template is bent onto the mean head by the 68
landmarks that both have.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np
from numpy.typing import NDArray

from headworks.heads import HeadModel, load_head

Array = NDArray[np.float64]

# The lowest nodes lie inside the torso, which is open below.
_SDF_LOW, _SDF_HIGH, _SDF_STEP = (-276.0, -408.0, -168.0), (276.0, 216.0, 168.0), 7.0
_SDF_REACH = 20.0
_WARP_STEP, _WARP_NEAR = 16.0, 10
_OUTSIDE = ("skin", "scalp", "lips", "eyelids", "neck", "torso")


@dataclass(frozen=True, eq=False)
class Grid:
    """Values on a regular grid.

    Attributes:
        low: [3] mm of the first node. step: mm. values: float32 [X, Y, Z, D].
    """

    low: Array
    step: float
    values: NDArray[np.float32]

    def at(self, points: Array) -> Array:
        """Trilinear values at points [N, 3] mm, [N, D]."""
        flat = np.ascontiguousarray(points, np.float64).reshape(-1, 3)
        out = np.empty((len(flat), self.values.shape[3]))
        _trilinear(flat, self.low, self.step, self.values, out)
        return out.reshape(*np.shape(points)[:-1], -1)


@numba.njit(cache=True, nogil=True)
def sample(x, y, z, low, step, values, d):  # type: ignore[no-untyped-def]
    """Trilinear value of channel d, clamped at the border."""
    fx = min(max((x - low[0]) / step, 0.0), values.shape[0] - 1.001)
    fy = min(max((y - low[1]) / step, 0.0), values.shape[1] - 1.001)
    fz = min(max((z - low[2]) / step, 0.0), values.shape[2] - 1.001)
    i, j, k = int(fx), int(fy), int(fz)
    u, v, w = fx - i, fy - j, fz - k
    low_z = (values[i, j, k, d] * (1 - u) + values[i + 1, j, k, d] * u) * (1 - v) + (
        values[i, j + 1, k, d] * (1 - u) + values[i + 1, j + 1, k, d] * u
    ) * v
    high_z = (values[i, j, k + 1, d] * (1 - u) + values[i + 1, j, k + 1, d] * u) * (1 - v) + (
        values[i, j + 1, k + 1, d] * (1 - u) + values[i + 1, j + 1, k + 1, d] * u
    ) * v
    return low_z * (1 - w) + high_z * w


@numba.njit(cache=True, nogil=True)
def _trilinear(points, low, step, values, out):  # type: ignore[no-untyped-def]
    for i in range(len(points)):
        for d in range(values.shape[3]):
            out[i, d] = sample(points[i, 0], points[i, 1], points[i, 2], low, step, values, d)


def _nodes(low: Array, step: float, high: Array) -> tuple[Array, tuple[int, int, int]]:
    axes = [np.arange(low[d], high[d] + step / 2, step) for d in range(3)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    return nodes.reshape(-1, 3), (len(axes[0]), len(axes[1]), len(axes[2]))


@lru_cache(maxsize=1)
def body_distance() -> Grid:
    """Signed distance to the mean head's skin, mm, negative inside; without the auricles.

    Exact within 2 cm, then constant.
    """
    from scipy.ndimage import label
    from scipy.spatial import cKDTree

    head = load_head("procedural")
    points = head.template.numpy().astype(np.float64) * 1000
    faces = head.faces.numpy()[head.region_faces(*_OUTSIDE).numpy()]
    corner = points[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(normal, axis=1)
    normal /= np.maximum(area[:, None], 1e-9)
    samples, normals = [], []
    # Large triangles get more samples, so that the nearest sample lies nearly below a point.
    for least, count in ((0.0, 1), (25.0, 3), (100.0, 7)):
        steps = (np.arange(count) + 0.5) / count
        some = area >= least
        for u in steps:
            for v in steps:
                a, b = (u, v) if u + v <= 1 else (1 - u, 1 - v)
                bary = np.array([1 - a - b, a, b])
                samples.append((corner[some] * bary[:, None]).sum(1))
                normals.append(normal[some])
    surface, outward = np.concatenate(samples), np.concatenate(normals)
    low = np.array(_SDF_LOW)
    nodes, shape = _nodes(low, _SDF_STEP, np.array(_SDF_HIGH))
    distance, nearest = cKDTree(surface).query(nodes, distance_upper_bound=_SDF_REACH)
    known = np.flatnonzero(np.isfinite(distance))
    near = nearest[known]
    along = ((nodes[known] - surface[near]) * outward[near]).sum(1)
    value = np.full(len(nodes), np.nan)
    value[known] = np.where(distance[known] < 12, along, np.sign(along) * distance[known])
    # What the surface does not reach is outside where it hangs together with a corner of the grid.
    pieces, _ = label(np.isnan(value).reshape(shape))
    outside = (pieces == pieces[0, -1, 0]).ravel()
    value[np.isnan(value)] = np.where(outside, _SDF_REACH, -_SDF_REACH)[np.isnan(value)]
    return Grid(low, _SDF_STEP, value.reshape(*shape, 1).astype(np.float32))


@dataclass(frozen=True, eq=False)
class HeadSpace:
    """A head model laid over the mean head.

    Attributes:
        head: the model. canonical: [V, 3] mm, where its template's vertices lie on the mean head.
        nodes_low: [3] mm. shape: of the grid of nodes that carry displacements.
        near: int [M, K], share: [M, K] vertices that move each node.
    """

    head: HeadModel
    canonical: Array
    nodes_low: Array
    shape: tuple[int, int, int]
    near: NDArray[np.int64]
    share: Array

    def warp(self, rest: Array) -> Grid:
        """Displacement from the mean head to a person.

        Args:
            rest: [V, 3] mm, the person's neutral vertices.
        """
        moved = rest - self.canonical
        values = (moved[self.near] * self.share[..., None]).sum(1)
        return Grid(self.nodes_low, _WARP_STEP, values.reshape(*self.shape, 3).astype(np.float32))


@lru_cache(maxsize=2)
def head_space(name: str = "procedural") -> HeadSpace:
    """The space of a head model (`load_head` names it)."""
    from scipy.spatial import cKDTree

    head = load_head(name)
    template = head.template.numpy().astype(np.float64) * 1000
    canonical = template if head.name == "procedural" else _bent(head, template)
    skin = np.unique(head.faces.numpy()[head.region_faces(*_OUTSIDE).numpy()])
    low = np.array([-288.0, -432.0, -192.0])
    nodes, shape = _nodes(low, _WARP_STEP, np.array([288.0, 240.0, 192.0]))
    distance, near = cKDTree(canonical[skin]).query(nodes, k=_WARP_NEAR)
    share = 1 / (distance + 6) ** 2
    share /= share.sum(1, keepdims=True)
    return HeadSpace(head, canonical, low, shape, skin[near], share)


def _bent(head: HeadModel, template: Array) -> Array:
    """Template vertices bent onto the mean head: landmarks first, then the skull's outline."""
    from scipy.interpolate import RBFInterpolator

    ours = load_head("procedural")
    target = ours.landmarks(ours.template[None])[0].double().numpy() * 1000
    source = head.landmarks(head.template[None])[0].double().numpy() * 1000
    # The jaw's landmarks slide along the outline; only the chin and the ears say the same.
    keep = np.r_[0, 8, 16, 17:68]
    directions = _skull_directions()
    target = np.concatenate([target[keep], _outline(ours, directions)])
    source = np.concatenate([source[keep], _outline(head, directions)])
    bend = RBFInterpolator(source, target, smoothing=1.0, kernel="linear")
    return bend(template)


def _skull_directions() -> Array:
    """Directions over the skull, the back of the head and the neck, [N, 3]."""
    rows = []
    for elevation, azimuths in (
        (90, [0]), (65, range(0, 360, 60)), (40, range(0, 360, 30)),
        (15, range(60, 301, 30)), (-12, range(120, 241, 30)),
    ):  # fmt: skip
        for azimuth in azimuths:
            e, a = np.radians(elevation), np.radians(azimuth)
            rows.append((np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)))
    return np.array(rows)


def _outline(head: HeadModel, directions: Array) -> Array:
    """Where rays from between the ears leave the head, [N, 3] mm."""
    points = head.template.numpy().astype(np.float64) * 1000
    skin = np.unique(head.faces.numpy()[head.region_faces("skin", "scalp", "neck").numpy()])
    rays = points[skin] / np.linalg.norm(points[skin], axis=1, keepdims=True)
    out = []
    for direction in directions:
        nearest = np.argsort(-(rays @ direction))[:4]
        out.append(direction * np.linalg.norm(points[skin][nearest], axis=1).mean())
    return np.array(out)
