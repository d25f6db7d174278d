"""Camera paths: turntables, keyframes with interpolation, and their files.

A path lives in the frame of the resting head (`frame: "head"`: +x to the subject's left, +y up, +z
out of the face) or in the world of the avatar's capture (`frame: "world"`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera, intrinsics
from headworks.errors import HeadworksError

Array = NDArray[np.float64]
SCHEMA = "headworks.camera_path/1"
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""OpenGL axes (nerfstudio's) <-> OpenCV axes of a camera."""


@dataclass(frozen=True)
class Keyframe:
    """One view of a path.

    Attributes:
        time_s: when. viewmat: float64 [4, 4], OpenCV axes. fov: vertical, radians.
    """

    time_s: float
    viewmat: Array
    fov: float


@dataclass(frozen=True)
class CameraPath:
    """Keyframes, and how the camera gets from one to the next.

    Attributes:
        keyframes: in the order of time, at least one. fps: frames per second.
        width, height: pixels. loop: the last keyframe leads back to the first, which follows it
            after `closing_s`. interpolation: "smooth" (splines) or "linear". frame: see above.
    """

    keyframes: tuple[Keyframe, ...]
    fps: float
    width: int
    height: int
    loop: bool = False
    closing_s: float = 0.0
    interpolation: Literal["smooth", "linear"] = "smooth"
    frame: Literal["head", "world"] = "head"

    def __post_init__(self) -> None:
        times = [k.time_s for k in self.keyframes]
        if not times or any(b <= a for a, b in pairwise(times)):
            raise ValueError("a camera path needs keyframes whose times increase")
        if self.loop and self.closing_s <= 0:
            raise ValueError("a loop needs the time from its last keyframe to the first")
        if not all(0 < k.fov < np.pi for k in self.keyframes):
            raise ValueError("a field of view lies between 0 and 180 degrees")

    @property
    def duration_s(self) -> float:
        """From the first keyframe to the last; of a loop, to the first again."""
        start, end = self.keyframes[0].time_s, self.keyframes[-1].time_s
        return end - start + (self.closing_s if self.loop else 0.0)

    def frames(self) -> int:
        """How many frames it takes; a loop leaves out the one that would repeat the first."""
        count = round(self.duration_s * self.fps)
        return max(1, count if self.loop else count + 1)

    def camera(self, time_s: float) -> Camera:
        """The view at a time since the first keyframe; it stays at the ends, or begins again."""
        centre, rotation, fov = self._at(time_s)
        viewmat = np.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ centre
        focal = self.height / 2 / np.tan(fov / 2)
        return Camera(viewmat, intrinsics(focal, self.width, self.height), self.width, self.height)

    def _at(self, time_s: float) -> tuple[Array, Array, float]:
        start, end, pieces = self.keyframes[0].time_s, self.keyframes[-1].time_s, self._pieces
        if self.loop:
            time = start + time_s % self.duration_s
        else:
            time = float(np.clip(start + time_s, start, end))
        if pieces is None:
            only = self.keyframes[0].viewmat
            rotation = only[:3, :3]
            return -rotation.T @ only[:3, 3], rotation, self.keyframes[0].fov
        centres, turns, zooms = pieces
        fov = 2 * float(np.arctan(np.exp(float(zooms(time)))))
        return np.asarray(centres(time)), turns(time).as_matrix(), fov

    @cached_property
    def _pieces(self) -> tuple[Any, Any, Any] | None:
        """Functions of time: centre, rotation, log of the field of view; None for one keyframe."""
        from scipy.interpolate import CubicSpline, make_interp_spline
        from scipy.spatial.transform import Rotation, RotationSpline, Slerp

        keys = list(self.keyframes)
        if self.loop:
            # Beyond both ends the neighbours continue, so that the seam is as smooth as the rest.
            lap = self.duration_s
            before = [Keyframe(k.time_s - lap, k.viewmat, k.fov) for k in keys[-3:]]
            after = [Keyframe(k.time_s + lap, k.viewmat, k.fov) for k in keys[:3]]
            keys = before + keys + after
        if len(keys) == 1:
            return None
        times = np.array([k.time_s for k in keys])
        turns = Rotation.from_matrix(np.stack([k.viewmat[:3, :3] for k in keys]))
        centres = np.stack([-k.viewmat[:3, :3].T @ k.viewmat[:3, 3] for k in keys])
        zooms = np.log(np.tan(np.array([k.fov for k in keys]) / 2))
        if self.interpolation == "linear" or len(keys) == 2:
            straight = [make_interp_spline(times, values, 1) for values in (centres, zooms)]
            return straight[0], Slerp(times, turns), straight[1]
        return CubicSpline(times, centres), RotationSpline(times, turns), CubicSpline(times, zooms)


