"""Where things lie in a workspace."""

from __future__ import annotations

import configparser
import os
from functools import cached_property
from pathlib import Path

from headworks.errors import HeadworksError


class Layout:
    """Paths of one workspace; knows nothing of what is in them.

    Args:
        root: the workspace's folder.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()
        self.data = self.root / "data"
        self.raw = self.data / "raw"
        self.reports = self.root / "reports"
        self.params = self.root / "params.yaml"
        self.hidden = self.root / ".headworks"
        self.tmp = self.hidden / "tmp"
        self.trash = self.hidden / "trash"
        self.staging = self.hidden / "stage"
        self.scratch = self.hidden / "scratch"
        self.locks = self.hidden / "locks"
        self.runs = self.hidden / "runs"
        self.published = self.hidden / "published"

    @cached_property
    def objects(self) -> Path:
        """DVC's content-addressed store (`.dvc/cache/files/md5`, or below `cache.dir`)."""
        folder = self.root / ".dvc" / "cache"
        config = configparser.ConfigParser()
        dvc = self.root / ".dvc"
        config.read([dvc / "config", dvc / "config.local"])
        if config.has_option("cache", "dir"):
            folder = dvc / config.get("cache", "dir")
        return Path(os.path.normpath(folder)) / "files" / "md5"

    def artifact(self, stage: str, subject: str) -> Path:
        """Published folder of a unit."""
        return self.data / stage / subject

    def manifest(self, stage: str, subject: str) -> Path:
        """Provenance of a unit, beside its folder."""
        return self.data / stage / f"{subject}.manifest.json"

    def index(self, stage: str) -> Path:
        """Which members a stage's folder holds, with their digests."""
        return self.data / stage / "_index.json"

    def record(self, stage: str, subject: str) -> Path:
        """What this machine published for a unit."""
        return self.published / stage / f"{subject}.json"

    def make(self) -> None:
        """Make the folders that work needs."""
        own = (self.tmp, self.trash, self.staging, self.runs, self.published)
        for folder in (self.raw, self.objects, *own):
            folder.mkdir(parents=True, exist_ok=True)

    def require(self) -> None:
        """Complain when this is no workspace.

        Raises:
            HeadworksError: with the command that makes one.
        """
        if not (self.root / ".dvc").is_dir():
            raise HeadworksError(
                f"{self.root}: not a headworks workspace (no .dvc here); type: headworks init"
            )


def find_root(start: Path | None = None) -> Path:
    """The workspace that holds a folder: `HEADWORKS_ROOT`, or the nearest one upwards.

    Args:
        start: where to start, the current folder if None.

    Returns:
        The folder, or `start` itself where no workspace holds it.
    """
    named = os.environ.get("HEADWORKS_ROOT")
    if named:
        return Path(named).resolve()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / ".headworks").is_dir() or (
            (folder / "params.yaml").is_file() and (folder / ".dvc").is_dir()
        ):
            return folder
    return here
