"""The command that shows avatars live: view."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from pipelines.console import app, say, say_json, workspace_here

Positional = tyro.conf.Positional


@app.command(name="view")
def view(
    avatars: Annotated[tuple[str, ...], Positional],
    by: tuple[str, ...] = (),
    prior: Path | None = None,
    port: int = 8080,
    height: int = 512,
    films: Path = Path(),
    json: bool = False,
) -> int:
    """Show avatars live in a browser: sliders, motions, two side by side, mixtures, MP4.

    $ headworks view demo_clip
    $ headworks view demo_clip astronaut --by script:talk
    $ headworks view demo_clip --prior data/prior/all

    Served on this machine alone (127.0.0.1), until Ctrl-C. Needs: pip install 'headworks[viewer]'

    Args:
        avatars: subjects (their fits), STAGE/SUBJECT, or avatar.safetensors files.
        by: what moves them besides their own captures: subjects, curves, clips, script:NAME.
        prior: a prior's folder or file: sliders along its latent directions.
        port: where to listen; the next free one if it is in use.
        height: pixels of the picture.
        films: folder for recordings.
        json: print the address for machines.
    """
    from pipelines.viewing import Asked, open_viewer

    asked = Asked(avatars, by, prior, port, height, films)
    told = (lambda line: None) if json else say
    with open_viewer(workspace_here(), asked, told) as viewer:
        if json:
            say_json({"schema": "headworks.view/1", "url": viewer.url})
        else:
            say(f"open {viewer.url}   (Ctrl-C ends)")
        viewer.wait()
    return 0
