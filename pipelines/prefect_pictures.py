"""Pictures of a run for Prefect's UI: one small contact sheet per unit that made some."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.files import walk_files
from pipelines.layout import Layout

if TYPE_CHECKING:
    from pipelines.plan import Unit

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
_TILE, _TILES, _SHEETS = 192, 8, 40
"""Pixels a tile, tiles a sheet, sheets a run: what a browser shows and a database bears."""
_FEW_BYTES = 16 << 20
UNITS = "headworks-units"
"""Key of the table of what became of every unit."""


def wanted() -> bool:
    """Whether pictures may go to the Prefect server (`HEADWORKS_PREFECT_PICTURES=0`: they stay)."""
    return os.environ.get("HEADWORKS_PREFECT_PICTURES", "1") != "0"


def artifact_key(unit: Unit) -> str:
    """A unit's name as Prefect wants it: lower case, digits and dashes."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{unit.stage}-{unit.subject}".lower())
    return f"headworks-{words.strip('-')}"


def contact_sheets(layout: Layout, units: Iterable[Unit]) -> list[tuple[Unit, str, str]]:
    """Contact sheets of what units published.

    Args:
        layout: of the workspace. units: that ran; the last ones come first.

    Returns:
        (unit, data URI of a JPEG, names of the pictures from left to right).
    """
    found = []
    for unit in reversed(list(units)):
        folder = layout.artifact(unit.stage, unit.subject)
        paths = [
            Path(entry.path)
            for relative, entry in (walk_files(folder) if folder.is_dir() else ())
            if relative.lower().endswith(_ENDINGS) and entry.stat().st_size <= _FEW_BYTES
        ]
        sheet = _sheet(paths) if paths else None
        if sheet is not None:
            found.append((unit, *sheet))
        if len(found) == _SHEETS:
            break
    return found


def _sheet(paths: list[Path]) -> tuple[str, str] | None:
    from PIL import Image

    step = max(1, -(-len(paths) // _TILES))
    tiles, names = [], []
    for path in paths[::step]:
        try:
            with Image.open(path) as picture:
                tile = picture.convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # `verify` says what is wrong with it.
        tile.thumbnail((_TILE, _TILE))
        tiles.append(tile)
        names.append(path.stem)
    if not tiles:
        return None
    sheet = Image.new("RGB", (_TILE * len(tiles), _TILE), "white")
    for n, tile in enumerate(tiles):
        sheet.paste(tile, (n * _TILE + (_TILE - tile.width) // 2, (_TILE - tile.height) // 2))
    data = io.BytesIO()
    sheet.save(data, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}", ", ".join(names)
