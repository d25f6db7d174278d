"""Evaluation of a miniature subject whose true answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from headworks.artifacts import read_meta, write_arrays
from headworks.errors import ArtifactError
from headworks.metrics.pixel import psnr
from stages.contract import Context
from stages.evaluate import EvaluateParams, run
from tests.tinycapture import toy_head_known, write_subject

PARAMS = EvaluateParams(
    texture_size=64, preview_side=64, orbit_frames=8, sweep_frames=3, picture_frames=2
)


def evaluate(folders: dict[str, Path], out: Path, params: EvaluateParams = PARAMS) -> pl.DataFrame:
    with toy_head_known():
        run(folders, params, out, Context())
    return pl.read_parquet(out / "metrics.parquet")


def value(table: pl.DataFrame, method: str, metric: str, scope: str = "full") -> float:
    column = table.filter(
        (pl.col("method") == method) & (pl.col("metric") == metric) & (pl.col("scope") == scope)
    )["value"]
    return float(column.mean())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Path, pl.DataFrame]:
    root = tmp_path_factory.mktemp("clip")
    folders = write_subject(root, times=20)
    out = root / "evaluate"
    return folders, out, evaluate(folders, out)


def test_only_held_out_frames_are_measured(clip) -> None:
    _, _, table = clip
    assert set(table["split"]) == {"test"}
    assert set(table["frame"].drop_nulls()) == set(range(14, 20))
    assert set(table["protocol"]) == {"held_out_frames-64x64-white-8bit-matte"}
    assert set(table["method"]) == {"gasp", "nearest_frame", "textured_mesh"}


def test_the_textured_mesh_recovers_a_textured_mesh(clip) -> None:
    _, _, table = clip
    assert value(table, "textured_mesh", "psnr") > 33
    assert value(table, "textured_mesh", "ssim") > 0.98
    assert value(table, "textured_mesh", "alpha_iou") == pytest.approx(1)


def test_retrieval_is_worse_than_the_true_mesh(clip) -> None:
    _, _, table = clip
    assert value(table, "nearest_frame", "psnr") < value(table, "textured_mesh", "psnr") - 3
    assert value(table, "nearest_frame", "flip") > value(table, "textured_mesh", "flip")


def test_a_metric_that_cannot_be_computed_is_null_with_its_reason(clip) -> None:
    _, out, table = clip
    small = table.filter(pl.col("metric") == "ms_ssim")
    assert small["value"].null_count() == len(small) > 0
    assert all("160" in reason for reason in small["reason"])
    faceless = table.filter(pl.col("metric") == "fd")
    assert faceless["value"].null_count() == len(faceless) > 0
    missing = {row["metric"] for row in read_meta(out, "metrics")["missing"]}
    assert missing == {"ms_ssim", "fd"}
    assert "ms_ssim" not in (out / "metrics.json").read_text()


def test_numbers_belong_to_what_is_shown(clip) -> None:
    """The PSNR in the table is that of the pictures in the report."""
    from PIL import Image

    _, out, table = clip
    listed = json.loads((out / "pictures" / "pictures.json").read_text())
    truth = next(p for p in listed if p["file"] == "truth_0.png")
    frame = int(truth["caption"].split("frame ")[1].split(",")[0])
    shown, target = (
        np.asarray(Image.open(out / "pictures" / f)) / 255 for f in ("avatar_0.png", "truth_0.png")
    )
    row = table.filter(
        (pl.col("method") == "gasp") & (pl.col("metric") == "psnr") & (pl.col("frame") == frame)
        & (pl.col("scope") == "full")
    )  # fmt: skip
    assert psnr(shown, target) == pytest.approx(row["value"][0], abs=1e-6)


def test_every_listed_picture_exists_and_no_other(clip) -> None:
    _, out, _ = clip
    listed = json.loads((out / "pictures" / "pictures.json").read_text())
    files = {p.name for p in (out / "pictures").iterdir()} - {"pictures.json"}
    assert {p["file"] for p in listed} == files
    roles = {p["role"] for p in listed}
    assert roles >= {"input", "matte", "landmarks", "mesh", "ground_truth", "avatar", "error",
                     "nearest_frame", "textured_mesh", "reenactment", "orbit", "sweep",
                     "sweep_video"}  # fmt: skip


def test_videos_hold_every_frame(clip) -> None:
    import av

    _, out, _ = clip
    for name, frames, size in (
        ("reenactment", 6, (128, 64)), ("orbit", 8, (64, 64)), ("sweep_video", 3, (64, 64))
    ):  # fmt: skip
        with av.open(str(out / "pictures" / f"{name}.mp4")) as container:
            stream = container.streams.video[0]
            decoded = list(container.decode(stream))
            assert len(decoded) == frames
            assert (stream.width, stream.height) == size
            assert stream.codec_context.pix_fmt == "yuv420p"


def test_equal_inputs_give_equal_bytes(clip, tmp_path: Path) -> None:
    folders, out, _ = clip
    evaluate(folders, tmp_path)
    first = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    second = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert first.keys() == second.keys()
    assert [str(k) for k in first if first[k] != second[k]] == []


def test_held_out_cameras_are_named_as_such(tmp_path: Path) -> None:
    table = evaluate(write_subject(tmp_path, 2, cameras=3, setting="multiview"), tmp_path / "out")
    assert set(table["protocol"]) == {"held_out_cameras-64x64-white-8bit-matte"}
    assert set(table["camera"]) == {"2"}
    assert value(table, "textured_mesh", "psnr") > 25


def test_a_photo_is_judged_on_its_training_view_and_says_so(tmp_path: Path) -> None:
    table = evaluate(write_subject(tmp_path, 1, setting="photo"), tmp_path / "out")
    assert set(table["protocol"]) == {"train_view-64x64-white-8bit-matte"}
    nearest = table.filter((pl.col("method") == "nearest_frame") & (pl.col("metric") == "psnr"))
    assert nearest["value"].null_count() == len(nearest) > 0
    assert set(nearest["reason"]) == {"there is no other training frame"}
    assert not (tmp_path / "out" / "pictures" / "reenactment.mp4").exists()


def test_untracked_frames_are_counted_not_scored(tmp_path: Path) -> None:
    folders = write_subject(tmp_path, 10)
    _set_valid(folders["tracking"], np.arange(10) != 8)
    table = evaluate(folders, tmp_path / "out")
    lost = table.filter(pl.col("frame") == 8)
    assert len(lost) == 3
    assert lost["value"].null_count() == 3
    assert read_meta(tmp_path / "out", "metrics")["untracked"] == 1
    _set_valid(folders["tracking"], np.arange(10) < 7)
    with pytest.raises(ArtifactError, match="no test frame was tracked"):
        evaluate(folders, tmp_path / "again")


def _set_valid(tracking: Path, valid: np.ndarray) -> None:
    from headworks.artifacts import open_arrays

    group = open_arrays(tracking / "tracking.zarr")
    arrays = {name: group[name][...] for name in group.array_keys()}
    write_arrays(tracking / "tracking.zarr", {**arrays, "valid": valid})


def test_bad_params_are_refused() -> None:
    with pytest.raises(ValidationError):
        EvaluateParams(max_frames=0)
    with pytest.raises(ValidationError):
        EvaluateParams(frames=3)  # type: ignore[call-arg]
