"""Lines of the ageing face, as distance maps over (|x|, y) of the mean head."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, map_coordinates

Real = NDArray[np.float32]

# name: (deepest half width in mm, polylines of (|x|, y) in mm)
_LINES: dict[str, tuple[float, tuple[str, ...]]] = {
    "nasolabial": (1.7, ("19.5 -8 23 -14 27 -22 31 -31 34 -39 35 -44",)),
    "marionette": (1.3, ("30.5 -45 32 -50 33 -57 33 -63",)),
    "crows_feet": (
        0.55,
        ("52 27 58 31 63 36", "53 23.5 60 25 66 27.5", "52.5 20 59 19 65 17", "51 17 57 13.5 61 9"),
    ),
    "under_eye": (0.9, ("17 12 22 8 29 6.5 37 8 44 12.5", "19 6 26 1.5 34 0 42 3")),
    "tear_trough": (2.4, ("16.5 14 20 8.5 26 4 33 1.5",)),
    "forehead": (
        0.75,
        ("0 57 14 58.5 28 59.5 42 57", "0 64.5 15 66 30 67 45 64", "0 72 16 73.5 30 74 44 71",
         "0 79.5 15 81 28 81"),
    ),
    "glabella": (0.75, ("7.5 31 7 38 6.2 46 6.5 52", "3.4 33 3 39")),
    "bunny": (0.6, ("0 27 4 26 7 24", "0 22.5 4 22 7.5 20")),
    "mentolabial": (1.8, ("0 -58 8 -57.5 16 -55 21 -51",)),
    "neck": (1.0, ("0 -112 20 -109 38 -100", "0 -126 22 -122 42 -112", "0 -138 25 -134 45 -124")),
    "jowl": (2.2, ("33 -63 36 -71 38 -78",)),
    "lid_crease": (0.8, ("18.5 25 23 30.2 30 32.4 38 31.8 45 28.2 49.5 24.5",)),
}  # fmt: skip
_STEP = 0.5
_WIDTH, _LOW, _HIGH = 80.0, -150.0, 110.0


@lru_cache(maxsize=1)
def _maps() -> dict[str, tuple[float, Real]]:
    shape = (int((_HIGH - _LOW) / _STEP) + 1, int(_WIDTH / _STEP) + 1)
    out = {}
    for name, (width, lines) in _LINES.items():
        ink = np.ones(shape, bool)
        fade = np.zeros(shape, np.float32)
        for text in lines:
            knots = np.array(text.split(), np.float64).reshape(-1, 2)
            count = int(np.linalg.norm(np.diff(knots, axis=0), axis=1).sum() / 0.2) + 2
            t = np.linspace(0, len(knots) - 1, count)
            x = np.interp(t, np.arange(len(knots)), knots[:, 0])
            y = np.interp(t, np.arange(len(knots)), knots[:, 1])
            row, column = np.rint((y - _LOW) / _STEP).astype(int), np.rint(x / _STEP).astype(int)
            ink[row, column] = False
            # Lines end softly, except on the midline.
            u = np.linspace(0, 1, count)
            ends = np.minimum(1.0 if knots[0, 0] < 1 else u / 0.22, (1 - u) / 0.3)
            fade[row, column] = np.clip(ends, 0, 1)
        distance, index = distance_transform_edt(ink, return_indices=True)
        depth = np.exp(-0.5 * (distance * _STEP / width) ** 2) * fade[index[0], index[1]]
        out[name] = (width, depth.astype(np.float32))
    return out


def crease(name: str, x: Real, y: Real) -> Real:
    """Depth of a group of lines at |x|, y in mm on the mean head, [N] in [0, 1].

    Args:
        name: of the group: "nasolabial", "forehead", ... x, y: [N].
    """
    _, depth = _maps()[name]
    at = np.stack([(y - _LOW) / _STEP, np.abs(x) / _STEP])
    return map_coordinates(depth, at, np.float32, order=1, mode="constant")


def names() -> tuple[str, ...]:
    """All groups of lines."""
    return tuple(_LINES)
