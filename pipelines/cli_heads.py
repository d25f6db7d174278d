"""Commands about head models: import what the user has, list what was imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import tyro

from headworks.errors import HeadworksError
from pipelines.console import app, say, say_json, workspace_here

Positional = tyro.conf.Positional


@app.command(name="heads")
def heads(
    action: Annotated[Literal["import", "list"], Positional],
    kind: Annotated[Literal["ict", "flame", "bfm"] | None, Positional] = None,
    path: Annotated[Path | None, Positional] = None,
    name: str | None = None,
    landmarks: Path | None = None,
    identity: int = 0,
    expressions: int = 0,
    json: bool = False,
) -> int:
    """Convert a head model that you have (docs/heads.md), or list those converted.

    $ headworks heads import flame FLAME2020/generic_model.pkl --name flame
    $ headworks heads list

    Args:
        action: import KIND PATH, or list.
        kind: ict (ICT-FaceKit checkout or npz), flame (.pkl, .npz or its folder), bfm (.mat, .h5).
        path: the model.
        name: how params.yaml shall name it (tracking.head, synthesis.head); the kind if not given.
        landmarks: index file of the 68 landmarks, instead of what lies beside the model.
        identity: identity modes to keep; 0: the kind's default.
        expressions: expression modes to keep; 0: the kind's default.
        json: for machines.
    """
    from dataclasses import asdict

    from headworks.headfiles import records

    named = os.environ.get("HEADWORKS_HEADS")
    layout = workspace_here().layout
    if not named:
        layout.require()
    folder = Path(named) if named else layout.data / "heads"
    if action == "list":
        if kind or path:
            raise HeadworksError("heads list: takes neither kind nor path")
        found = records(folder)
        if json:
            say_json([asdict(r) for r in found])
            return 0
        for made in found:
            say(f"{made.name:16} {made.kind:6} {made.digest[:12]}  {made.file[:12]}.npz")
        say(f"procedural       made by code; imported models lie in {folder}")
        return 0
    if kind is None or path is None:
        raise HeadworksError("heads import: expected KIND (ict, flame, bfm) and PATH")
    if min(identity, expressions) < 0:
        raise HeadworksError("heads import: --identity and --expressions: 0 or more")
    from headworks.heads.importers import import_head

    done = import_head(kind, path, name, folder, landmarks, identity, expressions)
    if json:
        say_json(asdict(done.record))
        return 0
    head, made = done.head, done.record
    say(
        f"{made.name}: {len(head.template)} vertices, {len(head.faces)} triangles, "
        f"{len(head.identity_basis)} identity modes, {len(head.expression_names)} expressions"
    )
    for source in made.sources:
        say(f"  {source['file']}  {source['bytes']} bytes  sha256 {source['sha256'][:16]}")
    for note in made.notes:
        say(f"  {note}")
    say(f"  licence: {made.licence}")
    say(f"stored: {done.path}")
    say(f"next: in params.yaml, set tracking.head and synthesis.head to {made.name}")
    return 0
