"""Animatable 3D head avatars: cameras, head models, Gaussians, avatars, metrics, formats.

The library storey of the project: it computes, and knows nothing of stages or pipelines.
"""

import os

# torch bundles one OpenMP runtime and Numba loads another; without a short spin count their idle
# pools spin against each other on few cores. It must be set before either is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# Numba's OpenMP layer sets the thread count of torch's pool to its own, whatever torch was told.
os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")

__version__ = "0.1.0"
