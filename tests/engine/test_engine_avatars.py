"""`headworks drive` and `headworks export`: stamped files, errors that help."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from headworks.errors import HeadworksError
from pipelines.audit import audit_tree
from pipelines.driving import Request, drive, frame_range
from pipelines.exporting import Wanted, export_avatar
from pipelines.run import Options, run
from pipelines.setup import init_workspace
from pipelines.showing import Look
from pipelines.stamp import read_stamp
from pipelines.subjects import add_subject
from pipelines.workspace import Workspace
from tests.engine.conftest import TOYS
from tests.tinycapture import toy_head_known
from tests.toyhead import toy_head

assert TOYS.is_dir()  # its import puts the toy stages on the path


def silent(done: float, message: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two toy subjects with tracking and avatar, run by the engine."""
    import toyavatars

    root = tmp_path_factory.mktemp("workspace") / "w"
    root.mkdir()
    workspace = Workspace(root, toyavatars.STAGES)
    init_workspace(workspace)
    (root / "dvc.yaml").unlink()
    for name, frames in (("anna", 6), ("bert", 9)):
        path = root.parent / f"{name}.png"
        path.write_bytes(b"x" * frames)
        add_subject(workspace.layout, name, [path])
    with patch.dict("os.environ", {"PYTHONPATH": f"{TOYS}:{TOYS.parents[1]}"}):
        summary = run(workspace, Options(jobs=1, orchestrator="none"))
    assert summary.exit_code == 0, summary
    return Workspace(root, toyavatars.STAGES)


@pytest.fixture(autouse=True)
def toy_heads() -> Iterator[None]:
    with toy_head_known(), patch("headworks.heads.load_exact", lambda *_: toy_head()):
        yield


def frames_of(path: Path) -> list[np.ndarray]:
    import av

    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def driven(made: Workspace, output: Path, **options: object) -> list[str]:
    look = options.pop("look", Look(size=48))
    request = Request("anna", str(options.pop("by", "bert")), output, look, **options)  # type: ignore[arg-type]
    return drive(made, request, silent, lambda line: None)


def test_a_driven_video_says_who_and_by_whom(made: Workspace, tmp_path: Path) -> None:
    driven(made, tmp_path / "out.mp4", beside=True)
    frames = frames_of(tmp_path / "out.mp4")
    assert len(frames) == 9
    assert frames[0].shape == (48, 96, 3)
    stamp = read_stamp(tmp_path / "out.mp4")
    assert (stamp["stage"], stamp["driver"]) == ("fit", "bert")
    ledger = made.ledger.refresh()
    assert stamp["driver_key"] == ledger.claims()["tracking", "bert"]
    found = audit_tree(made, str(tmp_path / "out.mp4"))
    assert (found["roots"][0]["stage"], found["roots"][0]["subject"]) == ("fit", "anna")


def test_pictures_with_alpha_carry_the_stamp_too(made: Workspace, tmp_path: Path) -> None:
    from PIL import Image

    driven(made, tmp_path / "out", frames="2:5", look=Look("front", 40, "transparent"))
    files = sorted((tmp_path / "out").iterdir())
    assert [f.name for f in files] == ["00000.png", "00001.png", "00002.png"]
    assert {read_stamp(f)["driver"] for f in files} == {"bert"}
    picture = np.asarray(Image.open(files[0]))
    assert picture.shape == (40, 40, 4)
    assert picture[..., 3].min() == 0
    assert picture[..., 3].max() == 255


