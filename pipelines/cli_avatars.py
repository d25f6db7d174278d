"""Commands that show avatars and hand them on: drive, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from pipelines.console import app, say, say_json, workspace_here

if TYPE_CHECKING:
    from pipelines.marking import Marking

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
    no_mark: bool = False,
    watermark: bool = False,
    visible_note: bool = False,
    force: bool = False,
    json: bool = False,
) -> int:
    """Show an avatar moved by another subject, by expression curves, by a clip or by a script.

    $ headworks drive demo_clip --by astronaut -o out.mp4 --beside
    $ headworks drive demo_clip --by curves.csv -o out.mp4 --camera turntable
    $ headworks drive fit/demo_clip --by me.mp4 -o frames --background transparent

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
        no_mark: write no content credentials (C2PA); the file's stamp says so.
        watermark: mark the pictures invisibly, too (docs/marking.md).
        visible_note: write "generated" into a corner.
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
        marking=_marking(no_mark, watermark, visible_note),
    )
    notes: list[str] = []
    lines = film(workspace_here(), request, progress_line(), say if not json else notes.append)
    if json:
        say_json(
            {"schema": "headworks.drive/1", "output": str(output), "notes": notes, "lines": lines}
        )
        return 0
    for line in lines:
        say(line)
    say(f"next: headworks audit {output}   (tells where it came from)")
    return 0


@app.command(name="export")
def export(
    target: Annotated[str, Positional],
    folder: Annotated[Path | None, Positional] = None,
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    ply: bool = False,
    gaussian_avatars: bool = False,
    spz: bool = False,
    glb: bool = False,
    mp4: bool = False,
    png: bool = False,
    web: bool = False,
    subject: str | None = None,
    frame: str = "",
    expression: tuple[str, ...] = (),
    camera: str = "own",
    size: int = 0,
    background: str = "white",
    axes: Literal["world", "rdf"] = "world",
    spz_version: Literal[2, 3] = 2,
    texture: int = 512,
    no_mark: bool = False,
    watermark: bool = False,
    visible_note: bool = False,
    force: bool = False,
    json: bool = False,
) -> int:
    """Copy a result out of the workspace, or write an avatar in a format that others read.

    Every file carries the digest of what it came from (headworks audit FILE).

    $ headworks export evaluate/demo_clip OUT_FOLDER
    $ headworks export demo_clip --ply -o neutral.ply
    $ headworks export demo_clip --spz --expression mouthSmile*=0.8,jawOpen=0.2 -o smile.spz
    $ headworks export demo_clip --glb --subject astronaut -o head.glb
    $ headworks export demo_clip --png --camera turntable --background transparent -o frames

    Args:
        target: a result, as for audit; with a format an avatar: a subject (its fit),
            STAGE/SUBJECT, or an avatar.safetensors file.
        folder: where a result's files go; must not be there yet.
        output: where an avatar goes; its ending must fit the format.
        ply: the splats of one frame, as 3D Gaussian Splatting stores them.
        gaussian_avatars: GaussianAvatars' layout: bound splats and their motion, a folder.
        spz: the splats of one frame, compressed.
        glb: the head mesh with morph targets, joints, texture and motion (Blender, engines).
        mp4: a video.
        png: one picture, or a folder of numbered ones.
        web: one HTML file in which the avatar turns and speaks.
        subject: whose tracking moves it; its own if not given.
        frame: N or FIRST:END of that tracking; all if not given (splats: the neutral face).
        expression: NAME=VALUE,NAME=VALUE: a still of these activations; * stands for both
            sides (may be repeated).
        camera: own, front, driver, turntable, swing or a camera path's file (mp4, png).
        size: pixels of the longer side; 0: as the camera has it.
        background: white, black, grey, #rrggbb, a picture, or transparent (png).
        axes: of splats: world (y up), or rdf (y down, as 3DGS scenes lie).
        spz_version: 2 is read everywhere, 3 keeps rotations finer.
        texture: texels a side of the GLB's texture.
        no_mark: write no content credentials (C2PA) into mp4 and png; the stamp says so.
        watermark: mark mp4 and png invisibly, too (docs/marking.md).
        visible_note: write "generated" into a corner of mp4 and png.
        force: replace what is there.
        json: for machines.
    """
    from headworks.errors import HeadworksError
    from pipelines.exporting import Format, Wanted, export_avatar, export_result
    from pipelines.showing import Look, progress_line

    asked: dict[Format, bool] = {
        "ply": ply, "gaussian_avatars": gaussian_avatars, "spz": spz, "glb": glb, "mp4": mp4,
        "png": png, "web": web,
    }  # fmt: skip
    formats = [name for name, on in asked.items() if on]
    where = output or folder
    if where is None or (output is not None and folder is not None):
        raise HeadworksError("export: name one place to write to (-o PATH)")
    if len(formats) > 1:
        raise HeadworksError(f"export: one format at a time, not {', '.join(formats)}")
    if not formats:
        lines = export_result(workspace_here(), target, where)
        where = where / "FILE"
    else:
        wanted = Wanted(
            avatar=target,
            format=formats[0],
            output=where,
            subject=subject,
            frames=frame,
            expression=_weights(expression),
            axes=axes,
            spz_version=spz_version,
            texture=texture,
            look=Look(camera, size, background),
            force=force,
            marking=_marking(no_mark, watermark, visible_note),
        )
        told = (lambda line: None) if json else say
        lines = export_avatar(workspace_here(), wanted, progress_line(), told)
    if json:
        say_json({"schema": "headworks.export/1", "output": str(where), "lines": lines})
        return 0
    for line in lines:
        say(line)
    say(f"next: headworks audit {where}   (tells where it came from)")
    return 0


