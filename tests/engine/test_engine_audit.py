"""Where things came from, what was made of them, why two differ, and whether they are whole."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from conftest import Toys

from headworks.errors import ArtifactError, HeadworksError
from pipelines.audit import audit_tree
from pipelines.audit_page import audit_page, graph_of
from pipelines.compare import compare
from pipelines.stamp import export, read_stamp, stamp_file
from pipelines.store import object_path, read_tree
from pipelines.uses import uses
from pipelines.verify import mend, verify

STAMP = {"digest": "0" * 32 + ".dir", "key": "k1" + "a" * 64, "stage": "fit"}


def test_a_subjects_descendants_are_all_found_and_no_others(ran: Toys) -> None:
    found = uses(ran.open(), "a")["results"]
    units = {f"{r['stage']}/{r['subject']}" for r in found}
    every = {f"join/{name}" for name in "abc"}
    # a is a photo: it teaches, so everybody's join descends from it; c is a clip and does not.
    assert units - {"reports/index.html"} == {
        *("read/a", "double/a", "teach/all", "report/all"),
        *every,
    }
    units = {f"{r['stage']}/{r['subject']}" for r in uses(ran.open(), "c")["results"]}
    assert units - {"reports/index.html"} == {"read/c", "double/c", "join/c", "report/all"}


def test_a_file_is_known_by_its_bytes(ran: Toys, tmp_path: Path) -> None:
    photo = tmp_path / "unknown.png"
    photo.write_bytes(b"a" * 50)
    roots = audit_tree(ran.open(), str(photo))["roots"]
    assert [root["subject"] for root in roots] == ["a"]
    assert {r["stage"] for r in uses(ran.open(), str(photo))["results"]} >= {"read", "teach"}
    result = tmp_path / "value.json"
    result.write_bytes((ran.root / "data" / "join" / "b" / "numbers" / "value.json").read_bytes())
    assert audit_tree(ran.open(), str(result))["roots"][0]["stage"] == "join"
    photo.write_bytes(b"never seen")
    with pytest.raises(HeadworksError, match="nothing of that name"):
        audit_tree(ran.open(), str(photo))


def test_uses_reach_results_of_earlier_params(ran: Toys) -> None:
    ran.params("double: {factor: 3}")
    ran.run()
    found = uses(ran.open(), "c")["results"]
    double = [r["current"] for r in found if r["stage"] == "double"]
    assert sorted(double) == [False, True]


def test_a_difference_is_named_with_its_place(ran: Toys) -> None:
    before = audit_tree(ran.open(), "join/a")["roots"][0]["key"]
    ran.params("double: {factor: 3}")
    ran.run()
    found = compare(ran.open(), before, "join/a")
    assert not found["same"]
    texts = [(d["kind"], d["where"], d["text"]) for d in found["differences"]]
    assert ("params", "double", "factor 2.0 -> 3.0") in texts
    assert {kind for kind, _, _ in texts} == {"params"}
    found = compare(ran.open(), "join/a", "join/b")
    texts = [(d["kind"], d["text"]) for d in found["differences"]]
    assert any(kind == "data" and "capture a -> b" in text for kind, text in texts)
    assert compare(ran.open(), "join/a", "join/a")["differences"] == []


def test_a_model_with_another_member_differs_by_that_member(ran: Toys) -> None:
    before = audit_tree(ran.open(), "teach/all")["roots"][0]["key"]
    ran.add("d")
    ran.run()
    texts = [d["text"] for d in compare(ran.open(), before, "teach/all")["differences"]]
    assert "read of d came" in texts


def test_the_page_shows_every_node_once_and_loads_nothing(ran: Toys, tmp_path: Path) -> None:
    tree = audit_tree(ran.open(), "report/all")
    graph = graph_of(tree)
    titles = [node["title"] for node in graph["nodes"]]
    assert len(titles) == len(set(titles))
    assert {"report/all", "teach/all", "join/a", "capture c"} <= set(titles)
    assert len({(node["x"], node["y"]) for node in graph["nodes"]}) == len(titles)
    places = {node["id"]: node["x"] for node in graph["nodes"]}
    assert all(places[source] < places[target] for source, target in graph["edges"])
    page = audit_page(tree)
    assert not re.search(r'(src|href)\s*=\s*"|@import|url\(', page)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_words_of_a_subject_cannot_break_out_of_the_page(ran: Toys) -> None:
    photo = ran.root / "x.png"
    photo.write_bytes(b"x")
    from pipelines.subjects import add_subject

    words = "</script><script>alert(1)</script>"
    add_subject(ran.open().layout, "evil", [photo], consent=words)
    page = audit_page(audit_tree(ran.open(), "evil"))
    assert "<script>alert" not in page
    assert page.count("</script>") == 2


def test_a_stages_own_choice_is_printed(ran: Toys) -> None:
    photo = ran.root / "x.png"
    photo.write_bytes(b"choose")
    ran.add("e", b"choose me")
    ran.run()
    said = ran.cli("audit", "read/e").stdout
    assert "chose backend plain, reason asked by the bytes" in said


def pictures(folder: Path) -> dict[str, Path]:
    """One file of each format that has room for a stamp."""
    import av
    import skimage.io
    from safetensors.numpy import save_file

    folder.mkdir()
    ramp = np.arange(32 * 48 * 3, dtype=np.uint8).reshape(32, 48, 3)
    found = {name: folder / f"file.{name}" for name in ("png", "mp4", "safetensors", "ply")}
    skimage.io.imsave(found["png"], ramp, check_contrast=False)
    save_file({"means": np.arange(6, dtype=np.float32)}, found["safetensors"], {"old": "kept"})
    found["ply"].write_bytes(
        b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\nend_header\n"
        b"\x00\x00\x80?"
    )
    with av.open(str(found["mp4"]), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for n in range(4):
            frame = av.VideoFrame.from_ndarray(np.roll(ramp, n, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return found


def contents(path: Path) -> list[bytes]:
    """What a file shows, without its metadata."""
    if path.suffix == ".png":
        import skimage.io

        return [skimage.io.imread(path).tobytes()]
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return [array.tobytes() for array in load_file(path).values()]
    if path.suffix == ".mp4":
        import av

        with av.open(str(path)) as container:
            return [f.to_ndarray(format="rgb24").tobytes() for f in container.decode(video=0)]
    return [path.read_bytes().split(b"end_header\n")[1]]


@pytest.mark.parametrize("kind", ["png", "mp4", "safetensors", "ply"])
def test_a_stamp_can_be_read_again_and_leaves_the_content_alone(tmp_path: Path, kind: str) -> None:
    path = pictures(tmp_path / "files")[kind]
    before = contents(path)
    assert read_stamp(path) == {}
    assert stamp_file(path, {**STAMP, "stage": "other"})
    assert stamp_file(path, STAMP)
    assert read_stamp(path) == STAMP
    assert contents(path) == before
    if kind == "safetensors":
        from safetensors import safe_open

        with safe_open(path, "numpy") as opened:
            assert opened.metadata()["old"] == "kept"


@pytest.mark.parametrize("kind", ["png", "mp4", "safetensors", "ply"])
def test_a_file_that_is_not_what_its_name_says_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"words.{kind}"
    path.write_bytes(b"only words, and some more of them")
    assert read_stamp(path) == {}
    with pytest.raises(ArtifactError, match=f"words.{kind}: not a"):
        stamp_file(path, STAMP)


def test_an_exported_file_tells_where_it_came_from(ran: Toys, tmp_path: Path) -> None:
    done = ran.cli("export", "join/a", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    file = tmp_path / "out" / "numbers" / "value.json"
    assert file.read_bytes() == (ran.root / "data/join/a/numbers/value.json").read_bytes()
    found = audit_tree(ran.open(), str(file))
    assert found["found_by"] == "the digest that the file carries"
    assert (found["roots"][0]["stage"], found["roots"][0]["subject"]) == ("join", "a")
    source = pictures(tmp_path / "files")["png"].parent
    export(source, tmp_path / "stamped", STAMP)
    assert read_stamp(tmp_path / "stamped" / "file.png") == STAMP
    with pytest.raises(HeadworksError, match="does not know"):
        audit_tree(ran.open(), str(tmp_path / "stamped" / "file.png"))


def damage(path: Path) -> None:
    """Flip a bit where DVC does not look."""
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))
    path.chmod(0o444)


def test_verify_proves_or_names_the_damage_and_a_run_mends_it(
    ran: Toys, clean: dict[str, bytes]
) -> None:
    report = verify(ran.open())
    assert report.damage == []
    assert (report.results, report.captures) == (11, 3)
    layout = ran.open().layout
    row = next(r for r in ran.rows() if (r["stage"], r["subject"]) == ("join", "a"))
    tree = read_tree(layout.objects, str(row["out_oid"]))
    assert tree is not None
    value = tree["numbers/value.json"]
    damage(object_path(layout.objects, value))
    (ran.root / "data/double/b/numbers/value.json").write_text("7")
    done = ran.cli("verify")
    assert done.returncode == 6
    assert "result    join/a" in done.stdout
    assert "published data/double/b" in done.stdout
    report = verify(ran.open())
    assert {(d["what"], d["name"]) for d in report.damage} == {
        ("object", value),
        ("result", "join/a"),
        ("published", "data/double/b"),
    }
    mend(ran.open(), report)
    assert verify(ran.open()).damage == []
    assert ran.run().exit_code == 0
    assert ran.published() == clean


def test_damage_without_a_sound_copy_is_computed_again(ran: Toys, clean: dict[str, bytes]) -> None:
    layout = ran.open().layout
    row = next(r for r in ran.rows() if (r["stage"], r["subject"]) == ("join", "a"))
    tree = read_tree(layout.objects, str(row["out_oid"]))
    assert tree is not None
    damage(object_path(layout.objects, tree["numbers/value.json"]))
    damage(ran.root / "data/join/a/numbers/value.json")
    mend(ran.open(), verify(ran.open()))
    ran.forget_computed()
    assert ran.run().exit_code == 0
    assert ran.computed() == ["join a"]
    assert ran.published() == clean
    assert verify(ran.open()).damage == []


def test_a_raw_file_that_changed_is_named(ran: Toys) -> None:
    (ran.root / "data/raw/a/capture.png").write_bytes(b"other")
    assert [(d["what"], d["name"]) for d in verify(ran.open()).damage] == [("capture", "a")]


class Catalogue(BaseHTTPRequestHandler):
    """Takes what is posted."""

    taken: ClassVar[list[dict]] = []

    def do_POST(self) -> None:
        """Take."""
        self.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(201)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Nothing."""


