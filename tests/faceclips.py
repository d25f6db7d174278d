"""Small photos and clips with a real face in them, made on the spot."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from skimage import data


@cache
def portrait(width: int = 240, height: int = 240) -> np.ndarray:
    """Head and shoulders of scikit-image's astronaut, uint8 [height, width, 3]."""
    part = data.astronaut()[0:240, 100:340]
    image = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    image.setflags(write=False)
    return image


def moving(count: int, step: int = 2, width: int = 240, height: int = 240) -> list[np.ndarray]:
    """The portrait, sliding sideways by `step` pixels per frame."""
    return [np.roll(portrait(width, height), step * t, 1) for t in range(count)]


def write_clip(
    path: Path,
    frames: Sequence[np.ndarray],
    fps: int = 25,
    milliseconds: Sequence[int] | None = None,
) -> Path:
    """Nearly lossless H.264 in MP4; `milliseconds` gives each frame its own time."""
    import av

    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "4", "bf": "0"})
        height, width = frames[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for t, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = round(1000 * t / fps) if milliseconds is None else milliseconds[t]
            picture.time_base = Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def turn_clip(path: Path) -> None:
    """Have the file say that its pictures are to be shown turned 90 degrees clockwise."""
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd") + 4
    # Version 0 of the track header: 40 bytes of flags, times, layer and volume before the matrix.
    start = header + 40
    struct.pack_into(">9i", content, start, 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(content))


def write_subject(folder: Path, kind: str, files: Sequence[str], **fields: Any) -> Path:
    """`subject.json` for files that lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {"kind": kind, "files": list(files), "consent": None, "licence": None, "seed": None}
    (folder / "subject.json").write_text(json.dumps({**body, **fields}))
    return folder


def write_photo(path: Path, image: np.ndarray, orientation: int | None = None) -> Path:
    """A photo, with an EXIF orientation where given."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image)
    if orientation is None:
        picture.save(path)
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(path, exif=exif)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative name."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every attempt to reach another machine fail the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network connection was opened")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
