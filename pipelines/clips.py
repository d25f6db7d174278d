"""Clips that drive an avatar: tracked by the pipeline's own stages, in a workspace of their own.

The workspace lies below `.headworks/clips` and keeps what it made, so that the same clip is tracked
once. Its subjects are named after the clip's bytes; they are nobody's training data.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from headworks.errors import HeadworksError
from headworks.formats.media import clip_info, source_facts
from pipelines.options import Options, Outcome, Silent
from pipelines.plan import Unit
from pipelines.workspace import Workspace

STAGE = "tracking"
CLIPS = "clips"
"""Folder below .headworks/. It only saves time, and goes whenever somebody is forgotten."""
CONSENT = "not recorded: a clip given to drive an avatar"


def clip_workspace(
    workspace: Workspace, clip: Path, told: Callable[[str], None]
) -> tuple[Workspace, str, str]:
    """Track a clip with the params of a workspace, or find that it was tracked before.

    Args:
        workspace: whose params count. clip: a video file. told: hears what is done.

    Returns:
        The clips' workspace, the clip's name in it, and the SHA-256 of the clip.

    Raises:
        CaptureError: not a clip. HeadworksError: it could not be tracked.
    """
    from pipelines.run import run
    from pipelines.subjects import add_subject, probe

    workspace.layout.require()
    clip_info(clip)
    sha256 = source_facts(clip, "")["sha256"]
    name = f"clip-{sha256[:16]}"
    root = workspace.layout.hidden / CLIPS
    root.mkdir(parents=True, exist_ok=True)
    inner = Workspace(root, workspace.registry)
    _make(inner)
    shutil.copyfile(workspace.layout.params, inner.layout.params)
    if name not in inner.subjects():
        add_subject(inner.layout, name, [clip], None, None, CONSENT, None, probe)
    summary = run(
        inner,
        Options(stages=(STAGE,), subjects=(name,), orchestrator="none"),
        _Told(told),
    )
    if summary.exit_code:
        failed = [o.message for o in summary.outcomes.values() if o.status == "failed"]
        raise HeadworksError(f"{clip}: could not be tracked: {'; '.join(failed) or 'see the log'}")
    return inner, name, sha256


def _make(inner: Workspace) -> None:
    """Make the folder a workspace without git, although it may lie inside a repository."""
    from pipelines.dvcsync import dvc_yaml
    from pipelines.setup import DVC_CONFIG

    root = inner.layout.root
    config = root / ".dvc" / "config"
    if config.is_file():
        return
    config.parent.mkdir(exist_ok=True)
    inner.layout.make()
    (root / "dvc.yaml").write_text(dvc_yaml(inner.registry, root))
    config.write_text(DVC_CONFIG.replace("[core]\n", "[core]\n    no_scm = true\n"))


class _Told(Silent):
    """Says which stage of a clip is done."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told

    def finished(self, unit: Unit, outcome: Outcome) -> None:
        """A unit ended."""
        if outcome.status != "ok":
            self._told(f"clip: {unit.stage} {outcome.status} ({outcome.seconds:.1f} s)")
