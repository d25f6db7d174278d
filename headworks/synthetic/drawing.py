# mypy: ignore-errors
"""Drawing of strands into a z-buffer, and how much light reaches points past a shadow map."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def project(points, viewmat, K, out):
    """World points [N, P, 3] metres -> pixels and depth [N, P, 3]."""
    for i in range(points.shape[0]):
        for k in range(points.shape[1]):
            x, y, z = points[i, k, 0], points[i, k, 1], points[i, k, 2]
            cx = viewmat[0, 0] * x + viewmat[0, 1] * y + viewmat[0, 2] * z + viewmat[0, 3]
            cy = viewmat[1, 0] * x + viewmat[1, 1] * y + viewmat[1, 2] * z + viewmat[1, 3]
            cz = viewmat[2, 0] * x + viewmat[2, 1] * y + viewmat[2, 2] * z + viewmat[2, 3]
            safe = max(cz, 1e-4)
            out[i, k, 0] = K[0, 0] * cx / safe + K[0, 2]
            out[i, k, 1] = K[1, 1] * cy / safe + K[1, 2]
            out[i, k, 2] = cz


@numba.njit(cache=True, nogil=True)
def _steps(a, b, limit):
    """First and one past the last pixel centre between two coordinates, cut to [0, limit)."""
    low, high = min(a, b), max(a, b)
    return max(int(np.ceil(low - 0.5)), 0), min(int(np.ceil(high - 0.5)), limit)


@numba.njit(cache=True, nogil=True)
def draw(pixels, radius, focal, near, skip, depth, owner, share):
    """Draw strands as ribbons that face the camera; the nearest wins.

    Args:
        pixels: [N, P, 3] from `project`. radius: [N] metres at the root. focal: pixels.
        near: metres. skip: draw one strand in `skip`, that much thicker.
        depth: float32 [H, W], read and written. owner: int32 [H, W], strand * P + segment.
        share: float32 [H, W], place along the segment.
    """
    height, width = depth.shape
    count, points = pixels.shape[0], pixels.shape[1]
    for i in range(0, count, skip):
        for k in range(points - 1):
            xa, ya, za = pixels[i, k, 0], pixels[i, k, 1], pixels[i, k, 2]
            xb, yb, zb = pixels[i, k + 1, 0], pixels[i, k + 1, 1], pixels[i, k + 1, 2]
            if za < near or zb < near:
                continue
            taper = 1.0 - 0.67 * k / (points - 1)
            half = radius[i] * skip * taper * focal / za
            dx, dy = xb - xa, yb - ya
            steep = abs(dy) > abs(dx)
            if steep:
                first, last = _steps(ya, yb, height)
                slope = dx / dy if dy != 0 else 0.0
            else:
                first, last = _steps(xa, xb, width)
                slope = dy / dx if dx != 0 else 0.0
            reach = max(half * np.sqrt(1.0 + slope * slope), 0.5)
            for s in range(first, last):
                t = ((s + 0.5) - (ya if steep else xa)) / (dy if steep else dx)
                z = za + t * (zb - za)
                middle = (xa if steep else ya) + t * (dx if steep else dy)
                low = max(int(np.ceil(middle - reach - 0.5)), 0)
                high = min(int(np.ceil(middle + reach - 0.5)), width if steep else height)
                for c in range(low, high):
                    y, x = (s, c) if steep else (c, s)
                    if z < depth[y, x]:
                        depth[y, x] = z
                        owner[y, x] = i * points + k
                        share[y, x] = t


@numba.njit(cache=True, nogil=True)
def blend(pixels, radius, focal, near, bias, colour, depth, clear, summed, weight):
    """Draw thin strands by the share of a pixel that they cover.

    Args:
        pixels, radius, focal, near: as in `draw`. bias: metres by which a strand may lie behind
            the surface and still be seen. colour: [N, 3] as lit. depth: [H, W].
        clear: float32 [H, W], what shines through; summed [H, W, 3], weight [H, W]: colours.
    """
    height, width = depth.shape
    count, points = pixels.shape[0], pixels.shape[1]
    for i in range(count):
        for k in range(points - 1):
            xa, ya, za = pixels[i, k, 0], pixels[i, k, 1], pixels[i, k, 2]
            xb, yb, zb = pixels[i, k + 1, 0], pixels[i, k + 1, 1], pixels[i, k + 1, 2]
            if za < near or zb < near:
                continue
            taper = 1.0 - 0.67 * k / (points - 1)
            breadth = 2.0 * radius[i] * taper * focal / za
            dx, dy = xb - xa, yb - ya
            long = np.sqrt(dx * dx + dy * dy)
            # Samples every half pixel; each covers its length times the strand's breadth.
            steps = int(2.0 * long) + 1
            area = breadth * long / steps
            for s in range(steps):
                t = (s + 0.5) / steps
                x, y = xa + t * dx - 0.5, ya + t * dy - 0.5
                z = za + t * (zb - za)
                x0, y0 = int(np.floor(x)), int(np.floor(y))
                fx, fy = x - x0, y - y0
                for ox in range(2):
                    for oy in range(2):
                        px, py = x0 + ox, y0 + oy
                        if px < 0 or py < 0 or px >= width or py >= height:
                            continue
                        if z > depth[py, px] + bias:
                            continue
                        a = area * (fx if ox else 1 - fx) * (fy if oy else 1 - fy)
                        a = min(a, 0.95)
                        clear[py, px] *= 1 - a
                        weight[py, px] += a
                        for d in range(3):
                            summed[py, px, d] += a * colour[i, d]


@numba.njit(cache=True, nogil=True)
def reached(points, viewmat, K, depth, bias, soft, spread, out):
    """Share of a lamp's light that reaches points, by percentage-closer filtering.

    Args:
        points: [N, 3] metres. viewmat, K: the lamp's camera. depth: [H, W] metres.
        bias: metres. soft: metres behind the first surface over which light fades (0: at once).
        spread: radius of the penumbra, pixels. out: [N], written in place.
    """
    height, width = depth.shape
    aside, below = np.empty(12), np.empty(12)
    for s in range(12):
        r = spread * np.sqrt((s + 0.5) / 12)
        aside[s], below[s] = r * np.cos(2.399963 * s), r * np.sin(2.399963 * s)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        cx = viewmat[0, 0] * x + viewmat[0, 1] * y + viewmat[0, 2] * z + viewmat[0, 3]
        cy = viewmat[1, 0] * x + viewmat[1, 1] * y + viewmat[1, 2] * z + viewmat[1, 3]
        cz = viewmat[2, 0] * x + viewmat[2, 1] * y + viewmat[2, 2] * z + viewmat[2, 3]
        u = K[0, 0] * cx / cz + K[0, 2]
        v = K[1, 1] * cy / cz + K[1, 2]
        lit = 0.0
        for s in range(12):
            px, py = int(u + aside[s]), int(v + below[s])
            if px < 0 or py < 0 or px >= width or py >= height:
                lit += 1.0
                continue
            behind = cz - bias - depth[py, px]
            if behind <= 0:
                lit += 1.0
            elif soft > 0:
                lit += np.exp(-behind / soft)
        out[i] = lit / 12


@numba.njit(cache=True, nogil=True)
def resolve(linear, covered, size, knee, gamma, rgb, alpha):
    """Samples to pixels: display colours (highlights roll off as on film) and coverage, averaged.

    Args:
        linear: float32 [H s, W s, 3]. covered: bool [H s, W s]. size: s, samples per axis.
        knee: where highlights begin to roll off. gamma: of the display.
        rgb: float32 [H, W, 3], of the covered share, and alpha: float32 [H, W], written in place.
    """
    height, width = alpha.shape
    total = np.empty(3)
    for y in range(height):
        for x in range(width):
            total[:] = 0.0
            count = 0
            for j in range(y * size, (y + 1) * size):
                for i in range(x * size, (x + 1) * size):
                    if not covered[j, i]:
                        continue
                    count += 1
                    for d in range(3):
                        value = float(linear[j, i, d])
                        if value > knee:
                            value = knee + (1 - knee) * np.tanh((value - knee) / (1 - knee))
                        total[d] += max(value, 0.0) ** (1 / gamma)
            alpha[y, x] = count / (size * size)
            for d in range(3):
                rgb[y, x, d] = total[d] / count if count else 0.0
