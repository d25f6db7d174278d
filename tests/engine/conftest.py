"""A workspace of toy stages: real processes, a real DVC cache, milliseconds per unit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

TOYS = Path(__file__).resolve().parents[1] / "toys"
sys.path.insert(0, str(TOYS))

from pipelines.run import Options, Summary, run  # noqa: E402
from pipelines.setup import init_workspace  # noqa: E402
from pipelines.subjects import add_subject  # noqa: E402
from pipelines.workspace import Workspace  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


class Toys:
    """A workspace, and what tests do with it.

    Args:
        root: its folder.
        dvc: keep dvc.yaml, so that runs bring dvc.lock up to date (which takes a second).
        template: copy this workspace instead of making an empty one.
    """

    def __init__(self, root: Path, dvc: bool = False, template: Path | None = None) -> None:
        self.root = root
        if template is not None:
            shutil.copytree(template, root)
            return
        root.mkdir(parents=True)
        init_workspace(self.open())
        if not dvc:
            (root / "dvc.yaml").unlink()

    def open(self) -> Workspace:
        """The workspace as a new process would see it."""
        import toystages

        return Workspace(self.root, toystages.STAGES)

    def add(self, name: str, content: bytes | None = None, suffix: str = ".png") -> None:
        """Add a subject with one file."""
        folder = self.root / "incoming"
        folder.mkdir(exist_ok=True)
        path = folder / f"capture{suffix}"
        path.write_bytes(content if content is not None else name.encode() * 50)
        add_subject(self.open().layout, name, [path])

    def run(self, **options: object) -> Summary:
        """Run, one job, plainly."""
        options = {"jobs": 1, "orchestrator": "none", **options}
        return run(self.open(), Options(**options))  # type: ignore[arg-type]

    def statuses(self, summary: Summary) -> dict[str, str]:
        """Unit -> how it ended."""
        return {str(unit): outcome.status for unit, outcome in summary.outcomes.items()}

    def params(self, text: str) -> None:
        """Write params.yaml."""
        (self.root / "params.yaml").write_text(text)

    def published(self) -> dict[str, bytes]:
        """Bytes of all that is published, without provenance."""
        data = self.root / "data"
        return {
            str(path.relative_to(data)): path.read_bytes()
            for path in sorted(data.rglob("*"))
            if path.is_file()
            and path.relative_to(data).parts[0] != "raw"
            and not path.name.endswith((".manifest.json", ".dvc"))
            and path.name != ".gitignore"
        }

    def computed(self) -> list[str]:
        """What stages were really run, in order."""
        log = Path(os.environ["TOY_LOG"])
        return log.read_text().splitlines() if log.exists() else []

    def forget_computed(self) -> None:
        """Start counting anew."""
        Path(os.environ["TOY_LOG"]).unlink(missing_ok=True)

    def rows(self) -> list[dict[str, object]]:
        """`ok` events of the ledger."""
        table = self.open().ledger.frame()
        return [row for row in table.to_dicts() if row["type"] == "ok"]

    def cli(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in a process of its own."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    @staticmethod
    def command(*arguments: str) -> Sequence[str]:
        """Its command."""
        return [sys.executable, "-m", "pipelines.cli", *arguments]


@pytest.fixture
def make_toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Toys]:
    """Makes workspaces."""
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{TOYS}")
    monkeypatch.setenv("HEADWORKS_REGISTRY", "toystages:STAGES")
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "computed.txt"))
    monkeypatch.setenv("TOY_MARKS", str(marks))
    monkeypatch.setenv("HEADWORKS_RESERVE_MB", "1")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setattr("pipelines.attempts._BACKOFF_S", 0.01)
    return lambda name, dvc=False: Toys(tmp_path / name, dvc)


def fill(made: Toys) -> Toys:
    """Add the photos a and b, and the clip c."""
    made.add("a")
    made.add("b")
    made.add("c", suffix=".mp4")
    return made


@pytest.fixture
def toys(make_toys: Callable[..., Toys]) -> Toys:
    """A workspace with the photos a and b, and the clip c."""
    return fill(make_toys("workspace"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    """The same after an undisturbed run; to be copied or looked at, not changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{TOYS}")
        patch.setenv("HEADWORKS_RESERVE_MB", "1")
        made = fill(Toys(tmp_path_factory.mktemp("finished") / "workspace"))
        summary = made.run()
        assert summary.count("ran") == 11
    return made


@pytest.fixture
def ran(make_toys: Callable[..., Toys], finished: Toys, tmp_path: Path) -> Toys:
    """A copy of a workspace in which everything has run."""
    return Toys(tmp_path / "workspace", template=finished.root)


@pytest.fixture
def clean(finished: Toys) -> dict[str, bytes]:
    """What an undisturbed run publishes."""
    return finished.published()
