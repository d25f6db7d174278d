"""How far the upper lids are down, from the pixels of a whole sequence.

A landmark predictor trained on open eyes moves its lids by half of a blink, or not at all. The
sequence itself shows what each open eye looks like: most frames are open. Pulled down over that
picture by a share s, the upper lid stretches and hides what lies below; the share that explains a
frame best is how far the eye is closed in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Around each eye in reading order of the picture: corner, two upper, corner, two lower points.
EYES = (np.array([36, 37, 38, 39, 40, 41]), np.array([42, 43, 44, 45, 46, 47]))
LEAST_FRAMES = 5
"""Fewer frames do not show what an open eye looks like."""

_NOSE, _FACE = np.arange(27, 36), np.r_[0:17, 27:36]
_SLOW, _BLINK = 15, 13  # frames; blinks are shorter
_WINK = 2.0  # by this factor one eye may be further closed than the other
_LEAST_WIDTH = 9.0  # pixels between the corners; smaller eyes show no lid
# The patch: half its breadth, its height above and below the corners, in eye widths; its grid.
_HALF, _ABOVE, _BELOW = 0.48, 0.46, 0.30
_GRID = (30, 20)  # rows, columns
_SHARES = np.linspace(0.0, 1.0, 26)
_SHIFTS = (0.0, -0.14, -0.07, 0.07)
_REACH = 0.15
_LASH = 0.05  # eye widths above the lid's landmarks at which skin begins for certain
# A closing must explain so much of what has changed, and what has changed must be more than noise.
_EXPLAINED, _CHANGE = 0.35, 0.035
_AT_REST, _SHUT = 0.20, 0.85  # shares below are an open eye's flutter, above the eye is shut


def close_lids(frames: NDArray[np.uint8], points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Landmarks whose upper lids are as far down as the pixels show, if that is further.

    Args:
        frames: uint8 [T, H, W, 3], one sequence of one camera in order of time.
        points: [T, 68, 3] x, y in pixels (centres at +0.5), confidence; NaN where not found.

    Returns:
        float32 [T, 68, 3]; other points and all confidences as they were.
    """
    out = np.asarray(points, np.float32).copy()
    share = closings(frames, points)
    for eye, marks in enumerate(EYES):
        known = np.flatnonzero(np.isfinite(share[:, eye]))
        if not len(known):
            continue
        place = np.asarray(points[known][:, marks, :2], np.float64)
        gap = _openings(place)
        # The usual opening, scaled as the eye is seen in each frame.
        width = np.linalg.norm(place[:, 3] - place[:, 0], axis=-1)[:, None]
        still = share[known, eye] <= share[known, eye].min()
        usual = np.median((gap / width)[still], 0)
        wanted = usual * width * (1 - share[known, eye])[:, None]
        across = _across(place)
        drop = np.maximum(gap - wanted, 0) * (share[known, eye] > 0)[:, None]
        out[known[:, None], marks[[1, 2]], :2] += drop[..., None] * across[:, None]
    return out


def closings(frames: NDArray[np.uint8], points: NDArray[np.floating]) -> Array:
    """Share [T, 2] by which the eyes are closed (picture's left, right); NaN where not known.

    Args:
        frames, points: as for `close_lids`.
    """
    share = np.full((len(frames), 2), np.nan)
    found = np.isfinite(points[..., :2]).all((1, 2))
    if found.sum() < LEAST_FRAMES:
        return share
    steady = np.full((len(frames), 68, 2), np.nan)
    steady[found] = _without_blinks(np.asarray(points[found, :, :2], np.float64))
    for eye, marks in enumerate(EYES):
        place = steady[:, marks]
        width = np.linalg.norm(place[:, 3] - place[:, 0], axis=-1)
        known = np.flatnonzero(found & (np.nan_to_num(width) >= _LEAST_WIDTH))
        if len(known) < LEAST_FRAMES:
            continue
        patches = np.stack([_patch(frames[t], place[t]) for t in known])
        usable = np.isfinite(patches).all((1, 2))
        known, patches = known[usable], patches[usable]
        if len(known) < LEAST_FRAMES:
            continue
        share[known, eye] = _fitted(patches, _lid_lines(place[known]))
    return _blinks(share)


