"""reenact: every avatar driven by everybody's most telling moment, one small picture each."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
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
RESTED = 8
"""Tracked frames from which on a resting face can be told."""


class ReenactParams(Params):
    """Section `reenact` of params.yaml."""

    side: int = Field(144, ge=32, le=512, description="side of a picture, pixels")
    drivers: int = Field(
        12, ge=1, le=64, description="at most so many other people drive one avatar"
    )
    quality: int = Field(88, ge=30, le=100, description="of the JPEG pictures")


@dataclass(frozen=True)
class Person:
    """Somebody who has an avatar and drives those of others.

    Attributes:
        name: of the subject. avatar: theirs. tracking: of their capture. home: how the avatar
            rests before a portrait camera. moment: the telling frame. moment_rest: how the person
            usually is in the capture. time, camera: of the telling frame.
        looks, does: SHA-256 of all that a cell depends on, as avatar and as driver.
    """

    name: str
    avatar: Avatar
    tracking: Tracking
    home: Rest
    moment: Performance
    moment_rest: Rest
    time: int
    camera: int
    looks: str
    does: str


def run(inputs: Inputs, params: ReenactParams, out: Path, context: Context) -> None:
    """Render the cells of the matrix that are not at hand already.

    A cell depends on one avatar and one driver alone, and lies in a file named after the digest of
    both: cells of `context.before` are taken over, so that one subject more costs its own row and
    column.

    Args:
        inputs: "ingest", "matting", "tracking", "fit": {subject: folder}; who lacks one is left
            out. params: see `ReenactParams`. out: folder to write. context: threads, progress, and
            `before`, an earlier result with other people.

    Raises:
        ArtifactError: an artifact is damaged.
    """
    import torch

    from headworks.artifacts import write_meta
    from headworks.pictures import save_jpeg

    torch.set_num_threads(context.threads)
    roles = ("ingest", "matting", "tracking", "fit")
    names = sorted(set.intersection(*(set(inputs[role]) for role in roles)))
    (out / "cells").mkdir(parents=True)
    (out / "drivers").mkdir()
    people = {}
    for number, name in enumerate(names):
        context.progress(0.4 * number / len(names), f"telling moment of {name}")
        folders = {role: Path(inputs[role][name]) for role in roles}
        people[name] = person = _person(name, folders, params.side)
        picture = _driver_picture(person, folders, params.side)
        save_jpeg(out / "drivers" / f"{number:04}.jpg", picture, params.quality)
    cells, taken = [], 0
    for number, name in enumerate(names):
        context.progress(0.4 + 0.6 * number / len(names), f"avatar of {name}")
        for driver in drivers_of(name, names, params.drivers):
            file = f"cells/{_cell(people[name], people[driver], params)}.jpg"
            cells.append({"avatar": name, "driver": driver, "file": file})
            if (out / file).exists() or _taken_over(context.before, file, out):
                taken += 1
            else:
                picture = _picture(people[name], people[driver])
                save_jpeg(out / file, picture, params.quality)
    listed = {
        "side": params.side,
        "people": [
            _told(k, p, Path(inputs["ingest"][p.name])) for k, p in enumerate(people.values())
        ],
        "cells": cells,
    }
    (out / LISTED).write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n")
    write_meta(out, "reenactments", {"people": names, "cells": len(cells)})
    context.progress(1.0, f"{len(cells) - taken} pictures rendered, {taken} were at hand")


def drivers_of(avatar: str, names: Sequence[str], count: int) -> list[str]:
    """Who drives an avatar: its own person, and everybody else or `count` of them.

    By the highest digests of the pair, so that one person more replaces at most one driver of each
    avatar.
    """

    def rank(driver: str) -> str:
        return hashlib.sha256(f"{avatar}\0{driver}".encode()).hexdigest()

    others = sorted((n for n in names if n != avatar), key=rank)[:count]
    return sorted([avatar, *others])


def _taken_over(before: Path | None, file: str, out: Path) -> bool:
    """Copy an earlier picture of that very name; False where there is none."""
    if before is None:
        return False
    try:
        shutil.copyfile(before / file, out / file)
    except FileNotFoundError:
        return False
    return True


def _person(name: str, folders: Mapping[str, Path], side: int) -> Person:
    from headworks.avatars import FILE, load_avatar
    from headworks.driving.performance import (
        frontal_camera,
        home_rest,
        performance_of,
        tracked_rest,
    )
    from headworks.driving.telling import telling_time
    from headworks.heads import load_exact
    from headworks.tracks import load_tracking

    avatar = load_avatar(folders["fit"])
    tracking = load_tracking(folders["tracking"])
    head = avatar.head
    if tracking.head_digest != head.digest:
        head = load_exact(tracking.head, tracking.head_digest, str(folders["tracking"]))
    size = _size(folders)
    camera = frontal_camera(head, tracking)
    rest = tracked_rest(head, tracking, size, camera)
    time = telling_time(head, tracking, rest)
    moment = performance_of(head, tracking, 25.0, name).part(slice(time, time + 1))
    home = home_rest(avatar.head, avatar.identity, rest, side)
    file = (folders["fit"] / FILE).read_bytes()
    return Person(
        name=name,
        avatar=avatar,
        tracking=tracking,
        home=home,
        moment=moment,
        moment_rest=rest,
        time=time,
        camera=camera,
        looks=_digest(hashlib.sha256(file).hexdigest(), home),
        does=_digest(head.digest, moment.identity, moment.expression, moment.pose, rest),
    )


def _picture(person: Person, driver: Person) -> Any:
    """One cell: uint8 [side, side, 3]."""
    from headworks.driving.transfer import Transfer, transfer
    from headworks.images import to_uint8

    how = Transfer("camera", neutral=_as_changes(person, driver))
    avatar = person.avatar
    shown = transfer(
        driver.moment, driver.moment_rest, avatar.head, avatar.identity, person.home, how
    )
    rgb, _ = avatar.render(shown.expression[0], shown.pose[:1], person.home.camera)
    return to_uint8(rgb)


def _driver_picture(person: Person, folders: Mapping[str, Path], side: int) -> Any:
    """The filmed moment: uint8 [side, side, 3]."""
    import numpy as np

    from headworks.artifacts import open_arrays
    from headworks.driving.telling import portrait
    from headworks.images import to_float

    place = (person.time, person.camera)
    rgb = np.asarray(open_arrays(folders["ingest"] / "frames.zarr")["rgb"][place])
    alpha = np.asarray(open_arrays(folders["matting"] / "mattes.zarr")["alpha"][place])
    head = person.moment.head
    body = head.region_faces("torso", "neck").numpy()
    shown = np.unique(head.faces.numpy()[~body])
    vertices = person.tracking.vertices(head, [person.time])[0].numpy()[shown]
    height, width = alpha.shape
    camera = person.tracking.camera(*place, width, height)
    return portrait(to_float(rgb), to_float(alpha), vertices, camera, side)


def _cell(avatar: Person, driver: Person, params: ReenactParams) -> str:
    neutral = _as_changes(avatar, driver)
    return _digest(FORM, params.side, params.quality, avatar.looks, driver.does, neutral)[:32]


def _as_changes(avatar: Person, driver: Person) -> bool:
    """Whether the driver's expression is taken as a change of their resting face.

    A person's own moment is shown as it is, and so is one whose rest nobody has seen (a photo).
    """
    return avatar.name != driver.name and int(driver.tracking.valid.sum()) >= RESTED


def _told(number: int, person: Person, ingest: Path) -> dict[str, Any]:
    from headworks.artifacts import read_table

    table = read_table(ingest / "frames.parquet")
    row = table.filter((table["t"] == person.time) & (table["c"] == person.camera)).row(
        0, named=True
    )
    return {
        "name": person.name,
        "file": f"drivers/{number:04}.jpg",
        "frame": int(row["frame"]),
        "camera": str(row["camera"]),
        "method": person.avatar.method,
    }


def _size(folders: Mapping[str, Path]) -> tuple[int, int]:
    """(width, height) of the working frames."""
    from headworks.artifacts import open_arrays

    shape = open_arrays(folders["ingest"] / "frames.zarr")["rgb"].shape
    return shape[3], shape[2]


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
