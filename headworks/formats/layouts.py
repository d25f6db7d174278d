"""Which layout a capture's folder has; how it is copied, checked and read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headworks.errors import CaptureError
from headworks.formats import (
    camera_folders,
    clip_folders,
    gagavatar_track,
    nersemble,
    tsinghua,
    vhap,
)
from headworks.formats.foreign import kept_inside, picture_size, read_object
from headworks.formats.rig import Recording, Rig, Source, set_apart

LAYOUTS = (
    nersemble.NAME, vhap.NAME, tsinghua.NAME, gagavatar_track.NAME, camera_folders.NAME,
    clip_folders.NAME,
)  # fmt: skip
"""Names, in the order in which they are looked for."""

_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82"}
"""First and last bytes of whole pictures."""


@dataclass(frozen=True)
class Capture:
    """One person's capture, found in a folder.

    Attributes:
        layout: its name. kind: of the subject it makes, "multiview" or "clip".
        label: what tells it from others in the folder, "" where it is the only one.
        copy: puts its files into an empty folder, as `read_raw` will find them.
    """

    layout: str
    kind: str
    label: str
    copy: Callable[[Path], None]


def find_captures(
    folder: Path, layout: str | None = None, check: Callable[[Path], None] = lambda path: None
) -> list[Capture]:
    """The captures in a folder; none where it holds photos or nothing that is known.

    Args:
        folder: given by a user. layout: look for this one only. check: looks at every video before
            it is copied; raises to refuse it.

    Raises:
        CaptureError: the folder has the layout in part, or is damaged; or not the layout asked for.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        return []
    known = layout or _recognised(folder)
    if known == nersemble.NAME:
        return [Capture(known, "multiview", "", lambda target: _nersemble(folder, target, check))]
    if known == vhap.NAME:
        home = _vhap_home(folder)
        return [_pictures(vhap.read_vhap(home), home.parent)]
    if known == tsinghua.NAME:
        return [_pictures(tsinghua.read_tsinghua(folder), folder.parent)]
    if known == gagavatar_track.NAME:
        return _tracked(folder)
    if known == camera_folders.NAME:
        return [_rig(folder, check)]
    if known == clip_folders.NAME:
        return _clips(folder, forced=layout is not None)
    if known is not None:
        raise CaptureError(f"no layout {known!r}; there are {', '.join(LAYOUTS)}")
    return []


def _recognised(folder: Path) -> str | None:
    """Name of the layout; an error where it is there in part."""
    if nersemble.is_nersemble(folder):
        return nersemble.NAME
    if vhap.is_vhap(_vhap_home(folder)):
        return vhap.NAME
    if tsinghua.is_tsinghua(folder):
        return tsinghua.NAME
    if gagavatar_track.is_track(folder):
        return gagavatar_track.NAME
    _refuse_halves(folder)
    if camera_folders.is_rig(folder):
        return camera_folders.NAME
    return clip_folders.NAME if clip_folders.people(folder) else None


def _vhap_home(folder: Path) -> Path:
    """Where an export's descriptions are: in the folder, or in its union's or only child.

    Raises:
        CaptureError: several children have their own.
    """
    if vhap.descriptions(folder):
        return folder
    inner = [p for p in sorted(folder.iterdir()) if p.is_dir() and vhap.descriptions(p)]
    unions = [p for p in inner if vhap.root_of(p) != p] or inner
    if len(unions) > 1 and all(vhap.is_vhap(p) for p in unions):
        names = ", ".join(p.name for p in unions[:6])
        raise CaptureError(f"{folder}: holds {len(unions)} exports of VHAP ({names}); add one")
    return unions[0] if len(unions) == 1 else folder


def _refuse_halves(folder: Path) -> None:
    """Name the one thing that a folder lacks to be a layout that it begins to be.

    Raises:
        CaptureError: it does.
    """
    if next(iter(folder.glob("sequences/*/images/cam_*.mp4")), None) or next(
        iter(folder.glob("*/cam_*.mp4")), None
    ):
        raise CaptureError(
            f"{folder / 'calibration' / 'camera_params.json'}: missing; the videos look like "
            "NeRSemble's, whose cameras stand there (first release: camera_params/{id}/); to have "
            "the cameras estimated instead, give --layout rig"
        )
    described = sorted(folder.glob("transforms*.json"))
    if described:
        frames = read_object(described[0]).get("frames")
        first = frames[0] if isinstance(frames, list) and frames else None
        keys = first.keys() if isinstance(first, dict) else set()
        kind = "INSTA's" if {"exp_path", "seg_mask_path"} & keys else "no VHAP export"
        raise CaptureError(
            f"{described[0]}: {kind}: its frames have no usable timestep_index; expected an export "
            "of VHAP (export_as_nerf_dataset), or give the pictures alone"
        )
    if (folder / "fg_masks").is_dir() or (folder / "flame_param").is_dir():
        vhap.read_vhap(folder)
    if tsinghua.looks_like_tsinghua(folder):
        tsinghua.read_tsinghua(folder)
    if gagavatar_track.looks_like_track(folder):
        gagavatar_track.videos(folder)


def _nersemble(folder: Path, target: Path, check: Callable[[Path], None]) -> None:
    person = nersemble.read_participant(folder)
    own = all(p.is_relative_to(folder) for p in person.files)
    for path in person.files:
        kept_inside(folder if own else folder.parent, path)
    nersemble.copy_participant(folder, target, check)


def _pictures(rig: Rig, base: Path) -> Capture:
    def copy(target: Path) -> None:
        check_pictures(rig)
        for path in rig.files:
            own = target / path.relative_to(base)
            own.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, own)

    kind = "multiview" if rig.calibrated else "clip"
    return Capture(rig.layout, kind, "", copy)


