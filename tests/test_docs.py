"""The documentation builds without a warning, a page per stage, and loads nothing from afar."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from stages.registry import STAGES

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
        pytest.skip("mkdocs is not installed (pip install 'headworks[docs]')")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def test_every_stage_has_a_page_with_its_numbers(site: Path) -> None:
    for stage in STAGES:
        page = (site / "stages" / f"{stage.name}.html").read_text()
        for key in stage.params_class().model_fields:
            assert f"<code>{key}</code>" in page, f"{stage.name}: {key}"


def test_every_page_by_hand_is_reachable(site: Path) -> None:
    start = (site / "index.html").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"{page.stem}.html" in start, f"docs/{page.name} is not in the navigation"


def test_site_loads_nothing_from_afar(site: Path) -> None:
    loads = re.compile(r"<(?:script|img|iframe)[^>]+src=[\"']?(https?:)?//", re.I)
    styles = re.compile(r"<link[^>]+rel=[\"']?stylesheet[^>]+href=[\"']?(https?:)?//", re.I)
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not loads.search(text), page
        assert not styles.search(text), page


def test_commands_in_the_pages_exist() -> None:
    from pipelines.cli import app

    known = set(app._subcommands)  # the library has no public list
    pattern = re.compile(r"(?:^|[ /`])headworks ([a-z][a-z-]+)", re.M)
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        code = "\n".join(line for line in page.read_text().splitlines() if line.startswith("    "))
        for command in pattern.findall(code):
            assert command in known, f"{page.name}: headworks {command}"
