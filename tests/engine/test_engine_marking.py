"""Films and pictures that leave the workspace are marked, unless one says otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from headworks.errors import HeadworksError
from headworks.marking import credentials
from pipelines.audit import audit_tree
from pipelines.cards import ATTRIBUTES, _groups, card, card_text, write_cards
from pipelines.cli import main
from pipelines.driving import Request, drive
from pipelines.exporting import Wanted, export_avatar
from pipelines.marking import NO_C2PA, Marking, keys_of
from pipelines.showing import Look
from pipelines.stamp import read_stamp
from pipelines.workspace import Workspace
from tests.engine.test_engine_avatars import made, silent, toy_heads

__all__ = ["made", "toy_heads"]  # fixtures


def driven(made: Workspace, output: Path, marking: Marking, size: int = 48) -> list[str]:
    request = Request("anna", "bert", output, Look(size=size), frames="0:2", marking=marking)
    return drive(made, request, silent, lambda line: None)


def test_what_is_driven_carries_credentials(made: Workspace, tmp_path: Path) -> None:
    pytest.importorskip("c2pa", reason="the c2pa extra is not installed")
    marking = Marking(keys=keys_of(made.layout))
    lines = driven(made, tmp_path / "out.mp4", marking)
    assert any("C2PA" in line for line in lines)
    driven(made, tmp_path / "out", marking)
    for file in (tmp_path / "out.mp4", tmp_path / "out" / "00001.png"):
        told = credentials.read(file)
        assert told is not None
        assert told.whole
        assert told.lineage == read_stamp(file)
        assert told.lineage["driver"] == "bert"
        assert audit_tree(made, str(file))["roots"][0]["subject"] == "anna"
    assert (made.layout.hidden / "marking" / "leaf.key").is_file()


def test_no_mark_is_written_down(made: Workspace, tmp_path: Path) -> None:
    lines = driven(made, tmp_path / "out.mp4", Marking(credentials=False))
    assert "not marked as generated (--no-mark)" in lines
    assert read_stamp(tmp_path / "out.mp4")["mark"] == "off"
    if credentials.available():
        assert credentials.read(tmp_path / "out.mp4") is None


def test_without_the_library_the_stamp_stays_and_one_line_says_so(
    made: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "available", lambda: False)
    wanted = Wanted("anna", "png", tmp_path / "a.png", frames="1")
    lines = export_avatar(made, wanted, silent, lambda line: None)
    assert lines[-1] == NO_C2PA
    stamp = read_stamp(tmp_path / "a.png")
    assert (stamp["stage"], stamp["mark"]) == ("fit", "metadata")


def test_a_watermark_leads_to_its_avatar_when_all_else_is_stripped(
    made: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from PIL import Image

    marking = Marking(credentials=False, watermark=True)
    driven(made, tmp_path / "out", marking, size=256)
    picture = np.asarray(Image.open(tmp_path / "out" / "00001.png"))
    Image.fromarray(picture).save(tmp_path / "stripped.jpg", quality=75)
    assert read_stamp(tmp_path / "stripped.jpg") == {}
    tree = audit_tree(made, str(tmp_path / "stripped.jpg"))
    assert tree["found_by"] == "the watermark in the picture"
    # The toys anna and bert have equal avatars.
    assert {(r["stage"], r["subject"]) for r in tree["roots"]} <= {("fit", "anna"), ("fit", "bert")}
    monkeypatch.chdir(made.layout.root)
    with pytest.raises(SystemExit) as ended:
        main(["watermark", str(tmp_path / "stripped.jpg"), "--json"])
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["credentials"] is None
    assert told["digests"] == [tree["roots"][0]["out_oid"]]


def test_a_run_leaves_a_card_of_every_avatar(
    made: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = made.layout.reports / "cards"
    assert {p.name for p in cards.iterdir()} == {"fit.anna.md", "fit.bert.md"}
    members = {
        stage: {n: str(made.ledger.oid(key)) for (s, n), key in made.ledger.claims().items()
                if s == stage}
        for stage in ("ingest", "tracking", "fit")
    }  # fmt: skip
    assert write_cards(made, members) == []
    (cards / "fit.anna.md").unlink()
    assert write_cards(made, members) == ["fit.anna.md"]
    assert write_cards(made, {"fit": {"bert": members["fit"]["bert"]}}) == []
    assert {p.name for p in cards.iterdir()} == {"fit.bert.md"}
    monkeypatch.chdir(made.layout.root)
    with pytest.raises(SystemExit) as ended:
        main(["card", "anna", "--json"])
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["stage"], told["subject"]) == ("avatar", "fit", "anna")
    assert told["digest"] == members["fit"]["anna"]
    assert [(m["subject"], m["consent"], m["own"]) for m in told["data"]["members"]] == [
        ("anna", "unknown", True)
    ]
    assert told["people"]["sex"] == {"unknown": 1}
    assert told["limits"]
    assert "| anna (own) |" in card_text(told)


def test_groups_average_what_was_held_out() -> None:
    people = {"a": dict.fromkeys(ATTRIBUTES, "x"), "b": dict.fromkeys(ATTRIBUTES, "x")}
    scores = {
        "a held_out": {"psnr": 20.0}, "b held_out": {"psnr": 30.0}, "b train_view": {"psnr": 90.0}
    }  # fmt: skip
    assert _groups(scores, people)["sex"] == {"x": {"people": 2.0, "psnr": 25.0}}


def test_there_is_no_card_of_a_tracking(made: Workspace) -> None:
    with pytest.raises(HeadworksError, match="neither a prior nor an avatar"):
        card(made, "tracking/anna")
