"""Results of a study of GASP's comparisons: `study.json` and the pictures beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from headworks.errors import ArtifactError

FILE = "study.json"
SCHEMA = "headworks.study/1"


@dataclass(frozen=True)
class Line:
    """One comparison: a mean difference over people, and what it must be.

    Attributes:
        what: in words. paper: the difference that the paper printed, in words.
        mean, low, high: difference (dB, or FLIP where `what` says so) and its 95 % interval; None
            where it was not run, or of one person alone.
        people: how many. bar: least mean asked for; None: reported only. met: whether it is.
    """

    what: str
    paper: str
    mean: float | None
    low: float | None
    high: float | None
    people: int
    bar: float | None
    met: bool | None


@dataclass(frozen=True)
class Picture:
    """What a method made of a person: truth above, avatar below, one column per group of views.

    Attributes:
        file: PNG. person, setting, variant: whose, from which pictures, by which method.
        prior: which prior, None for methods without one. groups: of the columns, from the left.
        psnr, flip: group -> mean over its pictures. sha256: of the file; "" in older studies.
    """

    file: Path
    person: str
    setting: str
    variant: str
    prior: str | None
    groups: tuple[str, ...]
    psnr: dict[str, float]
    flip: dict[str, float]
    sha256: str = ""


@dataclass(frozen=True)
class Trend:
    """Priors of several sizes, all else equal.

    Attributes:
        family: what differs, "people" or "UV". setting: from which pictures avatars were fitted.
        sizes: of the priors. psnr: mean over people, dB, unseen views. monotone: whether more is
            never worse. flat: whether all losses had stopped falling.
    """

    family: str
    setting: str
    sizes: tuple[int, ...]
    psnr: tuple[float, ...]
    monotone: bool
    flat: bool


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Attributes:
        done, planned: numbers of fits. lines: comparisons. trends: of sizes.
        pictures: the most important first.
    """

    done: int
    planned: int
    lines: tuple[Line, ...]
    trends: tuple[Trend, ...]
    pictures: tuple[Picture, ...]


def read_study(folder: Path) -> StudyResult:
    """Read the folder that `benchmarks/gasp.py --out FOLDER` wrote.

    Raises:
        ArtifactError: there is no study, it is damaged, or a picture lies elsewhere.
    """
    path = folder / FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        schema = facts["schema"]
        if schema != SCHEMA:
            raise ArtifactError(
                f"{path}: schema {schema!r}, expected {SCHEMA!r}; write it again with "
                "`python benchmarks/gasp.py --table`"
            )
        lines = tuple(
            Line(
                r["what"], r["paper"], r.get("mean"), r.get("low"), r.get("high"),
                r.get("people", 0), r["bar"], r["met"],
            )
            for r in facts["lines"]
        )  # fmt: skip
        pictures = tuple(
            Picture(
                _inside(folder, r["file"]), r["person"], r["setting"], r["variant"], r["prior"],
                tuple(r["groups"]), dict(r["psnr"]), dict(r["flip"]), r.get("sha256", ""),
            )
            for r in facts["pictures"]
        )  # fmt: skip
        trends = tuple(
            Trend(
                r["family"], r["setting"], tuple(r["sizes"]),
                tuple(m["psnr_full"] for m in r["means"]), r["monotone"], r["flat"],
            )
            for r in facts.get("trends", ())
        )  # fmt: skip
        return StudyResult(facts["cells"], facts["of"], lines, trends, pictures)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path}: not a readable study ({error!r}); `python benchmarks/gasp.py --out FOLDER` "
            "writes one"
        ) from None


def _inside(folder: Path, name: str) -> Path:
    """A picture's path, which must not leave the folder."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ArtifactError(f"{folder / FILE}: the picture {name!r} lies outside of the study")
    return path
