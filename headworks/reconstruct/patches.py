"""Kernels of PatchMatch stereo: slanted windows, random search, spreading of good planes."""

# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np
from numba import njit

MOST_SOURCES = 8
_FACING = -0.12
"""A plane must look at the camera: cosine between its normal and the viewing ray."""
_WORST = 2.0


@njit(cache=True, nogil=True)
def _bits(state):
    x = state[0]
    x ^= (x << np.uint32(13)) & np.uint32(0xFFFFFFFF)
    x ^= x >> np.uint32(17)
    x ^= (x << np.uint32(5)) & np.uint32(0xFFFFFFFF)
    state[0] = x
    return x


@njit(cache=True, nogil=True)
def _uniform(state):
    """In [-1, 1)."""
    return (_bits(state) >> np.uint32(8)) / 8388608.0 - 1.0


@njit(cache=True, nogil=True)
def _start(state, seed, y, x, turn):
    h = np.uint32(seed) ^ np.uint32(0x9E3779B9)
    for value in (y, x, turn):
        h = np.uint32((h ^ np.uint32(value)) * np.uint32(16777619) + np.uint32(0x85EBCA6B))
        h ^= h >> np.uint32(15)
    state[0] = h | np.uint32(1)
    for _ in range(3):
        _bits(state)


@njit(cache=True, nogil=True)
def _window(image, y, x, radius, step, colour_sigma, offsets, weights, values):
    """Taps of a bilateral window: their count; offsets, weights and values are filled."""
    height, width = image.shape
    centre = image[y, x]
    count = 0
    for dy in range(-radius, radius + 1, step):
        for dx in range(-radius, radius + 1, step):
            yy, xx = y + dy, x + dx
            if yy < 0 or xx < 0 or yy >= height or xx >= width:
                continue
            value = image[yy, xx]
            away = (dy * dy + dx * dx) / (2.0 * radius * radius)
            unlike = (value - centre) / colour_sigma
            offsets[count, 0], offsets[count, 1] = dx, dy
            weights[count] = math.exp(-away - 0.5 * unlike * unlike)
            values[count] = value
            count += 1
    return count


@njit(cache=True, nogil=True, fastmath={"contract", "arcp", "reassoc", "nsz"})
def _cost(
    d, nx, ny, nz, px, py, inverse, A, b, sources, best_of,
    offsets, weights, values, count, reach, mean, spread, out,
):  # fmt: skip
    """Mean of the lowest 1 - ZNCC over the sources, of the plane through depth d at (px, py)."""
    rx = inverse[0] * px + inverse[1]
    ry = inverse[2] * py + inverse[3]
    # n . X = c on the plane; n . ray is linear in the pixel.
    c = d * (nx * rx + ny * ry + nz)
    if c > -1e-9:
        return _WORST
    gx, gy = nx * inverse[0] / c, ny * inverse[2] / c
    g0 = (nx * inverse[1] + ny * inverse[3] + nz) / c
    kept = 0
    total, height, width = sources.shape
    flat = sources.reshape(total, height * width)
    for s in range(total):
        # Homography of the plane: A + b (n^T K^-1) / c, about the window's centre.
        xx, xy = A[s, 0, 0] + b[s, 0] * gx, A[s, 0, 1] + b[s, 0] * gy
        yx, yy = A[s, 1, 0] + b[s, 1] * gx, A[s, 1, 1] + b[s, 1] * gy
        zx, zy = A[s, 2, 0] + b[s, 2] * gx, A[s, 2, 1] + b[s, 2] * gy
        x0 = xx * px + xy * py + A[s, 0, 2] + b[s, 0] * g0
        y0 = yx * px + yy * py + A[s, 1, 2] + b[s, 1] * g0
        z0 = zx * px + zy * py + A[s, 2, 2] + b[s, 2] * g0
        # With its four corners all of the window lies inside.
        inside = True
        for corner in range(4):
            dx = reach if corner & 1 else -reach
            dy = reach if corner & 2 else -reach
            z = z0 + zx * dx + zy * dy
            u, v = x0 + xx * dx + xy * dy, y0 + yx * dx + yy * dy
            if (
                z < 1e-6
                or u < 0.5 * z
                or v < 0.5 * z
                or u >= (width - 0.51) * z
                or v >= (height - 0.51) * z
            ):
                inside = False
        cost = _WORST
        if inside:
            picture = flat[s]
            w_sum, v_sum, vv_sum, rv_sum = 0.0, 0.0, 0.0, 0.0
            for k in range(count):
                dx, dy = offsets[k, 0], offsets[k, 1]
                inverse_z = 1.0 / (z0 + zx * dx + zy * dy)
                u = (x0 + xx * dx + xy * dy) * inverse_z - 0.5
                v = (y0 + yx * dx + yy * dy) * inverse_z - 0.5
                j, i = np.uint32(u), np.uint32(v)
                fx, fy = u - j, v - i
                at = np.uint64(i) * np.uint64(width) + np.uint64(j)
                below = at + np.uint64(width)
                p00, p01 = picture[at], picture[at + np.uint64(1)]
                p10, p11 = picture[below], picture[below + np.uint64(1)]
                upper = p00 + fx * (p01 - p00)
                value = upper + fy * (p10 + fx * (p11 - p10) - upper)
                w = weights[k]
                w_sum += w
                v_sum += w * value
                vv_sum += w * value * value
                rv_sum += w * value * values[k]
            v_mean = v_sum / w_sum
            variance = vv_sum / w_sum - v_mean * v_mean
            if variance > 1e-7 and spread > 1e-7:
                covariance = rv_sum / w_sum - v_mean * mean
                cost = 1.0 - covariance / math.sqrt(variance * spread)
            else:
                cost = 1.0
        # Insert among the lowest.
        at_rank = kept
        while at_rank > 0 and out[at_rank - 1] > cost:
            if at_rank < best_of:
                out[at_rank] = out[at_rank - 1]
            at_rank -= 1
        if at_rank < best_of:
            out[at_rank] = cost
            kept = min(kept + 1, best_of)
    result = 0.0
    for k in range(kept):
        result += out[k]
    return result / kept if kept else _WORST


