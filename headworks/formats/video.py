"""Preview videos that every browser plays: H.264 in MP4, equal frames give equal bytes.

Lossy: good to look at, never to compute metrics from.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CRF = 18
"""Constant rate factor of x264: visually close to lossless."""


def write_mp4(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float, crf: int = CRF) -> int:
    """Write a silent video.

    Args:
        path: file to write. frames: uint8 RGB [H, W, 3], all of one size; an odd last row or
            column is repeated, since the format needs even sides.
        fps: frames per second. crf: 0 (best) to 51.

    Returns:
        Number of frames written.

    Raises:
        ValueError: when there is no frame, or one of another size.
    """
    import av

    # One thread, since the rate control of x264 depends on how many there are; and plain C, since
    # its AVX2 code now and then decides by what it finds in memory: other bytes for equal frames.
    options = {"crf": str(crf), "preset": "medium", "threads": "1", "x264-params": "asm=0"}
    container_options = {"movflags": "+faststart", "fflags": "+bitexact"}
    count = 0
    size: tuple[int, ...] = ()
    with av.open(str(path), "w", format="mp4", options=container_options) as container:
        for frame in frames:
            if not size:
                size = frame.shape
                rate = Fraction(fps).limit_denominator(1001)
                stream = container.add_stream("libx264", rate=rate, options=options)
                stream.width, stream.height = size[1] + size[1] % 2, size[0] + size[0] % 2
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
            if frame.shape != size:
                raise ValueError(f"{path.name}: frame {count} is {frame.shape}, not {size}")
            even = np.pad(frame, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), "edge")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            for packet in stream.encode(picture.reformat(format="yuv420p", threads=1)):
                container.mux(packet)
            count += 1
        if not count:
            raise ValueError(f"{path.name}: a video needs at least one frame")
        for packet in stream.encode():
            container.mux(packet)
    return count
