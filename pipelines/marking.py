"""How written pictures and videos say what they are: credentials, watermark, note, stamp."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headworks.errors import HeadworksError
from pipelines.stamp import Stamp, stamp_file

if TYPE_CHECKING:
    from headworks.marking.keys import Identity
    from pipelines.layout import Layout
    from pipelines.workspace import Workspace

MARK = "mark"
NO_C2PA = (
    "no content credentials: c2pa is not installed (pip install 'headworks[c2pa]'); the digest is "
    "in the file's metadata alone"
)
WATERMARK_KEY = "HEADWORKS_WATERMARK_KEY"
_FRAMES = 24
_PICTURES, _VIDEOS = (".png", ".jpg", ".jpeg", ".webp"), (".mp4", ".mov", ".webm", ".mkv")


@dataclass(frozen=True)
class Marking:
    """What is done to pictures that are written.

    Attributes:
        credentials: sign a C2PA manifest into every file. watermark: mark it invisibly, too.
        note: words in a corner. keys: folder of the local signing key; None: the user's own.
    """

    credentials: bool = True
    watermark: bool = False
    note: bool = False
    keys: Path | None = None

    def pictures(
        self, frames: Iterator[NDArray[np.uint8]], stamp: Stamp
    ) -> Iterator[NDArray[np.uint8]]:
        """Frames as they are to be written."""
        from headworks.marking.note import with_note
        from headworks.marking.watermark import embed

        if self.note:
            frames = (with_note(frame) for frame in frames)
        if not self.watermark:
            return frames
        if not stamp.get("digest"):
            raise HeadworksError("--watermark: this avatar's file carries no digest to write")
        return embed(frames, stamp["digest"], watermark_key())

    def finisher(self, stamp: Stamp) -> tuple[Callable[[Path, str], None], list[str]]:
        """What to do to every written file (its path now, its name later), and lines to say.

        Raises:
            HeadworksError: the user's certificate or key do not fit.
        """
        from headworks.marking import credentials

        words = dict(stamp)
        if self.watermark:
            words["watermark"] = "spread-spectrum/1"
        if not self.credentials:
            words[MARK] = "off"
            return (lambda file, name: _stamp(file, words)), ["not marked as generated (--no-mark)"]
        if not credentials.available():
            words[MARK] = "metadata"
            return (lambda file, name: _stamp(file, words)), [NO_C2PA]
        words[MARK] = "c2pa"
        identity = self._identity()

        def finish(file: Path, name: str) -> None:
            import headworks

            _stamp(file, words)
            definition = credentials.manifest(name, headworks.__version__, words)
            credentials.sign(file, definition, identity)

        who = "a local key, for which nobody else vouches" if identity.local else "your key"
        return finish, [f"marked as generated: C2PA manifest, signed with {who}"]

    def _identity(self) -> Identity:
        from headworks.marking.keys import signing_identity

        return signing_identity(self.keys or user_keys())


def _stamp(file: Path, words: Mapping[str, str]) -> None:
    stamp_file(file, words)


def watermark_key() -> str:
    """The key of watermarks: the user's, or the one that everybody knows."""
    from headworks.marking.watermark import PUBLIC_KEY

    return os.environ.get(WATERMARK_KEY) or PUBLIC_KEY


def user_keys() -> Path:
    """Folder of the local signing key where there is no workspace."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "headworks" / "marking"


def keys_of(layout: Layout) -> Path:
    """Folder of the local signing key of a workspace."""
    return layout.hidden / "marking" if (layout.root / ".dvc").is_dir() else user_keys()


def frames_of(path: Path, most: int = _FRAMES) -> list[NDArray[np.uint8]]:
    """A picture, or frames of a video, evenly spread.

    Raises:
        HeadworksError: neither, or not readable.
    """
    if path.suffix.lower() in _PICTURES:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(path) as picture:
                mode = "RGBA" if "A" in picture.mode else "RGB"
                return [np.array(picture.convert(mode))]
        except (OSError, UnidentifiedImageError) as error:
            raise HeadworksError(f"{path}: not a readable picture ({error})") from None
    if path.suffix.lower() in _VIDEOS:
        import av

        try:
            with av.open(str(path), metadata_errors="replace") as container:
                stream = container.streams.video[0]
                step = max(1, stream.frames // most)
                return [
                    np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                    for number, frame in enumerate(container.decode(stream))
                    if number % step == 0 and number // step < most
                ]
        except (av.FFmpegError, IndexError) as error:
            raise HeadworksError(f"{path}: not a readable video ({error})") from None
    raise HeadworksError(f"{path}: expected a picture or a video")


def is_media(path: Path) -> bool:
    """Whether a watermark may be looked for in a file of this name."""
    return path.suffix.lower() in (*_PICTURES, *_VIDEOS)


def look_for_marks(workspace: Workspace, path: Path) -> dict[str, Any]:
    """Everything by which a file says that it was generated.

    Returns:
        `stamp`, `credentials` (None without or where c2pa is not installed), `watermark` (payload,
        corrected bits, strength; None without) and `digests` that the ledger knows of the latter.

    Raises:
        HeadworksError: not a readable picture or video.
    """
    from dataclasses import asdict

    from headworks.marking import credentials
    from headworks.marking.watermark import detect
    from pipelines.stamp import read_stamp

    if not path.is_file():
        raise HeadworksError(f"{path}: no such file")
    mark = detect(frames_of(path), watermark_key())
    signed = credentials.read(path) if credentials.available() else None
    known = watermark_digests(workspace, mark.payload) if mark else []
    return {
        "schema": "headworks.watermark/1",
        "file": str(path),
        "stamp": read_stamp(path),
        "c2pa": credentials.available(),
        "credentials": {**asdict(signed), "whole": signed.whole} if signed else None,
        "watermark": mark
        and {
            "payload": mark.payload,
            "corrected": mark.corrected,
            "strength": round(mark.strength, 1),
        },
        "digests": known,
    }


def watermark_digests(workspace: Workspace, payload: str) -> list[str]:
    """Digests in the ledger that begin with a watermark's payload."""
    outputs = workspace.ledger.refresh().outputs()
    return sorted({oid for oid in outputs.values() if oid.startswith(payload)})