def check_events(events: list[dict]) -> None:
    """What OpenLineage asks of run events."""
    for event in events:
        assert event["eventType"] in ("START", "COMPLETE", "FAIL")
        assert set(event) >= {"eventTime", "run", "job", "producer", "schemaURL"}
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", event["run"]["runId"])
    done = {e["outputs"][0]["name"]: e for e in events if e["eventType"] == "COMPLETE"}
    assert len(done) == 11
    assert {d["name"] for d in done["join/a"]["inputs"]} == {"read/a", "double/a", "teach/all"}
    starts = [e["run"]["runId"] for e in events if e["eventType"] == "START"]
    assert sorted(starts) == sorted(e["run"]["runId"] for e in done.values())


def test_secrets_reach_neither_manifests_nor_logs(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-in-the-environment")
    url = "http://user:hush-in-the-url@127.0.0.1:1/lineage?token=hush-in-the-query"
    done = toys.cli("run", "--orchestrator", "none", "--lineage", url)
    assert done.returncode == 0, done.stderr
    assert "did not reach http://127.0.0.1:1/lineage" in done.stdout
    assert "hush" not in done.stdout + done.stderr
    for path in toys.root.rglob("*"):
        assert not (path.is_file() and b"hush" in path.read_bytes()), path


def test_lineage_events_go_to_a_file(toys: Toys, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    toys.run(lineage=str(path))
    check_events([json.loads(line) for line in path.read_text().splitlines()])


def test_lineage_events_go_to_a_catalogue_and_a_silent_one_does_not_matter(toys: Toys) -> None:
    server = HTTPServer(("127.0.0.1", 0), Catalogue)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/api/v1/lineage"
    try:
        assert toys.run(lineage=url).notes == []
    finally:
        server.shutdown()
        server.server_close()
    check_events(Catalogue.taken)
    toys.add("d")
    summary = toys.run(lineage=url)
    assert summary.exit_code == 0
    assert "did not reach" in summary.notes[0]
