"""Mesh-guided stereo: what one camera saw, drawn through the mesh into another, is found there.

Where the mesh is off along the view, the drawing of one camera's picture in another camera is
shifted against what that camera saw. The shift of a textured point and its place in the first
camera give the point in space; its surface point on the mesh shall lie on the plane through it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.mesh import MeshBuffers, interpolate, rasterize_mesh
from headworks.tracking.flow import corners, lucas_kanade
from headworks.tracking.rig_view import RigView
from headworks.tracking.terms import SpacePoints, State
from headworks.tracking.texture import FaceSurface, sample

Array = NDArray[np.float64]
_POINTS, _SPACING_PX = 250, 3.0
_HIGH_PASS_M, _WINDOW_M = 0.012, 0.010
_REACH_M = 0.015
_LEAST_COSINE = 0.45
_BASELINE = (0.12, 0.9)  # least and most angle between two views, radians
_SIGMA_M = 0.0015
_SKEW_M = 0.002  # rays that pass each other by more do not show one point
_DEPTH_TOLERANCE_M = 0.004
_NEIGHBOURS = 2


@dataclass(frozen=True)
class _Drawn:
    """The mesh in one camera: z-buffer, pixels of vertices, how squarely faces are seen [F]."""

    camera: Camera
    buffers: MeshBuffers
    cosine: Array


def stereo_planes(
    surface: FaceSurface,
    usable: NDArray[np.bool_],
    state: State,
    view: RigView,
    at: NDArray[np.int64],
    offset: int,
) -> SpacePoints:
    """Planes from pairs of neighbouring cameras.

    Args:
        surface: the head. usable: bool [F], faces that hold still enough (skin, no eyes).
        state: of the frames `at`, in the world. view: what was seen. at: frame numbers.
        offset: where the surface begins in the point model.

    Returns:
        Point-to-plane observations of the surface's vertices; weight 1 where found.
    """
    greys = [_high_passed(view, c, state, at) for c in range(view.cameras)]
    rows: list[tuple[Array, Array, NDArray[np.int64]]] = []
    for i in range(len(at)):
        vertices = surface.vertices(state, i)
        drawn = [
            _draw(surface, vertices, view.viewmats[c], view.Ks[at[i], c], view.size)
            for c in range(view.cameras)
        ]
        centre = state.translation[i]
        found: list[tuple[Array, Array, NDArray[np.int64]]] = []
        for a in range(view.cameras):
            for b in _partners(view, a, centre):
                found.append(
                    _pair(surface, usable, vertices, drawn[a], drawn[b], greys[a][i], greys[b][i])
                )
        rows.append(_joined(found))
    return _padded(rows, offset)


_NONE = (np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, np.int64))


def _joined(
    found: list[tuple[Array, Array, NDArray[np.int64]]],
) -> tuple[Array, Array, NDArray[np.int64]]:
    if not found:
        return _NONE
    places, normals, vertices = zip(*found)
    return np.concatenate(places), np.concatenate(normals), np.concatenate(vertices)


def _padded(rows: list[tuple[Array, Array, NDArray[np.int64]]], offset: int) -> SpacePoints:
    """Frames with different numbers of points as one array; the rest has no weight."""
    t, n = len(rows), max((len(r[2]) for r in rows), default=0)
    index = np.full((t, n), offset, np.int64)
    target, normal = np.zeros((t, n, 3)), np.zeros((t, n, 3))
    weight = np.zeros((t, n))
    for i, (place, direction, vertex) in enumerate(rows):
        k = len(vertex)
        index[i, :k], target[i, :k], normal[i, :k] = offset + vertex, place, direction
        weight[i, :k] = 1.0
    return SpacePoints(index, target, weight, np.full(t, _SIGMA_M), normal)


def _partners(view: RigView, a: int, centre: Array) -> list[int]:
    """The cameras beside camera a that look at the head from elsewhere, nearest first."""
    rays = np.stack([m[:3, :3].T @ m[:3, 3] for m in view.viewmats]) + centre
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    angle = np.arccos(np.clip(rays @ rays[a], -1, 1))
    order = [b for b in np.argsort(angle) if b != a]
    return [int(b) for b in order if _BASELINE[0] < angle[b] < _BASELINE[1]][:_NEIGHBOURS]


def _high_passed(view: RigView, c: int, state: State, at: NDArray[np.int64]) -> NDArray[np.float32]:
    """Camera c's grey frames without slow shading, [T, H, W]."""
    import cv2

    rgb = view.rgb(c)
    depth = view.lens(c).state(state).translation[:, 2]
    out = []
    for i, frame in enumerate(at):
        grey = cv2.cvtColor(np.ascontiguousarray(rgb[frame]), cv2.COLOR_RGB2GRAY)
        sigma = max(2.0, _HIGH_PASS_M * float(view.Ks[frame, c, 0, 0] / max(depth[i], 1e-3)))
        plain = grey.astype(np.float32)
        out.append(plain - cv2.GaussianBlur(plain, (0, 0), sigma))
    return np.stack(out)