def test_curves_and_camera_paths_drive(made: Workspace, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("jawOpen,headYaw\n" + "".join(f"0.{k},0.0\n" for k in range(9)))
    driven(made, tmp_path / "out.mp4", by=tmp_path / "c.csv", look=Look("turntable", 32))
    frames = frames_of(tmp_path / "out.mp4")
    assert len(frames) == 9
    assert frames[0].shape == (32, 32, 3)
    assert read_stamp(tmp_path / "out.mp4")["driver"] == "curves"


def test_an_avatar_driven_by_itself_is_its_own_reenactment(made: Workspace, tmp_path: Path) -> None:
    from PIL import Image

    from headworks.avatars import load_avatar
    from headworks.metrics.pixel import psnr
    from headworks.tracks import load_tracking

    driven(made, tmp_path / "out", by="anna", look=Look())
    avatar = load_avatar(made.layout.artifact("fit", "anna"))
    tracking = load_tracking(made.layout.artifact("tracking", "anna"))
    for t in range(len(tracking)):
        camera = tracking.camera(t, 0, 64, 64)
        rgb, _ = avatar.render(tracking.expression[t], tracking.pose[t : t + 1], camera)
        shown = np.asarray(Image.open(tmp_path / "out" / f"{t:05d}.png")) / 255
        assert psnr(shown.astype(np.float32), rgb) > 50


@pytest.mark.parametrize(
    ("format_", "name", "file"),
    [("ply", "a.ply", "a.ply"), ("spz", "a.spz", "a.spz"), ("glb", "a.glb", "a.glb"),
     ("gaussian_avatars", "a", "a/point_cloud/iteration_1/point_cloud.ply"),
     ("gaussian_avatars", "a", "a/point_cloud/iteration_1/flame_param.npz"),
     ("png", "a.png", "a.png"), ("mp4", "a.mp4", "a.mp4")],
)  # fmt: skip
def test_every_exported_file_tells_where_it_came_from(
    made: Workspace, tmp_path: Path, format_: str, name: str, file: str
) -> None:
    frames = "3" if format_ == "png" else ""
    wanted = Wanted("anna", format_, tmp_path / name, frames=frames, texture=32)  # type: ignore[arg-type]
    export_avatar(made, wanted, silent, lambda line: None)
    stamp = read_stamp(tmp_path / file)
    assert stamp["stage"] == "fit"
    assert stamp["key"] == made.ledger.refresh().claims()["fit", "anna"]
    found = audit_tree(made, str(tmp_path / file))
    assert found["roots"][0]["subject"] == "anna"


def test_an_exported_avatar_file_can_be_shown_without_its_workspace(
    made: Workspace, tmp_path: Path
) -> None:
    from pipelines.exporting import export_result

    export_result(made, "fit/anna", tmp_path / "files")
    file = tmp_path / "files" / "avatar.safetensors"
    wanted = Wanted(str(file), "ply", tmp_path / "a.ply", expression={"jawOpen": 0.5})
    export_avatar(made, wanted, silent, lambda line: None)
    assert read_stamp(tmp_path / "a.ply")["key"] == read_stamp(file)["key"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"by": "nobody"}, "neither a subject"),
        ({"frames": "20:30"}, "leaves none of the 9 frames"),
        ({"frames": "a:b"}, "expected FIRST:END"),
        ({"look": Look("moon")}, "--camera moon"),
        ({"look": Look(background="plaid")}, "--background plaid"),
        ({"look": Look(background="transparent")}, "only for pictures"),
        ({"look": Look(size=5)}, "--size 5"),
        ({"by": "script:dance"}, "script:dance"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left_behind(
    made: Workspace, tmp_path: Path, options: dict[str, object], told: str
) -> None:
    with pytest.raises(HeadworksError, match=told):
        driven(made, tmp_path / "out.mp4", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken_or_absent_is_refused(made: Workspace, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("mine")
    with pytest.raises(HeadworksError, match="is there already"):
        driven(made, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_text() == "mine"
    driven(made, tmp_path / "out.mp4", force=True, frames="0:2")
    assert len(frames_of(tmp_path / "out.mp4")) == 2
    with pytest.raises(HeadworksError, match="no such folder"):
        driven(made, tmp_path / "gone" / "out.mp4")
    with pytest.raises(HeadworksError, match=r"NAME\.spz"):
        export_avatar(made, Wanted("anna", "spz", tmp_path / "a.ply"), silent, print)
    with pytest.raises(HeadworksError, match="has noseOut, jawOpen"):
        export_avatar(
            made, Wanted("anna", "ply", tmp_path / "a.ply", expression={"wink": 1.0}), silent, print
        )
    with pytest.raises(HeadworksError, match=r"no such result \(there are anna, bert\)"):
        export_avatar(made, Wanted("carl", "ply", tmp_path / "a.ply"), silent, print)


def test_a_failed_film_leaves_nothing(made: Workspace, tmp_path: Path) -> None:
    with (
        patch("headworks.formats.video.write_mp4", side_effect=OSError("disk full")),
        pytest.raises(OSError, match="disk full"),
    ):
        driven(made, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


def test_frame_ranges_read_as_slices() -> None:
    assert list(range(10)[frame_range("", 10)]) == list(range(10))
    assert list(range(10)[frame_range("3", 10)]) == [3]
    assert list(range(10)[frame_range("-1", 10)]) == [9]
    assert list(range(10)[frame_range("2:4", 10)]) == [2, 3]
    assert list(range(10)[frame_range("8:", 10)]) == [8, 9]
