# mypy: ignore-errors
"""Growing hairs around the mean head: combed, pulled down, kept out of skin, ears and face."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from headworks.synthetic.noise import value
from headworks.synthetic.space import body_distance, sample

NO_COMB, FROM_CROWN, FROM_PART, BACKWARD, FORWARD, TO_TIE = range(6)
"""Which way a comb runs over the head."""
CROWN = np.array([6.0, 112.0, -46.0])
_EAR = np.array([74.0, 6.0, -12.0])
_EAR_RADII = np.array([15.0, 36.0, 22.0])
_CLOTH_BELOW = -118.0


@dataclass(frozen=True)
class Growth:
    """How the hairs of one group grow.

    Attributes:
        comb: which way. part: x of the parting, mm. tie: [3] mm where tied hair meets.
        comb_weight: pull of the comb at the root, comb_reach: mm along the hair until it is lost.
        gravity: pull downwards; it grows over the first `gravity_from` mm.
        stiffness: how much a hair keeps its direction.
        noise, noise_size: bending shared by neighbours, and the size of a lock, mm.
        stray: bending of every single hair. hug: how closely hairs are drawn to their layer.
        rise: mm along the hair until it reaches its layer.
        face: half width of the face that stays free, mm; 0 lets hair fall over it.
    """

    comb: int = NO_COMB
    part: float = 0.0
    tie: tuple[float, float, float] = (0.0, 70.0, -112.0)
    comb_weight: float = 1.0
    comb_reach: float = 1e9
    gravity: float = 0.0
    gravity_from: float = 1.0
    stiffness: float = 1.0
    noise: float = 0.0
    noise_size: float = 16.0
    stray: float = 0.0
    hug: float = 0.0
    rise: float = 12.0
    face: float = 0.0


def grow(roots, start, lengths, layers, points, growth, seed):
    """Polylines of hairs.

    Args:
        roots: [N, 3] mm on the mean head. start: [N, 3] unit directions. lengths: [N] mm.
        layers: [N] mm, how high over the skin a hair lies. points: P per hair.
        growth: how. seed: of all noise.

    Returns:
        [N, P, 3] mm.
    """
    grid = body_distance()
    out = np.empty((len(roots), points, 3))
    g = growth
    settings = np.array(
        [g.part, *g.tie, g.comb_weight, g.comb_reach, g.gravity, g.gravity_from, g.stiffness,
         g.noise, g.noise_size, g.stray, g.hug, g.rise, g.face]
    )  # fmt: skip
    _grow(
        np.ascontiguousarray(roots, np.float64), np.ascontiguousarray(start, np.float64),
        np.asarray(lengths, np.float64), np.asarray(layers, np.float64), g.comb, settings,
        seed % 2**31, grid.low, grid.step, grid.values, out,
    )  # fmt: skip
    return out


@numba.njit(cache=True, nogil=True)
def _gradient(p, low, step, values, out):
    e = 0.5 * step
    for d in range(3):
        a0 = p[0] + (e if d == 0 else 0.0)
        a1 = p[1] + (e if d == 1 else 0.0)
        a2 = p[2] + (e if d == 2 else 0.0)
        b0 = p[0] - (e if d == 0 else 0.0)
        b1 = p[1] - (e if d == 1 else 0.0)
        b2 = p[2] - (e if d == 2 else 0.0)
        out[d] = sample(a0, a1, a2, low, step, values, 0) - sample(b0, b1, b2, low, step, values, 0)
    out /= np.sqrt(out[0] ** 2 + out[1] ** 2 + out[2] ** 2) + 1e-9


@numba.njit(cache=True, nogil=True)
def _push_out(p, need, face, low, step, values, normal):
    """Move a point out of skin, ears and the free part of the face; the skin's normal is kept."""
    if face > 0.0 and p[2] > 12.0 and p[1] < 74.0:
        depth = min((p[2] - 12.0) / 125.0, 1.0)
        free = face * np.sqrt(1.0 - depth * depth)
        # The free part narrows towards the forehead's top, where the hairline is.
        free *= min(max((80.0 - p[1]) / 30.0, 0.0), 1.0) ** 0.5
        if abs(p[0]) < free:
            p[0] = free if p[0] > 0 else -free
    if face > 0.0:
        ex = (abs(p[0]) - _EAR[0]) / _EAR_RADII[0]
        ey = (p[1] - _EAR[1]) / _EAR_RADII[1]
        ez = (p[2] - _EAR[2]) / _EAR_RADII[2]
        inside = ex * ex + ey * ey + ez * ez
        if inside < 1.0:
            out = np.sqrt(max(1.0 - ey * ey - ez * ez, 0.0)) * _EAR_RADII[0] + _EAR[0]
            p[0] = out if p[0] > 0 else -out
    distance = sample(p[0], p[1], p[2], low, step, values, 0)
    _gradient(p, low, step, values, normal)
    if distance < need:
        for d in range(3):
            p[d] += normal[d] * (need - distance)
    return distance


