"""reports/ shows what a run did, and what is different from the report before it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pipelines.earlier import earlier
from tests.engine.conftest import Toys


def page(toys: Toys, name: str = "index.html") -> str:
    return (toys.root / "reports" / name).read_text()


def test_every_person_has_a_lineage_from_the_capture_down(ran: Toys) -> None:
    html = page(ran, "p0.html")
    assert 'id="lineage"' in html
    steps = [part.split("<")[0] for part in html.split('<th scope="row">')[1:]]
    assert steps == ["capture", "read", "read", "teach", "double", "join"]
    assert "of 1 person" in html  # b, whom `teach` read, too
    digest = json.loads((ran.root / "data/join/a.manifest.json").read_text())["output"]["oid"]
    assert f"<code>{digest[:12]}</code>" in html
    assert "lineage" not in ran.published()["report/all/p0.html"].decode()


def given_before(toys: Toys) -> str:
    """What the report's stage was told of its earlier result."""
    logs = (toys.root / ".headworks" / "runs").rglob("report.all.*.txt")
    return max(logs, key=lambda p: p.stat().st_mtime_ns).read_text()


def test_what_changed_is_told_until_something_else_changes(ran: Toys) -> None:
    assert "This is the first one" in page(ran)
    assert "before: None" in given_before(ran)
    ran.add("d")
    ran.run()
    assert 'New: <a href="p3.html">d</a>' in page(ran)
    assert f"before: {ran.root / 'data' / 'report' / 'all'}" in given_before(ran)
    for file in ("index.html", "p0.html"):
        (ran.root / "reports" / file).unlink()
    ran.run()
    assert 'New: <a href="p3.html">d</a>' in page(ran), "a page made anew tells the same"
    shutil.rmtree(ran.root / "data" / "raw" / "c")
    ran.params('join:\n  offset: 3\nreport:\n  title: "other"\n')
    ran.run()
    told = page(ran)
    assert "Params: join.offset 0 -&gt; 3." in told
    assert "join (a, b, d)" in told
    assert "No longer here: c." in told
    assert "New:" not in told
    assert not (ran.root / "reports" / "p3.html").exists()
    assert (ran.root / "reports" / "p2.html").is_file()
    assert "before: None" in given_before(ran)


def test_what_is_forced_is_computed_and_not_taken_over(ran: Toys) -> None:
    ran.run(stages=["report"], force=True)
    assert "before: None" in given_before(ran)


def test_a_forgotten_person_is_not_told_of(ran: Toys) -> None:
    from pipelines.forget import forget

    forget(ran.open(), "b", [])
    ran.run()
    told = "".join(p.read_text() for p in (ran.root / "reports").glob("*.html"))
    assert "p2.html" not in told
    assert ">b<" not in told
    assert "No longer here" not in told


def test_an_earlier_result_is_offered_only_where_code_and_params_are_equal(ran: Toys) -> None:
    workspace = ran.open()
    ledger = workspace.ledger.refresh()
    row = ledger.row(ledger.claim("report", "all") or "")
    assert row is not None
    made_of = {
        "version": row["version"], "code": row["code"], "seed": row["seed"],
        "params": json.loads(row["params_json"]), "inputs": [],
    }  # fmt: skip

    def offered(**other: object) -> Path | None:
        return earlier(workspace.layout, ledger, "report", "all", {**made_of, **other})

    assert offered() == workspace.layout.artifact("report", "all")
    assert offered(code="x") is None
    assert offered(version=2) is None
    assert offered(params={"title": "other"}) is None
    assert offered(assets={"weights": "ab"}) is None
    assert earlier(workspace.layout, ledger, "report", "nobody", made_of) is None
    (workspace.layout.artifact("report", "all") / "index.html").write_text("touched")
    assert offered() is None
