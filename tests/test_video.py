"""Preview videos play everywhere and are the same bytes for the same frames."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from headworks.formats.video import write_mp4


def frames(count: int, height: int, width: int) -> list[np.ndarray]:
    y, x = np.mgrid[:height, :width]
    waves = [[np.sin((x * (c + 1) + y * 2 + 9 * t) / 11.0) for c in range(3)] for t in range(count)]
    return [(127 + 100 * np.stack(w, -1)).astype(np.uint8) for w in waves]


def test_every_frame_comes_back_nearly_as_it_was(tmp_path: Path) -> None:
    smooth = frames(7, 62, 81)
    assert write_mp4(tmp_path / "a.mp4", smooth, 29.97) == 7
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == pytest.approx(29.97, abs=1e-3)
        decoded = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
    assert len(decoded) == 7
    assert decoded[0].shape == (62, 82, 3)
    grey = [np.abs(d[:, :81].mean(-1) - s.mean(-1)).mean() for d, s in zip(decoded, smooth)]
    assert max(grey) < 4


def test_equal_frames_give_equal_bytes_whatever_the_memory_holds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = [f // 2 + rng.integers(0, 120, f.shape).astype(np.uint8) for f in frames(8, 64, 64)]
    seen = set()
    for number in range(12):
        litter = [np.full(1000 + 170 * number, number, np.uint8) for _ in range(40)]
        write_mp4(tmp_path / "a.mp4", iter(picture), 16)
        seen.add((tmp_path / "a.mp4").read_bytes())
        del litter
    assert len(seen) == 1


def test_a_file_starts_with_its_index(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", frames(3, 32, 32), 10)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_no_frame_and_changing_sizes_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write_mp4(tmp_path / "a.mp4", [], 10)
    with pytest.raises(ValueError, match="frame 1"):
        write_mp4(
            tmp_path / "b.mp4", [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 6, 3), np.uint8)], 1
        )
