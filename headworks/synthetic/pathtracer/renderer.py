"""The path tracer as a renderer of captures."""

from __future__ import annotations

from headworks.cameras import Camera
from headworks.synthetic.annotations import scene_depth
from headworks.synthetic.capture import Renderer
from headworks.synthetic.pathtracer.lights import Lighting
from headworks.synthetic.pathtracer.tracer import DEPTH, Tracer
from headworks.synthetic.pathtracer.variants import Variant
from headworks.synthetic.render import Picture, Stage, seen_landmarks

_FINER = 2
"""Samples per pixel and axis of the depth that landmarks are tested against."""


def traced(
    variant: Variant,
    lighting: Lighting,
    samples: int,
    threads: int = 1,
    depth: int = DEPTH,
    denoise: bool = False,
) -> Renderer:
    """Pictures by Mitsuba; landmarks and their visibility as in the preview.

    Args:
        variant: of Mitsuba. lighting: how people are lit. samples: paths per pixel.
        threads, depth, denoise: as in `Tracer`.
    """
    tracer = Tracer(variant, lighting, threads, depth, denoise)

    def take(stage: Stage, camera: Camera, seed: int) -> Picture:
        rgb, alpha = tracer.picture(stage.scene, camera, samples, seed)
        fine = camera.resized(_FINER * camera.width, _FINER * camera.height)
        seen = scene_depth(stage.scene, fine)
        return Picture(rgb, alpha, seen_landmarks(stage.landmarks, camera, fine, seen))

    return take
