"""Colour of skin from its pigments: melanin in the epidermis, blood in the dermis.

Light crosses the epidermis twice, with melanosomes on its way, and returns from a thick scattering
dermis that holds blood. Reflectances are linear, at three wavelengths that stand for R, G and B.

Source: S. Jacques, Skin optics (Oregon Medical Laser Center, 1998), for melanosomes, scattering and
baseline absorption and for the melanin volumes of light, moderate and dark skin; S. Prahl's table
of haemoglobin extinction; reflectance of a thick layer after Kubelka and Munk.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_WAVELENGTHS_NM = np.array([612.0, 549.0, 465.0])
_EPIDERMIS_CM = 0.0062
_HAEMOGLOBIN = np.array([21.0, 247.0, 145.0])
"""Absorption of whole blood of 70 % saturation at those wavelengths, 1/cm."""
_RETURNED = np.array([0.98, 0.90, 0.745])
"""What internal reflection, and carotene for blue, leave of the light from the dermis."""
_SURFACE = 0.006

FITZPATRICK: dict[str, tuple[float, float]] = {
    # melanin, as volume fraction of the epidermis
    "I": (0.009, 0.017), "II": (0.017, 0.034), "III": (0.034, 0.066),
    "IV": (0.066, 0.120), "V": (0.120, 0.200), "VI": (0.200, 0.350),
}  # fmt: skip

_LOW, _HIGH, _STEPS = np.log(0.004), np.log(0.8), 96
_BLOOD_MOST, _BLOOD_STEPS = 0.08, 64


def skin_reflectance(melanin: Array | float, blood: Array | float) -> Array:
    """Linear RGB reflectance of skin.

    Args:
        melanin: volume fraction of melanosomes in the epidermis, about 0.01 to 0.4.
        blood: volume fraction of blood in the dermis, about 0.002 to 0.05.

    Returns:
        [..., 3] in [0, 1].
    """
    m, b = np.broadcast_arrays(np.asarray(melanin, np.float64), np.asarray(blood, np.float64))
    lam = _WAVELENGTHS_NM
    crossed = np.exp(-2 * _EPIDERMIS_CM * m[..., None] * 6.6e11 * lam**-3.33)
    scattered = 46.0 * (lam / 500.0) ** -1.42
    absorbed = 0.244 + 85.3 * np.exp(-(lam - 154.0) / 66.2) + b[..., None] * _HAEMOGLOBIN
    ratio = 2 * absorbed / (0.75 * scattered)
    dermis = 1 + ratio - np.sqrt(ratio**2 + 2 * ratio)
    return _SURFACE + crossed * dermis * _RETURNED


@lru_cache(maxsize=1)
def _table() -> NDArray[np.float32]:
    melanin = np.exp(np.linspace(_LOW, _HIGH, _STEPS))[:, None]
    blood = np.linspace(0, 1, _BLOOD_STEPS)[None] ** 2 * _BLOOD_MOST
    return skin_reflectance(melanin, blood).astype(np.float32)


def skin_colours(
    log_melanin: NDArray[np.float32], blood: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`skin_reflectance` of many texels from a table; logarithm of melanin [N], blood [N]."""
    table = _table()
    x = np.clip((log_melanin - _LOW) / (_HIGH - _LOW), 0, 1) * (_STEPS - 1.001)
    y = np.sqrt(np.clip(blood / _BLOOD_MOST, 0, 1)) * (_BLOOD_STEPS - 1.001)
    i, j = x.astype(np.int64), y.astype(np.int64)
    u, v = (x - i).astype(np.float32)[:, None], (y - j).astype(np.float32)[:, None]
    near = table[i, j] * (1 - v) + table[i, j + 1] * v
    far = table[i + 1, j] * (1 - v) + table[i + 1, j + 1] * v
    return near * (1 - u) + far * u
