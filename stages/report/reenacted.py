"""What the page shows of cross re-enactment: who drives whom, and the pictures of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headworks.errors import ArtifactError
from stages.report.places import plain_file
from stages.report.sizes import Item, Placed

MATRIX_PEOPLE = 13
"""A full matrix of more people would be a wall; then every person's page shows theirs alone."""


@dataclass(frozen=True)
class Reenactments:
    """The artifact of `reenact`.

    Attributes:
        folder: of it. moments: person -> file of the driving frame. told: person -> which frame.
        cells: (avatar, driver) -> file.
    """

    folder: Path
    moments: dict[str, str]
    told: dict[str, str]
    cells: dict[tuple[str, str], str]

    def items(self) -> list[Item]:
        """Every file once, and where it goes."""
        files = dict.fromkeys([*self.moments.values(), *self.cells.values()])
        return [Item(self.folder / file, target(file)) for file in files]


@dataclass(frozen=True)
class Strip:
    """One person as avatar and as driver; pictures are None where there is no room for them.

    Attributes:
        moment: the frame that drives. told: which it is. driven: (driver, picture) of this avatar.
        drives: (avatar, picture) of this driver.
    """

    moment: Placed | None
    told: str
    driven: list[tuple[str, Placed]]
    drives: list[tuple[str, Placed]]


@dataclass(frozen=True)
class Matrix:
    """All avatars by all drivers: `rows` are (avatar, pictures in the order of `names`)."""

    names: list[str]
    moments: list[Placed | None]
    rows: list[tuple[str, list[Placed | None]]]


def target(file: str) -> str:
    """Where a picture of the artifact lies beside the page."""
    return f"pictures/reenact/{file.replace('/', '-')}"


def read_reenactments(folder: Path, names: Sequence[str]) -> Reenactments:
    """Read the artifact, without people who are not in the report.

    Raises:
        ArtifactError: it is damaged.
    """
    path = folder / "reenact.json"
    shown = set(names)
    try:
        body = json.loads(path.read_text())
        people = [p for p in body["people"] if p["name"] in shown]
        moments = {str(p["name"]): plain_file(p["file"], "drivers") for p in people}
        told = {str(p["name"]): f"frame {p['frame']}, camera {p['camera']}" for p in people}
        cells = {
            (str(c["avatar"]), str(c["driver"])): plain_file(c["file"], "cells")
            for c in body["cells"]
            if c["avatar"] in shown and c["driver"] in shown
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: not readable ({error!r}); run reenact again") from None
    return Reenactments(folder, moments, told, cells)


def strip(found: Reenactments, name: str, placed: Mapping[str, Placed]) -> Strip | None:
    """What there is of one person; None where they were not re-enacted."""
    if name not in found.moments:
        return None

    def at(file: str) -> Placed | None:
        return placed.get(target(file))

    pairs = {pair: at(file) for pair, file in found.cells.items()}
    return Strip(
        moment=at(found.moments[name]),
        told=found.told[name],
        driven=[(d, p) for (a, d), p in pairs.items() if a == name and p],
        drives=[(a, p) for (a, d), p in pairs.items() if d == name and a != name and p],
    )


def matrix(found: Reenactments, placed: Mapping[str, Placed]) -> Matrix | None:
    """The whole matrix, where it is whole and not too large."""
    names = list(found.moments)
    whole = len(found.cells) == len(names) ** 2
    if not whole or not 1 < len(names) <= MATRIX_PEOPLE:
        return None
    return Matrix(
        names=names,
        moments=[placed.get(target(found.moments[n])) for n in names],
        rows=[(a, [placed.get(target(found.cells[a, d])) for d in names]) for a in names],
    )
