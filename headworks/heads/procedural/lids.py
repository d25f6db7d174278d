"""The lids: how they close over the eyeball, how their shape varies, what makes them meet.

A lid is a fan of rings (mesh tags "lid0", the margin, to "lid5"); inside the margin lies the rim.
Position along a lid is t: 0 at the inner, 1 at the outer canthus.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.heads.procedural import anatomy
from headworks.heads.procedural.assembly import Assembly
from headworks.heads.procedural.parttypes import Points
from headworks.heads.procedural.rings import LID_COUNT

_FOLLOW = (1.0, 0.87, 0.66, 0.42, 0.24, 0.07)
"""How far the rings go along when the margin moves."""
_CONTROL_FOLLOW = (1.0, 0.9, 0.7, 0.42, 0.26, 0.1)
"""The same when a control of identity moves it."""
_TAKEN_BACK = (1.0, 1.0, 1.0, 0.8, 0.5, 0.1)
"""How much of a control's effect on a ring a closed eye has not."""
_CLOSED_AT = 0.82
"""Where closed lids meet, from the upper (0) to the lower (1) margin."""
_OVERLAP = 0.12
"""How far closed lids go over one another in their middle, mm."""
FLIP = np.array([-1.0, 1, 1])
_T = np.linspace(0, 1, LID_COUNT + 1)


def margins(head: Assembly) -> tuple[Points, Points]:
    """Upper and lower margin of the left eye from the inner to the outer canthus, [n + 1, 3]."""
    ring, n = head.points[head.tags["lid0"]], LID_COUNT
    return ring[: n + 1], np.concatenate([ring[:1], ring[:n:-1], ring[n : n + 1]])


def _around(upper: Points, lower: Points) -> Points:
    """What belongs to the two margins [n + 1, 3], as values of the ring [2 n, 3]."""
    return np.concatenate([upper, lower[LID_COUNT - 1 : 0 : -1]])


def _spread(head: Assembly, way: Points, follow: tuple[float, ...], on_sphere: bool) -> Points:
    """Displacement of all vertices when the left margin goes `way` [2 n, 3]; [V, 3]."""
    out = np.zeros_like(head.points)
    moves = (np.abs(way).sum(1) > 1e-9)[:, None]
    for k, share in enumerate(follow):
        ids = head.tags[f"lid{k}"]
        moved = head.points[ids] + share * way
        if on_sphere:
            near = anatomy.on_lid_sphere(moved, anatomy.LID_RADIUS + 0.12 * k)
            pull = np.clip(1.3 - 0.3 * k, 0, 1) * moves
            moved = moved + pull * (near - moved)
        out[ids] = moved - head.points[ids]
    rim, count = head.members["rim_left"], 2 * LID_COUNT
    for r, share in ((1, 1.0), (2, 0.4)):
        # The rim's last row stays at the eyeball.
        out[rim[r * count : (r + 1) * count]] = share * out[head.tags["lid0"]]
    return out


def move_lids(head: Assembly, upper: float, lower: float) -> Points:
    """Move the left lids by fractions of their way to the closed line (negative opens), [V, 3]."""
    top, bottom = margins(head)
    closed = _CLOSED_AT * bottom + (1 - _CLOSED_AT) * top
    closed = anatomy.on_lid_sphere(closed, anatomy.LID_RADIUS)
    # A little further out towards the canthi, where margins of other shapes cut the eyeball.
    closed[:, 2] += 1.5 * (np.sin(np.pi * _T) ** 0.6 - np.sin(np.pi * _T) ** 5)
    over = _OVERLAP * np.sin(np.pi * _T)[:, None] * [0, 1, 0]
    up = anatomy.on_lid_sphere(closed - over, anatomy.LID_RADIUS + 0.1) - top
    up[[0, -1]] = 0
    down = closed - bottom
    down[[0, -1]] = 0
    return _spread(head, _around(upper * up, lower * down), _FOLLOW, True)


_NOTHING = np.zeros(LID_COUNT + 1)
_ARC = np.sin(np.pi * _T)
_LID_CONTROLS: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {
    # name: how upper and lower margin move up along the lid, mm per unit.
    "lid_height": (1.0 * _ARC, _NOTHING),
    "lid_lower": (_NOTHING, -0.7 * _ARC),
    "lid_peak": (0.5 * np.sin(2 * np.pi * _T), _NOTHING),
    "lid_lower_peak": (_NOTHING, -0.4 * np.sin(2 * np.pi * _T)),
    "canthal_tilt": (1.2 * _T**1.5, 1.2 * _T**1.5),
    "lid_outer_hood": (-0.55 * np.sin(np.pi * _T**2.2), _NOTHING),
}
LID_NAMES = (*_LID_CONTROLS, "eye_width", "inner_canthus")


def _way(name: str) -> Points:
    if name == "eye_width":
        side = 1.0 * _T**2
        return _around(*(2 * [np.column_stack([side, 0 * side, -0.6 * side])]))
    if name == "inner_canthus":
        side = (1 - _T) ** 3
        return _around(*(2 * [np.column_stack([-0.7 * side, -0.8 * side, 0 * side])]))
    upper, lower = _LID_CONTROLS[name]
    return _around(
        np.column_stack([0 * upper, upper, 0 * upper]),
        np.column_stack([0 * lower, lower, 0 * lower]),
    )


def lid_control(head: Assembly, name: str) -> Points:
    """Displacement of the left lids per unit of a control of LID_NAMES, [V, 3] mm."""
    return _spread(head, _way(name), _CONTROL_FOLLOW, True)


def meeting(head: Assembly, name: str) -> Points:
    """What a full blink of the left eye adds per unit of a control, so that the lids still meet.

    A control moves the margins apart; closed, both lie where the control moves the closed line.
    """
    way, own = _way(name), lid_control(head, name)
    n = LID_COUNT
    upper = way[: n + 1]
    lower = np.concatenate([way[:1], way[:n:-1], way[n : n + 1]])
    line = _CLOSED_AT * lower + (1 - _CLOSED_AT) * upper
    wanted = _around(line, line)
    out = np.zeros_like(own)
    for k, share in enumerate(_TAKEN_BACK):
        ids = head.tags[f"lid{k}"]
        out[ids] = share * (_CONTROL_FOLLOW[k] * wanted - own[ids])
    rim, count = head.members["rim_left"], 2 * n
    edge = rim[count : 2 * count]
    out[edge] = wanted - own[edge]
    return out
