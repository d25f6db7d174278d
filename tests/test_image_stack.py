"""Image stacks: written one image at a time, read as any Zarr array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headworks.artifacts import ImageStack, open_arrays, stack_chunks, write_arrays


def images(shape: tuple[int, ...]) -> np.ndarray:
    stack = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    stack[1] = 0
    return stack


@pytest.mark.parametrize("shape", [(7, 5, 8, 8, 3), (130, 1, 6, 6), (3, 16, 4, 4, 3)])
def test_a_stack_written_image_by_image_reads_as_one_written_whole(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    stack = images(shape)
    with ImageStack(tmp_path / "a.zarr", "rgb", shape) as writer:
        for c in reversed(range(shape[1])):
            for t in range(shape[0]):
                writer.write(t, c, stack[t, c])
    write_arrays(tmp_path / "b.zarr", {"rgb": stack})
    np.testing.assert_array_equal(open_arrays(tmp_path / "a.zarr")["rgb"][...], stack)
    a, b = ({p.name: p.stat().st_size for p in (tmp_path / name / "rgb").iterdir()}
            for name in ("a.zarr", "b.zarr"))  # fmt: skip
    assert a == b
    description = "rgb/zarr.json"
    assert (tmp_path / "a.zarr" / description).read_bytes() == (
        tmp_path / "b.zarr" / description
    ).read_bytes()


def test_a_long_capture_of_many_cameras_is_a_few_dozen_files() -> None:
    for shape in [(5000, 16, 256, 256, 3), (2000, 16, 802, 550, 3), (100_000, 1, 64, 64, 3),
                  (300, 64, 64, 64)]:  # fmt: skip
        shards = stack_chunks(shape)[1]
        assert -(-shape[0] // shards[0]) * -(-shape[1] // shards[1]) <= 24


def test_a_missing_or_doubled_image_is_an_error(tmp_path: Path) -> None:
    shape = (2, 2, 4, 4, 3)
    stack = images(shape)
    writer = ImageStack(tmp_path / "a.zarr", "rgb", shape)
    for t, c in ((0, 0), (0, 1), (1, 0)):
        writer.write(t, c, stack[t, c])
    with pytest.raises(ValueError, match="already"):
        writer.write(0, 0, stack[0, 0])
    with pytest.raises(ValueError, match="3 images"):
        writer.close()


def test_single_pictures_are_one_file(tmp_path: Path) -> None:
    plates = images((16, 20, 20, 3))
    write_arrays(tmp_path / "a.zarr", {"rgb": plates})
    np.testing.assert_array_equal(open_arrays(tmp_path / "a.zarr")["rgb"][...], plates)
    assert len(list((tmp_path / "a.zarr" / "rgb").iterdir())) == 2
