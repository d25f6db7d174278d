"""Gradients through a rasterised mesh: attributes, vertices, and the outline.

Which face a pixel sees is taken as given (from `rasterize_mesh`); inside, barycentric weights are
differentiable functions of the vertices, and the outline is a soft mask whose gradient moves it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from torch import Tensor

from headworks.cameras import Camera
from headworks.mesh.raster import MeshBuffers

SIGMA_PX = 0.5  # softness of the outline
BAND_PX = 3.0  # pixels farther from the outline are exactly 0 or 1
OUTLINE_PX = 1.5  # a silhouette edge must lie this close to a covered/uncovered transition
_SAMPLE_PX = 0.25


def _camera_space(vertices: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Vertices in camera space [V, 3] and K, in the dtype of the vertices."""
    viewmat, K = (torch.as_tensor(m, dtype=vertices.dtype) for m in (camera.viewmat, camera.K))
    return vertices @ viewmat[:3, :3].T + viewmat[:3, 3], K


def surface_weights(
    buffers: MeshBuffers, vertices: Tensor, faces: Tensor, camera: Camera
) -> tuple[Tensor, Tensor, Tensor]:
    """Barycentric weights and depth of the seen surface as functions of the vertices.

    Args:
        buffers: from `rasterize_mesh` of the same mesh. vertices: [V, 3] metres.
        faces: int64 [F, 3]. camera: the view.

    Returns:
        pixels int64 [P, 2] (row, column of covered pixels), weights [P, 3], depth [P] metres.
    """
    points, K = _camera_space(vertices, camera)
    face_ids = torch.from_numpy(np.asarray(buffers.face_ids)).long()
    pixels = (face_ids >= 0).nonzero()
    homogeneous = torch.stack(
        [pixels[:, 1] + 0.5, pixels[:, 0] + 0.5, torch.ones(len(pixels))], -1
    ).to(vertices.dtype)
    rays = homogeneous @ torch.linalg.inv(K).T
    a, b, c = points[faces[face_ids[pixels[:, 0], pixels[:, 1]]]].unbind(1)
    normal = torch.linalg.cross(b, c)
    edges = torch.stack(
        [
            (normal * rays).sum(-1),
            (torch.linalg.cross(c, a) * rays).sum(-1),
            (torch.linalg.cross(a, b) * rays).sum(-1),
        ],
        -1,
    )
    total = edges.sum(-1)
    return pixels, edges / total[:, None], (a * normal).sum(-1) / total


def interpolate(
    buffers: MeshBuffers, attributes: Tensor, vertices: Tensor, faces: Tensor, camera: Camera
) -> Tensor:
    """Attributes over the seen surface, with gradients to attributes and vertices.

    Args:
        attributes: [V, D] per vertex or [F, 3, D] per corner; the rest as in `surface_weights`.

    Returns:
        [H, W, D], 0 where no face is seen.
    """
    pixels, weights, _ = surface_weights(buffers, vertices, faces, camera)
    ids = torch.from_numpy(np.asarray(buffers.face_ids)).long()[pixels[:, 0], pixels[:, 1]]
    corners = attributes[faces[ids]] if attributes.ndim == 2 else attributes[ids]
    values = (weights[..., None] * corners).sum(1)
    out = values.new_zeros((*buffers.face_ids.shape, values.shape[-1]))
    return out.index_put((pixels[:, 0], pixels[:, 1]), values)


