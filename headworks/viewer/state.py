"""`State`: everything that the panel can change, in one record that is never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headworks.viewer.cast import Key

NO_MOTION = "(none)"


@dataclass(frozen=True)
class State:
    """What is shown.

    Attributes:
        first, second: which actors; the second only if `pair` (side by side).
        values: of the sliders. motion: name, or NO_MOTION. time: seconds into it. playing: whether
            time goes on by itself. speed: of the motion.
        corners: four named expressions, mixed where `mix_expressions`; people: four actors, mixed
            where `mix_people`; x, y: where between the corners, in [0, 1].
        latents: label -> standard deviations.
        height: pixels of the picture. background: sRGB in [0, 1]. names: write them above.
    """

    first: int = 0
    second: int = 0
    pair: bool = False
    values: Mapping[Key, float] = field(default_factory=dict)
    motion: str = NO_MOTION
    time: float = 0.0
    playing: bool = False
    speed: float = 1.0
    corners: tuple[str, str, str, str] = ("Neutral", "Neutral", "Neutral", "Neutral")
    mix_expressions: bool = False
    people: tuple[int, int, int, int] = (0, 0, 0, 0)
    mix_people: bool = False
    x: float = 0.5
    y: float = 0.5
    latents: Mapping[str, float] = field(default_factory=dict)
    height: int = 512
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    names: bool = True


@dataclass(frozen=True)
class View:
    """A browser's camera.

    Attributes:
        wxyz: camera-to-world rotation, OpenCV axes. position: [3] metres, world.
        fov: vertical, radians. aspect: width over height.
    """

    wxyz: tuple[float, float, float, float]
    position: tuple[float, float, float]
    fov: float
    aspect: float
