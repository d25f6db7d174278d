"""What the pieces of the mesh are made of while it is built."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Faces = NDArray[np.int64]


@dataclass
class Part:
    """A piece of the mesh under construction.

    Attributes:
        points: [V, 3] mm. faces: [F, 3]. tags: named vertex index arrays.
        flat: [V, 3] unit directions that unfold the skin where it folds in space (lips).
    """

    points: Points
    faces: Faces
    flat: Points | None = None
    tags: dict[str, NDArray[np.int64]] = field(default_factory=dict)


def smoothstep(x: Points, low: float | Points, high: float | Points) -> Points:
    """0 below `low`, 1 above `high`, smooth between (also for low > high)."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