def soft_mask(
    buffers: MeshBuffers, vertices: Tensor, faces: Tensor, camera: Camera,
    sigma_px: float = SIGMA_PX,
) -> Tensor:  # fmt: skip
    """Coverage with a soft outline whose gradient moves the vertices of the outline.

    Within 3 px of a covered/uncovered transition the value is sigmoid(+-distance / sigma) of the
    distance to the nearest silhouette edge (+ inside); elsewhere it is the hard mask. Contours
    inside the shape do not count.

    Args:
        buffers: from `rasterize_mesh` of the same mesh, wholly in front of the near plane.
        vertices: [V, 3] metres. faces: int64 [F, 3]. camera: the view. sigma_px: pixels.

    Returns:
        [H, W] in [0, 1].

    Source: guiding geometry of GPHM, nearest-edge soft mask.
    """
    covered = np.asarray(buffers.face_ids) >= 0
    hard = torch.from_numpy(covered).to(vertices.dtype)
    points, K = _camera_space(vertices, camera)
    projected = points @ K.T
    screen = projected[:, :2] / projected[:, 2:]
    transition = _transition(covered)
    if not transition.any():
        return hard
    distance = distance_transform_edt(~transition)
    flat = screen.detach().double().numpy()
    edges = _outline_edges(flat, faces.numpy(), distance)
    if len(edges) == 0:
        return hard
    rows, columns = np.nonzero(distance <= BAND_PX)
    centers = np.stack([columns + 0.5, rows + 0.5], -1)
    nearest = torch.from_numpy(edges[_nearest_edge(flat, edges, centers)])
    start, end = screen[nearest[:, 0]], screen[nearest[:, 1]]
    pixel = torch.from_numpy(centers).to(vertices.dtype)
    along = end - start
    position = ((pixel - start) * along).sum(-1) / along.square().sum(-1).clamp_min(1e-12)
    gap = pixel - start - position.clamp(0, 1)[:, None] * along
    away = gap.square().sum(-1).clamp_min(1e-12).sqrt()
    inside = torch.from_numpy(covered[rows, columns])
    value = torch.sigmoid(torch.where(inside, away, -away) / sigma_px)
    return hard.index_put((torch.from_numpy(rows), torch.from_numpy(columns)), value)


def _transition(covered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels with a neighbour of the other kind; [H, W]."""
    out = np.zeros_like(covered)
    for axis in (0, 1):
        change = np.diff(covered, axis=axis)
        first, last = [slice(None)] * 2, [slice(None)] * 2
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        out[tuple(first)] |= change
        out[tuple(last)] |= change
    return out


def _outline_edges(
    screen: NDArray[np.float64], faces: NDArray[np.int64], distance: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Edges [E, 2] where the surface turns away or ends, near a transition of the mask."""
    a, b, c = (screen[faces[:, k]] for k in range(3))
    u, v = b - a, c - a
    turned = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0] > 0
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges, owner = np.unique(np.sort(pairs, 1), axis=0, return_inverse=True)
    owner = owner.reshape(-1)
    turned_count = np.bincount(owner, np.tile(turned, 3), len(edges))
    count = np.bincount(owner, minlength=len(edges))
    edges = edges[(count == 1) | ((turned_count > 0) & (turned_count < count))]
    height, width = distance.shape
    samples = np.linspace(0, 1, 5)[:, None, None]
    places = screen[edges[:, 0]] * (1 - samples) + screen[edges[:, 1]] * samples
    x, y = np.floor(places[..., 0]).astype(int), np.floor(places[..., 1]).astype(int)
    in_image = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    near = distance[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] <= OUTLINE_PX
    return edges[(in_image & near).any(0)]


def _nearest_edge(
    screen: NDArray[np.float64], edges: NDArray[np.int64], centers: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Index of the nearest edge for each pixel centre, by points a quarter pixel apart on them."""
    start, end = screen[edges[:, 0]], screen[edges[:, 1]]
    steps = np.ceil(np.linalg.norm(end - start, axis=1) / _SAMPLE_PX).astype(int) + 1
    owner = np.repeat(np.arange(len(edges)), steps)
    first = np.repeat(np.cumsum(steps) - steps, steps)
    t = (np.arange(len(owner)) - first) / np.maximum(steps[owner] - 1, 1)
    places = start[owner] * (1 - t[:, None]) + end[owner] * t[:, None]
    return owner[cKDTree(places).query(centers)[1]]