@numba.njit(cache=True, nogil=True)
def _grow(roots, start, lengths, layers, comb, settings, seed, low, step, values, out):
    part, tie = settings[0], settings[1:4]
    comb_weight, comb_reach, gravity, gravity_from = (
        settings[4],
        settings[5],
        settings[6],
        settings[7],
    )
    stiffness, bend, size, stray = settings[8], settings[9], settings[10], settings[11]
    hug, rise, face = settings[12], settings[13], settings[14]
    count, points = out.shape[0], out.shape[1]
    normal = np.empty(3)
    way_in_front = np.empty(count)
    for i in range(count):
        drawn = value(roots[i, 0] / size, roots[i, 1] / size, roots[i, 2] / size, seed + 9)
        way_in_front[i] = 1.0 if roots[i, 2] + 55.0 * drawn > -6.0 else 0.0
    for i in range(count):
        p = roots[i].copy()
        way = start[i].copy()
        out[i, 0] = p
        length = lengths[i] / (points - 1)
        side = 1.0 if roots[i, 0] >= part else -1.0
        rx, ry, rz = roots[i, 0] / size, roots[i, 1] / size, roots[i, 2] / size
        _gradient(p, low, step, values, normal)
        for k in range(1, points):
            s = k * length
            pull = comb_weight * np.exp(-s / comb_reach)
            cx = cy = cz = 0.0
            if comb == FROM_CROWN:
                cx, cy, cz = p[0] - CROWN[0], p[1] - CROWN[1], p[2] - CROWN[2]
            elif comb == FROM_PART:
                # In front hair is drawn back, behind the crown it falls straight down.
                behind = min(max((-20.0 - p[2]) / 50.0, 0.0), 1.0)
                before_it = min(max((p[2] - 20.0) / 50.0, 0.0), 1.0)
                cx = side * (1.0 - behind) + behind * p[0] / 90.0
                cy, cz = -0.5 - 0.5 * behind, -0.22 - 0.5 * before_it
            elif comb == BACKWARD:
                cx, cy, cz = 0.15 * np.sign(p[0]), -0.25, -1.0
            elif comb == FORWARD:
                cx, cy, cz = 0.012 * (p[0] - part), -0.5, 1.0
            elif comb == TO_TIE:
                cx, cy, cz = tie[0] - p[0], tie[1] - p[1], tie[2] - p[2]
            # A comb runs along the skin.
            along = cx * normal[0] + cy * normal[1] + cz * normal[2]
            cx -= along * normal[0]
            cy -= along * normal[1]
            cz -= along * normal[2]
            norm = np.sqrt(cx * cx + cy * cy + cz * cz) + 1e-9
            # Bending is given per 10 mm, whatever the step is.
            share = length / 10.0
            fall = gravity * min(1.0, s / gravity_from)
            u = s / (3.0 * size)
            for d in range(3):
                c = cx if d == 0 else (cy if d == 1 else cz)
                way[d] = stiffness * way[d] + share * (
                    pull * c / norm
                    + bend * value(rx + 31.0 * d, ry + u, rz, seed)
                    + stray * value(i * 7.31 + 0.5, u * 2.0 + 11.0 * d, 0.5, seed + 5)
                )
            way[1] -= share * fall
            way /= np.sqrt(way[0] ** 2 + way[1] ** 2 + way[2] ** 2) + 1e-9
            if face > 0.0 and p[1] < -72.0:
                # Hair that comes down on a shoulder slips off it in front or behind.
                before_it = way_in_front[i] > 0.5
                near = min(max((-72.0 - p[1]) / 40.0, 0.0), 1.0)
                away = (38.0 - p[2]) if before_it else (p[2] + 62.0)
                if away > 0.0:
                    push = 0.55 * near * min(away / 40.0, 1.0)
                    way[2] += push if before_it else -push
                way[0] *= 1.0 - 0.55 * near
                way /= np.sqrt(way[0] ** 2 + way[1] ** 2 + way[2] ** 2) + 1e-9
            for d in range(3):
                p[d] += way[d] * length
            ramp = min(1.0, s / rise)
            need = 0.4 + layers[i] * ramp
            if p[1] < _CLOTH_BELOW:
                need = max(need, 9.0)
            distance = _push_out(p, need, face, low, step, values, normal)
            if hug > 0.0 and distance > need and p[1] > -15.0:
                draw = hug * min(distance - need, 12.0)
                for d in range(3):
                    p[d] -= normal[d] * draw
            before = out[i, k - 1]
            gap = np.sqrt(
                (p[0] - before[0]) ** 2 + (p[1] - before[1]) ** 2 + (p[2] - before[2]) ** 2
            )
            # A hair keeps its length where something turned it aside.
            for d in range(3):
                way[d] = (p[d] - before[d]) / (gap + 1e-9)
                p[d] = before[d] + way[d] * length
            _push_out(p, min(need, 0.5 + 0.5 * need), 0.0, low, step, values, normal)
            for d in range(3):
                out[i, k, d] = p[d]


