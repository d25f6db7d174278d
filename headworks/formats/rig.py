"""The one record in which every layout of a capture ends: cameras, recordings, what is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headworks.cameras import Camera
from headworks.errors import CaptureError
from headworks.formats.media import VIDEO_SUFFIXES, Frame, read_clip, read_picture

SPLITS = ("train", "val", "test")
USUAL_FPS = 25.0
"""Taken for times where a layout does not state a rate; `fps` then stays unknown."""

_MATTE_NOISE = (8, 247)
"""JPEG rings around the edges of masks: below and above is none and all (captures.md, 3)."""
_PRESENT = 0.9


@dataclass(frozen=True)
class Source:
    """What one camera took in one sequence.

    Attributes:
        files: one video, or one picture per frame. masks: likewise, or none.
        frames: number of each picture in the source; empty for videos.
        split: "train", "val" or "test" per picture as the capture says, or empty.
    """

    files: tuple[Path, ...]
    masks: tuple[Path, ...] = ()
    frames: tuple[int, ...] = ()
    split: tuple[str, ...] = ()

    @property
    def is_video(self) -> bool:
        """Whether it is one video rather than pictures."""
        return len(self.files) == 1 and self.files[0].suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True)
class Recording:
    """One sequence.

    Attributes:
        name: of the sequence. sources: camera -> what it took.
        parameters: per frame the npz file of the head's parameters that came along, or empty.
    """

    name: str
    sources: dict[str, Source]
    parameters: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Rig:
    """A capture of one person by one or more still cameras.

    Attributes:
        layout: name of the layout it was read from. name: what the capture calls itself.
        cameras: name -> camera, in pixels of the full picture; of an uncalibrated one only the
            names count. recordings: by name.
        calibrated: whether `cameras` can be believed.
        colour: camera -> colour matrix (`nersemble_colour`). plates: camera -> picture of the
            empty scene. fps: pictures per second where the layout says so.
        held_out: cameras, and sequences: names, that are for tests where no split came along.
        files: all files that make the capture. notes: what a reader should know.
    """

    layout: str
    name: str
    cameras: dict[str, Camera]
    recordings: dict[str, Recording]
    calibrated: bool = True
    colour: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    plates: dict[str, Path] = field(default_factory=dict)
    fps: float | None = None
    held_out: frozenset[str] = frozenset()
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_masks(self) -> bool:
        """Whether every picture came with a matte."""
        return all(s.masks for s in self.sources())

    @property
    def has_splits(self) -> bool:
        """Whether every picture's split came along."""
        return all(s.split for s in self.sources())

    @property
    def has_parameters(self) -> bool:
        """Whether every frame's head parameters came along."""
        return all(r.parameters for r in self.recordings.values())

    def sources(self) -> Iterator[Source]:
        """What all cameras took, sequence by sequence."""
        for recording in self.recordings.values():
            yield from recording.sources.values()


def read_source(source: Source, stride: int = 1, limit: int | None = None) -> Iterator[Frame]:
    """Decode what one camera took, one picture in memory at a time; mattes where they came along.

    Args:
        source: which. stride: every stride-th frame. limit: at most this many.

    Raises:
        CaptureError: a file is missing or broken, or a mask does not fit its picture.
    """
    if source.is_video:
        frames: Iterable[Frame] = read_clip(source.files[0], stride, limit)
        if not source.masks:
            yield from frames
            return
        for frame, matte in zip(frames, read_clip(source.masks[0], stride, limit)):
            grey = _matte(matte.rgb[..., 0], frame.rgb, source.masks[0], lossy=True)
            yield Frame(frame.index, frame.time_s, frame.rgb, grey)
        return
    for i in range(0, len(source.files), stride):
        if limit is not None and i // stride >= limit:
            return
        picture = read_picture(source.files[i])
        alpha = picture.alpha
        if source.masks:
            mask = read_picture(source.masks[i])
            lossy = mask.codec == "jpeg"
            alpha = _matte(mask.rgb[..., 0], picture.rgb, source.masks[i], lossy)
        number = source.frames[i] if source.frames else i
        yield Frame(number, i / USUAL_FPS, picture.rgb, alpha)


