"""A person forgotten leaves nothing behind, and what was trained with her is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Toys
from test_engine_share import add_remote

from headworks.errors import HeadworksError
from pipelines.copies import stamped_copies
from pipelines.exporting import export_result
from pipelines.files import remove
from pipelines.forget import forget, journal, plan_forget
from pipelines.layout import Layout
from pipelines.remote import pull, push
from pipelines.stamp import stamp_file
from pipelines.store import object_path, store_raw


@pytest.fixture
def named(make_toys: Callable[..., Toys], tmp_path: Path) -> Toys:
    """A workspace with the people `zoe_doe`, b and c, everything run and pushed."""
    toys = make_toys("named", dvc=True)
    toys.add("zoe_doe", b"zoe" * 999)
    toys.add("b")
    toys.add("c", suffix=".mp4")
    assert toys.run().exit_code == 0
    add_remote(toys, tmp_path / "shelf")
    push(toys.open())
    return toys


def mentions(root: Path, word: bytes) -> list[str]:
    """Files below a folder that hold a word, or bear it in their name."""
    return [
        str(path.relative_to(root))
        for path in sorted(root.rglob("*"))
        if word.decode() in path.name or (path.is_file() and word in path.read_bytes())
    ]


def test_nothing_of_a_forgotten_person_is_left(named: Toys, tmp_path: Path) -> None:
    (named.root / "incoming" / "capture.png").unlink()
    body = plan_forget(named.open(), "zoe_doe", ["shelf"])
    assert "read/zoe_doe" in body["units"]
    assert "teach/all" in body["units"]
    assert mentions(named.root, b"zoe_doe")
    assert mentions(tmp_path / "shelf", b"zoe_doe")
    told = forget(named.open(), "zoe_doe", ["shelf"])
    assert mentions(named.root, b"zoe") == []
    assert mentions(tmp_path / "shelf", b"zoe") == []
    assert told["at_remotes"]["shelf"] >= len(body["results"])
    assert not journal(named.open().layout).exists()
    assert "zoe" not in json.dumps(told)


def test_driving_clips_go_too_and_exported_copies_and_other_remotes_are_named(named: Toys) -> None:
    workspace = named.open()
    clips = workspace.layout.hidden / "clips"
    clips.mkdir()
    (clips / "capture.mp4").write_bytes(b"zoe" * 999)
    # Of two runs at once, the second keeps a database of its own.
    (workspace.layout.hidden / "prefect-1").mkdir()
    (workspace.layout.hidden / "prefect-1" / "prefect.db").write_bytes(b"zoe_doe")
    export_result(workspace, "read/zoe_doe", named.root / "given_away")
    export_result(workspace, "read/b", named.root / "of_b")
    listed = named.cli("forget", "zoe_doe").stdout
    assert "driving clips would go" in listed
    assert "given_away/artifact.json" in listed
    assert "of_b" not in listed
    assert "NOT named, and what was pushed there would stay there: shelf" in listed
    assert clips.is_dir()
    told = forget(workspace, "zoe_doe")
    assert not clips.exists()
    assert told["copies_left"] >= 1
    assert (named.root / "given_away" / "artifact.json").exists()
    assert not any(mentions(workspace.layout.hidden, b"zoe"))


def test_a_capture_half_copied_when_the_machine_went_down_goes_too(
    named: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = named.open()
    layout, subject = workspace.layout, workspace.subjects()["zoe_doe"]
    for md5, _, _ in subject.files.values():
        remove(object_path(layout.objects, md5))

    def down(_: int) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", down)
        patched.setattr("pipelines.files.remove", lambda path: None)
        with pytest.raises(SystemExit):
            store_raw(layout.objects, layout.raw / "zoe_doe", subject, layout.tmp)
    assert mentions(layout.tmp, b"zoe" * 999)
    forget(workspace, "zoe_doe")
    assert not any(mentions(layout.hidden, b"zoe") + mentions(named.root / ".dvc", b"zoe"))


def test_every_kind_of_file_that_is_stamped_inside_is_found_again(tmp_path: Path) -> None:
    from PIL import Image

    layout = Layout(tmp_path)
    for name in ("a.jpg", "a.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
        assert stamp_file(tmp_path / name, {"digest": "d" * 32, "key": "k", "stage": "report"})
    assert stamped_copies(layout, {"d" * 32}) == ["a.jpg", "a.png"]
    assert stamped_copies(layout, {"e" * 32}) == []


def test_the_rest_is_trained_again_as_if_the_person_had_never_been_there(
    named: Toys, make_toys: Callable[..., Toys]
) -> None:
    forget(named.open(), "zoe_doe")
    named.forget_computed()
    assert named.run().exit_code == 0
    assert "teach all" in named.computed()
    assert "read b" not in named.computed()
    never = make_toys("never", dvc=True)
    never.add("b")
    never.add("c", suffix=".mp4")
    never.run()
    assert named.published() == never.published()


def test_a_listing_comes_first_and_changes_nothing(named: Toys) -> None:
    before = named.published()
    done = named.cli("forget", "zoe_doe")
    assert done.returncode == 0, done.stderr
    assert "data/join/zoe_doe" in done.stdout
    assert "--yes" in done.stdout
    assert named.published() == before
    assert "nothing to do" in named.cli("plan").stdout


def test_another_machine_refuses_what_was_withdrawn(
    named: Toys, make_toys: Callable[..., Toys], tmp_path: Path
) -> None:
    other = make_toys("second")
    add_remote(other, tmp_path / "shelf")
    pull(other.open())
    forget(named.open(), "zoe_doe", ["shelf"])
    pull(other.open())
    assert other.open().forgotten() == ["zoe_doe"]
    units = {str(unit): d.state for unit, d in other.open().plan().items()}
    assert not [unit for unit in units if unit.endswith("zoe_doe")]
    assert units["teach/all"] == "run"
    assert "forget zoe_doe" in other.cli("status").stdout
    forget(other.open(), "zoe_doe")
    assert mentions(other.root, b"zoe") == []
    assert other.run().exit_code == 0


def test_equal_bytes_that_came_as_another_person_stay(named: Toys) -> None:
    named.add("twin", b"zoe" * 999)
    assert named.run().exit_code == 0
    body = plan_forget(named.open(), "zoe_doe")
    assert body["twins"] == ["twin"]
    forget(named.open(), "zoe_doe")
    assert mentions(named.root / ".headworks" / "ledger", b"zoe_doe") == []
    named.forget_computed()
    assert named.run().exit_code == 0
    assert "read twin" not in named.computed()
    assert (named.root / "data" / "raw" / "twin" / "capture.png").read_bytes() == b"zoe" * 999


def test_consent_given_anew_counts(named: Toys) -> None:
    forget(named.open(), "zoe_doe")
    named.add("zoe_doe", b"zoe" * 999)
    summary = named.run()
    assert summary.exit_code == 0
    assert named.statuses(summary)["join/zoe_doe"] == "ran"
    assert set(named.statuses(named.run()).values()) == {"ok"}


SLOW = [
    pytest.param(s, marks=pytest.mark.slow) for s in ("journal", "remotes", "workspace", "ledger")
]


@pytest.mark.parametrize("step", ["objects", *SLOW])
def test_an_interrupted_forgetting_is_taken_up_where_it_stopped(
    named: Toys, tmp_path: Path, step: str
) -> None:
    done = named.cli(
        "forget", "zoe_doe", "--remote", "shelf", "--yes", HEADWORKS_FAULT=f"forget_{step}"
    )
    assert done.returncode == -9
    with pytest.raises(HeadworksError, match="interrupted"):
        named.open().graph()
    assert "headworks forget zoe_doe --yes" in named.cli("run").stderr
    assert named.cli("forget", "zoe_doe", "--yes").returncode == 0
    (named.root / "incoming" / "capture.png").unlink()
    assert mentions(named.root, b"zoe") == []
    assert mentions(tmp_path / "shelf", b"zoe") == []
    assert len(named.open().ledger.refresh().tombstones) == 1


def test_nobody_is_forgotten_by_mistake(named: Toys) -> None:
    with pytest.raises(HeadworksError, match="no subject 'zoe'"):
        plan_forget(named.open(), "zoe")
    assert named.cli("forget", "../b", "--yes").returncode == 2
    assert (named.root / "data" / "raw" / "b").is_dir()


def test_terms_are_recorded_when_a_capture_is_added_and_shown(named: Toys) -> None:
    photo = named.root / "face.png"
    photo.write_bytes(b"face")
    from pipelines.subjects import add_subject

    layout = named.open().layout
    add_subject(layout, "d", [photo], consent="C-17, research", licence="CC-BY-4.0")
    named.run()
    event = named.open().ledger.refresh().raws["d"]
    assert (event["consent"], event["licence"]) == ("C-17, research", "CC-BY-4.0")
    assert event["who"]
    said = named.cli("audit", "join/d").stdout
    assert "C-17, research" in said
    assert "CC-BY-4.0" in said
