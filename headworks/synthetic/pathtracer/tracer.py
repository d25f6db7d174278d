"""Path-traced pictures of scenes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.errors import HeadworksError
from headworks.synthetic.pathtracer.lights import Lighting, emitter
from headworks.synthetic.pathtracer.materials import hair_bsdf, shades, surface_bsdfs
from headworks.synthetic.pathtracer.shapes import curves, mesh, split
from headworks.synthetic.pathtracer.variants import Variant
from headworks.synthetic.scene import MATERIALS, Scene, Surface

PASS = 16
"""Paths per pixel of one pass. Under LLVM and CUDA a pixel's paths are added up in the order in
which they come, which is always the same only while they lie within one packet or block; passes
are then added up here, in order. It also bounds the memory."""
DEPTH = 8
"""Longest path in segments: light hair needs several."""
_NEAR, _FAR = 0.01, 100.0
_HAIR_PX, _LARGEST_LOCK = 0.5, 8


class Traced(NamedTuple):
    """A path-traced picture.

    Attributes:
        rgb: float32 [H, W, 3] sRGB, straight (0 where nothing is).
        alpha: float32 [H, W], the share of the pixel's paths that met the person.
    """

    rgb: NDArray[np.float32]
    alpha: NDArray[np.float32]


class Tracer:
    """Renders scenes of one person: textures and materials are kept from pose to pose.

    Args:
        variant: of Mitsuba. lighting: how scenes are lit. threads: CPU threads; pictures do not
            depend on them. depth: longest path in segments. denoise: run OptiX's denoiser.

    Raises:
        HeadworksError: a denoiser is wanted without CUDA.
    """

    def __init__(
        self,
        variant: Variant,
        lighting: Lighting,
        threads: int = 1,
        depth: int = DEPTH,
        denoise: bool = False,
    ) -> None:
        if denoise and not variant.name.startswith("cuda"):
            raise HeadworksError(
                f"denoise: OptiX's denoiser needs the variant cuda_ad_rgb, here runs "
                f"{variant.name}; set synthesis.denoise=false and raise synthesis.samples"
            )
        self._mi = variant.activate()
        # Its remarks (a sample count rounded up) are for its developers; errors still raise.
        self._mi.set_log_level(self._mi.LogLevel.Error)
        import drjit

        # Dr.Jit counts its workers, Mitsuba's scalar renderer joins them with the calling thread.
        drjit.set_thread_count(max(1, threads))
        self._lighting = lighting
        self._depth = depth
        self._denoise = denoise
        self._coverage = self._mi.load_dict({"type": "depth"})
        self._bsdfs: dict[str, tuple[Surface, dict[str, Any]]] = {}
        self._built: tuple[Scene, list[int], tuple[Any, Any]] | None = None

    def picture(self, scene: Scene, camera: Camera, samples: int, seed: int) -> Traced:
        """See a scene.

        Args:
            scene: a posed person; pictures of one scene in a row share its construction.
            camera: the view, with square pixels.
            samples: paths per pixel; more than 16 are rounded up to a multiple of 16.
            seed: of this picture alone.
        """
        mi = self._mi
        away = camera.project(scene.middle)[2]
        lit, solid = self._scene(scene, float(away / camera.K[0, 0]))
        sensor = mi.load_dict(sensor_of(mi, camera))
        passes = -(-samples // PASS)
        total = np.zeros((camera.height, camera.width, 4), np.float64)
        for k in range(passes):
            chance = {"spp": min(samples, PASS), "seed": (seed + k * 0x9E3779B1) % 2**32}
            total[..., :3] += np.array(mi.render(lit, sensor=sensor, **chance), np.float32)[..., :3]
            # The path's own alpha takes a fibre for clear where a path ends within it.
            met = mi.render(solid, sensor=sensor, integrator=self._coverage, **chance)
            total[..., 3] += np.array(met, np.float32)[..., 3]
        linear = (total / passes).astype(np.float32)
        if self._denoise:
            linear = self._denoised(linear)
        return developed(linear)

    def _denoised(self, linear: NDArray[np.float32]) -> NDArray[np.float32]:
        mi = self._mi
        height, width = linear.shape[:2]
        denoiser = mi.OptixDenoiser(input_size=(width, height))
        rgb = np.array(denoiser(mi.TensorXf(np.ascontiguousarray(linear[..., :3]))), np.float32)
        return np.concatenate([rgb, linear[..., 3:]], -1)

    def _scene(self, scene: Scene, pixel: float) -> tuple[Any, Any]:
        """Mitsuba's scene for pictures whose pixels are `pixel` metres wide at the head, and the
        same without what is clear."""
        locks = [lock_size(strands.radius, pixel) for strands in scene.strands]
        if self._built is not None and self._built[0] is scene and self._built[1] == locks:
            return self._built[2]
        mi = self._mi
        parts: dict[str, Any] = {
            "type": "scene",
            "light": emitter(mi, self._lighting, scene.light),
        }
        for surface in scene.surfaces:
            names = [MATERIALS[i] for i in np.unique(surface.materials)]
            bsdfs = self._materials(surface, names)
            for name in names:
                key = f"{surface.name}_{name}"
                parts[key] = mesh(mi, key, surface, surface.faces_of(name), bsdfs[name])
        for i, strands in enumerate(scene.strands):
            for k, (group, colour) in enumerate(shades(strands)):
                thin = split(strands.points[group], strands.radius[group], locks[i])
                bsdf = hair_bsdf(mi, strands.kind, colour)
                parts[f"strands_{i}_{k}"] = curves(mi, *thin, bsdf)
        # Lamps shine through lenses only where the integrator knows of things to see through.
        kind = "volpath" if any(name.endswith("_lens") for name in parts) else "path"
        parts["integrator"] = {"type": kind, "max_depth": self._depth, "hide_emitters": True}
        lit = mi.load_dict(parts)
        solid = {name: part for name, part in parts.items() if not name.endswith("_lens")}
        both = lit, lit if len(solid) == len(parts) else mi.load_dict(solid)
        self._built = scene, locks, both
        return both

    def _materials(self, surface: Surface, names: list[str]) -> dict[str, Any]:
        known = self._bsdfs.get(surface.name)
        if known is None or known[0].albedo is not surface.albedo:
            known = surface, surface_bsdfs(self._mi, surface, names)
            self._bsdfs[surface.name] = known
        return known[1]


def lock_size(radius: NDArray[np.floating], pixel: float) -> int:
    """How many hairs a strand is split into, so that none is wider than half a pixel or so.

    Args:
        radius: [N] metres. pixel: its width at the head, metres.
    """
    width = 2 * float(np.median(radius)) if len(radius) else 0.0
    return int(np.clip(round(width / (_HAIR_PX * pixel)), 1, _LARGEST_LOCK))


def sensor_of(mi: Any, camera: Camera) -> dict[str, Any]:
    """Mitsuba's sensor of a pinhole camera.

    Raises:
        ValueError: pixels that are not square, or skewed.
    """
    fx, fy = camera.K[0, 0], camera.K[1, 1]
    if abs(fx / fy - 1) > 1e-6 or abs(camera.K[0, 1]) > 1e-6 * fx:
        raise ValueError(f"the path tracer needs square pixels, got fx {fx}, fy {fy}")
    width, height = camera.width, camera.height
    to_world = np.linalg.inv(camera.viewmat) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    return {
        "type": "perspective",
        "fov_axis": "x",
        "fov": float(np.degrees(2 * np.arctan(width / (2 * fx)))),
        "near_clip": _NEAR,
        "far_clip": _FAR,
        "principal_point_offset_x": float(-(camera.K[0, 2] - width / 2) / width),
        "principal_point_offset_y": float(-(camera.K[1, 2] - height / 2) / height),
        "to_world": mi.ScalarTransform4f(to_world),
        # A box filter: a pixel is the mean of its own paths, as in the z-buffer's pictures.
        "film": {"type": "hdrfilm", "width": width, "height": height, "pixel_format": "rgba",
                 "component_format": "float32", "rfilter": {"type": "box"}},
        "sampler": {"type": "multijitter"},
    }  # fmt: skip


def developed(raw: NDArray[np.float32]) -> Traced:
    """Linear, premultiplied [H, W, 4] to straight sRGB with alpha."""
    alpha = np.clip(raw[..., 3], 0, 1)
    linear = np.nan_to_num(raw[..., :3], nan=0.0, posinf=0.0) / np.maximum(alpha, 1e-6)[..., None]
    linear = np.clip(linear, 0, 1)
    low, high = 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    rgb = np.where(linear <= 0.0031308, low, high)
    return Traced(np.where(alpha[..., None] > 0, rgb, 0).astype(np.float32), alpha)
