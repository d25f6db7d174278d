"""Subjects come in whole, stay inside the workspace, and are told apart by content."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from headworks.errors import CaptureError, HeadworksError
from pipelines.layout import Layout
from pipelines.setup import init_workspace
from pipelines.subjects import add_subject, probe, read_subjects
from pipelines.workspace import Workspace


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "workspace")
    made.make()
    return made


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "face.png"
    path.write_bytes(b"png")
    return path


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "", ".", "..", ".hidden", "-x", "a b", "a\n", "x" * 65, "all", "ä", "\0"],
)
def test_a_name_cannot_leave_the_workspace(layout: Layout, photo: Path, name: str) -> None:
    with pytest.raises(HeadworksError, match="cannot name a subject"):
        add_subject(layout, name, [photo])
    assert not list(layout.raw.iterdir())


def test_photos_folders_and_clips_are_told_apart(layout: Layout, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("1.jpg", "2.JPG", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    clip = tmp_path / "talk.mp4"
    clip.write_bytes(b"mp4")
    assert add_subject(layout, "one", [folder / "1.jpg"]).kind == "photo"
    many = add_subject(layout, "many", [folder])
    assert (many.kind, sorted(many.files)) == (
        "photos",
        ["1.jpg", "2.JPG", "subject.json", "terms.json"],
    )
    assert add_subject(layout, "talk", [clip]).kind == "clip"
    with pytest.raises(CaptureError, match="one subject is one clip"):
        add_subject(layout, "both", [clip, folder / "1.jpg"])
    with pytest.raises(CaptureError, match="neither a photo"):
        add_subject(layout, "text", [folder / "notes.txt"])
    with pytest.raises(CaptureError, match="no such file"):
        add_subject(layout, "gone", [folder / "3.jpg"])
    (folder / "empty.png").touch()
    with pytest.raises(CaptureError, match="empty"):
        add_subject(layout, "empty", [folder / "empty.png"])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(CaptureError, match="no photos"):
        add_subject(layout, "nothing", [tmp_path / "nothing"])
    assert sorted(read_subjects(layout)) == ["many", "one", "talk"]
    assert not list(layout.tmp.iterdir())


def test_consent_licence_and_seed_are_kept(layout: Layout, photo: Path) -> None:
    add_subject(layout, "a", [photo], consent="research", licence="CC0")
    add_subject(layout, "b", kind="population", seed=5)
    body = json.loads((layout.raw / "a" / "subject.json").read_text())
    terms = json.loads((layout.raw / "a" / "terms.json").read_text())
    assert (terms["consent"], terms["licence"], body["files"]) == ("research", "CC0", ["face.png"])
    assert json.loads((layout.raw / "b" / "subject.json").read_text())["seed"] == 5
    with pytest.raises(HeadworksError, match="seed"):
        add_subject(layout, "c", kind="synthetic")


def test_adding_the_same_again_is_fine_and_another_is_not(layout: Layout, photo: Path) -> None:
    first = add_subject(layout, "a", [photo])
    assert add_subject(layout, "a", [photo]) == first
    photo.write_bytes(b"other")
    with pytest.raises(HeadworksError, match="another subject of that name"):
        add_subject(layout, "a", [photo])
    assert read_subjects(layout)["a"] == first


def test_other_words_of_consent_leave_the_digest_alone(layout: Layout, photo: Path) -> None:
    first = add_subject(layout, "a", [photo], consent="research", licence="CC0")
    again = add_subject(layout, "a", [photo], consent="research and teaching")
    assert again.oid == first.oid
    terms = json.loads((layout.raw / "a" / "terms.json").read_text())
    assert terms == {"consent": "research and teaching", "licence": "CC0"}


@pytest.mark.parametrize("name", ["face.png", "talk.mp4"])
def test_a_file_that_is_not_what_its_name_says_does_not_come_in(
    layout: Layout, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("words")
    with pytest.raises(CaptureError, match=f"{name}: not a "):
        add_subject(layout, "a", [tmp_path / name], check=probe)
    assert not list(layout.raw.iterdir())
    assert not list(layout.tmp.iterdir())


def test_a_folder_inside_a_repository_is_left_untouched(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(HeadworksError, match="not its root"):
        init_workspace(Workspace(inner))
    assert not list(inner.iterdir())


def test_changed_bytes_change_the_digest_even_within_the_same_second(
    layout: Layout, photo: Path
) -> None:
    add_subject(layout, "a", [photo])
    before = read_subjects(layout)["a"]
    path = layout.raw / "a" / "face.png"
    stat = path.stat()
    path.write_bytes(b"gnp")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert read_subjects(layout)["a"].oid != before.oid


def test_settled_files_are_not_read_again(
    layout: Layout, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_subject(layout, "a", [photo])
    for path in (layout.raw / "a").iterdir():
        os.utime(path, ns=(0, 10**18))
    expected = read_subjects(layout)
    read = []
    import builtins

    real = builtins.open

    def spy(path, *rest, **more):  # type: ignore[no-untyped-def]
        read.append(str(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(builtins, "open", spy)
    assert read_subjects(layout) == expected
    assert not [path for path in read if path.endswith("face.png")]


@pytest.mark.parametrize(
    "body",
    [
        "nonsense",
        "[]",
        '{"kind": "sculpture"}',
        '{"kind": "photo", "files": ["../../secret"]}',
        '{"kind": "photo", "files": "x"}',
        '{"kind": "photo", "files": ["absent.png"]}',
        '{"kind": "photo", "files": []}',
        '{"kind": "photo", "files": [".hidden"]}',
        '{"kind": "population", "seed": "7"}',
        '{"kind": "population", "seed": 7, "consent": ["x"]}',
    ],
)
def test_a_damaged_subject_is_a_clear_error(layout: Layout, body: str) -> None:
    folder = layout.raw / "a"
    folder.mkdir()
    (folder / "subject.json").write_text(body)
    with pytest.raises(CaptureError, match=r"a(/subject\.json)?: "):
        read_subjects(layout)
