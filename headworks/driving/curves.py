"""Expression curves: files of named expressions per frame, with head and eye angles if they like.

Read: tables (CSV, Parquet) with one column per name and one row per frame; JSON as
`{"fps", "names", "frames": [[..]]}`; the recordings of ARKit capture apps (CSV with names such as
`EyeBlinkLeft`, `HeadYaw`) and of audio-to-face tools (JSON with `facsNames`, `weightMat`,
`exportFps`). ARKit's names are used where they coincide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.driving.performance import Performance
from headworks.driving.transfer import bounded
from headworks.errors import HeadworksError
from headworks.heads.base import HeadModel, HeadPose

Array = NDArray[np.float64]
SUFFIXES = (".csv", ".parquet", ".json")
SCHEMA = "headworks.curves/1"
ANGLES = (
    "headPitch", "headYaw", "headRoll", "leftEyePitch", "leftEyeYaw", "rightEyePitch",
    "rightEyeYaw",
)  # fmt: skip
"""Radians. Pitch looks down, yaw turns to the subject's left, roll leans to its right shoulder."""
_TIMES = ("time_s", "time", "timecode", "frame", "blendShapeCount", "leftEyeRoll", "rightEyeRoll")
_JAW_OPEN = 0.28
"""Radians of jaw rotation where a head has no `jawOpen` shape."""
_LOOK = 0.52
"""Radians that an eye turns at an activation of 1 of ARKit's eyeLook curves (about 30 degrees)."""
_DEFAULT_FPS = 25.0


@dataclass(frozen=True)
class Curves:
    """Named activations over time.

    Attributes:
        names: K names, ARKit's spelling (`eyeBlinkLeft`), and `ANGLES` in radians.
        values: [T, K]. fps: frames per second.
    """

    names: tuple[str, ...]
    values: Array
    fps: float

    def column(self, name: str) -> Array:
        """One curve [T]; zeros where there is none of that name."""
        if name not in self.names:
            return np.zeros(len(self.values))
        return self.values[:, self.names.index(name)]


def read_curves(path: Path) -> Curves:
    """Read a file of curves.

    Raises:
        HeadworksError: not readable, no curves in it, or values that are not finite numbers.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".json":
            curves = _from_json(json.loads(path.read_text(encoding="utf-8")))
        else:
            curves = _from_table(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HeadworksError(
            f"{path}: no expression curves could be read ({error}); expected a CSV or Parquet "
            'table with a column per expression, or JSON {"fps", "names", "frames"}'
        ) from None
    if not len(curves.values) or not curves.names:
        raise HeadworksError(f"{path}: no curves in it; expected a row per frame")
    bad = ~np.isfinite(curves.values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise HeadworksError(f"{path}: row {row + 1} of {curves.names[column]!r} is no number")
    return curves


def write_curves(path: Path, curves: Curves) -> None:
    """Write curves as CSV, Parquet or JSON, by the file's ending.

    Raises:
        HeadworksError: another ending.
    """
    if path.suffix.lower() == ".json":
        body = {
            "schema": SCHEMA,
            "fps": curves.fps,
            "names": list(curves.names),
            "frames": curves.values.round(6).tolist(),
        }
        path.write_text(json.dumps(body) + "\n", encoding="utf-8")
        return
    if path.suffix.lower() not in SUFFIXES:
        raise HeadworksError(f"{path}: curves are written as {', '.join(SUFFIXES)}")
    import polars as pl

    columns = {"time_s": np.arange(len(curves.values)) / curves.fps}
    columns |= {name: curves.values[:, k] for k, name in enumerate(curves.names)}
    table = pl.DataFrame(columns)
    if path.suffix.lower() == ".csv":
        table.write_csv(path, float_precision=6)
    else:
        table.write_parquet(path)


def _from_json(body: Any) -> Curves:
    if "facsNames" in body:
        names, rows, fps = body["facsNames"], body["weightMat"], body.get("exportFps")
    else:
        names, rows, fps = body["names"], body["frames"], body.get("fps")
    values = np.asarray(rows, np.float64)
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ValueError(f"{len(names)} names, frames of shape {values.shape}")
    return _checked([str(n) for n in names], values, _rate(fps))


def _from_table(path: Path) -> Curves:
    import polars as pl

    try:
        if path.suffix.lower() == ".parquet":
            table = pl.read_parquet(path)
        else:
            table = pl.read_csv(path, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    known = {_arkit(name): name for name in table.columns}
    if len(known) < len(table.columns):
        raise ValueError("two columns of one name")
    fps = _table_rate(table, known)
    names = [n for n in known if n not in _TIMES]
    columns = []
    for name in names:
        column = table.get_column(known[name]).cast(pl.Float64, strict=False)
        columns.append(column.fill_null(float("nan")).to_numpy())
    values = np.stack(columns, 1) if columns else np.zeros((len(table), 0))
    return _checked(names, values, fps)


def _table_rate(table: Any, known: Mapping[str, str]) -> float:
    """Frames per second of a table's time column."""
    for name in ("time_s", "time"):
        if name in known and len(table) > 1:
            times = table.get_column(known[name]).to_numpy().astype(np.float64)
            step = float(np.median(np.diff(times)))
            return _rate(1 / step if step > 0 else None)
    if "timecode" in known and len(table) > 1:
        seconds = [_timecode(str(text)) for text in table.get_column(known["timecode"])]
        step = float(np.median(np.diff(seconds)))
        return _rate(1 / step if step > 0 else None)
    return _DEFAULT_FPS


