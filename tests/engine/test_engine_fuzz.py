"""Damaged and malicious files give an error that says so: no crash, no hang, no file elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headworks.artifacts import read_array, read_meta, read_table, write_arrays, write_table
from headworks.errors import HeadworksError
from headworks.formats.media import clip_info, read_clip, read_photo
from headworks.formats.ply import Splats, read_splats, write_splats
from headworks.formats.subject import read_subject
from pipelines.audit_find import find
from pipelines.layout import Layout
from pipelines.ledger import Ledger
from pipelines.params import load_params
from pipelines.publish import published_oid
from pipelines.rebuild import row_of
from pipelines.remote import read_table as read_ledger_table
from pipelines.stamp import read_stamp
from pipelines.store import read_known, read_tree
from pipelines.subjects import check_name, read_subjects

CASES = int(os.environ.get("HEADWORKS_FUZZ", "20"))
"""Per reader; 10,000 over all readers is HEADWORKS_FUZZ=600 with -m slow."""

LIMIT_S = 20


def picture(n: int = 0) -> np.ndarray:
    """A small picture."""
    return (np.indices((16, 24)).sum(0)[..., None] * (n + 1) * [3, 5, 7] % 256).astype(np.uint8)


def make_samples(folder: Path) -> dict[str, Path]:
    """One sound file (or folder) of every kind that is read."""
    import av
    import polars as pl
    import skimage.io
    import torch
    from safetensors.torch import save_file

    found = {
        "png": folder / "a.png",
        "jpg": folder / "a.jpg",
        "mp4": folder / "a.mp4",
        "ply": folder / "a.ply",
        "safetensors": folder / "a.safetensors",
        "parquet": folder / "a.parquet",
        "zarr": folder / "a.zarr",
        "json": folder / "artifact.json",
        "yaml": folder / "params.yaml",
        "subject": folder / "raw" / "a",
        "ledger": folder / "ledger",
        "object": folder / "objects" / "ab" / "c.dir",
    }
    for kind in ("png", "jpg"):
        skimage.io.imsave(found[kind], picture(), check_contrast=False)
    with av.open(str(found["mp4"]), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 24, 16, "yuv420p"
        for n in range(5):
            frame = av.VideoFrame.from_ndarray(picture(n), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    one = np.ones((3, 3), np.float32)
    quats = np.ones((3, 4), np.float32)
    write_splats(
        found["ply"], Splats(one, one, np.zeros((3, 0, 3), np.float32), one[:, 0], one, quats, None)
    )
    save_file({"x": torch.arange(6.0)}, found["safetensors"], {"headworks": '{"head": "none"}'})
    write_table(found["parquet"], pl.DataFrame({"t": [1, 2], "split": ["train", "test"]}))
    write_arrays(found["zarr"], {"rgb": np.stack([picture()[None], picture(1)[None]])})
    found["json"].write_text(json.dumps({"kind": "read", "facts": [1, 2.5, None, {"a": "b"}]}))
    found["yaml"].write_text("seed: 1\nfit:\n  refine_steps: 10\n")
    found["subject"].mkdir(parents=True)
    (found["subject"] / "a.png").write_bytes(found["png"].read_bytes())
    (found["subject"] / "subject.json").write_text('{"kind": "photo", "files": ["a.png"]}')
    (found["subject"] / "terms.json").write_text('{"consent": "yes", "licence": "CC0"}')
    ledger = Ledger(found["ledger"])
    for n in range(3):
        ledger.append("ok", key=f"k1{n}", stage="read", subject="a", out_oid=f"{n}.dir", inputs=[])
    ledger.append("raw", subject="a", out_oid="0.dir", body_json='{"files": {}, "kind": "photo"}')
    ledger.close()
    ledger.compact()
    ledger.append("claim", key="k11", stage="read", subject="a")
    ledger.close()
    found["object"].parent.mkdir(parents=True)
    found["object"].write_text('[{"md5": "00", "relpath": "a"}]')
    return found


def files_below(path: Path) -> list[Path]:
    """The file itself, or all files of a folder."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _avatar(path: Path) -> object:
    from headworks.avatars.avatar import load_bound_avatar

    return load_bound_avatar(path)


def _prior(path: Path) -> object:
    from headworks.avatars.gasp.file import load_prior

    return load_prior(path)


def _params(path: Path) -> object:
    from stages.registry import STAGES

    return load_params(path, STAGES)


def _ledger(path: Path) -> object:
    ledger = Ledger(path).refresh()
    ledger.outputs()
    ledger.frame()
    return [ledger.row(key) for key in ledger.outputs()]


def _subjects(path: Path) -> object:
    layout = Layout(path.parents[1])
    layout.raw = path.parent
    return read_subjects(layout)