@njit(cache=True, nogil=True)
def sweep(
    image, mask, sources, A, b, inverse, depth, normal, cost, low, high, radius, step,
    colour_sigma, best_of, colour, turn, depth_reach, normal_reach, trials, seed,
):  # fmt: skip
    """One half round: pixels of one colour of the chessboard take better planes.

    Args:
        image: float32 [H, W]. mask: bool [H, W], which pixels. sources: float32 [S, H, W].
        A: [S, 3, 3] K_s R K^-1. b: [S, 3] K_s t. inverse: [4] 1/fx, -cx/fx, 1/fy, -cy/fy.
        depth, normal, cost: [H, W(, 3)], changed. low, high: bounds of the depth, metres.
        radius, step: of the window. best_of: sources counted. colour: 0 or 1. turn: of the round.
        depth_reach, normal_reach: of the random search, metres and (about) radians.
        trials: random candidates. seed: of the search.
    """
    height, width = image.shape
    most = (2 * radius // step + 1) ** 2 + 1
    offsets, weights = np.empty((most, 2)), np.empty(most)
    values, out = np.empty(most), np.empty(MOST_SOURCES)
    state = np.zeros(1, np.uint32)
    steps = ((0, -1), (0, 1), (-1, 0), (1, 0), (-4, -3), (3, -4), (-3, 4), (4, 3))
    for y in range(height):
        for x in range((y + colour) % 2, width, 2):
            if not mask[y, x]:
                continue
            _start(state, seed, y, x, turn)
            count = _window(image, y, x, radius, step, colour_sigma, offsets, weights, values)
            w_sum, mean, square = 0.0, 0.0, 0.0
            for k in range(count):
                w_sum += weights[k]
                mean += weights[k] * values[k]
                square += weights[k] * values[k] * values[k]
            mean /= w_sum
            spread = square / w_sum - mean * mean
            px, py = x + 0.5, y + 0.5
            rx, ry = inverse[0] * px + inverse[1], inverse[2] * py + inverse[3]
            d, nx, ny, nz = depth[y, x], normal[y, x, 0], normal[y, x, 1], normal[y, x, 2]
            best = _cost(
                d, nx, ny, nz, px, py, inverse, A, b, sources, best_of,
                offsets, weights, values, count, radius, mean, spread, out,
            )  # fmt: skip
            for n in range(8 + trials):
                if n < 8:
                    yy, xx = y + steps[n][0], x + steps[n][1]
                    if yy < 0 or xx < 0 or yy >= height or xx >= width or not mask[yy, xx]:
                        continue
                    mx, my, mz = normal[yy, xx, 0], normal[yy, xx, 1], normal[yy, xx, 2]
                    qx = inverse[0] * (xx + 0.5) + inverse[1]
                    qy = inverse[2] * (yy + 0.5) + inverse[3]
                    slope = mx * rx + my * ry + mz
                    if slope > -1e-6:
                        continue
                    e = depth[yy, xx] * (mx * qx + my * qy + mz) / slope
                else:
                    shrink = 0.5 ** (n - 8)
                    kind = (n + turn) % 3
                    e, mx, my, mz = d, nx, ny, nz
                    if kind != 1:
                        e = d + depth_reach * shrink * _uniform(state)
                    if kind != 0:
                        mx = nx + normal_reach * shrink * _uniform(state)
                        my = ny + normal_reach * shrink * _uniform(state)
                        mz = nz + normal_reach * shrink * _uniform(state)
                        length = math.sqrt(mx * mx + my * my + mz * mz)
                        mx, my, mz = mx / length, my / length, mz / length
                if e < low or e > high:
                    continue
                # Neighbours that agree already propose nothing new.
                if abs(e - d) < 2e-5 * d and mx * nx + my * ny + mz * nz > 0.9998:
                    continue
                ray = math.sqrt(rx * rx + ry * ry + 1.0)
                if (mx * rx + my * ry + mz) / ray > _FACING:
                    continue
                value = _cost(
                    e, mx, my, mz, px, py, inverse, A, b, sources, best_of,
                    offsets, weights, values, count, radius, mean, spread, out,
                )  # fmt: skip
                if value < best:
                    best, d, nx, ny, nz = value, e, mx, my, mz
            depth[y, x], cost[y, x] = d, best
            normal[y, x, 0], normal[y, x, 1], normal[y, x, 2] = nx, ny, nz
