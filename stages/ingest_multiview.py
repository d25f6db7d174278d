"""ingest of a rig, calibrated or not: its recordings become square frames of all cameras."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.contract import Context

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headworks.cameras import Camera
    from headworks.formats.crops import Crop
    from headworks.formats.rig import Recording, Rig, Source
    from stages.ingest_write import CaptureWriter

_DETECTION_SIDE = 640
# Frames in which the detector looks for the face: it gives the table's boxes, nothing else.
_EVERY = 5
_DETECTED_FACE = 110
# Pictures of one recording in which an uncalibrated camera's face is looked for.
_LOOKS = 5
# Moments of one recording at which a calibrated rig's face is looked for, until it is found.
_MOMENTS = 24


def ingest_rig(
    rig: Rig, raw: Path, size: int, stride: int, max_frames: int, head_scale: float,
    test_fraction: float, out: Path, facts: dict[str, Any], context: Context,
) -> None:  # fmt: skip
    """Write the capture of a rig.

    Args:
        rig: what was found in the folder `raw`. size: side of the working frames, pixels.
        stride: take every stride-th frame. max_frames: of one sequence.
        head_scale: side of the crops in sides of the face box.
        test_fraction: share of each sequence, at its end, that is for tests where neither a split
            came along nor a camera or sequence is known to be held out.
        out: folder to write. facts: what `artifact.json` says besides. context: progress.

    Raises:
        CaptureError: broken recordings or calibration, or no face.
    """
    from stages.ingest_write import CaptureWriter, facts_of, write_parameters

    names = list(rig.cameras)
    recordings = list(rig.recordings.values())
    notes = list(rig.notes)
    cameras, crops, fps = (
        _aimed(rig, head_scale) if rig.calibrated else _guessed(rig, head_scale, notes)
    )
    lengths = [_length(r, names, stride, max_frames, notes) for r in recordings]
    held = bool(rig.held_out & {*names, *rig.recordings})
    writer = CaptureWriter(out, sum(lengths), len(names), size, rig.has_masks)
    start = 0
    for recording, length in zip(recordings, lengths):
        train = length - (0 if held else round(length * test_fraction))
        for c, name in enumerate(names):
            out_of_reach = bool({name, recording.name} & rig.held_out)
            _record(rig, recording, name, crops[name], size, stride, start, length,
                    0 if out_of_reach else train, c, writer)  # fmt: skip
            done = (start + length * (c + 1) / len(names)) / sum(lengths)
            context.progress(done, f"{recording.name}, camera {name}")
        start += length
    picks = [[i * stride for i in range(length)] for length in lengths]
    parameters = write_parameters(recordings, picks, out, notes)
    if all(name in rig.plates for name in names):
        _write_plates(rig, cameras, crops, size, out)
    described = [
        {"name": name, "width": size, "height": size,
         **_known(cameras[name], crops[name], size, rig.calibrated)}
        for name in names
    ]  # fmt: skip
    rate = fps or rig.fps
    writer.close(
        {**facts, "setting": "multiview", "layout": rig.layout, "cameras": described,
         "fps": rate / stride if rate else None, "source": facts_of(rig, raw),
         "parameters": parameters, "notes": notes}
    )  # fmt: skip


def _known(camera: Camera, crop: Crop, size: int, calibrated: bool) -> dict[str, Any]:
    """What is known of a camera: how it stands and sees, or the size of its whole pictures."""
    if not calibrated:
        return {"viewmat": None, "K": None, "source_width": camera.width,
                "source_height": camera.height}  # fmt: skip
    return {"viewmat": camera.viewmat.tolist(), "K": crop.intrinsics(camera.K, size).tolist()}


def _aimed(rig: Rig, head_scale: float) -> tuple[dict[str, Camera], dict[str, Crop], float | None]:
    """Cameras at the size of the pictures, squares around the head's place, the frame rate."""
    from headworks.formats.multiview import crop_around, locate_face

    cameras, boxes, fps = _looked_at(rig)
    point, width = locate_face(cameras, boxes)
    crops = {n: crop_around(camera, point, head_scale * width) for n, camera in cameras.items()}
    return cameras, crops, fps