def _marking(no_mark: bool, watermark: bool, note: bool) -> Marking:
    from pipelines.marking import Marking, keys_of

    return Marking(not no_mark, watermark, note, keys_of(workspace_here().layout))


@app.command(name="watermark")
def watermark(file: Annotated[Path, Positional], json: bool = False) -> int:
    """Say whether a picture or video was generated here: credentials, stamp, invisible mark.

    $ headworks watermark out.mp4

    The invisible mark is looked for with the key of HEADWORKS_WATERMARK_KEY, if that is set.

    Args:
        file: PNG, JPEG, MP4, ...
        json: for machines.
    """
    from pipelines.marking import look_for_marks

    found = look_for_marks(workspace_here(), file)
    if json:
        say_json(found)
        return 0
    signed, mark = found["credentials"], found["watermark"]
    if signed:
        say(f"credentials: {signed['state']}, {signed['generator']}, signed by {signed['issuer']}")
        for problem in signed["problems"]:
            say(f"  does not hold: {problem}")
        for name, value in sorted(signed["lineage"].items()):
            say(f"  {name} {value}")
    else:
        say("credentials: none" + ("" if found["c2pa"] else " looked for (c2pa is not installed)"))
    say("stamp: " + (" ".join(f"{k}={v}" for k, v in found["stamp"].items()) or "none"))
    if mark:
        known = ", ".join(found["digests"]) or "not in this ledger"
        say(f"watermark: digest {mark['payload']}..., {mark['corrected']} bits corrected; {known}")
    else:
        say("watermark: none found")
    target = found["digests"][0] if found["digests"] else file
    if signed or mark or found["stamp"]:
        say(f"next: headworks audit {target}   (tells where it came from)")
    return 0


def _weights(words: tuple[str, ...]) -> dict[str, float]:
    """NAME=VALUE words."""
    from headworks.errors import HeadworksError

    found = {}
    for word in (w for text in words for w in text.split(",")):
        name, equals, value = word.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise HeadworksError(f"--expression {word}: expected NAME=VALUE") from None
        if not (name and equals):
            raise HeadworksError(f"--expression {word}: expected NAME=VALUE")
    return found
