"""report: static pages about all subjects, with the numbers beside them as JSON and CSV."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from stages.contract import Context, Inputs, Params


class ReportParams(Params):
    """Section `report` of params.yaml."""

    title: str = Field("Head avatars", min_length=1, max_length=200, description="page heading")
    seed: int = Field(0, ge=0, description="of the bootstrap over subjects")
    megabytes: float = Field(
        20.0,
        ge=1.0,
        le=10_000.0,
        description="that pictures, films and pages may have for up to ten people, a tenth of it "
        "for each further one; where they have more, pictures and films are made smaller",
    )
    study: str | None = Field(
        None,
        min_length=1,
        description="study.json of benchmarks/gasp.py, or its folder, whose comparisons and "
        "pictures get a page of their own; absolute, or relative to the workspace",
    )


def assets(params: ReportParams) -> dict[str, Path | None]:
    """The study's file, which names the digests of its pictures."""
    from stages.report.study import fingerprint

    return fingerprint(params.study)


def run(inputs: Inputs, params: ReportParams, out: Path, context: Context) -> None:
    """Write index.html, a page per person, their pictures and plots, and the numbers as files.

    Args:
        inputs: role -> {subject: folder} for "ingest", "matting", "landmarks", "tracking", "fit"
            and "evaluate"; a subject without "evaluate" is left out (whoever publishes the page
            lists what failed). Optionally "gaussian_avatars" and "flash_avatar" for their training
            curves, "reenact" for the matrix, and "directions": {"all": folder}.
        params: see `ReportParams`. out: folder to write. context: progress.

    Raises:
        ArtifactError: when an artifact or the study is damaged.
    """
    from headworks.artifacts import write_meta
    from stages.report.gather import gather
    from stages.report.numbers import write_numbers
    from stages.report.page import write_pages

    out.mkdir(parents=True, exist_ok=True)
    context.progress(0.0, "reading the subjects")
    subjects = gather(inputs)
    context.progress(0.3, "numbers")
    write_numbers(subjects, out)
    context.progress(0.4, "page and plots")
    directions = inputs.get("directions", {}).get("all")
    reenactments = {name: Path(folder) for name, folder in inputs.get("reenact", {}).items()}
    told = write_pages(subjects, params, out, directions, reenactments)
    write_meta(
        out, "report", {"subjects": [s.name for s in subjects], "title": params.title, **told}
    )
