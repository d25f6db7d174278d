"""How the mesh's silhouette compares with the matte."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def intersection_over_union(covered: NDArray[np.bool_], alpha: NDArray[np.uint8]) -> float:
    """IoU of the pixels a mesh covers [H, W] and a matte [H, W]; NaN where both are empty."""
    inside = alpha > 127
    union = (covered | inside).sum()
    return float((covered & inside).sum() / union) if union else float("nan")
