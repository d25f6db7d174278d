# mypy: ignore-errors
"""What the blending kernels share: the rules of an image, sizes of their data, what is wanted."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

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


@intrinsic
def take(typingctx, counter):
    """Atomic `counter[0]++` on an int64 array; the value before."""

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), codegen