def _manifest(path: Path) -> object:
    try:
        return row_of(json.loads(path.read_bytes()))
    except (ValueError, RecursionError, AttributeError):
        return None


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "png": ("png", read_photo),
    "jpg": ("jpg", read_photo),
    "mp4 header": ("mp4", clip_info),
    "mp4 frames": ("mp4", lambda path: list(read_clip(path, limit=8))),
    "ply": ("ply", read_splats),
    "avatar": ("safetensors", _avatar),
    "prior": ("safetensors", _prior),
    "parquet": ("parquet", read_table),
    "zarr": ("zarr", lambda path: read_array(path, "rgb", (None, 1, 16, 24, 3))),
    "artifact.json": ("json", lambda path: read_meta(path.parent)),
    "params": ("yaml", _params),
    "subject": ("subject", read_subject),
    "subjects": ("subject", _subjects),
    "ledger": ("ledger", _ledger),
    "foreign ledger": ("parquet", lambda path: read_ledger_table(path.read_bytes(), "x")),
    "listing": ("object", lambda path: read_tree(path.parents[1], "abc.dir")),
    "known trees": ("object", read_known),
    "stamp in a png": ("png", read_stamp),
    "stamp in an mp4": ("mp4", read_stamp),
    "stamp in a safetensors": ("safetensors", read_stamp),
    "stamp in a ply": ("ply", read_stamp),
    "manifest": ("json", _manifest),
}


@st.composite
def damage(draw: st.DrawFn) -> tuple[str, float, bytes]:
    """A way to damage a file: how, where (a fraction of its length), with what."""
    kind = draw(st.sampled_from(["flip", "cut", "insert", "replace", "repeat", "huge"]))
    return kind, draw(st.floats(0, 1)), draw(st.binary(min_size=1, max_size=40))


def damaged(data: bytes, how: tuple[str, float, bytes]) -> bytes:
    """The file's bytes, damaged."""
    kind, where, what = how
    place = min(len(data), int(where * len(data)))
    if kind == "flip":
        end = min(len(data), place + len(what))
        mixed = bytes(a ^ b for a, b in zip(data[place:end], what))
        return data[:place] + mixed + data[end:]
    if kind == "cut":
        return data[:place]
    if kind == "insert":
        return data[:place] + what + data[place:]
    if kind == "repeat":
        return data[:place] + data[place // 2 : place] * 3 + data[place:]
    if kind == "huge":
        # Lengths that are not true.
        return data[:place] + b"\xff\xff\xff\x7f" + data[place + 4 :]
    return what


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sound files."""
    return make_samples(tmp_path_factory.mktemp("samples"))


@pytest.fixture
def limited() -> Iterator[None]:
    """A reader that hangs fails."""

    def late(number: int, frame: object) -> None:
        raise AssertionError(f"no answer within {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, late)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def attack(name: str, samples: dict[str, Path], cases: int) -> None:
    """Damage files of a kind and read them."""
    kind, reader = READERS[name]
    path = samples[kind]
    files = files_below(path)
    sound = {file: file.read_bytes() for file in files}
    around = sorted(p for p in path.parents[0].rglob("*"))

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(which=st.integers(0, len(files) - 1), how=st.lists(damage(), min_size=1, max_size=3))
    def one(which: int, how: list[tuple[str, float, bytes]]) -> None:
        data = sound[files[which]]
        for way in how:
            data = damaged(data, way)
        files[which].write_bytes(data)
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            with contextlib.suppress(HeadworksError):
                reader(path)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            files[which].write_bytes(sound[files[which]])

    try:
        one()
    finally:
        for file, data in sound.items():
            file.write_bytes(data)
    after = [p for p in path.parents[0].rglob("*") if ".headworks" not in p.parts]
    assert sorted(after) == [p for p in around if ".headworks" not in p.parts]


@pytest.mark.parametrize("name", list(READERS))
def test_a_damaged_file_is_an_error_and_nothing_else(
    name: str, samples: dict[str, Path], limited: None
) -> None:
    attack(name, samples, CASES)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(READERS))
def test_ten_thousand_damaged_files(name: str, samples: dict[str, Path], limited: None) -> None:
    attack(name, samples, max(CASES, 460))


@pytest.mark.parametrize("name", list(READERS))
def test_the_sound_file_is_read(name: str, samples: dict[str, Path]) -> None:
    kind, reader = READERS[name]
    if name in ("avatar", "prior", "foreign ledger"):
        with pytest.raises(HeadworksError):
            reader(samples[kind])
    else:
        reader(samples[kind])


@settings(max_examples=300, deadline=None)
@given(name=st.text(max_size=80))
def test_no_name_leads_out_of_the_workspace(name: str) -> None:
    try:
        check_name(name)
    except HeadworksError:
        return
    place = Path("/w/data/raw")
    assert (place / name).resolve().parent == place
    assert os.fsencode(name).isascii()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(target=st.one_of(st.text(max_size=30), st.sampled_from(["../..", "/", "/etc/passwd", "~"])))
def test_no_target_makes_an_audit_fail_otherwise_than_clearly(
    target: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import toystages

    from pipelines.workspace import Workspace

    root = tmp_path_factory.getbasetemp() / "empty-workspace"
    (root / ".dvc").mkdir(parents=True, exist_ok=True)
    with pytest.raises(HeadworksError):
        find(Workspace(root, toystages.STAGES), target)


@settings(max_examples=100, deadline=None)
@given(record=st.binary(max_size=60))
def test_no_record_makes_a_folder_look_published(
    record: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    layout = Layout(tmp_path_factory.getbasetemp() / "published-workspace")
    layout.artifact("read", "a").mkdir(parents=True, exist_ok=True)
    (layout.artifact("read", "a") / "artifact.json").write_text('{"kind": "read"}')
    layout.record("read", "a").parent.mkdir(parents=True, exist_ok=True)
    layout.record("read", "a").write_bytes(record)
    assert published_oid(layout, "read", "a") is None
