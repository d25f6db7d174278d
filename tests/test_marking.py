"""Marking: what was generated says so, and goes on saying so."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from headworks.errors import HeadworksError
from headworks.formats.video import write_mp4
from headworks.marking import credentials
from headworks.marking.keys import (
    CERTIFICATE,
    CHAIN_FILE,
    KEY,
    KEY_FILE,
    make_local,
    signing_identity,
)
from headworks.marking.note import with_note
from headworks.marking.watermark import code, detect, embed, statistics, threshold
from pipelines.marking import frames_of

DIGEST = "5eedf00d9a77.dir"
LINEAGE = {"digest": DIGEST, "key": "k1abc", "stage": "fit"}
Picture = NDArray[np.uint8]


def portrait() -> Picture:
    """A face before white, as avatars are shown."""
    picture = np.full((256, 256, 3), 255, np.uint8)
    face = skimage.data.astronaut()[20:212, 130:322]
    picture[60:220, 60:200] = cv2.resize(face, (140, 160), interpolation=cv2.INTER_AREA)
    return picture


def marked(pictures: list[Picture]) -> list[Picture]:
    return list(embed(pictures, DIGEST))


def psnr(a: Picture, b: Picture) -> float:
    error = ((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean()
    return float(10 * np.log10(255**2 / error))


def halved(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def errors(pictures: list[Picture]) -> float:
    """Share of wrong bits before correction."""
    return float(((statistics(pictures) > 0) != code(DIGEST).astype(bool)).mean())


def found(pictures: list[Picture]) -> bool:
    mark = detect(pictures)
    return mark is not None and mark.payload == DIGEST[:8]


def test_the_watermark_is_not_seen_but_found() -> None:
    for picture in (portrait(), skimage.data.astronaut()[::2, ::2].copy()):
        after = marked([picture])[0]
        assert psnr(after, picture) > 38
        assert errors([after]) == 0.0
        assert found([after])
        assert detect([after], "another key") is None


def test_the_watermark_outlives_jpeg_and_scaling() -> None:
    after = marked([portrait()])[0]
    buffer = io.BytesIO()
    Image.fromarray(after).save(buffer, "JPEG", quality=75)
    jpeg = np.asarray(Image.open(buffer))
    small = cv2.resize(after, (128, 128), interpolation=cv2.INTER_AREA)
    for changed in (jpeg, halved(after), small):
        assert errors([changed]) <= 0.02
        assert found([changed])


def test_the_watermark_outlives_encoding_again(tmp_path: Path) -> None:
    moving = [np.roll(portrait(), (k // 2, k), (0, 1)) for k in range(6)]
    write_mp4(tmp_path / "a.mp4", marked(moving), 25.0)
    first = frames_of(tmp_path / "a.mp4")
    assert found(first)
    write_mp4(tmp_path / "b.mp4", [halved(frame) for frame in first], 25.0, crf=26)
    again = frames_of(tmp_path / "b.mp4")
    assert errors(again) <= 0.05
    assert found(again)


@pytest.mark.parametrize("crf", [23, 26])
def test_moving_texture_keeps_the_watermark(tmp_path: Path, crf: int) -> None:
    texture = skimage.data.astronaut()[::2, ::2]
    moving = marked([np.roll(texture, (k // 2, k), (0, 1)) for k in range(6)])
    write_mp4(tmp_path / "a.mp4", moving, 25.0, crf=crf)
    assert found(frames_of(tmp_path / "a.mp4"))


def test_a_film_of_one_picture_raises_no_more_alarms_than_the_picture() -> None:
    picture = portrait()
    for key in ("a", "b", "c"):
        assert np.allclose(statistics([picture], key), statistics([picture] * 5, key))


def test_pictures_without_a_mark_have_none() -> None:
    picture, rng = portrait(), np.random.default_rng(3)
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    flat = np.full((130, 130, 3), 200, np.uint8)
    strengths = [
        float((statistics([shown], f"key {n}") ** 2).sum())
        for n in range(25)
        for shown in (picture, noise)
    ]
    # 48 values that are normal (0, 1) have squares that sum to 48, give or take 9.8.
    assert 44 < np.mean(strengths) < 52
    assert np.std(strengths) < 14
    assert max(strengths) < threshold()
    assert all(detect([shown]) is None for shown in (picture, noise, flat))


def test_transparent_pictures_carry_the_watermark_where_they_show() -> None:
    rgba = np.dstack([portrait(), np.where(portrait().min(-1) < 250, 255, 0).astype(np.uint8)])
    after = marked([rgba])[0]
    assert np.array_equal(after[..., 3], rgba[..., 3])
    assert found([after])


def test_pictures_too_small_for_a_watermark_are_named() -> None:
    with pytest.raises(HeadworksError, match="too small"):
        marked([np.zeros((64, 64, 3), np.uint8)])
    with pytest.raises(HeadworksError, match="digest"):
        code("no digest")


def test_the_note_is_in_the_corner_and_nowhere_else() -> None:
    picture = np.full((96, 96, 3), 200, np.uint8)
    after = with_note(picture)
    assert np.array_equal(after[:70], picture[:70])
    assert after[80:, :40].min() < 60
    assert after[80:, :40].max() > 220


def test_local_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    identity = signing_identity(folder)
    assert identity.local
    assert identity.algorithm == "es256"
    assert signing_identity(folder) == identity
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}


def test_the_users_certificate_signs_when_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine", "other"):
        make_local(tmp_path / name)
    monkeypatch.setenv(CERTIFICATE, str(tmp_path / "mine" / CHAIN_FILE))
    with pytest.raises(HeadworksError, match="both"):
        signing_identity(tmp_path / "none")
    monkeypatch.setenv(KEY, str(tmp_path / "mine" / KEY_FILE))
    assert not signing_identity(tmp_path / "none").local
    monkeypatch.setenv(KEY, str(tmp_path / "other" / KEY_FILE))
    with pytest.raises(HeadworksError, match="is not the key"):
        signing_identity(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_credentials_say_what_it_is_and_notice_changes(tmp_path: Path) -> None:
    pytest.importorskip("c2pa", reason="the c2pa extra is not installed")
    identity = signing_identity(tmp_path / "keys")
    picture = portrait()[::4, ::4].copy()
    write_mp4(tmp_path / "a.mp4", [picture] * 2, 25.0)
    Image.fromarray(picture).save(tmp_path / "a.png")
    for name in ("a.mp4", "a.png"):
        path = tmp_path / name
        assert credentials.read(path) is None
        credentials.sign(path, credentials.manifest(name, "1.2.3", LINEAGE), identity)
        told = credentials.read(path)
        assert told is not None
        assert told.whole
        assert told.source_type == credentials.SOURCE_TYPE
        assert told.generator == "headworks 1.2.3"
        assert told.lineage == LINEAGE
        data = bytearray(path.read_bytes())
        data[-20] ^= 1
        path.write_bytes(data)
        changed = credentials.read(path)
        assert changed is not None
        assert not changed.whole
    with pytest.raises(HeadworksError, match="go into"):
        credentials.sign(tmp_path / "a.gif", {}, identity)
