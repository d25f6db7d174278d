"""Artifact folders: Zarr 3 arrays, Parquet tables and one `artifact.json`, byte-deterministic.

Nothing about when, where or by whom an artifact was made is written inside it: equal content gives
equal bytes, and so work downstream can stop early (docs/artifacts.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headworks.errors import ArtifactError

if TYPE_CHECKING:
    import polars as pl

META = "artifact.json"
_SHARD_BYTES = 32 * 2**20
_MOST_SHARDS = 24
"""A stack is this many files at most (a file per 4 cameras at least), however long it is."""
# What zarr and its codecs raise on damaged metadata, chunks and checksums.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError)


def canonical_json(value: object) -> str:
    """Sorted keys, no spaces, NaN refused: equal values give equal text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def write_meta(folder: Path, kind: str, meta: Mapping[str, Any] | None = None) -> None:
    """Write `artifact.json`: what kind of artifact this is, and facts about its content.

    Args:
        folder: the artifact's folder, made if absent.
        kind: "capture", "mattes", "landmarks", "tracking", "prior", "avatar", "metrics", ...
        meta: JSON values; no times, paths, hosts or keys.
    """
    folder.mkdir(parents=True, exist_ok=True)
    body = {"schema": f"headworks.{kind}/1", "kind": kind, **(meta or {})}
    (folder / META).write_text(json.dumps(body, sort_keys=True, indent=1, allow_nan=False) + "\n")


