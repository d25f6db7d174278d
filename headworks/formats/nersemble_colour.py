"""Colour calibration of NeRSemble's cameras: affine (first release), polynomial (second)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headworks.errors import CaptureError

Array = NDArray[np.float64]

# Exponents of (R, G, B) of every term, in order; "1" is the constant.
_SHORT = {
    3: "R G B", 4: "R G B 1", 5: "R G B RGB 1", 7: "R G B RG RB GB 1", 8: "R G B RG RB GB RGB 1",
    10: "R G B RG RB GB RR GG BB 1", 11: "R G B RG RB GB RR GG BB RGB 1",
    14: "R G B RG RB GB RR GG BB RGB RRR GGG BBB 1",
    16: "R G B RG RB GB RR GG BB RGB RRG GGB BBR RRR GGG BBB",
    17: "R G B RG RB GB RR GG BB RGB RRG GGB BBR RRR GGG BBB 1",
    19: "R G B RG RB GB RR GG BB RGB RRG GGB BBR RRB GGR BBG RRR GGG BBB",
}  # fmt: skip
_SHORT[20] = _SHORT[19] + " 1"
_SHORT[22] = _SHORT[19] + " RRGB RGGB RGBB"
_SHORT[35] = _SHORT[19] + (
    " RRRG RRRB GGGR GGGB BBBR BBBG RRGB RGGB RGBB RRGG RRBB GGBB RRRR GGGG BBBB 1"
)
TERMS: dict[int, tuple[tuple[int, int, int], ...]] = {
    count: tuple((t.count("R"), t.count("G"), t.count("B")) for t in text.split())
    for count, text in _SHORT.items()
}


def decoded(srgb: Array) -> Array:
    """Linear light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0) + 0.055) / 1.055) ** 2.4)


def encoded(linear: Array) -> Array:
    """SRGB values of linear light; negative light stays on the straight part."""
    bent = 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, bent)


def expanded(rgb: Array, terms: int) -> Array:
    """Polynomial terms of colours.

    Args:
        rgb: [..., 3] linear. terms: how many, a key of `TERMS`.

    Returns:
        [..., terms].

    Source: Cheung, Westland, Connah and Ripamonti, colour characterisation of cameras (2004).
    """
    return np.stack([np.prod(rgb ** np.array(powers), -1) for powers in TERMS[terms]], -1)


def corrected(rgb: NDArray[np.uint8], matrix: NDArray[np.floating]) -> NDArray[np.uint8]:
    """An image with its camera's colour calibration applied.

    Args:
        rgb: uint8 [H, W, 3].
        matrix: [3, T], of polynomial terms in linear light; or the affine [4, 3] of the first
            release (rows for R, G, B and the constant), in display values.
    """
    matrix = np.asarray(matrix, np.float64)
    value = rgb.astype(np.float64) / 255
    if matrix.shape == (4, 3):
        out = value @ matrix[:3] + matrix[3]
    else:
        out = encoded(expanded(decoded(value), matrix.shape[1]) @ matrix.T)
    return (np.clip(out, 0, 1) * 255 + 0.5).astype(np.uint8)


def checked(matrix: object, where: str) -> Array:
    """A colour matrix of a calibration file, [3, T] or [4, 3].

    Raises:
        CaptureError: of a shape that has no meaning.
    """
    try:
        array = np.asarray(matrix, np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    known = array.ndim == 2 and array.shape[0] == 3 and array.shape[1] in TERMS
    if not (known or array.shape == (4, 3)) or not np.isfinite(array).all():
        raise CaptureError(
            f"{where}: expected a colour matrix of 3 rows and one of "
            f"{', '.join(map(str, sorted(TERMS)))} columns, got shape {array.shape}"
        )
    return array
