"""Closed rings of vertices around the openings of the face, from the margin outwards."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from headworks.heads.procedural import anatomy
from headworks.heads.procedural.parttypes import Points
from headworks.heads.procedural.surface import SkinSurface

LID_COUNT = 12
"""Steps along one lid from canthus to canthus."""
LIP_COUNT = 20
"""Steps along one lip from corner to corner."""
_LID_OFFSETS = (0.0, 1.2, 2.8, 4.4, 5.6, 7.6)
_CREASE = {
    # ring: displacement of the upper and of the lower lid in their middle, mm
    3: ((0.0, 0.2, -0.9), (0.0, 0.0, -0.25)),
    4: ((0.0, -0.5, 0.45), (0.0, 0.0, 0.1)),
    5: ((0.0, -0.3, 0.35), (0.0, 0.0, 0.0)),
}
_LIP_GAP = 1.5
_LIP_RINGS = (0.0, 0.36, 0.7, 1.0, 1.45, 2.0)
NOSTRIL_COUNT = 14
NOSTRIL_CENTRE = (7.9, 107.9)
"""x and z on the nose's base, mm."""
NOSTRIL_HALF = (2.6, 3.2)
NOSTRIL_LEAN_DEG = 26.0
"""Nostrils converge towards the tip."""
_NOSTRIL_STEPS = (
    # share of the outline in space, and unfolded; how far up and back the ring lies, mm
    (0.60, 0.30, 6.0, 2.5),
    (0.88, 0.58, 2.6, 0.9),
    (0.98, 0.86, 0.6, 0.1),
    (1.12, 1.12, 0.0, 0.0),
    (1.38, 1.38, 0.0, 0.0),
)
EAR_COUNT = 36
EAR_CENTRE = np.array([5.0, -9.0])
"""Height and depth of the ear canal, mm."""
EAR_LEAN_DEG = -12.0


def lip_heights(x: Points) -> tuple[Points, Points]:
    """Heights of the upper and lower vermilion over the lip line at |x| mm, as heights."""
    u = np.clip(np.abs(x) / anatomy.MOUTH_HALF_WIDTH, 0, 1)
    upper = PchipInterpolator([0, 0.21, 0.46, 0.75, 1], [7.0, 8.3, 7.0, 4.4, 0.8])(u)
    lower = PchipInterpolator([0, 0.25, 0.5, 0.77, 1], [9.2, 9.0, 7.8, 5.0, 0.8])(u)
    return upper, lower


def lip_seam(x: Points) -> Points:
    """Height of the line on which the lips meet at |x| mm, [N] mm."""
    u = np.clip(np.abs(x) / anatomy.MOUTH_HALF_WIDTH, 0, 1)
    return anatomy.MOUTH_Y + PchipInterpolator([0, 0.4, 1], [-0.3, 0.25, -0.2])(u)


def lip_rings(surface: SkinSurface) -> tuple[list[Points], list[Points]]:
    """Rings (left half, upper corner to midline then lower midline to corner) and flat points."""
    half = LIP_COUNT // 2
    t = np.linspace(0, 1, half + 1) ** 0.9
    x = anatomy.MOUTH_HALF_WIDTH * np.cos(np.pi / 2 * t)
    x[-1] = 0
    open_by = _LIP_GAP * np.sqrt(np.clip(1 - (x / anatomy.MOUTH_HALF_WIDTH) ** 2, 0, 1))
    upper_h, lower_h = lip_heights(x)
    rings, flats = [], []
    for scale in _LIP_RINGS:
        beyond = max(scale - 1, 0)
        grow = 1 + 0.10 * min(scale, 1) + 0.24 * beyond
        rise = min(scale, 1) + 0.55 * beyond
        seam = lip_seam(x)
        up = np.column_stack([x * grow, seam + rise * (upper_h - seam + anatomy.MOUTH_Y)])
        down = np.column_stack([x * grow, seam - rise * (lower_h + seam - anatomy.MOUTH_Y)])
        up[:, 1] += 2.5 * beyond
        down[:, 1] -= 2.5 * beyond
        # The corner belongs to both lips.
        up[0, 1] = down[0, 1] = seam[0]
        ring = np.concatenate([up, down[:0:-1]])
        gap = np.concatenate([open_by, -open_by[:0:-1]]) * max(0.0, 1 - 0.5 * scale)
        rings.append(surface.front(ring))
        flats.append(rings[-1] + np.column_stack([0 * gap, gap, 0 * gap]))
    return rings, flats


