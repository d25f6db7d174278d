"""reenact: an avatar driven by other people's most telling moments, one small picture each."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages.contract import Context, Inputs, Params

if TYPE_CHECKING:
    from headworks.avatars import Avatar
    from headworks.driving.performance import Performance, Rest
    from headworks.tracks import Tracking

FORM = 1
"""Raised when cells look different although neither code nor params of this stage say so."""
LISTED = "reenact.json"
MOMENT = "moment.jpg"
RESTED = 8
"""Tracked frames from which on a resting face can be told."""


class ReenactParams(Params):
    """Section `reenact` of params.yaml."""

    side: int = Field(144, ge=32, le=512, description="side of a picture, pixels")
    drivers: int = Field(
        12, ge=1, le=12, description="at most so many other people drive one avatar"
    )
    quality: int = Field(88, ge=30, le=100, description="of the JPEG pictures")


@dataclass(frozen=True)
class Driver:
    """What somebody does at their telling moment.

    Attributes:
        name: of the subject, "" for the avatar's own. tracking: of their capture. moment: the
            telling frame. rest: how the person usually is in the capture. time, camera: of the
            telling frame. does: SHA-256 of all of this that a cell depends on.
    """

    name: str
    tracking: Tracking
    moment: Performance
    rest: Rest
    time: int
    camera: int
    does: str


@dataclass(frozen=True)
class Driven:
    """An avatar. Attributes: home: how it rests before a portrait camera. looks: SHA-256 of all."""

    avatar: Avatar
    home: Rest
    looks: str


def run(inputs: Inputs, params: ReenactParams, out: Path, context: Context) -> None:
    """Render the person's own moment and the cells of their row that are not at hand already.

    A cell depends on one avatar and one driver alone, and lies in a file named after the digest of
    both: cells of `context.before` are taken over, so that another driver costs one cell.

    Args:
        inputs: "ingest", "matting", "fit": folder of the person. "tracking": {"": theirs, name of
            somebody else: folder}. params: see `ReenactParams`. out: folder to write.
        context: threads, progress, and `before`, an earlier result with other people.

    Raises:
        ArtifactError: an artifact is damaged.
    """
    import torch

    from headworks.artifacts import write_meta
    from headworks.pictures import save_jpeg

    torch.set_num_threads(context.threads)
    (out / "cells").mkdir(parents=True)
    names = drivers_of(inputs["tracking"], params.drivers)
    context.progress(0.0, "telling moments")
    drivers = [_driver(name, Path(inputs["tracking"][name])) for name in names]
    person, own = _driven(Path(inputs["fit"]), drivers[0], params.side), drivers[0]
    filmed = _filmed(own, Path(inputs["ingest"]), Path(inputs["matting"]), params.side)
    save_jpeg(out / MOMENT, filmed, params.quality)
    cells, taken = [], 0
    for number, driver in enumerate(drivers):
        context.progress(0.4 + 0.6 * number / len(names), "pictures")
        file = f"cells/{_cell(person, driver, params)}.jpg"
        cells.append({"driver": driver.name, "file": file})
        if (out / file).exists() or _taken_over(context.before, file, out):
            taken += 1
        else:
            save_jpeg(out / file, _picture(person, driver), params.quality)
    listed = {
        "side": params.side,
        "moment": {"file": MOMENT, **_place_of(own, Path(inputs["ingest"]))},
        "method": person.avatar.method,
        "cells": cells,
    }
    (out / LISTED).write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n")
    write_meta(out, "reenactment", {"cells": len(cells)})
    context.progress(1.0, f"{len(cells) - taken} pictures rendered, {taken} were at hand")


def drivers_of(names: Iterable[str], count: int) -> list[str]:
    """Who drives an avatar: its own person (""), and everybody else or `count` of them.

    By the digests of the names, so that somebody more replaces at most one driver.
    """
    others = sorted((n for n in names if n), key=lambda n: hashlib.sha256(n.encode()).digest())
    return ["", *sorted(others[:count])]


def _taken_over(before: Path | None, file: str, out: Path) -> bool:
    """Copy an earlier picture of that very name; False where there is none."""
    if before is None:
        return False
    try:
        shutil.copyfile(before / file, out / file)
    except FileNotFoundError:
        return False
    return True


def _driver(name: str, folder: Path) -> Driver:
    from headworks.driving.performance import frontal_camera, performance_of, tracked_rest
    from headworks.driving.telling import telling_time
    from headworks.heads import load_exact
    from headworks.tracks import load_tracking

    tracking = load_tracking(folder)
    head = load_exact(tracking.head, tracking.head_digest, str(folder))
    camera = frontal_camera(head, tracking)
    # Nothing is drawn through this camera, only directions are taken from it: its size is no part.
    rest = tracked_rest(head, tracking, (1, 1), camera)
    time = telling_time(head, tracking, rest)
    moment = performance_of(head, tracking, 25.0, name).part(slice(time, time + 1))
    does = _digest(head.digest, moment.identity, moment.expression, moment.pose, rest)
    return Driver(name, tracking, moment, rest, time, camera, does)


def _driven(fit: Path, own: Driver, side: int) -> Driven:
    from headworks.avatars import FILE, load_avatar
    from headworks.driving.performance import home_rest

    avatar = load_avatar(fit)
    home = home_rest(avatar.head, avatar.identity, own.rest, side)
    file = (fit / FILE).read_bytes()
    return Driven(avatar, home, _digest(hashlib.sha256(file).hexdigest(), home))


def _picture(person: Driven, driver: Driver) -> Any:
    """One cell: uint8 [side, side, 3]."""
    from headworks.driving.transfer import Transfer, transfer
    from headworks.images import to_uint8

    how = Transfer("camera", neutral=_as_changes(driver))
    avatar = person.avatar
    shown = transfer(driver.moment, driver.rest, avatar.head, avatar.identity, person.home, how)
    rgb, _ = avatar.render(shown.expression[0], shown.pose[:1], person.home.camera)
    return to_uint8(rgb)


def _filmed(own: Driver, ingest: Path, matting: Path, side: int) -> Any:
    """The filmed moment: uint8 [side, side, 3]."""
    import numpy as np

    from headworks.artifacts import open_arrays
    from headworks.driving.telling import portrait
    from headworks.images import to_float

    place = (own.time, own.camera)
    rgb = np.asarray(open_arrays(ingest / "frames.zarr")["rgb"][place])
    alpha = np.asarray(open_arrays(matting / "mattes.zarr")["alpha"][place])
    head = own.moment.head
    body = head.region_faces("torso", "neck").numpy()
    shown = np.unique(head.faces.numpy()[~body])
    vertices = own.tracking.vertices(head, [own.time])[0].numpy()[shown]
    height, width = alpha.shape
    camera = own.tracking.camera(*place, width, height)
    return portrait(to_float(rgb), to_float(alpha), vertices, camera, side)


def _cell(person: Driven, driver: Driver, params: ReenactParams) -> str:
    neutral = _as_changes(driver)
    return _digest(FORM, params.side, params.quality, person.looks, driver.does, neutral)[:32]


def _as_changes(driver: Driver) -> bool:
    """Whether the driver's expression is taken as a change of their resting face.

    A person's own moment is shown as it is, and so is one whose rest nobody has seen (a photo).
    """
    return bool(driver.name) and int(driver.tracking.valid.sum()) >= RESTED


def _place_of(own: Driver, ingest: Path) -> dict[str, Any]:
    """Frame and camera of the telling moment, as the capture calls them."""
    from headworks.artifacts import read_table

    table = read_table(ingest / "frames.parquet")
    row = table.filter((table["t"] == own.time) & (table["c"] == own.camera)).row(0, named=True)
    return {"frame": int(row["frame"]), "camera": str(row["camera"])}


def _digest(*parts: Any) -> str:
    """SHA-256 of numbers, texts, arrays, and records of such."""
    from dataclasses import fields, is_dataclass

    import numpy as np
    import torch

    found = hashlib.sha256()

    def take(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy()
        if is_dataclass(value):
            for field in fields(value):
                take(getattr(value, field.name))
        elif isinstance(value, np.ndarray):
            found.update(repr((value.dtype.str, value.shape)).encode())
            found.update(np.ascontiguousarray(value).tobytes())
        else:
            found.update(repr(value).encode() + b"\0")

    for part in parts:
        take(part)
    return found.hexdigest()
