"""ingest of a calibrated rig: NeRSemble's recordings become square frames of all cameras."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.contract import Context

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headworks.cameras import Camera
    from headworks.formats.crops import Crop
    from headworks.formats.nersemble import Participant, Sequence

_DETECTION_SIDE = 640
# Frames in which the detector looks for the face: it gives the table's boxes, nothing else.
_EVERY = 5
_DETECTED_FACE = 110


def ingest_rig(
    raw: Path, size: int, stride: int, max_frames: int, head_scale: float, out: Path,
    facts: dict[str, Any], context: Context,
) -> None:  # fmt: skip
    """Write the capture of a participant.

    Args:
        raw: folder in NeRSemble's layout. size: side of the working frames, pixels.
        stride: take every stride-th frame. max_frames: of one sequence.
        head_scale: side of the crops in sides of the face box. out: folder to write.
        facts: what `artifact.json` says besides. context: progress.

    Raises:
        CaptureError: broken recordings or calibration, or no face.
    """
    import numpy as np
    import polars as pl

    from headworks.artifacts import write_arrays, write_meta, write_table
    from headworks.formats.media import source_facts
    from headworks.formats.multiview import crop_around, locate_face
    from headworks.formats.nersemble import FREE, read_participant

    person = read_participant(raw)
    serials = [s for s in person.cameras if all(s in q.videos for q in person.sequences.values())]
    notes = [f"camera {s}: not in every sequence, left out" for s in person.cameras
             if s not in serials]  # fmt: skip
    cameras, codecs, boxes, fps = _looked_at(person, serials)
    point, width = locate_face(cameras, boxes)
    crops = {s: crop_around(cameras[s], point, head_scale * width) for s in serials}
    lengths = {q.name: _length(q, serials, stride, max_frames, notes)
               for q in person.sequences.values()}  # fmt: skip
    if FREE not in lengths:
        notes.append("no sequence FREE: only the held-out cameras are test frames")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="headworks-rig-") as folder:
        shape = (sum(lengths.values()), len(serials), size, size, 3)
        frames = np.lib.format.open_memmap(Path(folder) / "rgb.npy", "w+", np.uint8, shape)
        start = 0
        for sequence in person.sequences.values():
            for c, serial in enumerate(serials):
                found = _record(
                    person,
                    sequence,
                    serial,
                    crops[serial],
                    size,
                    stride,
                    frames[start : start + lengths[sequence.name], c],
                    c,
                    start,
                )
                rows += found  # fmt: skip
                done = (start + lengths[sequence.name] * (c + 1) / len(serials)) / shape[0]
                context.progress(done, f"{sequence.name}, camera {serial}")
            start += lengths[sequence.name]
        write_arrays(out / "frames.zarr", {"rgb": frames})
    numbers = {"t": pl.Int32, "c": pl.Int32, "frame": pl.Int32, "time_s": pl.Float64}
    narrow = {n: pl.Float32 for n in rows[0] if n.startswith(("crop_", "face_"))}
    table = pl.DataFrame(rows, schema_overrides={**numbers, **narrow}).sort("t", "c")
    write_table(out / "frames.parquet", table)
    described = [
        {"name": s, "width": size, "height": size, "viewmat": cameras[s].viewmat.tolist(),
         "K": crops[s].intrinsics(cameras[s].K, size).tolist()}
        for s in serials
    ]  # fmt: skip
    sources = [
        {**source_facts(file, codecs if file.suffix == ".mp4" else file.suffix[1:]),
         "file": str(file.relative_to(raw)) if file.is_relative_to(raw) else file.name}
        for file in person.files
    ]  # fmt: skip
    write_meta(out, "capture", {**facts, "setting": "multiview", "cameras": described,
                                "fps": fps / stride if fps else None, "source": sources,
                                "notes": notes})  # fmt: skip


def _looked_at(
    person: Participant, serials: list[str]
) -> tuple[dict[str, Camera], str, dict[str, NDArray[np.floating]], float | None]:
    """Cameras at the size of the videos, the codec, face boxes where found, the frame rate."""
    import numpy as np

    from headworks.errors import CaptureError
    from headworks.formats.media import clip_info, read_clip
    from headworks.formats.nersemble import scaled_camera
    from headworks.landmarks.faces import detect_faces

    cameras: dict[str, Camera] = {}
    boxes: dict[str, NDArray[np.floating]] = {}
    for serial in serials:
        seen = []
        for sequence in person.sequences.values():
            file = sequence.videos[serial]
            image = next(iter(read_clip(file, 1, 1))).rgb
            height, width = image.shape[:2]
            camera = scaled_camera(person.cameras[serial], width, height, str(file))
            known = cameras.setdefault(serial, camera)
            if (known.width, known.height) != (width, height):
                raise CaptureError(
                    f"{file}: {width} x {height} pixels, other sequences of camera {serial} have "
                    f"{known.width} x {known.height}; give recordings of one size"
                )
            found = detect_faces(image, _DETECTION_SIDE)
            if len(found):
                seen.append(found[0, :4])
        if seen:
            boxes[serial] = np.median(seen, 0)
    info = clip_info(next(iter(person.sequences.values())).videos[serials[0]])
    return cameras, info.codec, boxes, info.fps


def _length(
    sequence: Sequence, serials: list[str], stride: int, max_frames: int, notes: list[str]
) -> int:
    """Frames taken of a sequence: as many as its shortest video has."""
    from headworks.errors import CaptureError
    from headworks.formats.media import clip_info

    counts = {s: clip_info(sequence.videos[s]).frames for s in serials}
    least = min(counts.values())
    if least < 1:
        raise CaptureError(
            f"{sequence.videos[min(counts, key=lambda s: counts[s])]}: does not say how many "
            "frames it has; write it again as MP4"
        )
    if least != max(counts.values()):
        notes.append(f"{sequence.name}: {least} to {max(counts.values())} frames, {least} taken")
    return min(-(-least // stride), max_frames)


def _record(
    person: Participant, sequence: Sequence, serial: str, crop: Crop, size: int, stride: int,
    into: NDArray[np.uint8], c: int, start: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Cut one camera's video into its place; the table's rows."""
    import numpy as np

    from headworks.errors import CaptureError
    from headworks.formats.crops import apply_crop
    from headworks.formats.media import read_clip
    from headworks.formats.nersemble import CORNERS, FREE
    from headworks.formats.nersemble_colour import corrected
    from headworks.landmarks.faces import detect_faces

    rows: list[dict[str, Any]] = []
    held_out = sequence.name == FREE or serial in CORNERS
    for frame in read_clip(sequence.videos[serial], stride, len(into)):
        i = len(rows)
        image = frame.rgb
        if serial in person.colour:
            image = corrected(image, person.colour[serial])
        into[i] = apply_crop(image, crop, size)
        box = np.full(4, np.nan)
        if i % _EVERY == 0:
            found = detect_faces(into[i], max(256, round(_DETECTED_FACE * 2.6)))
            box = found[0, :4] if len(found) else box
        corners = zip(("face_x0", "face_y0", "face_x1", "face_y1"), map(float, box))
        rows.append(
            {"sequence": sequence.name, "t": start + i, "c": c, "frame": frame.index,
             "camera": serial, "time_s": frame.time_s, "split": "test" if held_out else "train",
             "crop_x": crop.x, "crop_y": crop.y, "crop_side": float(crop.side), **dict(corners)}
        )  # fmt: skip
    if len(rows) < len(into):
        raise CaptureError(
            f"{sequence.videos[serial]}: ends after {len(rows)} frames, {len(into)} are declared; "
            "copy it again"
        )
    return rows