def _guessed(
    rig: Rig, head_scale: float, notes: list[str]
) -> tuple[dict[str, Camera], dict[str, Crop], float | None]:
    """As `_aimed` where nobody knows how the cameras stand: each one's own faces say its square.

    A camera that finds no face, since it looks from the side, gets a square of the others' usual
    size and height, in the middle of its picture.
    """
    import numpy as np

    from headworks.cameras import Camera
    from headworks.errors import CaptureError
    from headworks.formats.crops import Crop, choose_crop
    from headworks.formats.media import clip_info

    cameras: dict[str, Camera] = {}
    crops: dict[str, Crop] = {}
    for name, camera in rig.cameras.items():
        found = []
        for recording in rig.recordings.values():
            source = recording.sources[name]
            every = max(1, _count(source) // _LOOKS)
            for width, height, box in _faces(source, every, _LOOKS):
                here = cameras.setdefault(name, Camera(camera.viewmat, camera.K, width, height))
                _same_size(here, name, width, height, source)
                found += [] if box is None else [box]
        if found:
            here = cameras[name]
            content = (0, 0, here.width, here.height)
            crops[name] = choose_crop(np.stack(found), content, head_scale)
    if len(crops) < 2:
        raise CaptureError(
            f"a face was found by {len(crops)} of {len(cameras)} cameras; two or more are needed "
            "to estimate how the cameras stand: look at the recordings, light and framing"
        )
    shares = [
        np.array([c.side, c.y + c.side / 2]) / cameras[name].height for name, c in crops.items()
    ]
    side_share, middle_share = np.median(shares, 0)
    blind = [name for name in cameras if name not in crops]
    for name in blind:
        width, height = cameras[name].width, cameras[name].height
        side = round(min(side_share * height, width, height))
        top = round(np.clip(middle_share * height - side / 2, 0, height - side))
        crops[name] = Crop(float((width - side) // 2), float(top), float(side))
    if blind:
        notes.append(
            f"cameras {', '.join(blind)}: no face found, the middle of their pictures was taken"
        )
    first = next(rig.sources())
    fps = clip_info(first.files[0]).fps if first.is_video else None
    return cameras, crops, fps


def _looked_at(
    rig: Rig,
) -> tuple[dict[str, Camera], dict[str, NDArray[np.floating]], float | None]:
    """Cameras at the size of the pictures, face boxes where found, the videos' frame rate.

    Of each recording the first moment counts in which two cameras find a face.
    """
    import numpy as np

    from headworks.formats.media import clip_info
    from headworks.formats.nersemble import scaled_camera

    cameras: dict[str, Camera] = {}
    seen: dict[str, list[NDArray[np.floating]]] = {}
    for recording in rig.recordings.values():
        # The first pictures nearly always do; only where they do not, all cameras are read through.
        for moments in (1, _MOMENTS):
            found: list[dict[str, NDArray[np.floating]]] = [{} for _ in range(moments)]
            least = min(map(_count, recording.sources.values())) if moments > 1 else 1
            every = max(1, -(-least // moments))
            for name, known in rig.cameras.items():
                source = recording.sources[name]
                for moment, (width, height, box) in enumerate(_faces(source, every, moments)):
                    camera = scaled_camera(known, width, height, str(source.files[0]))
                    _same_size(cameras.setdefault(name, camera), name, width, height, source)
                    if box is not None:
                        found[moment][name] = box
            # Rays meet in the face only where they were sent at one moment.
            first = next((boxes for boxes in found if len(boxes) > 1), None)
            if first is not None:
                break
        for name, box in (first or max(found, key=len)).items():
            seen.setdefault(name, []).append(box)
    boxes = {name: np.median(seen[name], 0) for name in cameras if name in seen}
    source = next(rig.sources())
    return cameras, boxes, clip_info(source.files[0]).fps if source.is_video else None


def _faces(
    source: Source, every: int, limit: int
) -> Iterator[tuple[int, int, NDArray[np.floating] | None]]:
    """Width, height and the largest face's box, if there is one, of some pictures of a camera."""
    from headworks.formats.rig import read_source
    from headworks.landmarks.faces import detect_faces

    for frame in read_source(source, every, limit):
        found = detect_faces(frame.rgb, _DETECTION_SIDE)
        yield frame.rgb.shape[1], frame.rgb.shape[0], found[0, :4] if len(found) else None


def _same_size(camera: Camera, name: str, width: int, height: int, source: Source) -> None:
    from headworks.errors import CaptureError

    if (camera.width, camera.height) != (width, height):
        raise CaptureError(
            f"{source.files[0]}: {width} x {height} pixels, other sequences of camera {name} have "
            f"{camera.width} x {camera.height}; give recordings of one size"
        )


def _length(
    recording: Recording, names: list[str], stride: int, max_frames: int, notes: list[str]
) -> int:
    """Frames taken of a sequence: as many as its shortest video has."""
    counts = {name: _count(recording.sources[name]) for name in names}
    least, most = min(counts.values()), max(counts.values())
    if least != most:
        notes.append(f"{recording.name}: {least} to {most} frames, {least} taken")
    return min(-(-least // stride), max_frames)


def _count(source: Source) -> int:
    from headworks.formats.media import clip_info, probe_clip

    if not source.is_video:
        return len(source.files)
    counts = [clip_info(p).frames or probe_clip(p).frames for p in (*source.files, *source.masks)]
    return min(counts)


def _record(
    rig: Rig, recording: Recording, name: str, crop: Crop, size: int, stride: int, start: int,
    length: int, train: int, c: int, writer: CaptureWriter,
) -> None:  # fmt: skip
    """Cut what one camera took into its places."""
    import numpy as np

    from headworks.errors import CaptureError
    from headworks.formats.crops import apply_crop
    from headworks.formats.nersemble_colour import corrected
    from headworks.formats.rig import read_source
    from headworks.landmarks.faces import detect_faces
    from stages.ingest_write import split_columns

    source = recording.sources[name]
    i = -1
    for i, frame in enumerate(read_source(source, stride, length)):
        image = frame.rgb
        if name in rig.colour:
            image = corrected(image, rig.colour[name])
        image = apply_crop(image, crop, size)
        box = np.full(4, np.nan)
        if i % _EVERY == 0:
            found = detect_faces(image, max(256, round(_DETECTED_FACE * 2.6)))
            box = found[0, :4] if len(found) else box
        alpha = None
        if rig.has_masks and frame.alpha is not None:
            alpha = apply_crop(frame.alpha, crop, size)
        writer.add(
            start + i, c, image, alpha, crop, box, sequence=recording.name, frame=frame.index,
            camera=name, time_s=frame.time_s,
            **split_columns(source, i * stride, "train" if i < train else "test"),
        )  # fmt: skip
    if i + 1 < length:
        raise CaptureError(
            f"{source.files[0]}: ends after {i + 1} frames, {length} are declared; copy it again"
        )


def _write_plates(
    rig: Rig, cameras: dict[str, Camera], crops: dict[str, Crop], size: int, out: Path
) -> None:
    """Every camera's clean background in the square that its frames show."""
    import cv2
    import numpy as np

    from headworks.artifacts import write_arrays
    from headworks.formats.crops import apply_crop
    from headworks.formats.media import read_photo
    from headworks.formats.nersemble import scaled_camera
    from headworks.formats.nersemble_colour import corrected

    plates = []
    for name, camera in cameras.items():
        image, _ = read_photo(rig.plates[name])
        height, width = image.shape[:2]
        scaled_camera(camera, width, height, str(rig.plates[name]))
        if (width, height) != (camera.width, camera.height):
            mode = cv2.INTER_AREA if width > camera.width else cv2.INTER_CUBIC
            image = np.asarray(
                cv2.resize(image, (camera.width, camera.height), interpolation=mode), np.uint8
            )
        if name in rig.colour:
            image = corrected(image, rig.colour[name])
        plates.append(apply_crop(image, crops[name], size))
    write_arrays(out / "background.zarr", {"rgb": np.stack(plates)})