def _draw(
    surface: FaceSurface, vertices: Array, viewmat: Array, K: Array, size: tuple[int, int]
) -> _Drawn:
    camera = Camera(viewmat, K, *size)
    corner = vertices[surface.faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    ray = corner.mean(1) - camera.centre
    length = np.linalg.norm(normal, axis=1) * np.linalg.norm(ray, axis=1) + 1e-20
    return _Drawn(camera, rasterize_mesh(vertices, surface.faces, camera),
                  -(normal * ray).sum(1) / length)  # fmt: skip


def _pair(
    surface: FaceSurface,
    usable: NDArray[np.bool_],
    vertices: Array,
    first: _Drawn,
    second: _Drawn,
    seen_first: NDArray[np.float32],
    seen_second: NDArray[np.float32],
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Targets [N, 3], normals [N, 3] and vertices [N] of what both cameras see."""
    ids = second.buffers.face_ids
    covered = ids >= 0
    place = interpolate(second.buffers, vertices, surface.faces)  # [H, W, 3] of the mesh
    at = first.camera.project(place.reshape(-1, 3)).reshape(*ids.shape, 3)
    h, w = ids.shape
    inside = covered & (at[..., 0] > 1) & (at[..., 1] > 1)
    inside &= (at[..., 0] < w - 1) & (at[..., 1] < h - 1)
    cell = np.where(inside[..., None], at[..., :2], 0).astype(int)
    hidden = at[..., 2] > first.buffers.depth[cell[..., 1], cell[..., 0]] + _DEPTH_TOLERANCE_M
    face = np.where(covered, ids, 0)
    good = usable & (first.cosine > _LEAST_COSINE) & (second.cosine > _LEAST_COSINE)
    mask = inside & ~hidden & good[face]
    if mask.sum() < 200:
        return _NONE
    warped = sample(seen_first, at[..., :2].reshape(-1, 2)).reshape(h, w)
    warped = np.where(inside & ~hidden, warped, seen_second)
    scale = second.camera.K[0, 0] / float(np.median(at[..., 2][mask]))  # pixels per metre
    window = 2 * max(3, round(_WINDOW_M * scale / 2)) + 1
    source, target = _bytes(warped), _bytes(seen_second)
    points = corners(source, mask, _POINTS, _SPACING_PX)
    there, fine = lucas_kanade(source, target, points, window=window, levels=1, tolerance=0.5)
    fine &= np.linalg.norm(there - points, axis=1) < _REACH_M * scale
    if not fine.any():
        return _NONE
    points, there = points[fine], there[fine]
    row, column = points[:, 1].astype(int), points[:, 0].astype(int)
    mesh_point = place[row, column]
    origin = at[row, column, :2]
    ray_a, ray_b = _rays(first.camera, origin), _rays(second.camera, there)
    meeting, gap = _meet(first.camera.centre, ray_a, second.camera.centre, ray_b)
    corner = surface.faces[ids[row, column]]
    near = second.buffers.barycentric[row, column].argmax(1)
    vertex = corner[np.arange(len(corner)), near]
    a, b, c = (vertices[corner[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-20
    moved = meeting - mesh_point
    kept = (gap < _SKEW_M) & (np.linalg.norm(moved, axis=1) < _REACH_M)
    return (vertices[vertex] + moved)[kept], normal[kept], vertex[kept]


def _bytes(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(2 * image + 128, 0, 255).astype(np.uint8)


def _rays(camera: Camera, pixels: Array) -> Array:
    """Unit directions [N, 3] in the world."""
    ones = np.ones((len(pixels), 1))
    way = np.linalg.solve(camera.K, np.concatenate([pixels, ones], 1).T).T @ camera.viewmat[:3, :3]
    return way / np.linalg.norm(way, axis=1, keepdims=True)


def _meet(start_a: Array, ray_a: Array, start_b: Array, ray_b: Array) -> tuple[Array, Array]:
    """Middle [N, 3] of the shortest way between two rays, and its length [N]."""
    between = start_b - start_a
    cos = (ray_a * ray_b).sum(1)
    along_a, along_b = ray_a @ between, ray_b @ between
    bottom = np.maximum(1 - cos**2, 1e-9)
    s, t = (along_a - cos * along_b) / bottom, (cos * along_a - along_b) / bottom
    a, b = start_a + s[:, None] * ray_a, start_b + t[:, None] * ray_b
    return (a + b) / 2, np.linalg.norm(a - b, axis=1)
