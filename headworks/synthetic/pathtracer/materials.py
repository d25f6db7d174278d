"""Materials of a person as Mitsuba's BSDFs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.synthetic.scene import Strands, Surface

Array = NDArray[np.floating]

# What is the same for everybody; colour and roughness come from the person's textures.
# `flatness` is Mitsuba's approximation of light that spreads below the surface (Hanrahan and
# Krueger, as in Disney's BSDF of 2015); an oil film of index 1.4 has `specular` 0.35.
_PRINCIPLED: dict[str, dict[str, float]] = {
    "skin": {"specular": 0.35, "flatness": 0.75, "main_specular_sampling_rate": 0.25},
    "lips": {"specular": 0.5, "flatness": 0.6, "main_specular_sampling_rate": 0.35},
    # The tear film is smoother than what lies below it: sclera and iris.
    "eye": {"specular": 0.3, "clearcoat": 1.0, "clearcoat_gloss": 0.985, "flatness": 0.3},
    "wet": {"specular": 0.5, "flatness": 0.4, "clearcoat": 0.6, "clearcoat_gloss": 0.9},
    "inside": {"specular": 0.4, "flatness": 0.4},
    "cloth": {"specular": 0.1, "sheen": 0.4, "sheen_tint": 0.6, "main_specular_sampling_rate": 0.1},
    "plastic": {"specular": 0.5, "clearcoat": 0.5, "clearcoat_gloss": 0.95},
    "metal": {"specular": 0.5, "metallic": 0.9},
}
_TWO_SIDED = frozenset({"cloth", "inside", "plastic", "metal"})
_BRIGHTEST_ALBEDO = 0.92
_SMOOTHEST = 0.05

LENS_MIRRORS = 0.06
"""Share of light that a lens mirrors; the rest goes straight through, shadow rays too."""
RADIAL_ROUGHNESS = 0.3
_BODY = 0.5
"""Share of a lock's colour that comes through the fibres; the rest is what cuticles mirror."""
_AXIAL_ROUGHNESS = {"hair": 0.26, "beard": 0.32, "brows": 0.34, "lashes": 0.34}
SHADES = 12
"""Groups of equal colour that strands of one kind are drawn in."""


def bitmap(mi: Any, image: Array) -> dict[str, Any]:
    """A texture of linear values, [S, S] or [S, S, 3]."""
    data = np.ascontiguousarray(image, np.float32)
    return {
        "type": "bitmap", "bitmap": mi.Bitmap(data if data.ndim == 3 else data[..., None]),
        "raw": True, "wrap_mode": "clamp",
    }  # fmt: skip


def surface_bsdfs(mi: Any, surface: Surface, names: list[str]) -> dict[str, Any]:
    """BSDFs of the materials that a surface is made of.

    Args:
        mi: the activated module. surface: whose textures. names: of its materials.
    """
    base = mi.load_dict(bitmap(mi, np.clip(surface.albedo, 0.002, _BRIGHTEST_ALBEDO)))
    rough = mi.load_dict(bitmap(mi, np.clip(surface.roughness, _SMOOTHEST, 1.0)))
    out = {}
    for name in names:
        if name == "lens":
            mirror = {"type": "twosided", "bsdf": {"type": "conductor", "material": "none"}}
            out[name] = mi.load_dict({"type": "mask", "opacity": LENS_MIRRORS, "bsdf": mirror})
            continue
        inner = {"type": "principled", "base_color": base, "roughness": rough,
                 **_PRINCIPLED[name]}  # fmt: skip
        out[name] = mi.load_dict(
            {"type": "twosided", "bsdf": inner} if name in _TWO_SIDED else inner
        )
    return out


def hair_bsdf(mi: Any, kind: str, colour: Array) -> Any:
    """Scattering of a fibre with a cuticle and a pigmented core.

    Args:
        mi: the activated module. kind: of `Strands`. colour: [3] linear, of a thick tress.

    Source: Chiang et al., A Practical and Controllable Hair and Fur Model (2016).
    """
    return mi.load_dict(
        {
            "type": "hair",
            "sigma_a": {"type": "rgb", "value": absorption(_BODY * np.asarray(colour)).tolist()},
            "longitudinal_roughness": _AXIAL_ROUGHNESS.get(kind, 0.3),
            "azimuthal_roughness": RADIAL_ROUGHNESS,
            "scale_tilt": 2.5,
        }
    )


def absorption(colour: Array, radial_roughness: float = RADIAL_ROUGHNESS) -> NDArray[np.float64]:
    """Absorption of the fibre's core whose tress has a colour after multiple scattering.

    Args:
        colour: [..., 3] linear. radial_roughness: azimuthal roughness of the fibre.

    Returns:
        [..., 3], per fibre radius.

    Source: Chiang et al. 2016, section 4.2.
    """
    b = radial_roughness
    spread = 5.969 - 0.215 * b + 2.532 * b**2 - 10.73 * b**3 + 5.574 * b**4 + 0.245 * b**5
    return (np.log(np.clip(np.asarray(colour, np.float64), 0.004, 0.97)) / spread) ** 2


def shades(strands: Strands, count: int = SHADES) -> list[tuple[NDArray[np.int64], Array]]:
    """Strands in groups of about equal colour, since a BSDF has one.

    Returns:
        (indices, mean colour [3]) of each group, the darkest first.
    """
    # Equal brightness means nearly equal colour: one person's hairs differ along one line.
    order = np.argsort(strands.colour @ np.array([0.2126, 0.7152, 0.0722]), kind="stable")
    groups = [g for g in np.array_split(order, min(count, len(order))) if len(g)]
    return [(np.sort(group), strands.colour[group].mean(0)) for group in groups]
