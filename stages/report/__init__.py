"""report: one static page about all subjects, with the numbers beside it as JSON and CSV."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from stages.contract import Context, Inputs, Params


class ReportParams(Params):
    """Section `report` of params.yaml."""

    title: str = Field("Head avatars", min_length=1, max_length=200, description="page heading")
    seed: int = Field(0, ge=0, description="of the bootstrap over subjects")


def run(inputs: Inputs, params: ReportParams, out: Path, context: Context) -> None:
    """Write index.html with its pictures and plots, metrics.json and metrics.csv.

    Args:
        inputs: role -> {subject: folder} for "ingest", "matting", "landmarks", "tracking", "fit"
            and "evaluate"; a subject without "evaluate" is left out (whoever publishes the page
            lists what failed). Optionally "directions": {"all": folder}, and "costs": a JSON file
            that `stages.report.costs` describes.
        params: see `ReportParams`. out: folder to write. context: progress.

    Raises:
        ArtifactError: when an artifact is damaged.
    """
    from headworks.artifacts import write_meta
    from stages.report.costs import read_costs
    from stages.report.gather import gather
    from stages.report.numbers import write_numbers
    from stages.report.page import write_page

    out.mkdir(parents=True, exist_ok=True)
    context.progress(0.0, "reading the subjects")
    subjects = gather(inputs)
    context.progress(0.3, "numbers")
    write_numbers(subjects, out)
    context.progress(0.4, "page and plots")
    costs = read_costs(Path(inputs["costs"])) if "costs" in inputs else []
    directions = inputs.get("directions", {}).get("all")
    write_page(subjects, params, costs, out, directions)
    write_meta(out, "report", {"subjects": [s.name for s in subjects], "title": params.title})