def _matte(
    grey: NDArray[np.uint8], rgb: NDArray[np.uint8], where: Path, lossy: bool
) -> NDArray[np.uint8]:
    if grey.shape != rgb.shape[:2]:
        raise CaptureError(
            f"{where}: a mask of {grey.shape[1]} x {grey.shape[0]} pixels for a picture of "
            f"{rgb.shape[1]} x {rgb.shape[0]}; they must have one size"
        )
    if not lossy:
        return np.ascontiguousarray(grey)
    low, high = _MATTE_NOISE
    return np.where(grey < low, 0, np.where(grey > high, 255, grey)).astype(np.uint8)


def set_apart(names: Iterable[str], usual: Iterable[str]) -> frozenset[str]:
    """Those of the usual names that are there; none where nothing else would be left."""
    there = frozenset(names)
    apart = there & frozenset(usual)
    return apart if apart != there else frozenset()


def completed(
    found: Mapping[int, Mapping[str, object]], where: Path | str, notes: list[str]
) -> tuple[list[int], list[str]]:
    """The time steps and cameras of which every picture is there.

    Args:
        found: time step -> camera -> anything. where: for messages. notes: what was left out is
            appended.

    Returns:
        Time steps in order, cameras in order of their names' first appearance.

    Raises:
        CaptureError: no step is seen by all of the usual cameras.
    """
    counts = Counter(c for row in found.values() for c in row)
    usual = [c for c, n in counts.items() if n >= _PRESENT * max(counts.values())]
    rare = [c for c in counts if c not in usual]
    steps = [t for t in sorted(found) if all(c in found[t] for c in usual)]
    if not steps:
        raise CaptureError(f"{where}: at no time step are the pictures of all cameras there")
    if rare:
        notes.append(f"cameras {', '.join(rare[:8])}: pictures of few time steps, left out")
    if len(steps) < len(found):
        notes.append(
            f"{len(found) - len(steps)} of {len(found)} time steps left out: not seen by all of "
            f"{len(usual)} cameras"
        )
    return steps, usual


def described(rig: Rig) -> list[str]:
    """What a capture holds, in lines for people."""
    sizes = [f"{c.width} x {c.height}" for c in rig.cameras.values()]
    names = list(rig.cameras)
    shown = ", ".join(names[:4]) + (", .." if len(names) > 4 else "")
    lines = [
        f"layout: {rig.layout} ({rig.name})",
        f"cameras: {len(names)} ({shown}), "
        + (f"calibrated at {_range(sizes)}" if rig.calibrated else "uncalibrated"),
    ]
    total = 0
    for recording in rig.recordings.values():
        count, width, height, rate = _size(recording.sources[names[0]])
        total += count * len(recording.sources)
        rate_text = f", {rate:.4g} fps" if rate or rig.fps else ""
        lines.append(f"sequence {recording.name}: {count} frames, {width} x {height}{rate_text}")
    if len(lines) > 12:
        lines[11:] = [f"and {len(lines) - 11} more sequences"]
    lines.append(f"pictures: {total}")
    lines.append(f"masks: {'given' if rig.has_masks else 'none (matting will make them)'}")
    if rig.has_splits:
        counts = Counter(s for source in rig.sources() for s in source.split)
        lines.append("splits: given, " + ", ".join(f"{counts[s]} {s}" for s in SPLITS if counts[s]))
    else:
        held = sorted(rig.held_out & (set(names) | set(rig.recordings)))
        lines.append(f"splits: none given; held out: {', '.join(held) or 'the end of each'}")
    extras = [
        *([f"{len(rig.colour)} colour calibrations"] if rig.colour else []),
        *([f"{len(rig.plates)} background plates"] if rig.plates else []),
        *(["head parameters"] if rig.has_parameters else []),
    ]
    lines.append(f"besides: {', '.join(extras) or 'nothing'}")
    return lines + [f"note: {note}" for note in rig.notes]


def _range(sizes: list[str]) -> str:
    different = sorted(set(sizes))
    return different[0] if len(different) == 1 else f"{len(different)} sizes, such as {sizes[0]}"


def _size(source: Source) -> tuple[int, int, int, float | None]:
    """Frames, width, height, rate, without decoding."""
    from headworks.formats.foreign import picture_size
    from headworks.formats.media import clip_info

    if source.is_video:
        info = clip_info(source.files[0])
        return info.frames, info.width, info.height, info.fps
    return (len(source.files), *picture_size(source.files[0]), None)
