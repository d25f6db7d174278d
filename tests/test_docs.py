"""The documentation builds without a warning, a page per stage, and loads nothing from afar."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from stages.registry import STAGES

ROOT = Path(__file__).resolve().parents[1]
METHODS = tomllib.loads((ROOT / "docs" / "methods" / "methods.toml").read_text())


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


def test_every_method_has_a_page_with_its_flow_and_equations(site: Path) -> None:
    for name, said in METHODS.items():
        page = (site / "methods" / f"{name}.html").read_text()
        assert "</svg>" in page
        assert page.count("<g class=") == sum(map(len, said["flow"]))
        for _, _, file, _ in said["equations"]:
            assert f"<code>{file}</code>" in page


def test_equations_are_where_the_tables_say() -> None:
    for name, said in METHODS.items():
        assert set(said["stages"]) <= {stage.name for stage in STAGES}
        assert (ROOT / "docs" / said["more"]).is_file()
        for what, _, file, names in said["equations"]:
            tree = ast.parse((ROOT / file).read_text())
            kinds = (ast.FunctionDef, ast.ClassDef)
            defined = {node.name for node in tree.body if isinstance(node, kinds)}
            missing = set(names.split()) - defined
            assert not missing, f"{name}: {what}: {file} has no {missing}"


def test_no_arrow_of_a_flow_runs_behind_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import flow

    for name, said in METHODS.items():
        assert flow.crossings(said["flow"], said["arrows"]) == [], name
    crossed = [["a: one"], ["b: two"], ["c: three"]]
    assert flow.crossings(crossed, ["a c"]) == ["a c"]
    with pytest.raises(ValueError, match="no such arrow"):
        flow.drawing("x", crossed, ["a d"])


def test_links_within_the_site_lead_somewhere(site: Path) -> None:
    pattern = re.compile(r'href="([^"#:]*)(?:#([^"]*))?"')
    known: dict[Path, str] = {}
    for page in set(site.rglob("*.html")) - {site / "404.html"}:  # its links are the server's
        for target, mark in pattern.findall(page.read_text()):
            found = (page.parent / target).resolve() if target else page
            if found.is_dir():
                found /= "index.html"
            assert found.is_file(), f"{page.relative_to(site)}: {target}"
            if mark and found.suffix == ".html":
                text = known.setdefault(found, found.read_text())
                assert f'id="{mark}"' in text, f"{page.relative_to(site)}: {target}#{mark}"


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
