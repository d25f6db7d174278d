"""Photos and video clips as upright RGB frames, decoded one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.errors import CaptureError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".mkv", ".webm", ".m4v", ".avi", ".mpg", ".mpeg", ".gif"}
)
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

# Containers state how many frames they hold; edit lists and dropped frames account for a few.
_COMPLETE = 0.9
# Larger photos are refused rather than decoded: a small file can unpack to gigabytes.
_MAX_PIXELS = 200_000_000


@dataclass(frozen=True)
class ClipInfo:
    """What a clip's header says.

    Attributes:
        fps: average frame rate, or None where the container does not say.
        codec: name of the video codec.
        frames: number of frames the container declares, 0 where it does not.
        width, height: of the pictures as stored (`probe_clip`: as shown), pixels.
    """

    fps: float | None
    codec: str
    frames: int
    width: int
    height: int


@dataclass(frozen=True)
class Frame:
    """One upright frame.

    Attributes:
        index: position in the source, from 0.
        time_s: presentation time relative to the first frame.
        rgb: uint8 [H, W, 3].
        alpha: uint8 [H, W], straight, where the source carries a matte.
    """

    index: int
    time_s: float
    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Picture:
    """One upright photo.

    Attributes:
        rgb: uint8 [H, W, 3], what is transparent put over white.
        alpha: uint8 [H, W], straight, or None where the file has no transparency.
        codec: name of the format.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    codec: str


def _readable(path: Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise CaptureError(f"{path}: no such file; check the name and add the capture again")
    if path.stat().st_size == 0:
        raise CaptureError(f"{path}: the file is empty; copy it again from where it came")
    return path


def source_facts(path: Path, codec: str) -> dict[str, Any]:
    """Name, SHA-256, size in bytes and codec of a raw file, as `artifact.json` records them."""
    digest = hashlib.sha256()
    with _readable(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    size = Path(path).stat().st_size
    return {"file": Path(path).name, "sha256": digest.hexdigest(), "size": size, "codec": codec}


def read_photo(path: Path) -> tuple[NDArray[np.uint8], str]:
    """A photo without its transparency: uint8 [H, W, 3] sRGB, and the name of the format.

    Raises:
        CaptureError: see `read_picture`.
    """
    picture = read_picture(path)
    return picture.rgb, picture.codec


def read_picture(path: Path) -> Picture:
    """Read a photo, turned upright by its EXIF orientation.

    Args:
        path: JPEG, PNG, WebP, BMP or TIFF, 8 or 16 bits.

    Raises:
        CaptureError: absent, empty, broken or not a photo.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = _readable(path)
    try:
        with Image.open(path) as image:
            codec = (image.format or "unknown").lower()
            if image.width * image.height > _MAX_PIXELS:
                raise CaptureError(
                    f"{path}: {image.width} x {image.height} pixels is more than this reads; "
                    "save a smaller copy"
                )
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits of grey
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            alpha = None
            if upright.has_transparency_data:
                rgba = upright.convert("RGBA")
                alpha = np.array(rgba.getchannel("A"))
                white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
                upright = Image.alpha_composite(white, rgba)
            rgb = np.asarray(upright.convert("RGB"))
            # A channel that hides nothing is no matte.
            return Picture(rgb, None if alpha is None or alpha.min() == 255 else alpha, codec)
    except UnidentifiedImageError:
        raise CaptureError(
            f"{path}: not a photo that can be read; expected one of "
            f"{', '.join(sorted(PHOTO_SUFFIXES))}"
        ) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CaptureError(f"{path}: the photo is broken ({error}); export it again") from None


def clip_info(path: Path) -> ClipInfo:
    """Read a clip's header.

    Raises:
        CaptureError: absent, empty, not a video, or without a video stream.
    """
    import av

    path = _readable(path)
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise CaptureError(f"{path}: holds no video stream; expected a video clip")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise CaptureError(
                    f"{path}: its video is damaged, or of a kind that nothing here decodes; "
                    "export it again as H.264"
                )
            rate = stream.average_rate
            return ClipInfo(
                fps=float(rate) if rate else None,
                codec=stream.codec_context.name,
                frames=int(stream.frames),
                width=int(stream.codec_context.width),
                height=int(stream.codec_context.height),
            )
    except (av.FFmpegError, OSError) as error:
        raise CaptureError(
            f"{path}: not a video that can be read ({_why(error)}); expected one of "
            f"{', '.join(sorted(VIDEO_SUFFIXES))}, whole and not encrypted"
        ) from None


def probe_clip(path: Path) -> ClipInfo:
    """Look through a whole clip without decoding it: its packets are counted, one is shown.

    Returns:
        `frames` as found in the file, `width` and `height` of the upright picture.

    Raises:
        CaptureError: as `clip_info`, or cut short, or its first picture cannot be decoded.
    """
    import av

    info = clip_info(path)
    count = 0
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                # A file that was cut still hands out its last packet, as far as it goes.
                count += packet.size > 0 and not packet.is_corrupt
    except (av.FFmpegError, OSError) as error:
        raise CaptureError(
            f"{path}: the video breaks off after frame {count} ({_why(error)}); copy or export "
            "it again"
        ) from None
    _complete(path, count, info.frames)
    height, width = next(iter(read_clip(path, 1, 1))).rgb.shape[:2]
    return replace(info, frames=count, width=width, height=height)


def _complete(path: Path, count: int, declared: int) -> None:
    if count == 0:
        raise CaptureError(f"{path}: no frame of the video can be decoded; export it again")
    if count < _COMPLETE * declared:
        raise CaptureError(
            f"{path}: the video is cut short, {count} of {declared} frames could be decoded; "
            "copy or export it again"
        )


def read_clip(path: Path, stride: int = 1, limit: int | None = None) -> Iterator[Frame]:
    """Decode a clip, upright by its rotation metadata, one frame in memory at a time.

    Args:
        path: video file.
        stride: give every stride-th frame.
        limit: give at most this many frames.

    Yields:
        Frames in presentation order with the times the file gives (variable frame rates too).

    Raises:
        CaptureError: absent, empty, not a video, or ending before its declared length.
    """
    import av

    info = clip_info(path)
    fps = info.fps or 25.0
    count = given = 0
    start: float | None = None
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            for picture in container.decode(stream):
                count += 1
                index = count - 1
                if index % stride:
                    continue
                seconds = picture.time if picture.time is not None else index / fps
                start = seconds if start is None else start
                rgb = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
                # The metadata turn counter-clockwise, as np.rot90 does.
                turns = round(picture.rotation / 90) % 4
                if turns:
                    rgb = np.ascontiguousarray(np.rot90(rgb, turns))
                yield Frame(index, float(seconds - start), rgb)
                given += 1
                if limit is not None and given >= limit:
                    return
    except (av.FFmpegError, OSError) as error:
        raise CaptureError(
            f"{path}: the video breaks off after frame {count} ({_why(error)}); copy or export "
            "it again"
        ) from None
    _complete(path, count, info.frames)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
