"""Commands that show avatars and hand them on: drive, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipelines.console import app, say, say_json, workspace_here

Positional = tyro.conf.Positional
Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


@app.command(name="drive")
def drive(
    avatar: Annotated[str, Positional],
    output: Output,
    by: str,
    camera: str = "own",
    size: int = 0,
    background: str = "white",
    pose: Literal["camera", "relative", "still"] = "camera",
    neutral: bool = False,
    frames: str = "",
    beside: bool = False,
    seconds: float = 8.0,
    fps: float = 25.0,
    seed: int = 1,
    force: bool = False,
    json: bool = False,
) -> int:
    """Show an avatar moved by another subject, by expression curves, by a clip or by a script.

    headworks drive demo_clip --by astronaut -o out.mp4 --beside
    headworks drive demo_clip --by curves.csv -o out.mp4 --camera turntable
    headworks drive fit/demo_clip --by me.mp4 -o frames --background transparent

    Args:
        avatar: a subject (its fit), STAGE/SUBJECT, or an avatar.safetensors file.
        output: NAME.mp4, or a folder for numbered PNG pictures.
        by: a subject that was tracked; a file of expression curves (CSV, Parquet, JSON); a clip,
            which is tracked first and remembered; or script:talk, script:EXP-1-head, ...
        camera: own (the avatar's capture), front, driver, turntable, swing, or a camera path's
            JSON file.
        size: pixels of the longer side; 0: as the camera has it.
        background: white, black, grey, #rrggbb, a picture, or transparent (pictures only).
        pose: camera: turned against the camera as the driver was; relative: turned from its own
            rest as the driver from theirs; still: only the face moves.
        neutral: take expressions as changes of the resting face.
        frames: FIRST:END of the driver's frames.
        beside: show the driver's pictures to the left.
        seconds: length of a script.
        fps: frames per second of a script.
        seed: seed of a script.
        force: replace what is there.
        json: for machines.
    """
    from pipelines.driving import Request
    from pipelines.driving import drive as film
    from pipelines.showing import Look, progress_line

    request = Request(
        avatar=avatar,
        by=by,
        output=output,
        look=Look(camera, size, background),
        pose=pose,
        neutral=neutral,
        frames=frames,
        beside=beside,
        script={"seconds": seconds, "fps": fps, "seed": seed},
        force=force,
    )
    notes: list[str] = []
    lines = film(workspace_here(), request, progress_line(), say if not json else notes.append)
    if json:
        say_json({"schema": "headworks.drive/1", "output": str(output), "notes": notes})
        return 0
    for line in lines:
        say(line)
    say(f"next: headworks audit {output}   (tells where it came from)")
    return 0
