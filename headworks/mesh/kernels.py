# mypy: ignore-errors
"""Numba kernels of the triangle rasteriser.

A face is drawn with homogeneous edge functions: with camera-space corners v0, v1, v2 and the ray
r = K^-1 (x, y, 1), the weights are proportional to (v1 x v2).r, (v2 x v0).r, (v0 x v1).r and the
ray meets the plane at z = v0.(v1 x v2) / sum. No division by the corners' depths occurs, so faces
that cross the near plane need no clipping, only a box that covers their visible part. The edge
function of a shared edge is the exact negative in the neighbouring face: no holes.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _visible_box(points, face, K, near, box):
    """Pixel box of the part of a face with z >= near; False when nothing is left."""
    x0 = y0 = np.inf
    x1 = y1 = -np.inf
    for i in range(3):
        a, b = face[i], face[(i + 1) % 3]
        za, zb = points[a, 2], points[b, 2]
        for end in range(2):
            if end == 0:
                if za < near:
                    continue
                x, y, z = points[a, 0], points[a, 1], za
            else:
                if (za < near) == (zb < near):
                    continue
                t = (near - za) / (zb - za)
                x = points[a, 0] + t * (points[b, 0] - points[a, 0])
                y = points[a, 1] + t * (points[b, 1] - points[a, 1])
                z = near
            u = (K[0, 0] * x + K[0, 1] * y) / z + K[0, 2]
            v = (K[1, 0] * x + K[1, 1] * y) / z + K[1, 2]
            x0, x1 = min(x0, u), max(x1, u)
            y0, y1 = min(y0, v), max(y1, v)
    box[0], box[1], box[2], box[3] = x0, y0, x1, y1
    return x0 <= x1


@njit(cache=True, nogil=True)
def _pixel_range(low, high, size):
    """First and one-past-last pixel whose centre may lie in [low, high], with a pixel to spare."""
    first = int(np.floor(min(max(low, 0.0), size + 1.0) - 0.5))
    last = int(np.ceil(min(max(high, -1.0), float(size)) + 0.5))
    return max(first, 0), min(last, size)


@njit(cache=True, nogil=True)
def draw(points, faces, K, K_inverse, near, cull, face_ids, barycentric, depth):
    """Fill the buffers with the nearest face of every pixel.

    Args:
        points: float64 [V, 3] camera space. faces: int32 [F, 3]. K, K_inverse: float64 [3, 3].
        near: metres. cull: skip faces seen from inside.
        face_ids, barycentric, depth: [H, W], [H, W, 3], [H, W], initialised, written in place.
    """
    height, width = face_ids.shape
    box = np.empty(4)
    nearest = np.full((height, width), np.inf)
    n = np.empty((3, 3))
    row = np.empty(3)
    step = np.empty(3)
    for f in range(len(faces)):
        face = faces[f]
        if not _visible_box(points, face, K, near, box):
            continue
        left, right = _pixel_range(box[0], box[2], width)
        top, bottom = _pixel_range(box[1], box[3], height)
        if left >= right or top >= bottom:
            continue
        for i in range(3):
            a, b = points[face[(i + 1) % 3]], points[face[(i + 2) % 3]]
            # an order that both neighbours share makes their edge functions exact negatives
            if face[(i + 1) % 3] < face[(i + 2) % 3]:
                n[i, 0] = a[1] * b[2] - a[2] * b[1]
                n[i, 1] = a[2] * b[0] - a[0] * b[2]
                n[i, 2] = a[0] * b[1] - a[1] * b[0]
            else:
                n[i, 0] = -(b[1] * a[2] - b[2] * a[1])
                n[i, 1] = -(b[2] * a[0] - b[0] * a[2])
                n[i, 2] = -(b[0] * a[1] - b[1] * a[0])
        v0 = points[face[0]]
        det = v0[0] * n[0, 0] + v0[1] * n[0, 1] + v0[2] * n[0, 2]
        # counter-clockwise from outside means that the normal, and det with it, points at us
        if det == 0.0 or (cull and det > 0.0):
            continue
        sign = 1.0 if det > 0 else -1.0
        det = abs(det)
        for i in range(3):
            step[i] = sign * (n[i, 0] * K_inverse[0, 0] + n[i, 1] * K_inverse[1, 0])
        for y in range(top, bottom):
            yc = y + 0.5
            for i in range(3):
                rx = K_inverse[0, 1] * yc + K_inverse[0, 2]
                ry = K_inverse[1, 1] * yc + K_inverse[1, 2]
                row[i] = sign * (n[i, 0] * rx + n[i, 1] * ry + n[i, 2])
            for x in range(left, right):
                xc = x + 0.5
                e0 = row[0] + xc * step[0]
                e1 = row[1] + xc * step[1]
                e2 = row[2] + xc * step[2]
                if e0 < 0.0 or e1 < 0.0 or e2 < 0.0:
                    continue
                total = e0 + e1 + e2
                if total <= 0.0:
                    continue
                z = det / total
                if z < near or z >= nearest[y, x]:
                    continue
                nearest[y, x] = z
                depth[y, x] = z
                face_ids[y, x] = f
                barycentric[y, x, 0] = e0 / total
                barycentric[y, x, 1] = e1 / total
                barycentric[y, x, 2] = e2 / total


@njit(cache=True, nogil=True)
def interpolate(face_ids, barycentric, attributes, faces, out):
    """out[y, x] = weighted sum of the corner attributes [n, D]; untouched where no face is."""
    height, width = face_ids.shape
    for y in range(height):
        for x in range(width):
            f = face_ids[y, x]
            if f < 0:
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            wa, wb, wc = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            for d in range(attributes.shape[1]):
                out[y, x, d] = wa * attributes[a, d] + wb * attributes[b, d] + wc * attributes[c, d]


@njit(cache=True, nogil=True)
def draw_flat(points, faces, face_ids, barycentric):
    """Cover texels with 2D triangles [n, 2] (texel units); the lowest face index wins."""
    height, width = face_ids.shape
    for f in range(len(faces)):
        ax, ay = points[faces[f, 0]]
        bx, by = points[faces[f, 1]]
        cx, cy = points[faces[f, 2]]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        left, right = _pixel_range(min(ax, bx, cx), max(ax, bx, cx), width)
        top, bottom = _pixel_range(min(ay, by, cy), max(ay, by, cy), height)
        for y in range(top, bottom):
            yc = y + 0.5
            for x in range(left, right):
                if face_ids[y, x] >= 0:
                    continue
                xc = x + 0.5
                w0 = ((bx - xc) * (cy - yc) - (by - yc) * (cx - xc)) / area
                w1 = ((cx - xc) * (ay - yc) - (cy - yc) * (ax - xc)) / area
                w2 = ((ax - xc) * (by - yc) - (ay - yc) * (bx - xc)) / area
                if w0 < 0.0 or w1 < 0.0 or w2 < 0.0:
                    continue
                face_ids[y, x] = f
                barycentric[y, x, 0] = w0
                barycentric[y, x, 1] = w1
                barycentric[y, x, 2] = w2
