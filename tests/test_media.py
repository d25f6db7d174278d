"""Clips as cameras and phones write them: deep colour, odd sizes, no frame count, cut files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headworks.errors import CaptureError
from headworks.formats.media import probe_clip, read_clip, read_picture
from tests.faceclips import moving, portrait, turn_clip, write_clip, write_photo


def encode(path: Path, codec: str, pixels: str, frames: list[np.ndarray]) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture.reformat(format=pixels)))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "size"),
    [
        ("deep.mp4", "libx264", "yuv420p10le", (96, 120)),
        ("odd.mkv", "ffv1", "yuv444p", (97, 121)),
        ("uncounted.mkv", "libx264", "yuv420p", (96, 120)),
        ("film.mov", "prores_ks", "yuv422p10le", (96, 120)),
    ],
)
def test_clips_of_many_kinds_are_read_as_they_look(
    tmp_path: Path, name: str, codec: str, pixels: str, size: tuple[int, int]
) -> None:
    frames = moving(4, width=size[1], height=size[0])
    path = encode(tmp_path / name, codec, pixels, frames)
    info = probe_clip(path)
    assert (info.frames, info.height, info.width) == (4, *size)
    found = [f.rgb for f in read_clip(path)]
    assert len(found) == 4
    for image, wanted in zip(found, frames):
        assert np.abs(image.astype(int) - wanted).mean() < 6


def test_a_turned_clip_is_probed_as_it_is_shown(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "t.mp4", moving(3, width=120, height=96))
    turn_clip(path)
    info = probe_clip(path)
    assert (info.width, info.height) == (96, 120)


def test_a_cut_clip_is_noticed_without_decoding_it(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.mp4", moving(20, width=120, height=96))
    assert probe_clip(path).frames == 20
    whole = path.read_bytes()
    path.write_bytes(whole[: int(0.9 * len(whole))])
    with pytest.raises(CaptureError, match="cut short"):
        probe_clip(path)


def test_alpha_is_kept_where_it_hides_something(tmp_path: Path) -> None:
    alpha = np.full((60, 80), 255, np.uint8)
    image = np.dstack([portrait(80, 60), alpha])
    write_photo(tmp_path / "full.png", image)
    assert read_picture(tmp_path / "full.png").alpha is None
    image[:10, :, 3] = 0
    write_photo(tmp_path / "part.png", image)
    picture = read_picture(tmp_path / "part.png")
    np.testing.assert_array_equal(picture.alpha, image[..., 3])
    assert (picture.rgb[:10] == 255).all()
    np.testing.assert_array_equal(picture.rgb[10:], image[10:, :, :3])


def test_grey_of_sixteen_bits_is_a_picture(tmp_path: Path) -> None:
    from PIL import Image

    deep = (np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    rgb = read_picture(tmp_path / "deep.png").rgb
    np.testing.assert_array_equal(rgb[..., 0], deep >> 8)