def lid_rings(surface: SkinSurface) -> tuple[list[Points], list[Points]]:
    """Closed rings around the left eye, upper lid from the inner canthus first; and unfolded."""
    upper = anatomy.lid_margin("upper", LID_COUNT + 1)
    lower = anatomy.lid_margin("lower", LID_COUNT + 1)[::-1]
    margin = np.concatenate([upper, lower[1:-1]])
    middle = (anatomy.ENDOCANTHION + anatomy.EXOCANTHION) / 2
    rings = [margin]
    out = margin[:, :2] - middle[:2]
    # The rings turn into an ellipse outwards, so that they do not fold at the canthi.
    normal = np.column_stack([out[:, 0] / 14.5**2, out[:, 1] / 7.0**2])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    angle = np.pi - 2 * np.pi * np.arange(len(margin)) / len(margin)
    slant = np.arctan2(*(anatomy.EXOCANTHION - anatomy.ENDOCANTHION)[[1, 0]])
    turn = np.array([[np.cos(slant), np.sin(slant)], [-np.sin(slant), np.cos(slant)]])
    for offset in _LID_OFFSETS[1:]:
        oval = np.column_stack([(14.3 + offset) * np.cos(angle), (5.2 + offset) * np.sin(angle)])
        share = offset / _LID_OFFSETS[-1]
        flat = (1 - share) * (out + normal * offset) + share * (oval @ turn)
        ring = surface.front(middle[:2] + flat)
        keep = np.clip(1 - offset / 6.0, 0, 1)
        on = anatomy.on_lid_sphere(ring, anatomy.LID_RADIUS + 0.1 * offset)
        rings.append(ring + np.sqrt(keep) * (on - ring))
    return _creased(rings), rings


def _creased(rings: list[Points]) -> list[Points]:
    """The fold of the upper lid, and a faint one of the lower."""
    t = np.linspace(0, 1, LID_COUNT + 1)
    upper = np.sin(np.pi * t**0.9) ** 1.1
    lower = upper[LID_COUNT - 1 : 0 : -1]
    rings = list(rings)
    for k, (up, low) in _CREASE.items():
        rings[k] = rings[k] + np.concatenate([np.outer(upper, up), np.outer(lower, low)])
    return rings


def nostril_rings(surface: SkinSurface) -> tuple[list[Points], list[Points]]:
    """Rings of the left nostril, from its depth to the nose's base around it, and flat points."""
    angle = 2 * np.pi * np.arange(NOSTRIL_COUNT) / NOSTRIL_COUNT
    lean = np.radians(NOSTRIL_LEAN_DEG)
    along = np.array([-np.sin(lean), np.cos(lean)])
    across = np.array([np.cos(lean), np.sin(lean)])
    # A drop: broad behind, narrow towards the tip.
    width = NOSTRIL_HALF[0] * (1 - 0.22 * np.cos(angle))
    outline = np.outer(NOSTRIL_HALF[1] * np.cos(angle), along) + np.outer(
        width * np.sin(angle), across
    )
    middle = np.array(NOSTRIL_CENTRE)
    found, flats = [], []
    for share, flat_share, lift, back in _NOSTRIL_STEPS:
        flat = _on_base(surface, middle + flat_share * outline)
        if lift == 0:
            found.append(flat)
        else:
            deep = _on_base(surface, middle + share * outline)
            # The cavity's rim is that of the ring around it: lift from one common height.
            deep[:, 1] += lift
            deep[:, 2] -= back
            found.append(deep)
        flats.append(flat)
    return found, flats


def _on_base(surface: SkinSurface, xz: Points) -> Points:
    """The skin point on the nose's base at given x, z, [N, 2] -> [N, 3] mm."""
    low, high = np.full(len(xz), -26.0), np.full(len(xz), -12.0)
    for _ in range(40):
        y = (low + high) / 2
        point = np.column_stack([xz[:, 0], y, xz[:, 1]])
        distance = np.linalg.norm(point, axis=1)
        outside = distance > surface.radius(point / distance[:, None])
        low, high = np.where(outside, y, low), np.where(outside, high, y)
    return point


def ear_ring(surface: SkinSurface) -> Points:
    """Where the left auricle springs from the skin: from the front over the top, [n, 3] mm."""
    yz = ear_plane(EAR_BASE)
    return np.column_stack([surface.side(yz), yz])


def ear_plane(radius: Points) -> Points:
    """Height and depth [EAR_COUNT, 2] mm of a curve around the ear canal, inclined as ears are."""
    turn = 2 * np.pi * np.arange(EAR_COUNT) / EAR_COUNT
    u, v = radius * np.cos(turn), radius * np.sin(turn)
    lean = np.radians(EAR_LEAN_DEG)
    up, forward = v * np.cos(lean) - u * np.sin(lean), v * np.sin(lean) + u * np.cos(lean)
    return EAR_CENTRE + np.column_stack([up, forward])


def around_ear(knots: tuple[tuple[float, float], ...]) -> Points:
    """A value over the angle about the ear canal (degrees; 0 in front, 90 above), [EAR_COUNT]."""
    degrees, value = np.array(knots).T
    turn = 360 * np.arange(EAR_COUNT) / EAR_COUNT
    spline = CubicSpline(
        np.append(degrees, degrees[0] + 360), np.append(value, value[0]), bc_type="periodic"
    )
    return spline(np.where(turn < degrees[0], turn + 360, turn))


EAR_BASE = around_ear(
    ((0, 11.5), (30, 14), (45, 18.5), (60, 23), (75, 23.5), (95, 20.5), (120, 16.5), (150, 13),
     (180, 11.5), (210, 12), (240, 15), (270, 19.5), (295, 19), (320, 13.0), (340, 12))
)  # fmt: skip
