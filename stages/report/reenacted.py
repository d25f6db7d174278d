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
    """The artifacts of `reenact` together.

    Attributes:
        moments: person -> picture of the driving frame. told: person -> which frame.
        cells: (avatar, driver) -> picture.
    """

    moments: dict[str, Item]
    told: dict[str, str]
    cells: dict[tuple[str, str], Item]

    def items(self) -> list[Item]:
        """Every picture once, and where it goes."""
        found = {item.target: item for item in [*self.moments.values(), *self.cells.values()]}
        return list(found.values())


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


def read_reenactments(folders: Mapping[str, Path], names: Sequence[str]) -> Reenactments:
    """Read the artifacts, without people who are not in the report.

    Args:
        folders: person -> artifact. names: who is in the report.

    Raises:
        ArtifactError: one is damaged.
    """
    found = Reenactments({}, {}, {})
    shown = sorted(set(names) & set(folders))
    for number, name in enumerate(shown):
        folder = folders[name]
        path = folder / "reenact.json"
        try:
            body = json.loads(path.read_text())
            moment = body["moment"]
            plain_file(moment["file"], "")
            found.moments[name] = Item(
                folder / moment["file"], f"pictures/reenact/moment-{number:04}.jpg"
            )
            found.told[name] = f"frame {moment['frame']}, camera {moment['camera']}"
            for cell in body["cells"]:
                driver, file = str(cell["driver"]) or name, plain_file(cell["file"], "cells")
                if driver in shown:
                    to = f"pictures/reenact/{file.replace('/', '-')}"
                    found.cells[name, driver] = Item(folder / file, to)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{path}: not readable ({error!r}); run reenact again") from None
    return found


def strip(found: Reenactments, name: str, placed: Mapping[str, Placed]) -> Strip | None:
    """What there is of one person; None where they were not re-enacted."""
    if name not in found.moments:
        return None

    def at(item: Item) -> Placed | None:
        return placed.get(item.target)

    pairs = {pair: at(item) for pair, item in found.cells.items()}
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
        moments=[placed.get(found.moments[n].target) for n in names],
        rows=[(a, [placed.get(found.cells[a, d].target) for d in names]) for a in names],
    )
