"""ingest: photos, clips and synthetic captures become square frames of one size around the head."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages.contract import SYNTHETIC, Context, Inputs, Params

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headworks.formats.crops import Crop
    from headworks.formats.media import Frame
    from headworks.formats.rig import Rig, Source
    from stages.ingest_write import CaptureWriter

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
class _Planned:
    """A clip, or a photo, whose crop is chosen."""

    source: Source
    sequence: str
    crop: Crop
    content: tuple[int, int, int, int]
    count: int
    matted: bool
    face: NDArray[np.floating]
    face_share: float
    facts: dict[str, Any]
    fps: float | None = None


def run(inputs: Inputs, params: IngestParams, out: Path, context: Context) -> None:
    """Write the capture of one subject.

    Args:
        inputs: "raw": folder with subject.json; "synthesis" for synthetic subjects.
        params: see `IngestParams`. out: folder to write. context: progress.

    Raises:
        CaptureError: a file is missing, broken, no photo or video, or shows no usable face.
    """
    from headworks.errors import CaptureError
    from headworks.formats.rig import Source
    from headworks.formats.subject import read_subject
    from stages.ingest_write import CaptureWriter, facts_of, write_parameters

    subject = read_subject(Path(inputs["raw"]))
    if subject.kind in SYNTHETIC and "synthesis" not in inputs:
        raise CaptureError(f"{inputs['raw']}: a {subject.kind} subject needs its synthesis first")
    out.mkdir(parents=True, exist_ok=True)
    facts = {"subject_kind": subject.kind}
    if subject.kind in ("synthetic", "population"):
        _pass_through(Path(inputs["synthesis"]), out, facts)
        context.progress(1.0, "synthetic capture taken over")
        return

    raw = Path(inputs["raw"])
    notes: list[str] = []
    rig: Rig | None = None
    if subject.kind == "multiview" or subject.layout:
        from headworks.formats.layouts import read_raw

        rig = read_raw(raw, subject.layout)
    if rig is not None and (rig.calibrated or len(rig.cameras) > 1):
        from stages.ingest_multiview import ingest_rig

        limits = (params.size, params.stride, params.max_frames, params.head_scale)
        ingest_rig(rig, raw, *limits, params.test_fraction, out, facts, context)
        return

    planned: list[_Planned] = []
    photos = subject.kind in ("photo", "photos", "synthetic_photo")
    if rig is not None:
        notes += rig.notes
        for recording in rig.recordings.values():
            (source,) = recording.sources.values()
            planned.append(_plan(source, recording.name, params, notes))
    elif subject.kind in SYNTHETIC:
        name = "photo.png" if photos else "clip.mp4"
        source = Source((Path(inputs["synthesis"]) / name,))
        planned.append(_plan(source, "photo_000" if photos else "clip", params, notes))
    else:
        stems = [file.stem for file in subject.files]
        for n, file in enumerate(subject.files):
            name = file.stem if stems.count(file.stem) == 1 else file.name
            name = f"photo_{n:03d}" if photos else name
            planned.append(_plan(Source((file,)), name, params, notes))
            context.progress(0.2 * (n + 1) / len(subject.files), f"{file.name}: crop chosen")

    matted = all(p.matted for p in planned)
    if not matted and any(p.matted for p in planned):
        notes.append("mattes came with some pictures only, and are not used")
    times = sum(p.count for p in planned)
    writer = CaptureWriter(out, times, 1, params.size, matted)
    rows = _cut(planned, params, photos, matted, writer, context)
    carried: list[str] = []
    if rig is not None:
        picks = [[i * params.stride for i in range(p.count)] for p in planned]
        carried = write_parameters(list(rig.recordings.values()), picks, out, notes)
    if subject.kind in SYNTHETIC:
        truth = Path(inputs["synthesis"]) / "truth"
        _carry_truth(truth, rows, planned[0].crop, params.size, out / "truth")
    camera = {"name": "0", "width": params.size, "height": params.size, "K": None, "viewmat": None}
    writer.close(
        {
            **facts,
            **({"layout": rig.layout, "parameters": carried} if rig is not None else {}),
            "setting": "photo" if photos else "monocular",
            "fps": planned[-1].fps,
            "source": facts_of(rig, raw) if rig is not None else [p.facts for p in planned],
            "notes": notes,
            "cameras": [camera],
        }
    )


def _plan(source: Source, sequence: str, params: IngestParams, notes: list[str]) -> _Planned:
    """Decode what one camera took to choose its crop; no more than some samples are kept."""
    import numpy as np

    from headworks.formats.crops import choose_crop, content_rectangle
    from headworks.formats.media import clip_info, read_picture
    from headworks.formats.rig import read_source

    file = source.files[0]
    samples, count, matted = _sample(read_source(source, params.stride, params.max_frames))
    content = content_rectangle(samples)
    seen = _faces(samples, file, notes)
    crop = choose_crop(seen[:, :4], content, params.head_scale)
    _note_padding(file, crop, content, notes)
    info = clip_info(file) if source.is_video else None
    codec = info.codec if info else read_picture(file).codec
    return _Planned(
        source=source,
        sequence=sequence,
        crop=crop,
        content=content,
        count=count,
        matted=matted,
        face=seen[0, :4],
        face_share=float(np.median(seen[:, 2] - seen[:, 0])) / crop.side,
        facts=_source(file, codec, samples[0]),
        fps=info.fps / params.stride if info and info.fps else None,
    )


def _cut(
    planned: list[_Planned], params: IngestParams, photos: bool, matted: bool,
    writer: CaptureWriter, context: Context,
) -> list[int]:  # fmt: skip
    """Decode again and cut the frames, one in memory at a time; their numbers in the source."""
    import numpy as np

    from headworks.formats.crops import apply_crop
    from headworks.formats.rig import read_source
    from headworks.landmarks.faces import detect_faces
    from stages.ingest_write import split_columns

    numbers: list[int] = []
    times = sum(p.count for p in planned)
    for plan in planned:
        file = plan.source.files[0].name
        side = int(np.clip(_DETECTED_FACE / plan.face_share, 256, 1024))
        train = plan.count if photos else plan.count - round(plan.count * params.test_fraction)
        source = plan.source
        for n, frame in enumerate(read_source(source, params.stride, params.max_frames)):
            image = apply_crop(frame.rgb, plan.crop, params.size, plan.content)
            alpha = None
            if matted and frame.alpha is not None:
                alpha = apply_crop(frame.alpha, plan.crop, params.size, plan.content)
            box = np.full(4, np.nan)
            if photos:
                box = plan.crop.to_working(plan.face.reshape(2, 2), params.size).ravel()
            elif len(boxes := detect_faces(image, side)):
                box = boxes[0, :4].astype(np.float64)
            writer.add(
                len(numbers),
                0,
                image,
                alpha,
                plan.crop,
                box,
                sequence=plan.sequence,
                camera="0",
                frame=frame.index,
                time_s=frame.time_s,
                **split_columns(source, n * params.stride, "train" if n < train else "test"),
            )
            numbers.append(frame.index)
            if n % 16 == 0:
                done = 0.2 + 0.8 * len(numbers) / times
                context.progress(done, f"{file}: frame {n} of {plan.count}")
    return numbers


def _source(file: Path, codec: str, image: NDArray[np.uint8]) -> dict[str, Any]:
    """Facts of a raw file, with the size of its upright images: trackers need their middle."""
    from headworks.formats.media import source_facts

    height, width = image.shape[:2]
    return {**source_facts(file, codec), "width": width, "height": height}


def _sample(frames: Iterator[Frame]) -> tuple[list[NDArray[np.uint8]], int, bool]:
    """Some frames spread evenly over a stream of unknown length, its length, if all are matted."""
    kept: list[NDArray[np.uint8]] = []
    step, count, matted = 1, 0, True
    for frame in frames:
        matted = matted and frame.alpha is not None
        if count % step == 0:
            if len(kept) == _SAMPLES:
                kept = kept[::2]
                step *= 2
            if count % step == 0:
                kept.append(frame.rgb)
        count += 1
    return kept, count, matted


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


def _carry_truth(truth: Path, numbers: list[int], crop: Crop, size: int, out: Path) -> None:
    """Truth in the clip's pixels becomes truth in working pixels, for the frames that were kept."""
    import numpy as np

    from headworks.artifacts import open_arrays, write_arrays
    from headworks.formats.crops import apply_crop

    group = open_arrays(truth / "truth.zarr")
    index = np.array(numbers)
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
