"""Pictures and videos of one subject, each with a caption: what the report shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headworks import pictures
from headworks.formats.video import write_mp4
from headworks.heads.base import HeadPose
from headworks.images import to_uint8
from headworks.metrics.flip import flip_map
from headworks.metrics.names import BASELINES, TITLES
from stages.evaluate.measure import consecutive
from stages.evaluate.methods import Method
from stages.evaluate.subject import Pair, Subject, evenly

if TYPE_CHECKING:
    from stages.evaluate import EvaluateParams

ORBIT_YAW = np.deg2rad(60)
ERROR_TOP = 0.5
"""FLIP error at which the error map's colours end."""
PREVIEW_FPS = 16.0
_JAW_OPEN = 0.28
"""Radians of jaw rotation where a head has no `jawOpen` shape."""

EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "jaw open": {"jawOpen": 0.8},
    "smile": {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0},
    "blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "pucker": {"mouthPucker": 1.0},
    "brows up": {"browInnerUp": 1.0, "browOuterUpLeft": 1.0, "browOuterUpRight": 1.0},
    "frown": {
        "browDownLeft": 1.0, "browDownRight": 1.0, "mouthFrownLeft": 1.0, "mouthFrownRight": 1.0,
    },
    "cheek puff": {"cheekPuff": 1.0},
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """One file that the report shows.

    Attributes:
        role: what it is: "input", "matte", "landmarks", "mesh", "ground_truth", "error",
            "reenactment", "orbit", "sweep", "sweep_video", the name of a method, or "error_" and
            such a name.
        file: name in the folder. caption: a sentence. group: pictures that belong side by side.
        width, height: pixels.
    """

    role: str
    file: str
    caption: str
    group: str
    width: int
    height: int


