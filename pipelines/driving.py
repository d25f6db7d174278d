"""`headworks drive`: an avatar moved by somebody else, by curves or by a clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headworks.errors import HeadworksError
from pipelines.avatars import Driver, find_avatar, find_driver, rest_of
from pipelines.marking import Marking
from pipelines.showing import Look, Progress, cameras_for, check_look, film
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        avatar, by: names; see `pipelines.avatars`. output: file or folder.
        look: how it is seen. pose, neutral: see `headworks.driving.transfer.Transfer`.
        frames: "FIRST:END" of the driver's, empty for all. beside: show the driver's pictures.
        script: seconds, fps and seed of a script. force: replace what is there.
        marking: how the files say that they were generated.
    """

    avatar: str
    by: str
    output: Path
    look: Look
    pose: Literal["camera", "relative", "still"] = "camera"
    neutral: bool = False
    frames: str = ""
    beside: bool = False
    script: dict[str, Any] = field(default_factory=lambda: {"seconds": 8.0, "fps": 25.0, "seed": 1})
    force: bool = False
    marking: Marking = field(default_factory=Marking)


def drive(
    workspace: Workspace, request: Request, progress: Progress, told: Callable[[str], None]
) -> list[str]:
    """Film an avatar that somebody or something else moves.

    Returns:
        Lines that say what was written.

    Raises:
        HeadworksError: a name, file or option is wrong.
    """
    from headworks.driving.transfer import Transfer, transfer

    check_look(request.look)
    source = find_avatar(workspace, request.avatar)
    rest, _ = rest_of(source, workspace)
    driver = find_driver(workspace, request.by, source, request.script, told)
    for note in driver.notes:
        told(note)
    rows = frame_range(request.frames, len(driver.performance))
    target = rest
    if request.look.camera == "driver":
        target = replace(rest, camera=driver.rest.camera, centre=driver.rest.centre)
    performance = driver.performance.part(rows)
    how = Transfer(request.pose, request.neutral)
    if not driver.own or how != Transfer():  # a subject that drives itself is what it is
        performance = transfer(
            performance, driver.rest, source.avatar.head, source.avatar.identity, target, how
        )
    fps = driver.performance.fps
    cameras = cameras_for(request.look, source, target, driver, len(performance), fps)
    stamp = {**source.stamp, **driver.stamp}
    pictures = _driver_pictures(driver, rows) if request.beside else None
    return film(
        source, performance, cameras, fps, request.look, request.output, stamp, request.force,
        progress, pictures, request.marking,
    )  # fmt: skip


def frame_range(text: str, count: int, option: str = "--frames") -> slice:
    """`FIRST:END`, or the number of one frame, as a slice of `count` frames.

    Raises:
        HeadworksError: not of that form, or no frame is left.
    """
    first, colon, end = text.partition(":")
    try:
        rows = slice(int(first) if first else None, int(end) if end else None)
        if text and not colon:
            rows = slice(int(first), int(first) + 1 or None)
    except ValueError:
        raise HeadworksError(f"{option} {text}: expected FIRST:END, as in 0:100") from None
    if not len(range(count)[rows]):
        raise HeadworksError(f"{option} {text}: leaves none of the {count} frames")
    return rows


def _driver_pictures(driver: Driver, rows: slice) -> list[NDArray[np.uint8]]:
    from headworks.artifacts import open_arrays
    from headworks.driving.performance import frontal_camera

    if driver.tracked is None:
        raise HeadworksError("--beside: only a subject or a clip has pictures to show")
    tracked = driver.tracked
    camera = frontal_camera(driver.performance.head, tracked.tracking)
    rgb = open_arrays(tracked.ingest / "frames.zarr")["rgb"]
    return [np.asarray(rgb[t, camera]) for t in range(len(driver.performance))[rows]]
