"""The report stays below its weight: pictures and films are made smaller, and nothing fails."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headworks.formats.video import write_mp4
from stages.report import sizes
from stages.report.sizes import LEVELS, Item, budget, fit


def noise(side: int, seed: int) -> np.ndarray:
    """Blurred noise: about as hard to compress as a photo."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (side // 4, side // 4, 3), np.uint8)
    picture = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    root = tmp_path_factory.mktemp("items")
    found = []
    for number in range(2):
        Image.fromarray(noise(448, number)).save(root / f"{number}.png")
        found.append(Item(root / f"{number}.png", f"pictures/{number}.png"))
    Image.fromarray(noise(144, 9)).save(root / "cell.jpg", quality=88)
    write_mp4(root / "film.mp4", [noise(400, k) for k in range(2)], 10.0, crf=10)
    return [
        *found,
        Item(root / "cell.jpg", "pictures/cell.jpg"),
        Item(root / "film.mp4", "film.mp4"),
    ]


def test_what_fits_stays_as_it_is(items: list[Item], tmp_path: Path) -> None:
    done = fit(items, tmp_path, 10**9)
    assert done.fits
    assert done.level.text == ""
    for item in items:
        assert (tmp_path / item.target).read_bytes() == item.source.read_bytes()
        assert done.placed[item.target].src == item.target


@pytest.mark.parametrize("share", [0.6, 0.1])
def test_less_room_gives_smaller_files_that_fit(
    items: list[Item], tmp_path: Path, share: float
) -> None:
    whole = sum(item.source.stat().st_size for item in items)
    done = fit(items, tmp_path, round(share * whole))
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert done.fits
    assert sum(p.stat().st_size for p in written) == done.size <= share * whole
    assert done.level.text
    for item in items[:2]:
        placed = done.placed[item.target]
        picture = Image.open(tmp_path / placed.src)
        assert placed.src.endswith(".jpg")
        assert picture.size == (placed.width, placed.height)
        assert max(picture.size) <= done.level.side
        shown = np.asarray(picture.convert("RGB").resize((64, 64)), float)
        asked = np.asarray(Image.open(item.source).resize((64, 64)), float)
        assert np.abs(shown - asked).mean() < 12


def test_the_best_level_that_fits_is_taken(items: list[Item], tmp_path: Path) -> None:
    some = items[:2]
    weights = [fit(some, tmp_path / str(k), 0, [level]).size for k, level in enumerate(LEVELS)]
    assert weights == sorted(weights, reverse=True)
    for number, weight in enumerate(weights[:3]):
        assert fit(some, tmp_path / f"room{number}", weight).level == LEVELS[number]


def test_no_room_at_all_does_not_fail(items: list[Item], tmp_path: Path) -> None:
    done = fit(items, tmp_path, -1)
    assert not done.fits
    assert done.level is LEVELS[-1]
    assert "film.mp4" not in done.placed
    assert len(done.placed) == len(items) - 1


def test_equal_pictures_give_equal_bytes(items: list[Item], tmp_path: Path) -> None:
    for level in (LEVELS[2], LEVELS[4]):
        again = [fit(items, tmp_path / name, 0, [level]) for name in "ab"]
        assert again[0] == again[1]
        for placed in again[0].placed.values():
            data = [(tmp_path / name / placed.src).read_bytes() for name in "ab"]
            assert data[0] == data[1]


def test_ten_people_of_four_megabytes_each_fit_into_twenty(tmp_path: Path) -> None:
    """As heavy as ten subjects of the defaults, and then some: 600 pictures of 512 pixels."""
    kept = io.BytesIO()
    Image.fromarray(noise(512, 1)).save(kept, format="PNG")
    source = tmp_path / "one.png"
    source.write_bytes(kept.getvalue())
    items = [Item(source, f"pictures/{k}.png") for k in range(600)]
    smaller = sizes._smaller
    remembered = {level: smaller(items[0], level)[1:] for level in LEVELS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sizes, "_smaller", lambda i, level: (sizes._name(i.target, level), *remembered[level])
        )
        done = fit(items, tmp_path / "out", budget(20, 10))
    assert 600 * len(kept.getvalue()) > 10 * 4e6
    assert done.fits
    assert done.size < 20e6


def test_more_people_may_weigh_more() -> None:
    assert budget(20, 1) == budget(20, 10) == 20_000_000
    assert budget(20, 25) == 50_000_000