def clump(hairs, every, strength, seed):
    """Draw the tips of neighbouring hairs together.

    Args:
        hairs: [N, P, 3] mm. every: one hair in so many is a lock's middle. strength: 0 to 1.
        seed: of the locks' differing strength.

    Returns:
        [N, P, 3], and which lock every hair belongs to, int [N].
    """
    from scipy.spatial import cKDTree

    guides = np.arange(0, len(hairs), every)
    # Hairs that part, before and behind a shoulder say, are not of one lock.
    place = np.concatenate([hairs[:, 0], 0.5 * hairs[:, hairs.shape[1] // 2], hairs[:, -1]], 1)
    lock = cKDTree(place[guides]).query(place)[1]
    rng = np.random.default_rng(seed)
    own = strength * rng.uniform(0.5, 1.0, len(guides))[lock] * rng.uniform(0.6, 1.0, len(hairs))
    s = np.linspace(0, 1, hairs.shape[1])
    weight = own[:, None] * (s * s * (3 - 2 * s))[None]
    middle = hairs[guides][lock]
    return hairs + weight[..., None] * (middle - hairs), lock


def curl(hairs, lengths, radius, wavelength, lock, seed, flat=0.0):
    """Wind hairs into waves or curls.

    Args:
        hairs: [N, P, 3] mm. lengths: [N] mm. radius, wavelength: mm. lock: int [N], hairs of one
            lock wind together. seed: of the phases. flat: 0 for helices, 1 for waves in a plane.

    Returns:
        [N, P, 3].
    """
    rng = np.random.default_rng(seed)
    locks = int(lock.max()) + 1
    phase = rng.uniform(0, 2 * np.pi, locks)[lock] + rng.normal(0, 0.35, len(hairs))
    rate = 2 * np.pi / (wavelength * rng.uniform(0.8, 1.25, locks)[lock])
    size = radius * rng.uniform(0.7, 1.2, locks)[lock]
    tangent = np.gradient(hairs, axis=1)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=2, keepdims=True), 1e-9)
    up = np.array([0.31, 0.2, 0.93])
    across = np.cross(tangent, up)
    across /= np.maximum(np.linalg.norm(across, axis=2, keepdims=True), 1e-9)
    other = np.cross(tangent, across)
    s = np.linspace(0, 1, hairs.shape[1])[None] * lengths[:, None]
    angle = phase[:, None] + rate[:, None] * s
    grown = np.clip(s / 25.0, 0, 1) * size[:, None]
    swing = np.cos(angle)[..., None] * across + (1 - flat) * np.sin(angle)[..., None] * other
    return hairs + grown[..., None] * swing


def keep_out(hairs, least, face):
    """Move points [N, P, 3] mm (in place, roots stay) out of skin, ears and the free face.

    Args:
        least: mm over the skin. face: half width of the face that stays free; 0 for none.
    """
    grid = body_distance()
    _keep_out(hairs, float(least), float(face), grid.low, grid.step, grid.values)
    return hairs


@numba.njit(cache=True, nogil=True)
def _keep_out(hairs, least, face, low, step, values):
    normal = np.empty(3)
    for i in range(hairs.shape[0]):
        for k in range(1, hairs.shape[1]):
            p = hairs[i, k]
            _push_out(p, 9.0 if p[1] < _CLOTH_BELOW else least, face, low, step, values, normal)


@numba.njit(cache=True, nogil=True)
def _splat(points, low, step, mass, grid):
    for i in range(points.shape[0]):
        for k in range(points.shape[1]):
            a = int((points[i, k, 0] - low[0]) / step)
            b = int((points[i, k, 1] - low[1]) / step)
            c = int((points[i, k, 2] - low[2]) / step)
            if 0 <= a < grid.shape[0] and 0 <= b < grid.shape[1] and 0 <= c < grid.shape[2]:
                grid[a, b, c, 0] += mass[i]


@numba.njit(cache=True, nogil=True)
def _depths(points, low, step, grid, ways, reach, out):
    """Mean transmittance towards the sky for points [N, 3]."""
    for i in range(points.shape[0]):
        total = 0.0
        for w in range(len(ways)):
            depth = 0.0
            for k in range(1, reach + 1):
                x = points[i, 0] + ways[w, 0] * k * step
                y = points[i, 1] + ways[w, 1] * k * step
                z = points[i, 2] + ways[w, 2] * k * step
                depth += sample(x - step / 2, y - step / 2, z - step / 2, low, step, grid, 0)
            total += np.exp(-depth)
        out[i] = total / len(ways)


class Thicket:
    """How hair dims the light that reaches a point: optical depth on a grid of 8 mm."""

    _STEP = 8.0

    def __init__(self, hairs, lengths, width):
        """hairs: [N, P, 3] mm. lengths, width: [N] mm of hair and its breadth."""
        self._low = hairs.reshape(-1, 3).min(0) - self._STEP
        high = hairs.reshape(-1, 3).max(0) + 2 * self._STEP
        shape = np.ceil((high - self._low) / self._STEP).astype(int) + 1
        grid = np.zeros((*shape, 1), np.float32)
        # Projected area of hair per volume, times the length of a step: depth of one step.
        mass = lengths * width / hairs.shape[1] / self._STEP**2
        _splat(hairs, self._low, self._STEP, mass, grid)
        from scipy.ndimage import gaussian_filter

        self._grid = gaussian_filter(grid[..., 0], 0.7)[..., None] * 0.35

    def light(self, points, reach=5):
        """Share of the sky that reaches points [N, 3] mm, [N]."""
        index = np.arange(9) + 0.5
        phi, theta = np.arccos(1 - 2 * index / 9), np.pi * (1 + 5**0.5) * index
        ways = np.column_stack(
            [np.sin(phi) * np.cos(theta), np.cos(phi), np.sin(phi) * np.sin(theta)]
        )
        # Light comes from above and from the sides.
        ways = ways[ways[:, 1] > -0.55]
        out = np.empty(len(points))
        _depths(np.ascontiguousarray(points, np.float64), self._low, self._STEP, self._grid, ways,
                reach, out)  # fmt: skip
        return out
