"""Commands about captures: hand one on in another's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from headworks.errors import HeadworksError
from pipelines.console import app, say, say_json, workspace_here

Positional = tyro.conf.Positional
Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


@app.command(name="export-capture")
def export_capture(
    subject: Annotated[str, Positional],
    layout: Literal["vhap", "nersemble"],
    output: Output,
    keep_principal_point: bool = False,
    participant: str = "000",
    json: bool = False,
) -> int:
    """Write a subject's frames, mattes and cameras in the layout of VHAP or NeRSemble.

    $ headworks export-capture demo_multiview --layout vhap -o export/demo

    Args:
        subject: its name.
        layout: vhap (GaussianAvatars reads it; with FLAME's parameters where the head is FLAME),
            or nersemble (second release: videos, calibration).
        output: folder to make.
        keep_principal_point: of vhap: do not pad pictures until it is in their middle.
        participant: of nersemble: the person's number.
        json: for machines.
    """
    from headworks.formats.capture_export import export_nersemble, export_vhap, open_capture
    from pipelines.avatars import published_stamp
    from pipelines.showing import whole
    from pipelines.stamp import stamp_beside

    workspace = workspace_here()
    if output.exists():
        raise HeadworksError(f"{output}: is there already; choose another place")
    output.parent.mkdir(parents=True, exist_ok=True)
    stamps = {"ingest": published_stamp(workspace, "ingest", subject)}
    folders: dict[str, Path | None] = {"matting": None, "tracking": None}
    missing: list[str] = []
    for stage in folders:
        if not workspace.layout.artifact(stage, subject).is_dir():
            missing.append(f"no {stage} yet: written without it")
            continue
        stamps[stage] = published_stamp(workspace, stage, subject)
        folders[stage] = workspace.layout.artifact(stage, subject)
    known = open_capture(
        workspace.layout.artifact("ingest", subject), folders["matting"], folders["tracking"]
    )
    with whole(output, False) as fresh:
        if layout == "vhap":
            lines = export_vhap(known, subject, fresh, not keep_principal_point)
        else:
            lines = export_nersemble(known, fresh, participant)
    stamp = {f"{stage}_{k}": v for stage, told in stamps.items() for k, v in told.items()}
    stamp_beside(output, {**stamps["ingest"], **stamp, "subject": subject})
    lines = [*missing, *lines]
    if json:
        schema = "headworks.export-capture/1"
        say_json({"schema": schema, "output": str(output), "notes": lines})
        return 0
    say(f"wrote {output}")
    for line in lines:
        say(f"  {line}")
    return 0
