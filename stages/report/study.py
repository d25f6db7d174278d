"""The page of a study: its comparisons, and what every method made of its people."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.errors import ArtifactError
from headworks.metrics.names import TITLES
from stages.report.sizes import LEVELS, Fitted, Item, fit

if TYPE_CHECKING:
    from headworks.metrics.study import Picture, StudyResult

PAGE = "study.html"
SHARE = 0.2
"""Of the report's bytes that a study's pictures may have."""
VARIANTS = {
    "full": "GASP", **TITLES, "textured_mesh": "Textured mesh", "no_prior": "GASP without a prior"
}  # fmt: skip
"""What is shown, by its name in the study."""
SETTINGS = {"photo": "one photo", "monocular": "a clip", "multiview": "a rig"}


def study_file(name: str) -> Path:
    """The file that `report.study` names: absolute, or relative to the workspace."""
    from headworks.networks.files import weights_folder

    path = weights_folder(name)
    return path / "study.json" if path.is_dir() else path


def read_shown(path: Path) -> StudyResult:
    """A study whose pictures are those that its file names.

    Raises:
        ArtifactError: there is none, it is damaged, or a picture is not the one it was.
    """
    from headworks.metrics.study import FILE, read_study

    if path.name != FILE:
        raise ArtifactError(
            f"{path}: `report.study` names the file {FILE} of a study, or its folder"
        )
    result = read_study(path.parent)
    for picture in _shown(result):
        try:
            digest = hashlib.sha256(picture.file.read_bytes()).hexdigest()
        except OSError as error:
            raise ArtifactError(f"{picture.file}: {error.strerror}; named by {path}") from None
        if digest != picture.sha256:
            raise ArtifactError(
                f"{picture.file}: not the picture that {path} names; write it again with "
                "`python benchmarks/gasp.py --out FOLDER --table`"
            )
    return result


def _shown(result: StudyResult) -> list[Picture]:
    """Of the variants shown, those with the main prior: the first one's."""
    main = next((p.prior for p in result.pictures if p.variant == "full"), None)
    return [p for p in result.pictures if p.variant in VARIANTS and p.prior in (None, main)]


def place_study(path: Path, out: Path, megabytes: float) -> dict[str, Any]:
    """Write the pictures below `out`; what the template says.

    Args:
        path: `study.json`. megabytes: of the whole report.

    Raises:
        ArtifactError: see `read_shown`.
    """
    result = read_shown(path)
    shown = _shown(result)
    items = [Item(p.file, f"pictures/study/{number}.png") for number, p in enumerate(shown)]
    placed: Fitted = fit(items, out, round(SHARE * megabytes * 1e6), LEVELS)
    people: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for picture, item in zip(shown, items):
        setting = SETTINGS.get(picture.setting, picture.setting)
        at = placed.placed[item.target]
        people.setdefault(picture.person, {}).setdefault(setting, []).append(
            {
                "src": at.src, "width": at.width, "height": at.height,
                "title": VARIANTS[picture.variant],
                "views": ", ".join(picture.groups),
                "caption": ", ".join(f"{g} {picture.psnr[g]:.1f}" for g in picture.groups),
            }
        )  # fmt: skip
    order = list(VARIANTS.values())
    for settings in people.values():
        for figures in settings.values():
            figures.sort(key=lambda f: order.index(f["title"]))
    return {
        "done": result.done, "planned": result.planned, "people": people,
        "trends": [vars(t) for t in result.trends],
        "lines": [vars(x) | {"digits": 3 if "FLIP" in x.what else 2} for x in result.lines],
    }  # fmt: skip


def fingerprint(name: str | None) -> dict[str, Path | None]:
    """The study's file, by whose digest the report is kept; None where there is none."""
    if name is None:
        return {}
    path = study_file(name)
    return {"study.json": path if os.path.isfile(path) else None}
