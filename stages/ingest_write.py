"""What ingest writes: a capture, one picture after the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headworks.formats.crops import Crop
    from headworks.formats.rig import Recording, Rig, Source

CORNERS = tuple(f"face_{axis}{end}" for end in "01" for axis in "xy")


class CaptureWriter:
    """Frames, given mattes and table of a capture; memory holds the table, no pictures."""

    def __init__(self, out: Path, times: int, cameras: int, size: int, mattes: bool) -> None:
        """Make the empty capture.

        Args:
            out: folder. times, cameras, size: T, C and the pictures' side. mattes: whether every
                picture comes with one.
        """
        from headworks.artifacts import ImageStack

        shape = (times, cameras, size, size)
        self._out = out
        self._frames = ImageStack(out / "frames.zarr", "rgb", (*shape, 3))
        self._mattes = ImageStack(out / "given.zarr", "alpha", shape) if mattes else None
        self._rows: list[dict[str, Any]] = []

    def add(
        self, t: int, c: int, image: NDArray[np.uint8], alpha: NDArray[np.uint8] | None,
        crop: Crop, box: NDArray[np.floating], **columns: Any,
    ) -> None:  # fmt: skip
        """Write one picture and its matte; keep its row of the table."""
        self._frames.write(t, c, image)
        if self._mattes is not None:
            assert alpha is not None
            self._mattes.write(t, c, alpha)
        where = {"crop_x": crop.x, "crop_y": crop.y, "crop_side": float(crop.side)}
        corners = dict(zip(CORNERS, map(float, box)))
        self._rows.append({"t": t, "c": c, **columns, **where, **corners})

    def close(self, meta: dict[str, Any]) -> None:
        """Finish the arrays, write table and description."""
        import polars as pl

        from headworks.artifacts import write_meta, write_table

        self._frames.close()
        if self._mattes is not None:
            self._mattes.close()
        schema: dict[str, Any] = {
            "sequence": pl.String,
            "t": pl.Int32,
            "c": pl.Int32,
            "frame": pl.Int32,
            "camera": pl.String,
            "time_s": pl.Float64,
            "split": pl.String,
            **dict.fromkeys(("crop_x", "crop_y", "crop_side", *CORNERS), pl.Float32),
        }
        if "given_split" in self._rows[0]:
            schema["given_split"] = pl.String
        table = pl.DataFrame(self._rows, schema=schema).sort("t", "c")
        write_table(self._out / "frames.parquet", table)
        write_meta(self._out, "capture", meta)


def split_columns(source: Source, i: int, otherwise: str) -> dict[str, str]:
    """Whether a picture is for training or tests, and how the capture itself put it."""
    if not source.split:
        return {"split": otherwise}
    given = source.split[i]
    return {"split": "train" if given == "train" else "test", "given_split": given}


def facts_of(rig: Rig, raw: Path) -> list[dict[str, Any]]:
    """Files of a capture as `artifact.json` lists them; pictures of one camera are one entry."""
    import hashlib

    from headworks.formats.foreign import picture_size
    from headworks.formats.media import clip_info, source_facts

    rows: list[dict[str, Any]] = []
    listed: set[Path] = set()

    def name_of(path: Path) -> str:
        return str(path.relative_to(raw)) if path.is_relative_to(raw) else path.name

    for recording in rig.recordings.values():
        for camera, source in recording.sources.items():
            if source.is_video:
                continue
            digest, size = hashlib.sha256(), 0
            for path in (*source.files, *source.masks):
                facts = source_facts(path, "")
                digest.update(f"{name_of(path)}\n{facts['sha256']}\n".encode())
                size += facts["size"]
                listed.add(path)
            width, height = picture_size(source.files[0])
            rows.append(
                {"file": f"{recording.name}/{camera}", "sha256": digest.hexdigest(), "size": size,
                 "codec": source.files[0].suffix[1:].lower(), "width": width, "height": height,
                 "pictures": len(source.files) + len(source.masks)}
            )  # fmt: skip
        listed |= set(recording.parameters)
    for path in rig.files:
        if path in listed:
            continue
        codec = clip_info(path).codec if path.suffix == ".mp4" else path.suffix[1:]
        rows.append({**source_facts(path, codec), "file": name_of(path)})
    return rows


def write_parameters(
    recordings: list[Recording], picks: list[list[int]], out: Path, notes: list[str]
) -> list[str]:
    """Head parameters that came along, of the frames that were kept: `parameters.zarr`.

    Args:
        recordings: in the order of time. picks: of each, which of its frames. out: folder.
        notes: what is not carried is appended.

    Returns:
        Names of the arrays, [T, ...] each but for `static_offset` [V, 3]; none without parameters.
    """
    import numpy as np

    from headworks.artifacts import write_arrays
    from headworks.errors import CaptureError
    from headworks.formats import clip_folders
    from headworks.formats.vhap import PARAMETERS, read_parameters

    if not all(r.parameters for r in recordings):
        return []
    rows: dict[str, list[NDArray[Any]]] = {}
    offset: NDArray[Any] | None = None
    for recording, kept in zip(recordings, picks):
        if recording.parameters[0].name == clip_folders.PARAMETER_FILE:
            known, stored = clip_folders.read_parameters(recording.parameters[0])
            (source,) = recording.sources.values()
            where = {n: i for i, n in enumerate(known)}
            for name, array in stored.items():
                blank = np.full(array.shape[1:], np.nan)
                numbers = [source.frames[i] for i in kept]
                rows.setdefault(name, []).extend(
                    array[where[n]] if n in where else blank for n in numbers
                )
            continue
        for i in kept:
            arrays = read_parameters(recording.parameters[i])
            if "dynamic_offset" in arrays and "dynamic offsets are not carried" not in notes:
                notes.append("dynamic offsets are not carried")
            offset = arrays["static_offset"][0] if "static_offset" in arrays else offset
            for name in PARAMETERS:
                rows.setdefault(name, []).append(arrays[name].reshape(-1))
    times = sum(map(len, picks))
    for name, found in rows.items():
        if len(found) != times or len({row.shape for row in found}) > 1:
            raise CaptureError(
                f"{recordings[0].parameters[0].parent}: head parameters {name} are not there, or "
                "not of one length, in all frames; take them all out, or make them alike"
            )
    out_arrays = {n: np.stack(v).astype(np.float32) for n, v in rows.items()}
    if offset is not None:
        out_arrays["static_offset"] = offset
    write_arrays(out / "parameters.zarr", out_arrays)
    return sorted(out_arrays)
