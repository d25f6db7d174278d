"""What a run writes into the report: lineage, cost, energy, and what changed since the last one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headworks.errors import ArtifactError
from pipelines.energy import EnergyMeter
from pipelines.stamp import read_stamp, stamp_file
from stages.report.changes import changed_numbers, changes_html
from stages.report.costs import Cost, costs_html, energy
from stages.report.lineage import Node, drawn_edges, layers, lineage_html

NODES = [
    Node("raw/a", "capture", "c0ffee00"),
    Node("ingest/a", "ingest", "11112222", ("raw/a",), 2.0, 1.5, 40.0),
    Node("matting/a", "matting", "22223333", ("ingest/a",), 3.0, cached=True),
    Node("fit/<a>", "fit", "33334444", ("ingest/a", "matting/a"), 75.0, 70.0, 2000.0),
]


def test_lines_that_follow_from_others_are_not_drawn() -> None:
    assert drawn_edges(NODES) == [(0, 1), (1, 2), (2, 3)]
    assert layers(NODES) == [[0], [1], [2], [3]]
    fork = [NODES[0], *(Node(f"s{k}", "s", "d", ("raw/a",)) for k in range(3))]
    assert layers(fork) == [[0], [1, 2, 3]]


def test_the_lineage_says_in_its_table_what_it_draws() -> None:
    html = lineage_html("<b>a", NODES)
    assert "&lt;b&gt;a" in html
    assert "<b>a" not in html
    assert html.count("<rect") == 4
    drawn = re.findall(r'<a href="#(step-\d)" aria-label="([^"]*)"', html)
    rows = re.findall(r'<tr id="(step-\d)"', html)
    assert [place for place, _ in drawn] == rows
    assert drawn[3][1] == "fit, result 33334444, 1 min 15 s"
    last = html[html.index('id="step-3"') :]
    assert '<a href="#step-1">ingest</a>, <a href="#step-2">matting</a>' in last
    assert "2.0 kJ" in last
    assert "3 results, 1 min 20 s of computing, 2.0 kJ for 2 of them; 1 of 3 were at hand" in html
    assert lineage_html("a", []) == ""


def test_unknown_energy_is_said_and_not_guessed() -> None:
    html = costs_html([Cost("fit", "a", 3.0, cpu_seconds=2.0), Cost("fit", "b", 1.0)])
    assert "Energy is not known" in html
    assert "0 J" not in html
    some = costs_html([Cost("fit", "a", 3.0, energy_j=70.0), Cost("fit", "b", 1.0)])
    assert "Energy is known of 1 of 2 results" in some
    assert "70 J<small>1 of 2</small>" in some
    assert [energy(j) for j in (12, 3400, 4.32e6)] == ["12 J", "3.4 kJ", "1.20 kWh"]


def counters(root: Path, values: list[int], busy: int) -> tuple[Path, Path]:
    for number, value in enumerate(values):
        zone = root / f"intel-rapl:{number}"
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "name").write_text(f"package-{number}\n")
        (zone / "energy_uj").write_text(f"{value}\n")
        (zone / "max_energy_range_uj").write_text("9999999\n")
    core = root / "intel-rapl:0:0"
    core.mkdir(exist_ok=True)
    (core / "name").write_text("core\n")
    (core / "energy_uj").write_text("77\n")
    stat = root / "stat"
    stat.write_text(f"cpu  {busy} 0 0 5000 0 0 0 0 0 0\ncpu0 1 1 1 1\n")
    return root, stat


def test_a_unit_gets_its_share_of_the_packages_energy(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    meter = EnergyMeter(*counters(tmp_path, [1_000_000, 9_000_000], 0))
    # 4 J of the first; 3 J of the second, whose counter begins anew at 10 J; 8 busy seconds.
    counters(tmp_path, [5_000_000, 2_000_000], 8 * ticks)
    assert meter.joules(2.0) == pytest.approx(7.0 * 2 / 8, abs=0.01)
    assert meter.joules(20.0) == pytest.approx(7.0, abs=0.01)
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.joules(2.0) is None
    assert EnergyMeter(tmp_path / "none", tmp_path / "stat").joules(1.0) is None


BEFORE = {"a": {"gasp": {"psnr": 25.0, "ssim": 0.9, "flip": 0.1}}, "old": {"gasp": {"psnr": 1.0}}}
AFTER = {"a": {"gasp": {"psnr": 25.004, "ssim": 0.95, "flip": 0.12}}, "new": {"gasp": {}}}


def test_only_numbers_that_show_count_as_changed() -> None:
    found = changed_numbers(BEFORE, AFTER)
    assert [(c["subject"], c["metric"]) for c in found] == [("a", "ssim"), ("a", "flip")]


def test_changes_name_people_numbers_and_causes() -> None:
    changes: dict[str, Any] = {
        "since": "2026-01-02 03:04 UTC", "added": ["new"], "removed": ["o<d"],
        "numbers": changed_numbers(BEFORE, AFTER), "causes": ["Params: fit.steps 1 -> 2."],
    }  # fmt: skip
    html = changes_html(changes, {"new": "s2-new.html", "a": "s1-a.html"})
    assert 'New: <a href="s2-new.html">new</a>.' in html
    assert "No longer here: o&lt;d." in html
    assert "fit.steps 1 -&gt; 2" in html
    assert re.search(r"0\.900</td><td class=n>0\.950</td><td class=n>\+0\.050</td><td>better", html)
    assert re.search(r"\+0\.020</td><td>worse", html)
    assert "first one" in changes_html(None, {})
    nothing = {"since": "", "added": [], "removed": [], "numbers": [], "causes": []}
    assert "Nothing that a number" in changes_html(nothing, {})


def test_jpeg_pictures_carry_a_stamp_and_stay_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(picture).save(path, quality=90)
    plain = np.asarray(Image.open(path))
    assert read_stamp(path) == {}
    assert stamp_file(path, {"digest": "abc.dir", "stage": "report"})
    assert read_stamp(path) == {"digest": "abc.dir", "stage": "report"}
    size = path.stat().st_size
    stamp_file(path, {"digest": "def.dir", "stage": "report"})
    assert read_stamp(path)["digest"] == "def.dir"
    assert path.stat().st_size == size, "a stamp replaces the one before"
    assert (np.asarray(Image.open(path)) == plain).all()
    path.write_bytes(path.read_bytes()[:30])
    assert read_stamp(path) == {}
    with pytest.raises(ArtifactError, match="breaks off"):
        stamp_file(path, {"digest": "x"})