def _rig(folder: Path, check: Callable[[Path], None]) -> Capture:
    rig = camera_folders.read_rig(folder)

    def copy(target: Path) -> None:
        for source in rig.sources():
            if source.is_video:
                check(source.files[0])
        _pictures(rig, folder.parent).copy(target)

    return Capture(camera_folders.NAME, "multiview", "", copy)


def _clips(folder: Path, forced: bool) -> list[Capture]:
    people = clip_folders.people(folder)
    if not people and forced:
        people = {folder.name: [folder]}

    def capture(name: str, clips: list[Path]) -> Capture:
        def copy(target: Path) -> None:
            _pictures(clip_folders.read_clips(clips, name), clips[0].parent).copy(target)

        label = name if len(people) > 1 else ""
        return Capture(clip_folders.NAME, "clip", label, copy)

    return [capture(name, clips) for name, clips in people.items()]


def _tracked(folder: Path) -> list[Capture]:
    videos = gagavatar_track.videos(folder)

    def capture(video: str) -> Capture:
        def copy(target: Path) -> None:
            own = target / f"video-{video}"
            gagavatar_track.unpack(folder, video, videos[video], own)
            check_pictures(clip_folders.read_clips([own], video))

        # Its pictures become a folder of frames: from then on it is one.
        label = video if len(videos) > 1 else ""
        return Capture(clip_folders.NAME, "clip", label, copy)

    return [capture(video) for video in videos]


def check_pictures(rig: Rig) -> None:
    """Look at every picture's first and last bytes, size and mask, decoding none.

    Raises:
        CaptureError: one is cut short, or of another size than its camera says.
    """
    for recording in rig.recordings.values():
        for name, source in recording.sources.items():
            if source.is_video:
                continue
            camera = rig.cameras.get(name)
            for path in (*source.files, *source.masks):
                _whole(path)
                size = picture_size(path)
                if camera is not None and size != (camera.width, camera.height):
                    raise CaptureError(
                        f"{path}: {size[0]} x {size[1]} pixels; camera {name} has "
                        f"{camera.width} x {camera.height}"
                    )
        for path in recording.parameters:
            if path.name == clip_folders.PARAMETER_FILE:
                clip_folders.read_parameters(path)
            else:
                vhap.read_parameters(path)


def _whole(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(max(0, path.stat().st_size - 64))
        end = file.read()
    for first, last in _ENDS.items():
        if start.startswith(first) and last not in end and not _ends_earlier(path):
            raise CaptureError(f"{path}: the picture is cut short; copy it again")


def _ends_earlier(path: Path) -> bool:
    """Whether a JPEG ends before its file does: cameras append padding, previews, short films."""
    data = path.read_bytes()
    at = 2
    # Segment by segment up to the compressed pixels: previews in the header have ends of their own.
    while data[:2] == b"\xff\xd8" and at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            return data.find(b"\xff\xd9", at) >= 0
    return False


def read_raw(folder: Path, layout: str | None) -> Rig:
    """A subject's capture from its own folder, as `Capture.copy` left it.

    Args:
        folder: of the subject. layout: as `subject.json` says; None is NeRSemble's.

    Raises:
        CaptureError: something is missing or damaged, or no such layout.
    """
    folder = Path(folder)
    if layout in (None, nersemble.NAME):
        return nersemble_rig(nersemble.read_participant(folder))
    inner = sorted(p for p in folder.iterdir() if p.is_dir())
    if layout == vhap.NAME:
        return vhap.read_vhap(_only([p for p in inner if vhap.descriptions(p)], folder, layout))
    if layout == tsinghua.NAME:
        kept = [p for p in inner if tsinghua.looks_like_tsinghua(p)]
        return tsinghua.read_tsinghua(_only(kept, folder, layout))
    if layout == camera_folders.NAME:
        return camera_folders.read_rig(_only(inner, folder, layout))
    if layout == clip_folders.NAME:
        if not inner:
            raise CaptureError(f"{folder}: no folder of frames; add the subject again")
        return clip_folders.read_clips(inner, folder.name)
    raise CaptureError(f"{folder}: no layout {layout!r}; there are {', '.join(LAYOUTS)}")


def _only(found: list[Path], folder: Path, layout: str) -> Path:
    if len(found) != 1:
        raise CaptureError(
            f"{folder}: {len(found)} folders of layout {layout}, one expected; add it again"
        )
    return found[0]


def nersemble_rig(person: nersemble.Participant) -> Rig:
    """A participant of NeRSemble as the record that ingest reads."""
    notes = []
    everywhere = [
        s for s in person.cameras if all(s in q.videos for q in person.sequences.values())
    ]
    for serial in person.cameras:
        if serial not in everywhere:
            notes.append(f"camera {serial}: not in every sequence, left out")
    if not everywhere:
        raise CaptureError(f"participant {person.name}: no camera is in every sequence")
    recordings = {
        name: Recording(
            name,
            {
                serial: Source(
                    (q.videos[serial],), (q.alphas[serial],) if serial in q.alphas else ()
                )
                for serial in everywhere
            },
        )
        for name, q in person.sequences.items()
    }
    apart = set_apart(everywhere, nersemble.CORNERS) | set_apart(recordings, (nersemble.FREE,))
    if nersemble.FREE not in recordings:
        notes.append("no sequence FREE: only the held-out cameras are test frames")
    return Rig(
        nersemble.NAME, person.name, {s: person.cameras[s] for s in everywhere}, recordings,
        colour=person.colour, plates=person.plates, held_out=apart, files=person.files,
        notes=tuple(notes),
    )  # fmt: skip