def read_meta(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """Read `artifact.json`.

    Raises:
        ArtifactError: when it is absent, unreadable or of another kind.
    """
    path = Path(folder) / META
    try:
        meta = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not a readable artifact description ({error})") from None
    if kind is not None and meta.get("kind") != kind:
        raise ArtifactError(
            f"{path}: expected an artifact of kind {kind!r}, got {meta.get('kind')!r}"
        )
    return meta


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a Zarr 3 group.

    Image stacks (uint8, [T, C, H, W] or [T, C, H, W, ...]) get one chunk per frame and
    camera inside shards of about 32 MiB, larger where they would be too many files; other arrays
    are one chunk. `ImageStack` writes a stack that is never whole in memory.

    Args:
        path: the group's folder, e.g. `out / "frames.zarr"`.
        arrays: name -> array.
    """
    import zarr

    group = zarr.create_group(store=str(path), zarr_format=3, overwrite=True)
    for name, array in arrays.items():
        array = np.ascontiguousarray(array)
        out = _create(group, name, array.shape, array.dtype)
        if array.size:
            out[...] = array


def _create(group: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """An empty array in a group, chunked and sharded as all of ours."""
    from zarr.codecs import BloscCodec, Crc32cCodec

    chunks: tuple[int, ...] = tuple(max(1, n) for n in shape)
    shards: tuple[int, ...] | None = None
    pictures = len(shape) == 4 and shape[-1] == 3  # [N, H, W, 3], no stack over time and cameras
    if dtype == np.uint8 and len(shape) >= 4 and all(shape) and not pictures:
        chunks, shards = stack_chunks(shape)
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="noshuffle"), Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        config={"write_empty_chunks": True},
    )


def stack_chunks(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of a chunk and of a shard (a file) of an image stack [T, C, H, W, ...]."""
    t, c = shape[:2]
    chunk = (1, 1, *shape[2:])
    per_shard = min(c, 4)
    count = int(np.clip(round(_SHARD_BYTES / (int(np.prod(chunk)) * per_shard)), 4, 64))
    columns = -(-c // per_shard)
    count = max(count, -(-t // max(1, _MOST_SHARDS // columns)))
    return chunk, (min(count, t), per_shard, *shape[2:])


class ImageStack:
    """A stack of images [T, C, H, W, ...] written one image at a time, in any order.

    What is written goes to the disk at once: memory holds one image, whatever the stack's length.
    The files are those that `write_arrays` makes, read by `open_arrays` and any reader of Zarr 3.

    with ImageStack(out / "frames.zarr", "rgb", (T, C, H, W, 3)) as stack:
        stack.write(t, c, image)

    Source: Zarr 3, codec `sharding_indexed`: chunks end to end, then offset and length of each and
    a checksum of these.
    """

    def __init__(self, path: Path, name: str, shape: tuple[int, ...]) -> None:
        """Make the group and its empty array.

        Args:
            path: the group's folder. name: of the array in it. shape: [T, C, H, W, ...], none 0.
        """
        import zarr
        from numcodecs import Blosc

        if len(shape) < 4 or not all(shape):
            raise ValueError(f"a stack of images is [T, C, H, W, ...], got {shape}")
        group = zarr.create_group(store=str(path), zarr_format=3, overwrite=True)
        _create(group, name, shape, np.dtype(np.uint8))
        self.shape = shape
        self._folder = Path(path) / name
        self._per_shard = stack_chunks(shape)[1][:2]
        self._compress = Blosc(cname="zstd", clevel=1, shuffle=Blosc.NOSHUFFLE).encode
        self._shards: dict[tuple[int, int], tuple[Any, NDArray[np.uint64]]] = {}

    def write(self, t: int, c: int, image: NDArray[np.uint8]) -> None:
        """Put one image in its place; each place once."""
        if image.shape != self.shape[2:] or image.dtype != np.uint8:
            raise ValueError(f"expected uint8 {self.shape[2:]}, got {image.dtype} {image.shape}")
        (a, i), (b, j) = divmod(t, self._per_shard[0]), divmod(c, self._per_shard[1])
        if (a, b) not in self._shards:
            rest = ".".join(["0"] * len(image.shape))
            index = np.full((*self._per_shard, 2), 2**64 - 1, np.uint64)
            self._shards[a, b] = ((self._folder / f"c.{a}.{b}.{rest}").open("wb"), index)
        file, index = self._shards[a, b]
        if index[i, j, 1] != 2**64 - 1:
            raise ValueError(f"image {t}, {c} is there already")
        data = _summed(self._compress(np.ascontiguousarray(image)))
        index[i, j] = file.tell(), len(data)
        file.write(data)

    def close(self) -> None:
        """Finish the files.

        Raises:
            ValueError: an image is missing.
        """
        for file, index in self._shards.values():
            with file:
                file.write(_summed(index.astype("<u8").tobytes()))
        written = sum(int((index[..., 1] != 2**64 - 1).sum()) for _, index in self._shards.values())
        if written != self.shape[0] * self.shape[1]:
            raise ValueError(f"{self._folder}: {written} images of {self.shape[:2]}")

    def __enter__(self) -> ImageStack:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            for file, _ in self._shards.values():
                file.close()


def _summed(data: bytes) -> bytes:
    """Bytes with their CRC-32C behind them."""
    import google_crc32c

    return bytes(data) + int(google_crc32c.value(bytes(data))).to_bytes(4, "little")


def open_arrays(path: Path) -> Any:
    """Open a Zarr group for reading; arrays are read lazily by indexing.

    Raises:
        ArtifactError: when there is no such group.
    """
    import zarr

    try:
        return zarr.open_group(store=str(path), mode="r", zarr_format=3)
    except _DAMAGE as error:
        raise ArtifactError(f"{path}: not a Zarr group ({error}); run the stage again") from None


def read_array(path: Path, name: str, shape: tuple[int | None, ...] | None = None) -> NDArray[Any]:
    """Read one array whole.

    Args:
        path: Zarr group. name: array in it. shape: expected shape, None where any length will do.

    Raises:
        ArtifactError: when absent or of another shape.
    """
    group = open_arrays(path)
    try:
        if name not in group:
            have = sorted(group.array_keys())
            raise ArtifactError(f"{path}: holds no array {name!r}; it has {have}")
        stored = group[name]
        # Before reading: a damaged description may claim any size.
        if shape is not None and (
            len(stored.shape) != len(shape)
            or any(w not in (None, n) for w, n in zip(shape, stored.shape))
        ):
            raise ArtifactError(f"{path}/{name}: expected shape {shape}, got {stored.shape}")
        return np.asarray(stored[...])
    except _DAMAGE as error:
        raise ArtifactError(
            f"{path}/{name}: cannot be read ({error}); headworks verify says what is damaged"
        ) from None


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a Parquet table (zstd, with statistics)."""
    table.write_parquet(path, compression="zstd", statistics=True)


def read_table(path: Path) -> pl.DataFrame:
    """Read a Parquet table.

    Raises:
        ArtifactError: when absent or unreadable.
    """
    import polars as pl

    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"{path}: not a readable table ({error})") from None
