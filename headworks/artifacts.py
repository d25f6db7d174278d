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

    Image stacks (uint8 of 4 or more dimensions, [T, C, H, W, ...]) get one chunk per frame and
    camera inside shards of about 32 MiB; other arrays are one chunk.

    Args:
        path: the group's folder, e.g. `out / "frames.zarr"`.
        arrays: name -> array.
    """
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    group = zarr.create_group(store=str(path), zarr_format=3, overwrite=True)
    for name, array in arrays.items():
        array = np.ascontiguousarray(array)
        chunks: tuple[int, ...] = tuple(max(1, n) for n in array.shape)
        shards: tuple[int, ...] | None = None
        if array.dtype == np.uint8 and array.ndim >= 4 and array.size:
            chunks = (1, 1, *array.shape[2:])
            frame = int(np.prod(chunks))
            t, c = array.shape[:2]
            per_shard = min(c, 4)
            count = int(np.clip(round(_SHARD_BYTES / (frame * per_shard)), 4, 64))
            shards = (min(count, t), per_shard, *array.shape[2:])
        out = group.create_array(
            name,
            shape=array.shape,
            dtype=array.dtype,
            chunks=chunks,
            shards=shards,
            compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="noshuffle"), Crc32cCodec()],
            chunk_key_encoding={"name": "default", "separator": "."},
            config={"write_empty_chunks": True},
        )
        if array.size:
            out[...] = array


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
