"""The report is one page that works from the file system and says the measured numbers."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from headworks.errors import ArtifactError
from stages.contract import Context
from stages.report import ReportParams, run
from stages.report.costs import Cost, duration, with_costs
from stages.report.reenacted import read_reenactments
from tests.report.conftest import ODD_NAME, PAGES, PERSON


class Page(HTMLParser):
    """Collects what a page refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.images_without_alt = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        for name in ("src", "href", "poster"):
            if found.get(name):
                self.references.append(str(found[name]))
        if "id" in found:
            self.ids.append(str(found["id"]))
        if tag == "img" and not found.get("alt"):
            self.images_without_alt += 1


def html_of(report: Path) -> str:
    """All pages in one text."""
    return "\n".join((report / page).read_text() for page in PAGES)


def test_every_reference_exists_beside_the_page(report: Path) -> None:
    for name in PAGES:
        page = Page((report / name).read_text())
        local = [r for r in page.references if not r.startswith(("#", "data:"))]
        assert len(local) > 12
        for reference in local:
            assert not re.match(r"[a-z]+:|/|\.\.", reference), reference
            assert (report / reference).is_file(), reference
        for anchor in (r[1:] for r in page.references if r.startswith("#")):
            assert anchor in page.ids
        assert len(page.ids) == len(set(page.ids))


def test_no_picture_lies_unused_beside_the_page(report: Path) -> None:
    html = html_of(report)
    for path in [*(report / "pictures").rglob("*.*"), *(report / "plots").iterdir()]:
        assert path.relative_to(report).as_posix() in html


def test_page_needs_no_network(report: Path) -> None:
    html = html_of(report)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert "fetch(" not in html


def test_every_image_has_a_text(report: Path) -> None:
    assert Page(html_of(report)).images_without_alt == 0


def test_names_are_escaped(report: Path) -> None:
    html = html_of(report)
    assert "photo &lt;b&gt;&amp;1" in (report / "index.html").read_text()
    assert "photo <b>" not in html
    assert "<title>Two &lt;heads&gt;</title>" in html


def test_equal_inputs_give_equal_bytes(inputs, report: Path, tmp_path: Path) -> None:
    run(inputs, ReportParams(title="Two <heads>"), tmp_path, Context())
    first = {p.relative_to(report): p.read_bytes() for p in report.rglob("*") if p.is_file()}
    second = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert first.keys() == second.keys()
    assert [str(k) for k in first if first[k] != second[k]] == []


def test_json_csv_and_page_say_the_measured_means(inputs, report: Path) -> None:
    numbers = json.loads((report / "metrics.json").read_text())
    assert set(numbers) == {"speaker", ODD_NAME}
    assert set(numbers["speaker"]) == {"gasp", "nearest_frame", "textured_mesh"}
    measured = json.loads((inputs["evaluate"]["speaker"] / "metrics.json").read_text())
    assert list(measured.values()) == [numbers["speaker"]]
    with (report / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    (psnr,) = (
        row["value"]
        for row in rows
        if (row["subject"], row["method"], row["metric"], row["scope"])
        == ("speaker", "gasp", "psnr", "full")
    )
    assert float(psnr) == pytest.approx(numbers["speaker"]["gasp"]["psnr"], abs=1e-5)
    html = (report / PERSON["speaker"]).read_text()
    for method in numbers["speaker"].values():
        assert f"{method['psnr']:.2f}" in html


def test_the_best_number_is_marked_by_more_than_colour(report: Path) -> None:
    html = (report / PERSON["speaker"]).read_text()
    numbers = json.loads((report / "metrics.json").read_text())["speaker"]
    best = max(values["psnr"] for values in numbers.values())
    assert f'<b>{best:.2f}<span class="star"' in html
    worst = min(values["psnr"] for values in numbers.values())
    assert f"<b>{worst:.2f}" not in html


def test_what_could_not_be_measured_is_said(report: Path) -> None:
    html = html_of(report)
    assert "shorter side is 160 pixels or less" in html
    assert "there is no other training frame" in html


def test_pictures_stand_side_by_side_without_javascript(report: Path) -> None:
    html = html_of(report)
    pairs = re.findall(r'<div class="pair".*?</div>', html, re.DOTALL)
    assert len(pairs) == 3  # two frames of the clip, one of the photo
    assert all(pair.count("<figure>") == 2 for pair in pairs)
    assert 'class="pair live' not in html


def test_psnr_plot_exists_only_for_sequences(report: Path) -> None:
    assert (report / "plots" / "person-2-psnr.svg").is_file()
    assert not (report / "plots" / "person-1-psnr.svg").exists()


def test_costs_come_from_outside(report: Path) -> None:
    html = (report / "index.html").read_text()
    assert 'id="costs"' not in html
    costs = [Cost("fit", "speaker", 75.4), Cost("evaluate", "speaker", 3.25, cached=True)]
    filled = with_costs(html, costs)
    assert "1 min 15 s" in filled
    assert "cached" in filled


def test_durations_read_as_people_say_them() -> None:
    assert [duration(s) for s in (0.04, 9.96, 59.6, 200)] == [
        "0.0 s", "10.0 s", "1 min 0 s", "3 min 20 s"
    ]  # fmt: skip


def test_a_damaged_evaluation_is_named(inputs, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "evaluate"
    shutil.copytree(inputs["evaluate"]["speaker"], broken)
    (broken / "pictures" / "pictures.json").write_text("{")
    damaged = {**inputs, "evaluate": {"speaker": broken}}
    with pytest.raises(ArtifactError, match="evaluate again"):
        run(damaged, ReportParams(), tmp_path / "out", Context())


@pytest.mark.parametrize("name", ["../../../out.png", "/etc/x.png", "sub/x.png", "..", ""])
def test_no_listing_leads_out_of_its_artifact(inputs, tmp_path: Path, name: str) -> None:
    import shutil

    foreign, acted = tmp_path / "evaluate", tmp_path / "reenact"
    shutil.copytree(inputs["evaluate"]["speaker"], foreign)
    listed = foreign / "pictures" / "pictures.json"
    body = json.loads(listed.read_text())
    listed.write_text(json.dumps([{**body[0], "file": name}, *body[1:]]))
    with pytest.raises(ArtifactError, match="no file of this artifact"):
        run({**inputs, "evaluate": {"speaker": foreign}}, ReportParams(), tmp_path / "o", Context())
    shutil.copytree(inputs["reenact"]["speaker"], acted)
    whole = json.loads((acted / "reenact.json").read_text())
    cells = [{**whole["cells"][0], "file": name}]
    for change in ({"cells": cells}, {"moment": {**whole["moment"], "file": name}}):
        (acted / "reenact.json").write_text(json.dumps({**whole, **change}))
        with pytest.raises(ArtifactError, match="no file of this artifact"):
            read_reenactments({"speaker": acted}, ["speaker", ODD_NAME])


def test_no_file_bears_a_persons_name(report: Path) -> None:
    """Listings of files are kept longer than files; a forgotten name must not stand in them."""
    assert not [p.name for p in report.rglob("*") if "speaker" in p.name or "photo-b" in p.name]
