"""Adding what users have: which layout it is, what was found in it, one subject per person."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from headworks.errors import HeadworksError
from headworks.formats.layouts import find_captures, read_raw
from headworks.formats.rig import described
from pipelines import layout as workspace_layout
from pipelines.subjects import Subject, add_subject, add_together, probe
from stages.contract import Kind

Layout = Literal[
    "nersemble", "vhap", "multiview-3dmm", "gagavatar-track", "rig", "frames", "photos", "clip"
]
"""What `headworks add --layout` takes: layouts of `headworks.formats`, or plain files."""


def add_captures(
    layout: workspace_layout.Layout,
    name: str,
    paths: Sequence[Path],
    kind: Kind | None,
    seed: int | None,
    consent: str | None,
    licence: str | None,
    forced: Layout | None = None,
) -> list[tuple[Subject, list[str]]]:
    """Add what lies at the paths; several people's clips become a subject each, all or none.

    Args:
        layout: of the workspace. name, paths, kind, seed, consent, licence: see `add_subject`.
        forced: take the paths for this, whatever they look like.

    Returns:
        Each subject, with what was found in it, in lines.

    Raises:
        CaptureError: unusable paths. HeadworksError: bad or taken name.
    """
    if forced and kind:
        raise HeadworksError("--layout: a synthetic person has none")
    as_files: dict[str, Kind] = {"photos": "photos", "clip": "clip"}
    plain = as_files.get(forced or "")
    folder = len(paths) == 1 and paths[0].is_dir()
    if forced and not plain and not folder:
        raise HeadworksError(f"--layout {forced}: give one folder")
    captures = []
    if kind is None and folder and not plain:
        captures = find_captures(paths[0], forced, probe)
    if not captures:
        subject = add_subject(layout, name, paths, kind or plain, seed, consent, licence, probe)
        return [(subject, _plainly(layout, subject))]
    names = [name if not c.label else _joined(name, c.label) for c in captures]
    if len(set(names)) < len(names):
        double = next(n for n in names if names.count(n) > 1)
        raise HeadworksError(f"{paths[0]}: two of its captures would be called {double}")
    added = []
    together = add_together(layout, list(zip(names, captures)), consent, licence)
    for subject, capture in zip(together, captures):
        rig = read_raw(
            layout.raw / subject.name, capture.layout if capture.layout != "nersemble" else None
        )
        lines = described(rig)
        if capture.layout == "rig" and forced is None:
            lines.append(
                f"guessed: {len(rig.cameras)} cameras that filmed one person at once, since their "
                "names or lengths say so; if they are different people or moments, run "
                f"`headworks forget {subject.name} --yes` and add each by itself; --layout rig "
                "says that they are one rig"
            )
        added.append((subject, lines))
    return added


def _joined(name: str, label: str) -> str:
    return f"{name}-{re.sub(r'[^A-Za-z0-9_-]', '_', label)}"[:64]


def _plainly(layout: workspace_layout.Layout, subject: Subject) -> list[str]:
    """What a photo, photos or a clip turned out to be."""
    from headworks.formats.foreign import picture_size
    from headworks.formats.media import probe_clip

    lines = []
    for file in subject.files:
        path = layout.raw / subject.name / file
        if subject.kind == "clip" and path.suffix != ".json":
            info = probe_clip(path)
            rate = f"{info.fps:.4g} fps" if info.fps else "rate not stated"
            lines.append(
                f"a clip: {info.frames} frames, {info.width} x {info.height}, {rate}, {info.codec}"
            )
        elif subject.kind in ("photo", "photos") and path.suffix != ".json":
            width, height = picture_size(path)
            lines.append(f"a photo: {width} x {height}")
    return lines if len(lines) <= 12 else [*lines[:11], f"and {len(lines) - 11} more"]
