"""Workspaces made ready: DVC, params.yaml, dvc.yaml, and the embedded demo."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from headworks.errors import HeadworksError
from pipelines.files import private_folder, remove, write_atomic
from pipelines.params import default_text
from pipelines.subjects import add_subject, read_subjects
from pipelines.workspace import Workspace
from stages.contract import Kind

POPULATION: frozenset[Kind] = frozenset({"population"})
SYNTHETIC_KINDS: dict[str, Kind] = {
    "multiview": "synthetic",
    "clip": "synthetic_clip",
    "photo": "synthetic_photo",
    "population": "population",
}
DVC_CONFIG = """[core]
    analytics = false
    autostage = false
[cache]
    type = "reflink,copy"
"""
DVC_IGNORE = """# What DVC does not look at.
__pycache__
*.pyc
.headworks
"""
GIT_IGNORE = """# Data belongs to DVC; what was made can be made again.
/.headworks/
/data/*
!/data/*.dvc
/reports/
"""


def _write_if_absent(workspace: Workspace, path: Path, text: str, lines: list[str]) -> None:
    if not path.exists():
        write_atomic(path, text.encode(), workspace.layout.tmp)
        lines.append(f"wrote {path.relative_to(workspace.layout.root)}")


def init_workspace(workspace: Workspace, overrides: Sequence[str] = ()) -> list[str]:
    """Make a folder a workspace; leaves alone what is there.

    Args:
        overrides: `stage.key=value` for a new params.yaml.

    Returns:
        What was done, a line each.

    Raises:
        HeadworksError: inside a git repository but not at its root; nothing is made then.
    """
    from pipelines.dvcsync import dvc_yaml

    layout = workspace.layout
    root = layout.root
    git = any((folder / ".git").exists() for folder in (root, *root.parents))
    if git and not (root / ".git").exists():
        raise HeadworksError(
            f"{root} lies inside a git repository but is not its root; DVC works at the root. "
            "Go there, or choose a folder outside"
        )
    lines: list[str] = []
    layout.hidden.mkdir(exist_ok=True)
    dvc = root / ".dvc"
    if not dvc.is_dir():
        # What `dvc init` writes, without importing DVC.
        dvc.mkdir()
        (dvc / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
        lines.append("made .dvc")
    config = DVC_CONFIG
    if not git:
        config = config.replace("[core]\n", "[core]\n    no_scm = true\n")
    _write_if_absent(workspace, dvc / "config", config, lines)
    _write_if_absent(workspace, root / ".dvcignore", DVC_IGNORE, lines)
    if git:
        _write_if_absent(workspace, root / ".gitignore", GIT_IGNORE, lines)
    _write_if_absent(workspace, layout.params, default_text(workspace.registry, overrides), lines)
    _write_if_absent(workspace, root / "dvc.yaml", dvc_yaml(workspace.registry, root), lines)
    layout.make()
    shim(workspace)
    return lines or ["this is a workspace already"]


def shim(workspace: Workspace) -> None:
    """Leave a `headworks` that `dvc repro` finds although no environment is activated."""
    path = workspace.layout.hidden / "bin" / "headworks"
    text = f'#!/bin/sh\nexec "{sys.executable}" -m pipelines.cli "$@"\n'
    if not path.is_file() or path.read_text() != text:
        write_atomic(path, text.encode(), workspace.layout.tmp)
        os.chmod(path, 0o755)


def ensure_workspace(workspace: Workspace) -> None:
    """Make a workspace where there is none yet."""
    if not (workspace.layout.root / ".dvc" / "config").is_file():
        init_workspace(workspace)
    workspace.layout.make()
    shim(workspace)


def add_demo(workspace: Workspace) -> list[str]:
    """Add the embedded subjects that are not there yet.

    Returns:
        A line per subject that was added.
    """
    params = workspace.params().demo
    layout = workspace.layout
    present = set(read_subjects(layout))
    lines = []
    if "astronaut" not in present:
        import skimage.data
        import skimage.io

        folder = private_folder(layout.tmp, "demo")
        try:
            photo = folder / "astronaut.png"
            skimage.io.imsave(photo, skimage.data.astronaut(), check_contrast=False)
            add_subject(
                layout,
                "astronaut",
                [photo],
                consent="public figure, published by NASA",
                licence="public domain (NASA; ships with scikit-image)",
            )
        finally:
            remove(folder)
        lines.append("added astronaut: a photo (Eileen Collins, NASA)")
    wanted: list[tuple[str, Kind, int]] = [
        ("demo_clip", "synthetic_clip", params.clip_seed),
        ("demo_multiview", "synthetic", params.multiview_seed),
    ]
    for name, kind, seed in wanted:
        if name not in present:
            add_subject(
                layout, name, kind=kind, seed=seed, consent="synthetic", licence="Apache-2.0"
            )
            lines.append(f"added {name}: {kind}, seed {seed}")
    return lines + add_people(workspace)


def add_people(workspace: Workspace) -> list[str]:
    """Add the synthetic people that teach the prior, unless there are other people already.

    Returns:
        A line per person that was added; none where no stage learns from people.
    """
    params, layout = workspace.params().demo, workspace.layout
    wanted = {f"people-{n:03d}": params.people_seed + n for n in range(params.people)}
    present = {s.name for s in read_subjects(layout).values() if s.kind == "population"}
    if not any(stage.kinds == POPULATION for stage in workspace.registry) or present - set(wanted):
        return []
    lines = []
    for name, seed in wanted.items():
        if name in present:
            continue
        add_subject(
            layout, name, kind="population", seed=seed, consent="synthetic", licence="Apache-2.0"
        )
        lines.append(f"added {name}: a synthetic person that teaches the prior, seed {seed}")
    return lines