def _timecode(text: str) -> float:
    """Seconds of HH:MM:SS:FF.fff as capture apps at 60 frames per second write it."""
    hours, minutes, seconds, frames = (float(part) for part in text.split(":"))
    return 3600 * hours + 60 * minutes + seconds + frames / 60


def _rate(fps: Any) -> float:
    value = _DEFAULT_FPS if fps is None else float(fps)
    if not 0.5 <= value <= 1000:
        raise ValueError(f"{value} frames per second")
    return round(value, 3)


def _arkit(name: str) -> str:
    """ARKit's spelling of a name: a small first letter, sides as `Left` and `Right`."""
    name = name.strip()
    if name.endswith(("_L", "_R")):
        name = name[:-2] + ("Left" if name.endswith("_L") else "Right")
    return name[:1].lower() + name[1:]


def _checked(names: list[str], values: Array, fps: float) -> Curves:
    spelt = [_arkit(n) for n in names]
    double = {n for n in spelt if spelt.count(n) > 1}
    if double:
        raise ValueError(f"{sorted(double)[0]} occurs twice")
    return Curves(tuple(spelt), values, fps)


def perform(
    curves: Curves, head: HeadModel, identity: torch.Tensor, source: str
) -> tuple[Performance, list[str]]:
    """Curves as a performance of an upright head.

    Gaze curves (`eyeLookInLeft`, ...) also turn an eye that has no angles of its own; `jawOpen`
    turns the jaw joint of a head that has no such shape.

    Args:
        head, identity: who performs. source: in words.

    Returns:
        The performance, and the names of the curves that this head cannot show.

    Raises:
        HeadworksError: it can show none of them.
    """
    count = len(curves.values)
    expression = np.zeros((count, len(head.expression_names)))
    pose = HeadPose.zeros(count)
    eyes = np.zeros((count, 2, 3))
    unknown = []
    for k, name in enumerate(curves.names):
        if name in ANGLES:
            continue
        used = _gaze(name, curves.values[:, k], eyes)
        sides = [name] if name in head.expression_names else [f"{name}Left", f"{name}Right"]
        for side in sides:
            if side in head.expression_names:
                expression[:, head.expression_index(side)] += curves.values[:, k]
                used = True
        if name == "jawOpen" and not used:
            pose.jaw[:, 0] = torch.from_numpy(_JAW_OPEN * curves.values[:, k]).float()
            used = True
        if not used:
            unknown.append(name)
    angles = [n for n in curves.names if n in ANGLES]
    if len(unknown) == len(curves.names) - len(angles) and not angles:
        raise HeadworksError(
            f"{source}: the head model {head.name!r} can show none of {', '.join(unknown[:4])}; "
            f"it knows {', '.join(head.expression_names[:4])}, ..."
        )
    for i, side in enumerate(("left", "right")):
        turn = np.stack([curves.column(f"{side}EyePitch"), curves.column(f"{side}EyeYaw")], 1)
        if turn.any():  # recordings with angles have gaze curves, too: the same turn, told twice
            eyes[:, i, :2] = turn
    neck = np.stack([curves.column(n) for n in ("headPitch", "headYaw", "headRoll")], 1)
    pose.eyes[:] = torch.from_numpy(eyes.clip(-0.8, 0.8)).float()
    pose.neck[:] = torch.from_numpy(neck).float()
    made = bounded(head, torch.from_numpy(expression).float())
    return Performance(head, identity, made, pose, curves.fps, source), unknown


def _gaze(name: str, values: Array, eyes: Array) -> bool:
    """Turn the eyes by one of ARKit's eyeLook curves; whether it is one."""
    for i, side in enumerate(("Left", "Right")):
        outward = 1.0 if side == "Left" else -1.0
        turn = {
            f"eyeLookDown{side}": (0, 1.0),
            f"eyeLookUp{side}": (0, -1.0),
            f"eyeLookOut{side}": (1, outward),
            f"eyeLookIn{side}": (1, -outward),
        }.get(name)
        if turn is not None:
            eyes[:, i, turn[0]] += turn[1] * _LOOK * values
            return True
    return False


def script_performance(
    head: HeadModel, identity: torch.Tensor, name: str, seed: int, seconds: float, fps: float
) -> Performance:
    """The motion of a synthetic person: "talk", or one of NeRSemble's sequences.

    Args:
        head, identity: who performs. name: "talk", "FREE", "EXP-1-head", ... seed: of the chance.
        seconds, fps: how long, how fine.

    Raises:
        HeadworksError: no such script, or a head without the expressions that scripts move.
    """
    from headworks.seeds import generator
    from headworks.synthetic.motion import performed, talking

    count = max(2, round(seconds * fps))
    rng = generator(seed, "driving script", name)
    try:
        if name == "talk":
            motion = talking(head, count, fps, rng)
        else:
            motion = performed(head, name, count, fps, rng)
    except KeyError as error:
        raise HeadworksError(f"script:{name}: {error.args[0]}; or script:talk") from None
    return Performance(head, identity, motion.expression, motion.pose, fps, f"script {name}")
