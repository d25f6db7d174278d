"""ingest: photos, clips and synthetic captures become square frames of one size around the head."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages.contract import SYNTHETIC, Context, Inputs, Params

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headworks.formats.crops import Crop
    from headworks.formats.media import Frame

_SAMPLES = 24
_DETECTION_SIDE = 512
# Width at which faces are looked for in the working frames; the detector's least is 80 pixels.
_DETECTED_FACE = 110
# A face must be sharp enough for its landmarks; interpolated pixels hold no detail.
_SMALLEST_FACE = 48
# Arrays of truth.zarr without a time axis.
_TIMELESS = frozenset({"identity", "viewmats"})
# Annotations of every pixel stay with the synthesis: resampled, labels would mix.
_PIXELS = frozenset({"depth", "normals", "uvs", "regions"})


class IngestParams(Params):
    """Parameters of `ingest`."""

    size: int = Field(256, ge=64, le=2048, description="side of the working frames, pixels")
    max_frames: int = Field(400, ge=1, le=100_000, description="frames taken from one clip")
    stride: int = Field(1, ge=1, le=1000, description="take every stride-th frame of a clip")
    test_fraction: float = Field(
        0.2, ge=0.0, lt=1.0, description="share of a clip, at its end, that is held out"
    )
    head_scale: float = Field(
        2.6, ge=1.2, le=5.0, description="side of the crop in sides of the face box"
    )


@dataclass
class _Rows:
    """Frames and their table rows as they are decoded."""

    frames: list[NDArray[np.uint8]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self, image: NDArray[np.uint8], crop: Crop, box: NDArray[np.floating], **columns: Any
    ) -> None:
        t = len(self.frames)
        corners = dict(zip(("face_x0", "face_y0", "face_x1", "face_y1"), map(float, box)))
        where = {"crop_x": crop.x, "crop_y": crop.y, "crop_side": crop.side}
        self.frames.append(image)
        self.rows.append({"t": t, "c": 0, "camera": "0", **columns, **where, **corners})


def run(inputs: Inputs, params: IngestParams, out: Path, context: Context) -> None:
    """Write the capture of one subject.

    Args:
        inputs: "raw": folder with subject.json; "synthesis" for synthetic subjects.
        params: see `IngestParams`. out: folder to write. context: progress.

    Raises:
        CaptureError: a file is missing, broken, no photo or video, or shows no usable face.
    """
    from headworks.errors import CaptureError
    from headworks.formats.subject import read_subject

    subject = read_subject(Path(inputs["raw"]))
    if subject.kind in SYNTHETIC and "synthesis" not in inputs:
        raise CaptureError(f"{inputs['raw']}: a {subject.kind} subject needs its synthesis first")
    out.mkdir(parents=True, exist_ok=True)
    facts = {"subject_kind": subject.kind}
    if subject.kind in ("synthetic", "population"):
        _pass_through(Path(inputs["synthesis"]), out, facts)
        context.progress(1.0, "synthetic capture taken over")
        return

    if subject.kind == "multiview":
        from stages.ingest_multiview import ingest_rig

        raw = Path(inputs["raw"])
        limits = (params.size, params.stride, params.max_frames, params.head_scale)
        ingest_rig(raw, *limits, out, facts, context)
        return

    found = _Rows()
    sources: list[dict[str, Any]] = []
    fps: float | None = None
    if subject.kind in ("photo", "photos"):
        for n, file in enumerate(subject.files):
            _photo(file, n, params, found, sources)
            context.progress((n + 1) / len(subject.files), file.name)
    elif subject.kind == "clip":
        stems = [file.stem for file in subject.files]
        for file in subject.files:
            name = file.stem if stems.count(file.stem) == 1 else file.name
            fps = _clip(file, name, params, found, sources, context)
    elif subject.kind == "synthetic_photo":
        folder = Path(inputs["synthesis"])
        _photo(folder / "photo.png", 0, params, found, sources)
        _carry_truth(folder / "truth", found, params.size, out / "truth")
    else:
        folder = Path(inputs["synthesis"])
        fps = _clip(folder / "clip.mp4", "clip", params, found, sources, context)
        _carry_truth(folder / "truth", found, params.size, out / "truth")

    _write(
        out,
        found,
        {
            **facts,
            "setting": "photo" if "photo" in subject.kind else "monocular",
            "fps": fps,
            "source": sources,
            "notes": found.notes,
            "cameras": [
                {
                    "name": "0",
                    "width": params.size,
                    "height": params.size,
                    "K": None,
                    "viewmat": None,
                }
            ],
        },
    )


def _write(out: Path, found: _Rows, meta: dict[str, Any]) -> None:
    import numpy as np
    import polars as pl

    from headworks.artifacts import write_arrays, write_meta, write_table

    corners = [f"face_{axis}{end}" for end in "01" for axis in "xy"]
    schema: dict[str, Any] = {
        "sequence": pl.String,
        "t": pl.Int32,
        "c": pl.Int32,
        "frame": pl.Int32,
        "camera": pl.String,
        "time_s": pl.Float64,
        "split": pl.String,
        **dict.fromkeys(("crop_x", "crop_y", "crop_side", *corners), pl.Float32),
    }
    write_arrays(out / "frames.zarr", {"rgb": np.stack(found.frames)[:, None]})
    write_table(out / "frames.parquet", pl.DataFrame(found.rows, schema=schema))
    write_meta(out, "capture", meta)


def _photo(
    file: Path, index: int, params: IngestParams, found: _Rows, sources: list[dict[str, Any]]
) -> None:
    from headworks.formats.crops import apply_crop, choose_crop, content_rectangle
    from headworks.formats.media import read_photo

    rgb, codec = read_photo(file)
    content = content_rectangle([rgb])
    boxes = _faces([rgb], file, found.notes)
    crop = choose_crop(boxes[:, :4], content, params.head_scale)
    _note_padding(file, crop, content, found.notes)
    box = crop.to_working(boxes[0, :4].reshape(2, 2), params.size).ravel()
    found.add(
        apply_crop(rgb, crop, params.size, content),
        crop,
        box,
        sequence=f"photo_{index:03d}",
        frame=0,
        time_s=0.0,
        split="train",
    )
    sources.append(_source(file, codec, rgb))


def _source(file: Path, codec: str, image: NDArray[np.uint8]) -> dict[str, Any]:
    """Facts of a raw file, with the size of its upright images: trackers need their middle."""
    from headworks.formats.media import source_facts

    height, width = image.shape[:2]
    return {**source_facts(file, codec), "width": width, "height": height}


def _clip(
    file: Path,
    sequence: str,
    params: IngestParams,
    found: _Rows,
    sources: list[dict[str, Any]],
    context: Context,
) -> float | None:
    """Decode twice: once to choose the crop, once to cut the frames; neither keeps the clip."""
    import numpy as np

    from headworks.formats.crops import apply_crop, choose_crop, content_rectangle
    from headworks.formats.media import clip_info, read_clip
    from headworks.landmarks.faces import detect_faces

    info = clip_info(file)
    samples, count = _sample(read_clip(file, params.stride, params.max_frames))
    content = content_rectangle(samples)
    seen = _faces(samples, file, found.notes)
    crop = choose_crop(seen[:, :4], content, params.head_scale)
    _note_padding(file, crop, content, found.notes)
    context.progress(0.2, f"{file.name}: crop chosen")

    share = float(np.median(seen[:, 2] - seen[:, 0])) / crop.side
    side = int(np.clip(_DETECTED_FACE / share, 256, 1024))
    train = count - round(count * params.test_fraction)
    for n, frame in enumerate(read_clip(file, params.stride, params.max_frames)):
        image = apply_crop(frame.rgb, crop, params.size, content)
        boxes = detect_faces(image, side)
        found.add(
            image,
            crop,
            boxes[0, :4] if len(boxes) else np.full(4, np.nan),
            sequence=sequence,
            frame=frame.index,
            time_s=frame.time_s,
            split="train" if n < train else "test",
        )
        if n % 16 == 0:
            context.progress(0.2 + 0.8 * n / count, f"{file.name}: frame {n} of {count}")
    sources.append(_source(file, info.codec, samples[0]))
    return info.fps / params.stride if info.fps else None


def _sample(frames: Iterator[Frame]) -> tuple[list[NDArray[np.uint8]], int]:
    """Some frames spread evenly over a stream of unknown length, and its length."""
    kept: list[NDArray[np.uint8]] = []
    step, count = 1, 0
    for frame in frames:
        if count % step == 0:
            if len(kept) == _SAMPLES:
                kept = kept[::2]
                step *= 2
            if count % step == 0:
                kept.append(frame.rgb)
        count += 1
    return kept, count


def _faces(images: list[NDArray[np.uint8]], file: Path, notes: list[str]) -> NDArray[np.float32]:
    """The largest face of each image that shows one: [N, 5], N >= 1."""
    import numpy as np

    from headworks.errors import CaptureError
    from headworks.landmarks.faces import detect_faces

    for side in (_DETECTION_SIDE, 2 * _DETECTION_SIDE):
        found = [detect_faces(image, side) for image in images]
        largest = [boxes[0] for boxes in found if len(boxes)]
        if largest:
            break
    else:
        raise CaptureError(
            f"{file}: no face found; the face must be seen from the front, upright, lit, and at "
            "least a tenth of the image wide"
        )
    widths = [box[2] - box[0] for box in largest]
    if np.median(widths) < _SMALLEST_FACE:
        raise CaptureError(
            f"{file}: the face is only {np.median(widths):.0f} pixels wide; at least "
            f"{_SMALLEST_FACE} are needed: use a larger image or move closer"
        )
    people = max(len(boxes) for boxes in found)
    if people > 1:
        notes.append(f"{file.name}: up to {people} faces in a frame, the largest was taken")
    return np.stack(largest)


def _note_padding(
    file: Path, crop: Crop, content: tuple[int, int, int, int], notes: list[str]
) -> None:
    x0, y0, x1, y1 = content
    beyond = (x0 - crop.x, y0 - crop.y, crop.x + crop.side - x1, crop.y + crop.side - y1)
    if max(beyond) > 0:
        names = ("left", "top", "right", "bottom")
        sides = ", ".join(f"{n} {p:.0f}" for n, p in zip(names, beyond) if p > 0)
        notes.append(f"{file.name}: padded by repeating the edge, source pixels: {sides}")


def _pass_through(synthesis: Path, out: Path, facts: dict[str, Any]) -> None:
    """A synthetic capture is taken over as it is, with its exact cameras, split and truth."""
    from headworks.artifacts import read_meta, read_table, write_meta
    from headworks.errors import ArtifactError

    meta = read_meta(synthesis, "synthesis")
    read_table(synthesis / "frames.parquet")
    for name in ("frames.zarr", "truth"):
        if not (synthesis / name).is_dir():
            raise ArtifactError(f"{synthesis / name}: missing; run synthesis again")
        shutil.copytree(synthesis / name, out / name)
    shutil.copyfile(synthesis / "frames.parquet", out / "frames.parquet")
    carried = {
        key: meta.get(key, default)
        for key, default in (
            ("setting", "multiview"),
            ("cameras", []),
            ("fps", None),
            ("source", []),
            ("notes", []),
        )
    }
    write_meta(out, "capture", {**carried, **facts})


def _carry_truth(truth: Path, found: _Rows, size: int, out: Path) -> None:
    """Truth in the clip's pixels becomes truth in working pixels, for the frames that were kept."""
    import numpy as np

    from headworks.artifacts import open_arrays, write_arrays
    from headworks.formats.crops import Crop, apply_crop

    group = open_arrays(truth / "truth.zarr")
    index = np.array([row["frame"] for row in found.rows])
    first = found.rows[0]
    crop = Crop(first["crop_x"], first["crop_y"], first["crop_side"])
    arrays: dict[str, NDArray[Any]] = {}
    for name in sorted(set(group.array_keys()) - _PIXELS):
        array = np.asarray(group[name][...])
        if name in _TIMELESS:
            arrays[name] = array
            continue
        array = array[index]
        if name == "alpha":
            array = np.stack([[apply_crop(a, crop, size) for a in frame] for frame in array])
        elif name == "landmarks":
            array = array.copy()
            array[..., :2] = crop.to_working(array[..., :2], size)
        elif name == "Ks":
            array = crop.intrinsics(array, size)
        arrays[name] = array
    write_arrays(out / "truth.zarr", arrays)
    shutil.copyfile(truth / "truth.json", out / "truth.json")