def _blinks(share: Array) -> Array:
    """What of the shares [T, 2] both eyes do, and only for a while.

    An eye that looks up or sideways for long may resemble one that closes; such closings, and
    winks, are left to the landmarks.
    """
    from scipy.ndimage import grey_opening

    other = share[:, ::-1]
    both = np.where(np.isfinite(other), np.minimum(share, _WINK * other), share)
    filled = np.nan_to_num(both)
    if len(filled) > _BLINK:
        filled = filled - grey_opening(filled, (_BLINK, 1), mode="nearest")
    return np.where(np.isfinite(share), filled, np.nan)


def _without_blinks(points: Array) -> Array:
    """Eyes [T, 68, 2] that move with the face alone: a lid that falls drags a predictor's corners.

    In the nose's frame an eye moves slowly; what it does for a few frames is a blink.
    """
    from scipy.ndimage import median_filter

    z = points[..., 0] + 1j * points[..., 1]
    centre = z[:, _NOSE].mean(1, keepdims=True)
    # Up along the nose, by how far the face reaches: neither turns with the lids.
    axis = z[:, [27]] - z[:, [33]]
    axis = axis / np.abs(axis) * np.abs(z - centre)[:, _FACE].mean(1, keepdims=True)
    local = (z - centre) / axis
    size = (min(_SLOW, 2 * ((len(z) - 1) // 2) + 1), 1)
    slow = median_filter(local.real, size, mode="nearest") + 1j * median_filter(
        local.imag, size, mode="nearest"
    )
    z = slow * axis + centre
    return np.stack([z.real, z.imag], -1)


def _across(place: Array) -> Array:
    """Unit directions [T, 2] from the upper to the lower lid; place [T, 6, 2]."""
    along = place[:, 3] - place[:, 0]
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    return np.stack([-along[:, 1], along[:, 0]], -1)


def _openings(place: Array) -> Array:
    """Distances [T, 2] of the lower from the upper lid's points; place [T, 6, 2]."""
    gap = place[:, [5, 4]] - place[:, [1, 2]]
    return (gap * _across(place)[:, None]).sum(-1)


def _rows() -> tuple[Array, Array]:
    """Places of the patch's rows and columns in eye widths: down from the corners, to the right."""
    rows, columns = _GRID
    y = -_ABOVE + (np.arange(rows) + 0.5) / rows * (_ABOVE + _BELOW)
    x = ((np.arange(columns) + 0.5) / columns * 2 - 1) * _HALF
    return y, x


def _patch(frame: NDArray[np.uint8], place: Array) -> Array:
    """The eye [rows, columns] upright and at one size, about 1 on its skin; NaN off the picture."""
    import cv2

    y, x = _rows()
    along = place[3] - place[0]
    across = np.array([-along[1], along[0]])
    at = (place[0] + place[3]) / 2 + x[None, :, None] * along + y[:, None, None] * across
    height, width = frame.shape[:2]
    if (at < 0).any() or (at[..., 0] > width).any() or (at[..., 1] > height).any():
        return np.full(_GRID, np.nan)
    # Red: skin is bright in it and irises of any colour are dark.
    low = np.maximum(np.floor(at.min((0, 1))).astype(int) - 3, 0)
    high = np.ceil(at.max((0, 1))).astype(int) + 3
    red: NDArray[Any] = frame[low[1] : high[1], low[0] : high[0], 0].astype(np.float32)
    step = float(np.linalg.norm(along)) * 2 * _HALF / _GRID[1]
    if step > 1:
        red = cv2.GaussianBlur(red, (0, 0), 0.4 * step)
    local = (at - low - 0.5).astype(np.float32)
    patch = cv2.remap(red, local[..., 0], local[..., 1], cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_REPLICATE).astype(np.float64)  # fmt: skip
    return patch / max(float(np.quantile(patch, 0.8)), 1.0)


def _lid_lines(place: Array) -> tuple[Array, Array]:
    """Upper and lower lid of the usual open eye, down from the corners at each column."""
    _, x = _rows()
    along = place[:, 3] - place[:, 0]
    width = np.linalg.norm(along, axis=-1, keepdims=True)
    along, across = along / width, _across(place)
    offset = place - (place[:, :1] + place[:, 3:4]) / 2
    right = np.median((offset * along[:, None]).sum(-1) / width, 0)
    down = np.median((offset * across[:, None]).sum(-1) / width, 0)
    upper = np.interp(x, right[[0, 1, 2, 3]], down[[0, 1, 2, 3]])
    lower = np.interp(x, right[[0, 5, 4, 3]], down[[0, 5, 4, 3]])
    return np.minimum(upper, lower - 0.02), lower


def _fitted(patches: Array, lids: tuple[Array, Array]) -> Array:
    """Closed shares [T] of one eye's patches [T, rows, columns]."""
    from scipy.ndimage import median_filter

    # An open eye holds dark and bright, a lid is skin: what differs most within is most open.
    inside = _inside(*lids)
    spread = patches[:, inside].std(1)
    opened = np.median(patches[spread >= np.median(spread)], 0)
    quiet = patches - opened
    # Light over the whole eye changes slowly in the patch: its mean outside of the opening.
    level = (quiet * ~inside).sum((1, 2), keepdims=True) / max(int((~inside).sum()), 1)
    plain = patches - level
    # A predictor's lids lie off this person's by a share that is the same in all frames.
    least: Array | None = None
    for shift in _SHIFTS:
        moved = (lids[0] + shift, lids[1] + shift)
        drawn = np.stack([_closed(opened, s, *moved) for s in _SHARES])  # [S, rows, columns]
        gap = np.abs(plain[:, None] - drawn[None])
        here = (gap * inside).sum((2, 3)) / inside.sum()
        if least is None or here.min(1).sum() < least.min(1).sum():
            least = here
    assert least is not None
    cost, best = least, least.argmin(1)
    share = _SHARES[best]
    explained = 1 - cost[np.arange(len(cost)), best] / np.maximum(cost[:, 0], 1e-9)
    told = np.clip((explained - _EXPLAINED / 2) / (_EXPLAINED / 2), 0, 1)
    told *= np.clip(cost[:, 0] / _CHANGE - 1, 0, 1)
    share = share * told
    # One frame that alone is strange is noise, a blink has neighbours half closed.
    share = np.minimum(share, 2 * median_filter(share, 3, mode="nearest") + 0.5)
    return np.clip((share - _AT_REST) / (_SHUT - _AT_REST), 0, 1)


def _inside(upper: Array, lower: Array) -> NDArray[np.bool_]:
    """Pixels of the patch [rows, columns] that the lid can cover, with how far lids may be off."""
    y, _ = _rows()
    return (y[:, None] > upper - _REACH) & (y[:, None] < lower + _LASH)


def _closed(opened: Array, share: float, upper: Array, lower: Array) -> Array:
    """The open eye's picture with the upper lid pulled down by a share of the opening."""
    y, _ = _rows()
    out = opened.copy()
    edge = upper + share * (lower - upper)
    for column in range(opened.shape[1]):
        skin, lash = -_ABOVE, upper[column] - _LASH
        moved = edge[column] - _LASH
        # Above the lashes the skin stretches; the lashes keep their height and move as they are.
        source = np.where(
            y < moved, skin + (y - skin) * (lash - skin) / (moved - skin), y - moved + lash
        )
        hidden = y < edge[column]
        out[hidden, column] = np.interp(source[hidden], y, opened[:, column])
    return out
