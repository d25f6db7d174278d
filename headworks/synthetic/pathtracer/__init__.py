"""Path-traced pictures of synthetic people by Mitsuba 3 (an optional extra: `headworks[render]`).

`choose_variant` says what this machine can run, `Tracer` renders scenes of `scene.py`.
"""

from headworks.synthetic.pathtracer.lights import Lighting
from headworks.synthetic.pathtracer.tracer import Tracer
from headworks.synthetic.pathtracer.variants import Variant, choose_variant

__all__ = ["Lighting", "Tracer", "Variant", "choose_variant"]