def turntable(
    camera: Camera,
    target: Sequence[float] | Array,
    seconds: float,
    fps: float,
    sweep: float = 2 * np.pi,
) -> CameraPath:
    """Once around a point, about the head's up axis, starting at a camera.

    Args:
        camera: the first view, in the head's frame. target: [3] metres, what stays in the middle.
        seconds: of a round. sweep: radians; less than a full turn swings to both sides and back.
    """
    start = camera.centre - np.asarray(target, np.float64)
    fov = 2 * float(np.arctan(camera.height / 2 / camera.K[1, 1]))
    full = sweep >= 2 * np.pi - 1e-9
    count = 24
    keys = []
    for k in range(count):
        share = k / count
        angle = 2 * np.pi * share if full else sweep / 2 * np.sin(2 * np.pi * share)
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        rotation = camera.viewmat[:3, :3] @ turn.T
        viewmat = np.eye(4)
        viewmat[:3, :3] = rotation
        viewmat[:3, 3] = -rotation @ (turn @ start + target)
        keys.append(Keyframe(seconds * share, viewmat, fov))
    return CameraPath(
        tuple(keys), fps, camera.width, camera.height, True, seconds / count, "smooth", "head"
    )


def write_path(file: Path, path: CameraPath) -> None:
    """Write a path as JSON; see docs/exports.md."""
    body = {
        "schema": SCHEMA,
        "fps": path.fps,
        "width": path.width,
        "height": path.height,
        "loop": path.loop,
        "closing_s": path.closing_s,
        "interpolation": path.interpolation,
        "frame": path.frame,
        "keyframes": [
            {
                "time_s": k.time_s,
                "viewmat": k.viewmat.tolist(),
                "fov_degrees": float(np.rad2deg(k.fov)),
            }
            for k in path.keyframes
        ],
    }
    file.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def read_path(file: Path) -> CameraPath:
    """Read a path of ours, or a camera path of nerfstudio's viewer.

    Raises:
        HeadworksError: not a camera path, or one that cannot be flown.
    """
    try:
        body = json.loads(Path(file).read_text(encoding="utf-8"))
        return _nerfstudio(body) if "camera_path" in body else _ours(body)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise HeadworksError(
            f"{file}: not a camera path ({type(error).__name__}: {error}); expected "
            f"{SCHEMA} (docs/exports.md) or the JSON that nerfstudio's viewer saves"
        ) from None


def _ours(body: dict[str, Any]) -> CameraPath:
    if body["schema"] != SCHEMA:
        raise ValueError(f"schema {body['schema']!r}")
    if body.get("interpolation", "smooth") not in ("smooth", "linear"):
        raise ValueError(f"interpolation {body['interpolation']!r}; smooth or linear")
    if body.get("frame", "head") not in ("head", "world"):
        raise ValueError(f"frame {body['frame']!r}; head or world")
    keys = tuple(
        Keyframe(
            float(k["time_s"]), _rigid(k["viewmat"]), float(np.deg2rad(float(k["fov_degrees"])))
        )
        for k in body["keyframes"]
    )
    return CameraPath(
        keys, float(body["fps"]), _pixels(body["width"]), _pixels(body["height"]),
        bool(body.get("loop", False)), float(body.get("closing_s", 0.0)),
        body.get("interpolation", "smooth"), body.get("frame", "head"),
    )  # fmt: skip


def _nerfstudio(body: dict[str, Any]) -> CameraPath:
    """Its `camera_path` holds every frame already; a full path, hence linear in between."""
    if body.get("camera_type", "perspective") != "perspective":
        raise ValueError(f"camera_type {body['camera_type']!r}; only perspective can be shown")
    frames = body["camera_path"]
    fps = float(body.get("fps") or len(frames) / float(body["seconds"]))
    keys = []
    for n, frame in enumerate(frames):
        to_world = _rigid(np.reshape(np.asarray(frame["camera_to_world"], float), (4, 4)))
        viewmat = np.linalg.inv(to_world @ _FLIP).astype(np.float64)
        keys.append(Keyframe(n / fps, viewmat, float(np.deg2rad(float(frame["fov"])))))
    size = _pixels(body["render_width"]), _pixels(body["render_height"])
    return CameraPath(tuple(keys), fps, *size, interpolation="linear", frame="world")


def _rigid(rows: Any) -> Array:
    matrix = np.asarray(rows, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"a matrix of shape {matrix.shape}; expected 4 x 4 finite numbers")
    turn = matrix[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn) < 0:
        raise ValueError("a camera matrix that is no rotation and translation")
    return matrix


def _pixels(value: Any) -> int:
    if not 16 <= int(value) <= 8192:
        raise ValueError(f"{value} pixels; 16 to 8192")
    return int(value)


def in_world(camera: Camera, place: Array) -> Camera:
    """A camera given in the head's frame, in the world; place: head -> world [4, 4], rigid."""
    return Camera(camera.viewmat @ np.linalg.inv(place), camera.K, camera.width, camera.height)
