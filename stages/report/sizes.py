"""The page's weight: pictures and films are made smaller until all of them fit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1_000_000
PEOPLE = 10
"""Up to so many people share the budget; each further one brings a tenth of it."""
PAGE_RESERVE = 60_000
"""Bytes kept for what is written into a page when it is published (lineage, costs, marks)."""


@dataclass(frozen=True)
class Level:
    """How small things are made.

    Attributes:
        quality: of JPEG; 0 leaves files as they are. side: longest side of a picture, pixels.
        film_side: of a film; 0 leaves films as they are. films: whether there are any.
    """

    quality: int
    side: int
    film_side: int
    films: bool = True

    @property
    def text(self) -> str:
        """What was done, for the page; empty where nothing was."""
        if not self.quality:
            return ""
        films = f", films to {self.film_side} pixels" if self.films and self.film_side else ""
        films = films if self.films else "; films are left out"
        return f"pictures are JPEG of quality {self.quality}, at most {self.side} pixels{films}"


LEVELS = (
    Level(0, 0, 0),
    Level(92, 1024, 0),
    Level(88, 512, 0),
    Level(82, 400, 384),
    Level(76, 320, 256),
    Level(70, 256, 192),
    Level(62, 192, 144),
    Level(50, 160, 144, films=False),
)


@dataclass(frozen=True)
class Item:
    """Something to be shown: `source` goes to `target` (relative to the page)."""

    source: Path
    target: str

    @property
    def film(self) -> bool:
        """Whether it moves."""
        return self.target.endswith(".mp4")


@dataclass(frozen=True)
class Placed:
    """Where it lies now, and its size in pixels (0 for films that were left as they are)."""

    src: str
    width: int
    height: int


@dataclass(frozen=True)
class Fitted:
    """What was done: target -> where it lies, the level, and bytes of the files."""

    placed: dict[str, Placed]
    level: Level
    size: int
    fits: bool


def budget(megabytes: float, people: int) -> int:
    """Bytes that a report about so many people may have."""
    return round(megabytes * MEGABYTE * max(1.0, people / PEOPLE))


def fit(items: Sequence[Item], out: Path, room: int, levels: Sequence[Level] = LEVELS) -> Fitted:
    """Write all items at the first level that fits, or at the last one.

    Args:
        items: in the order in which they are shown. out: folder of the page. room: bytes for them.
    """
    for number, level in enumerate(levels):
        made: list[tuple[str, bytes, int, int]] = []
        total = 0
        for item in items:
            if item.film and not level.films:
                continue
            name, data, width, height = _smaller(item, level)
            total += len(data)
            if total > room and number + 1 < len(levels):
                break
            made.append((item.target, data, width, height))
        else:
            placed = {}
            for target, data, width, height in made:
                name = _name(target, level)
                path = out / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                placed[target] = Placed(name, width, height)
            return Fitted(placed, level, total, total <= room)
    raise AssertionError("the last level is always taken")


def _name(target: str, level: Level) -> str:
    return target if target.endswith(".mp4") or not level.quality else f"{target[:-4]}.jpg"


def _smaller(item: Item, level: Level) -> tuple[str, bytes, int, int]:
    """Name, bytes and size in pixels at a level; what would grow stays as it is."""
    from PIL import Image

    name = _name(item.target, level)
    data = item.source.read_bytes()
    if item.film:
        small = _film(item.source, level.film_side) if level.film_side else None
        return name, small if small and len(small) < len(data) else data, 0, 0
    with Image.open(io.BytesIO(data)) as picture:
        if not level.quality:
            return name, data, *picture.size
        shown = picture.convert("RGB")
    if max(shown.size) > level.side:
        scale = level.side / max(shown.size)
        size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
        shown = shown.resize(size, Image.Resampling.LANCZOS)
    elif name == item.target and item.source.suffix == ".jpg" and level.quality >= 88:
        return name, data, *shown.size  # once more through JPEG would only cost
    kept = io.BytesIO()
    shown.save(
        kept, format="JPEG", quality=level.quality, optimize=True,
        subsampling="4:4:4" if level.quality >= 85 else "4:2:0",
    )  # fmt: skip
    return name, kept.getvalue(), *shown.size


def _film(source: Path, side: int) -> bytes | None:
    """A film at most `side` pixels wide or high; None where it is no larger."""
    import tempfile

    import av
    import numpy as np

    from headworks.formats.video import write_mp4

    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        scale = side / max(stream.width, stream.height)
        if scale >= 1:
            return None
        # The format needs even sides.
        width, height = (2 * max(1, round(n * scale / 2)) for n in (stream.width, stream.height))
        rate = float(stream.average_rate or 25)
        frames = [
            np.ascontiguousarray(
                f.reformat(width, height, format="rgb24", interpolation="AREA").to_ndarray(),
                np.uint8,
            )
            for f in container.decode(stream)
        ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_mp4(path, frames, rate, crf=28)
        return path.read_bytes()
