"""Light as spherical harmonics, and what the skin is without it.

The camera stands still, so does the light; the head turns in it. One albedo per texel and nine
coefficients explain the grey levels of all frames; dividing by the shading leaves pictures in which
a point of the skin looks alike however it is turned.

Source: Ramamoorthi and Hanrahan, An Efficient Representation for Irradiance Environment Maps,
SIGGRAPH 2001: nine coefficients carry the irradiance of a convex Lambertian surface.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.mesh import interpolate
from headworks.tracking.terms import State
from headworks.tracking.texture import FaceSurface, draw, sample, seen_points

Array = NDArray[np.float64]
_TEXELS, _ROUNDS = 4000, 20
_SHADING = (0.35, 2.5)  # of the mean: beyond it is shadow or gloss, and left in the picture
_RIDGE = 1e-3
_BORDER_PX = 4.0


def harmonics(normals: Array) -> Array:
    """The nine real harmonics up to order two (not normalised) of unit normals [..., 3]."""
    x, y, z = np.moveaxis(normals, -1, 0)
    one = np.ones_like(x)
    return np.stack([one, x, y, z, x * y, y * z, 3 * z**2 - 1, x * z, x**2 - y**2], -1)


def surface_normals(surface: FaceSurface, vertices: Array) -> Array:
    """Unit normals [V, 3] of the surface's vertices."""
    corner = vertices[surface.faces]
    face = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, surface.faces[:, k], face)
    return out / (np.linalg.norm(out, axis=1, keepdims=True) + 1e-20)


def fit_light(
    surface: FaceSurface,
    state: State,
    Ks: Array,
    images: NDArray[np.float32],
    frames: NDArray[np.int64],
) -> tuple[Array, Array]:
    """Light and albedo in turn, by weighted least squares.

    Args:
        surface: the head. state: in the camera. Ks: [T, 3, 3]. images: grey [T, H, W].
        frames: which to use.

    Returns:
        nine coefficients, such that the shading is 1 on average, and grey albedo [N] of the texels
        `np.arange(0, len(texels), step)` that were looked at (0 where never seen).
    """
    step = max(1, len(surface.texel_face) // _TEXELS)
    face, bary = surface.texel_face[::step], surface.texel_bary[::step]
    h, w = images.shape[1:3]
    value, weight, basis = [], [], []
    for t in frames:
        vertices = surface.vertices(state, int(t))
        buffers = draw(surface, vertices, Ks[t], w, h)
        pixels, cosine = seen_points(surface, face, bary, vertices, Ks[t], buffers)
        normals = surface_normals(surface, vertices)[surface.faces[face]]
        value.append(sample(images[t], pixels))
        weight.append(cosine)
        basis.append(harmonics((bary[..., None] * normals).sum(1)))
    seen, trust, B = np.stack(value).astype(np.float64), np.stack(weight), np.stack(basis)
    albedo = (trust * seen).sum(0) / np.maximum(trust.sum(0), 1e-9)
    light = np.zeros(9)
    light[0] = 1.0
    for _ in range(_ROUNDS):
        rows = (albedo[:, None] * B) * np.sqrt(trust)[..., None]
        normal = np.einsum("tni,tnj->ij", rows, rows)
        normal += _RIDGE * np.trace(normal) / 9 * np.diag([0.0] + [1.0] * 8)
        light = np.linalg.solve(normal, np.einsum("tni,tn->i", rows, seen * np.sqrt(trust)))
        shading = np.maximum(B @ light, 1e-3)
        mean = (trust * shading).sum() / trust.sum()
        light, shading = light / mean, shading / mean
        bottom = (trust * shading**2).sum(0)
        albedo = (trust * shading * seen).sum(0) / np.maximum(bottom, 1e-9)
    return light, albedo


def without_light(
    surface: FaceSurface,
    state: State,
    Ks: Array,
    images: NDArray[np.float32],
    frames: NDArray[np.int64],
    light: Array,
) -> NDArray[np.float32]:
    """Pictures [T, H, W] divided by the shading where `frames` show the head; others as they are.

    Args:
        surface, state, Ks, images, frames: as for `fit_light`. light: nine coefficients.
    """
    import cv2

    out = images.copy()
    h, w = images.shape[1:3]
    for t in frames:
        vertices = surface.vertices(state, int(t))
        buffers = draw(surface, vertices, Ks[t], w, h)
        normals = interpolate(buffers, surface_normals(surface, vertices), surface.faces)
        normals = normals / (np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9)
        covered = (buffers.face_ids >= 0).astype(np.float32)
        shading = np.clip(harmonics(normals.astype(np.float64)) @ light, *_SHADING)
        shading = shading.astype(np.float32)
        # Beyond the outline the shading fades, so that no edge is made there.
        near = cv2.GaussianBlur(covered, (0, 0), _BORDER_PX)
        spread = cv2.GaussianBlur(covered * shading, (0, 0), _BORDER_PX) / np.maximum(near, 1e-3)
        beyond = 1 + np.minimum(2 * near, 1) * (spread - 1)
        out[t] = images[t] / np.where(covered > 0, shading, beyond)
    return out
