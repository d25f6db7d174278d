"""The page against our renderer: same camera, same driving row."""

from __future__ import annotations

import base64
import json

import numpy as np
from numpy.typing import NDArray

from headworks.avatars import Avatar
from headworks.cameras import Camera
from headworks.images import to_uint8
from headworks.web.browser import Browser
from headworks.web.motion import unpack

White = (1.0, 1.0, 1.0)


def page_picture(
    browser: Browser,
    row: NDArray[np.floating],
    camera: Camera,
    background: tuple[float, float, float] = White,
) -> NDArray[np.uint8]:
    """What an open page's canvas shows, uint8 [H, W, 3].

    Args:
        browser: with a page of `write_page` open. row: [Ke + 21]. camera: without skew.
    """
    view = {
        "view": camera.viewmat.ravel().tolist(),
        "fx": camera.K[0, 0], "fy": camera.K[1, 1], "cx": camera.K[0, 2], "cy": camera.K[1, 2],
        "width": camera.width, "height": camera.height,
    }  # fmt: skip
    given = ", ".join(map(json.dumps, ([float(v) for v in row], view, list(background))))
    pixels = base64.b64decode(browser.run(f"window.headworks.draw({given})"))
    return np.frombuffer(pixels, np.uint8).reshape(camera.height, camera.width, 3)


def our_picture(
    avatar: Avatar,
    row: NDArray[np.floating],
    camera: Camera,
    background: tuple[float, float, float] = White,
) -> NDArray[np.uint8]:
    """The same by `BoundAvatar.render`, uint8 [H, W, 3]."""
    expression, pose = unpack(np.asarray(row, np.float32)[None])
    return to_uint8(avatar.render(expression[0], pose, camera, background)[0])


def check_rows(avatar: Avatar, resting: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Driving rows that use what a page can do: expressions, jaw, neck, gaze."""
    names = avatar.head.expression_names
    pose = len(names)

    def row(wanted: dict[str, float], **turns: float) -> NDArray[np.float32]:
        out = resting.copy()
        for name, value in wanted.items():
            if name in names:
                out[names.index(name)] = value
        for place, value in turns.items():
            out[pose + int(place[1:])] += value
        return out

    smile = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "cheekSquintLeft": 0.6}
    return {
        "neutral": row({}),
        "smile": row(smile),
        "jaw open": row({"jawOpen": 0.9}, _12=0.1),
        "head turned": row({"eyeBlinkLeft": 0.7}, _7=0.5, _6=0.15, _15=0.2, _19=0.3),
    }
