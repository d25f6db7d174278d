"""What expression synthesis makes, whichever way."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Made(NamedTuple):
    """Pictures of N driving frames, K each, of P people.

    Attributes:
        rgb: uint8 [N, K, S, S, 3]. alpha: uint8 [N, K, S, S], or None where it is not known.
        landmarks: float32 [N, K, 68, 3] x, y in pixels, confidence; NaN where not found.
        appearances: uint8 [P, S, S, 3], the people as they lend their looks.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    landmarks: NDArray[np.float32]
    appearances: NDArray[np.uint8]


def draw_choices(
    rng: np.random.Generator, frames: int, per_frame: int, people: int
) -> NDArray[np.int64]:
    """Who lends the looks to each picture: [N, K] indices, nobody twice in one frame.

    Args:
        rng: source of chance. frames: N. per_frame: K, at most `people`. people: P.
    """
    count = min(per_frame, people)
    rows = [rng.choice(people, count, replace=False) for _ in range(frames)]
    return np.array(rows, np.int64).reshape(frames, count)
