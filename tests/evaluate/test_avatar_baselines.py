"""The stages of the two Gaussian baselines, and what evaluation makes of them."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import polars as pl
import pytest

from headworks.artifacts import read_meta
from headworks.avatars import FILE, Avatar, load_avatar
from stages.contract import Context
from stages.evaluate import EvaluateParams
from stages.evaluate import run as evaluate
from stages.flash_avatar import FlashAvatarParams, flash_avatar_config
from stages.flash_avatar import run as flash_avatar
from stages.gaussian_avatars import GaussianAvatarsParams, gaussian_avatars_config
from stages.gaussian_avatars import run as gaussian_avatars
from tests.tinycapture import toy_head_known, write_subject
from tests.toyhead import toy_head

EVALUATION = EvaluateParams(
    texture_size=32, preview_side=64, orbit_frames=4, sweep_frames=2, picture_frames=1,
    flip_frames=0, fd_frames=0, max_frames=3, video_frames=2,
)  # fmt: skip
STAGES = {
    "gaussian_avatars": (gaussian_avatars, GaussianAvatarsParams(steps=40)),
    "flash_avatar": (flash_avatar, FlashAvatarParams(steps=40, uv_size=24, width=16)),
}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A subject with both baselines fitted."""
    root = tmp_path_factory.mktemp("baselines")
    folders = write_subject(root, times=6)
    with toy_head_known(), patch("headworks.heads.load_exact", lambda *_: toy_head()):
        for name, (run, params) in STAGES.items():
            run(folders, params, root / name, Context(scratch=root / "scratch"))
    return folders | {name: root / name for name in STAGES}


@pytest.mark.parametrize("name", STAGES)
def test_a_baseline_stage_writes_an_avatar_that_renders(subject, name) -> None:
    meta = read_meta(subject[name], "avatar")
    assert meta["method"] == name
    assert meta["setting"] == "monocular"
    assert meta["train_views"] == 4
    with toy_head_known():
        avatar = load_avatar(subject[name])
    assert isinstance(avatar, Avatar)
    assert avatar.method == name
    curves = pl.read_parquet(subject[name] / "curves.parquet")
    assert curves["psnr"][-1] == pytest.approx(meta["train_psnr"])
    assert curves["psnr"][-1] > curves["psnr"][0] + 1


def test_both_baselines_are_measured_and_shown_beside_the_avatar(subject, tmp_path) -> None:
    with toy_head_known():
        evaluate(subject, EVALUATION, tmp_path, Context())
    expected = ["gasp", "gaussian_avatars", "flash_avatar", "nearest_frame", "textured_mesh"]
    assert read_meta(tmp_path, "metrics")["methods"] == expected
    table = pl.read_parquet(tmp_path / "metrics.parquet").filter(pl.col("metric") == "psnr")
    counts = dict(table.filter(pl.col("scope") == "full").group_by("method").len().iter_rows())
    assert counts == dict.fromkeys(expected, counts["gasp"])
    for name in STAGES:
        assert (tmp_path / "pictures" / f"{name}_0.png").exists()


def test_a_baseline_of_zero_steps_is_left_out(subject, tmp_path) -> None:
    with toy_head_known(), patch("headworks.heads.load_exact", lambda *_: toy_head()):
        gaussian_avatars(subject, GaussianAvatarsParams(steps=0), tmp_path / "none", Context())
        assert not (tmp_path / "none" / FILE).exists()
        without = {**subject, "gaussian_avatars": tmp_path / "none"}
        evaluate(without, EVALUATION, tmp_path / "metrics", Context())
    methods = read_meta(tmp_path / "metrics", "metrics")["methods"]
    assert "gaussian_avatars" not in methods
    assert "flash_avatar" in methods


def test_colours_of_photos_and_clips_are_flat_and_those_of_rigs_depend_on_the_view() -> None:
    ga, fa = GaussianAvatarsParams(), FlashAvatarParams()
    for setting, degree in (("photo", 0), ("monocular", 0), ("multiview", 3)):
        assert gaussian_avatars_config(ga, setting).degree(setting) == degree
        assert flash_avatar_config(fa, setting).degree(setting) == degree
    assert gaussian_avatars_config(ga, "photo").steps == ga.photo_steps
    assert flash_avatar_config(fa, "photo").steps == fa.photo_steps
