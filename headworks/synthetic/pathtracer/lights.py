"""Light around a person: uniform white, a softbox and a sky, or the user's panorama."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.errors import HeadworksError
from headworks.synthetic.scene import Light

PANORAMAS = frozenset({".exr", ".hdr", ".pfm"})
_HEIGHT = 64
_SMALLEST, _LARGEST = 0.10, 0.75
"""Half width of a softbox as seen from the head, radians: a flash, and a wall of light."""
_ASPECT = 1.3
_EDGE = 0.08


@dataclass(frozen=True)
class Lighting:
    """How a scene is lit.

    Attributes:
        kind: "uniform" (GASP's uniform white light), "studio" (the person's own light: a large
            softbox, a sky and the floor's reflection) or "environment".
        file: panorama of kind "environment": latitude-longitude, linear, .exr, .hdr or .pfm.
        turn: by which it is turned about the vertical axis, radians.
        strength: factor on all radiance.
    """

    kind: str = "uniform"
    file: Path | None = None
    turn: float = 0.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("uniform", "studio", "environment"):
            raise ValueError(f"light {self.kind!r}: expected uniform, studio or environment")
        if self.kind == "environment":
            if self.file is None or self.file.suffix.lower() not in PANORAMAS:
                raise HeadworksError(
                    f"environment light {self.file}: expected a latitude-longitude panorama "
                    f"({', '.join(sorted(PANORAMAS))}); name one, or choose light uniform"
                )
            if not self.file.is_file():
                raise HeadworksError(
                    f"{self.file}: no such panorama; check the path, or choose light uniform"
                )


def emitter(mi: Any, lighting: Lighting, light: Light) -> Any:
    """The Mitsuba emitter.

    Args:
        mi: the activated module. lighting: what is wanted. light: the person's own light.
    """
    if lighting.kind == "uniform":
        return mi.load_dict({"type": "constant", "radiance": {
            "type": "rgb", "value": lighting.strength}})  # fmt: skip
    turned = mi.ScalarTransform4f().rotate([0, 1, 0], float(np.degrees(lighting.turn)))
    if lighting.kind == "environment":
        assert lighting.file is not None
        image = read_panorama(mi, lighting.file)
    else:
        image = panorama(light)
    bitmap = mi.Bitmap(np.ascontiguousarray(image * np.float32(lighting.strength)))
    return mi.load_dict({"type": "envmap", "bitmap": bitmap, "to_world": turned})


def read_panorama(mi: Any, file: Path) -> NDArray[np.float32]:
    """A panorama's linear radiance, float32 [H, W, 3].

    Raises:
        HeadworksError: not a picture, or not twice as wide as high.
    """
    import drjit

    # OpenEXR hands its work to the pool and waits; a pool of one thread has nobody to do it.
    threads = drjit.thread_count()
    drjit.set_thread_count(max(2, threads))
    try:
        image = np.array(mi.Bitmap(str(file)), np.float32)
    except RuntimeError as error:
        raise HeadworksError(
            f"{file}: not a panorama that can be read ({str(error).splitlines()[0]}); expected "
            f"{', '.join(sorted(PANORAMAS))}"
        ) from None
    finally:
        drjit.set_thread_count(threads)
    if image.ndim != 3 or image.shape[2] < 3 or image.shape[1] != 2 * image.shape[0]:
        raise HeadworksError(
            f"{file}: {image.shape[1]} x {image.shape[0]} pixels in "
            f"{image.shape[2] if image.ndim == 3 else 1} channels; expected a colour panorama "
            "twice as wide as high (latitude-longitude)"
        )
    return np.ascontiguousarray(image[..., :3])


def panorama(light: Light, height: int = _HEIGHT) -> NDArray[np.float32]:
    """A person's own light as a latitude-longitude picture.

    Lamps are softboxes, the softer the larger, so that eyes hold a reflection; their irradiance is
    that of the preview's lamps.

    Args:
        light: of a scene. height: pixels; the width is twice that.

    Returns:
        float32 [height, 2 height, 3], linear radiance; row 0 looks up, u = atan2(x, -z) / 2 pi.
    """
    width = 2 * height
    polar = (np.arange(height) + 0.5) / height * np.pi
    turn = (np.arange(width) + 0.5) / width * 2 * np.pi
    way = np.stack(
        [
            np.sin(polar)[:, None] * np.sin(turn),
            np.broadcast_to(np.cos(polar)[:, None], (height, width)),
            -np.sin(polar)[:, None] * np.cos(turn),
        ],
        -1,
    )
    area = np.sin(polar)[:, None, None] * (np.pi / height) * (2 * np.pi / width)
    total = light.below + (light.above - light.below) * (0.5 + 0.5 * way[..., 1:2])
    for direction, intensity, softness in zip(
        light.directions, light.intensities, light.softness, strict=True
    ):
        key = direction / np.linalg.norm(direction)
        side = np.cross([0.0, 1.0, 0.0], key)
        side /= np.linalg.norm(side)
        ahead = way @ key
        half = _SMALLEST + float(np.clip(softness, 0, 1)) * (_LARGEST - _SMALLEST)
        x = np.arctan2(way @ side, np.maximum(ahead, 1e-6)) / half
        y = np.arctan2(way @ np.cross(key, side), np.maximum(ahead, 1e-6)) / (half / _ASPECT)
        beyond = (np.maximum(np.abs(x), np.abs(y)) - 1) * half
        box = np.where(ahead > 0, np.clip(1 - beyond / _EDGE, 0, 1), 0.0)[..., None]
        received = (box * area * np.clip(ahead, 0, None)[..., None]).sum()
        total = total + box * np.pi * intensity / received
    return total.astype(np.float32)