class _Folder:
    """Saves pictures and remembers them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listed: list[Picture] = []
        path.mkdir(parents=True, exist_ok=True)

    def picture(
        self, role: str, group: str, caption: str, image: NDArray[np.uint8], name: str = ""
    ) -> None:
        file = f"{name or role}.png"
        pictures.save_png(str(self.path / file), image)
        self.listed.append(Picture(role, file, caption, group, image.shape[1], image.shape[0]))

    def video(
        self, role: str, caption: str, frames: Iterator[NDArray[np.uint8]], fps: float
    ) -> None:
        size: list[int] = []

        def sized() -> Iterator[NDArray[np.uint8]]:
            for frame in frames:
                size[:] = frame.shape[1], frame.shape[0]
                yield frame

        write_mp4(self.path / f"{role}.mp4", sized(), fps)
        self.listed.append(Picture(role, f"{role}.mp4", caption, role, *size))


def make_pictures(
    subject: Subject,
    methods: dict[str, Method],
    params: EvaluateParams,
    folder: Path,
    progress: Callable[[float, str], None],
) -> list[Picture]:
    """Write all pictures and `pictures.json`.

    Args:
        folder: made if absent. progress: fraction and message.

    Returns:
        What was written, in the order of the report.
    """
    out = _Folder(folder)
    shown = evenly(subject.chosen, params.picture_frames)
    progress(0.0, "pictures of the preparation")
    _preparation(subject, shown[len(shown) // 2], out)
    progress(0.1, "comparisons")
    for number, pair in enumerate(shown):
        _comparison(subject, methods, pair, number, out)
    sequence = consecutive(subject, params.video_frames)
    if len(sequence) > 1:
        progress(0.3, "re-enactment video")
        avatar = next(iter(methods.values()))
        out.video(
            "reenactment",
            f"Ground truth (left) and avatar (right) over {len(sequence)} consecutive frames "
            "that were held out.",
            (_side_by_side(subject, avatar, pair) for pair in sequence),
            subject.fps,
        )
    progress(0.6, "orbit video")
    studio = Studio.of(subject, params.preview_side)
    out.video(
        "orbit",
        "The neutral avatar from viewpoints it was never filmed from: 60 degrees to either side.",
        orbit_frames(studio, params.orbit_frames),
        PREVIEW_FPS,
    )
    progress(0.8, "expression sweep")
    sweep = available_expressions(subject.head.expression_names)
    for label, weights in sweep.items():
        image = studio.picture(*studio.driving(weights))
        name = f"sweep_{label.replace(' ', '_')}"
        out.picture("sweep", "sweep", label, image, name)
    out.video(
        "sweep_video",
        "The same expressions coming and going: " + ", ".join(k for k in sweep if sweep[k]) + ".",
        sweep_frames(studio, sweep, params.sweep_frames),
        PREVIEW_FPS,
    )
    text = json.dumps([asdict(p) for p in out.listed], indent=1, sort_keys=True)
    (folder / "pictures.json").write_text(text + "\n")
    return out.listed


def _preparation(subject: Subject, pair: Pair, out: _Folder) -> None:
    frame = subject.frame(pair)
    where = f"frame {subject.rows[pair]['frame']}, camera {subject.rows[pair]['camera']}"
    out.picture("input", "preparation", f"Input ({where})", frame)
    out.picture("matte", "preparation", "Matte", pictures.over_checks(*subject.matted(pair)))
    points = subject.landmarks[pair]
    found = "68 landmarks" if np.isfinite(points[:, :2]).all() else "No landmarks found"
    out.picture("landmarks", "preparation", found, pictures.draw_landmarks(frame, points))
    mesh = pictures.shade_mesh(
        frame, subject.vertices(pair), subject.head.faces.numpy(), subject.camera(pair)
    )
    out.picture("mesh", "preparation", "Tracked mesh", mesh)


def _comparison(
    subject: Subject, methods: dict[str, Method], pair: Pair, number: int, out: _Folder
) -> None:
    target, _ = subject.target(pair)
    row = subject.rows[pair]
    group = f"comparison_{number}"
    where = f"frame {row['frame']}, camera {row['camera']}"
    out.picture(
        "ground_truth", group, f"Ground truth, {where}", to_uint8(target), f"truth_{number}"
    )
    for name, method in methods.items():
        rendered = method(pair)
        if rendered is None:
            continue
        plain = TITLES.get(name, name.replace("_", " ").capitalize())
        caption = plain if name in BASELINES else "Avatar"
        role = name if name in BASELINES else "avatar"
        image = to_uint8(rendered[0])
        out.picture(role, group, caption, image, f"{role}_{number}")
        difference = flip_map(rendered[0], target)
        error = "error" if name not in BASELINES else f"error_{name}"
        out.picture(
            error,
            group,
            f"Where it differs: FLIP {float(difference.mean()):.3f}",
            pictures.heat(difference, ERROR_TOP),
            f"{error}_{number}",
        )


def _side_by_side(subject: Subject, avatar: Method, pair: Pair) -> NDArray[np.uint8]:
    rendered = avatar(pair)
    assert rendered is not None, "the avatar renders every tracked frame"
    return pictures.beside([to_uint8(subject.target(pair)[0]), to_uint8(rendered[0])])


@dataclass(frozen=True)
class Studio:
    """The avatar alone, upright, before a camera on a circle."""

    subject: Subject
    side: int
    neutral: NDArray[np.float32]
    pose: HeadPose

    @staticmethod
    def of(subject: Subject, side: int) -> Studio:
        """A studio for the avatar of a subject; `side`: pixels of its square pictures."""
        identity = subject.avatar.identity[None]
        zero = torch.zeros(1, len(subject.head.expression_names))
        with torch.no_grad():
            vertices = subject.head.rest_vertices(identity, zero)[0].numpy()
        # Only what every capture shows: below the chin, nobody may have been filmed.
        torso = subject.head.region_faces("torso", "neck").numpy()
        neutral = vertices[np.unique(subject.head.faces.numpy()[~torso])]
        return Studio(subject, side, neutral, subject.tracking.upright_pose(subject.head))

    def driving(self, weights: dict[str, float], amount: float = 1.0) -> tuple[Tensor, HeadPose]:
        """Expression [Ke] and pose of named activations times `amount`."""
        names = self.subject.head.expression_names
        expression = torch.zeros(len(names))
        pose = self.pose
        for name, weight in weights.items():
            if name in names:
                expression[names.index(name)] = weight * amount
            elif name == "jawOpen":
                pose = replace(pose, jaw=torch.tensor([[_JAW_OPEN * weight * amount, 0.0, 0.0]]))
        return expression, pose

    def picture(
        self, expression: Tensor, pose: HeadPose, azimuth: float = 0.0
    ) -> NDArray[np.uint8]:
        """The avatar over white: uint8 [side, side, 3]."""
        camera = pictures.portrait_camera(self.neutral, self.side, azimuth)
        return to_uint8(self.subject.avatar.render(expression, pose, camera)[0])


def available_expressions(names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The named expressions that a head can show (the jaw is a joint of every head)."""
    known = {*names, "jawOpen"}
    return {
        label: {k: v for k, v in weights.items() if k in known}
        for label, weights in EXPRESSIONS.items()
        if not weights or known & set(weights)
    }


def orbit_frames(studio: Studio, count: int) -> Iterator[NDArray[np.uint8]]:
    """One swing to both sides and back, a seamless loop of `count` frames."""
    expression, pose = studio.driving({})
    rendered: dict[float, NDArray[np.uint8]] = {}
    for number in range(count):
        # Rounding makes the way back meet the very angles of the way out.
        yaw = round(float(ORBIT_YAW * np.sin(2 * np.pi * number / count)), 9)
        if yaw not in rendered:
            rendered[yaw] = studio.picture(expression, pose, yaw)
        yield rendered[yaw]


def sweep_frames(
    studio: Studio, sweep: dict[str, dict[str, float]], count: int
) -> Iterator[NDArray[np.uint8]]:
    """Every expression rises and falls once; `count` frames each, neutral in between."""
    for weights in sweep.values():
        if not weights:
            continue
        rendered: dict[float, NDArray[np.uint8]] = {}
        for number in range(count):
            amount = round(float(np.sin(np.pi * number / count)) ** 0.7, 9)
            if amount not in rendered:
                rendered[amount] = studio.picture(*studio.driving(weights, amount))
            yield rendered[amount]
