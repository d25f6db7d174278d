# mypy: ignore-errors
"""What the blending kernels share: the rules of an image, sizes of their data, what is wanted."""

from __future__ import annotations

import numpy as np

CHUNK = 1024  # most list entries that are copied to scratch at a time
GEOMETRY = 8  # x, y, qa, qb, qc, log2 opacity, -qb / 2qa, -qb / 2qc
MOMENTS = 8  # sums of v, v dx, v dy, v dx^2, v dx dy, v dy^2; |v dq/dx|, |v dq/dy|

# what a backward pass shall compute: bits of `wanted`
GEOMETRIC, COLORED, ABSOLUTE = 1, 2, 4  # of `Blend`
SHAPED, VIEWED = 1, 2  # of `Project`: scales and quaternions, the view matrix

F0, F1, HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
LN2 = np.float32(np.log(2.0))
STOP = np.float32(1e-4)
MIN_LOG2_ALPHA = np.float32(np.log2(1.0 / 255.0))
SLACK = np.float32(1e-3)  # rounding room of the ellipse test; the pixel test decides
