"""LivePortrait on pictures: who lends the looks, who shows the expression, what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from headworks.errors import CaptureError
from headworks.expressions.crops import DRIVING_SCALE, DRIVING_SHIFT, face_crop
from headworks.expressions.liveportrait.model import SIDE, Appearance, LivePortrait, Mode
from headworks.expressions.liveportrait.motion import Motion
from headworks.expressions.made import Made
from headworks.images import resize, to_uint8

PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Portrait:
    """A picture whose person lends the looks: its upright crop, uint8 [256, 256, 3], and a name."""

    name: str
    crop: NDArray[np.uint8]


@dataclass
class Transfer:
    """Expression-only transfer; the appearance of each portrait is read once.

    Attributes:
        networks: from `headworks.expressions.liveportrait.model.load`.
        portraits: who can lend the looks.
    """

    networks: LivePortrait
    portraits: Sequence[Portrait]
    _read: dict[int, Appearance] = field(default_factory=dict)

    def drive(self, frame: NDArray[np.uint8], points: NDArray[np.floating]) -> Motion:
        """The motion of a driving frame [H, W, 3] with landmarks [68, >= 2]."""
        crop = face_crop(points, DRIVING_SCALE, DRIVING_SHIFT, upright=False)
        return self.networks.read(self._tensor(crop.cut(frame, SIDE)))

    def make(
        self,
        index: int,
        driving: Motion,
        size: int,
        mode: Mode = "absolute",
        neutral: Motion | None = None,
    ) -> NDArray[np.uint8]:
        """A portrait's person with the driver's expression, uint8 [size, size, 3].

        Args:
            index: which portrait. driving, neutral: from `drive`. size: pixels. mode: see
                `LivePortrait.keypoints`.
        """
        if index not in self._read:
            self._read[index] = self.networks.lend(self._tensor(self.portraits[index].crop))
        appearance = self._read[index]
        points = self.networks.keypoints(appearance.motion, driving, mode, neutral)
        picture = self.networks.draw(appearance, points)[0].permute(1, 2, 0).cpu().numpy()
        return to_uint8(resize(picture, size, size))

    def _tensor(self, crop: NDArray[np.uint8]) -> torch.Tensor:
        device = next(self.networks.motion.parameters()).device
        picture = torch.from_numpy(np.ascontiguousarray(crop)).to(device)
        return picture.permute(2, 0, 1)[None].float() / 255


def portrait_files(folder: Path) -> list[Path]:
    """The pictures in a folder, by name.

    Raises:
        CaptureError: when there is none.
    """
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in PHOTOS)
    if not found:
        raise CaptureError(
            f"{folder}: no portraits (expected {', '.join(PHOTOS)}); leave "
            "`expressions.appearances` empty to use synthetic people"
        )
    return found


def read_portrait(path: Path) -> Portrait:
    """A portrait photo, cropped around the main face.

    Raises:
        CaptureError: not a photo, or no face in it.
    """
    from headworks.formats.media import read_photo
    from headworks.landmarks import dlib68

    picture, _ = read_photo(path)
    points, _ = dlib68.detect(picture[None])
    if not np.isfinite(points).all():
        raise CaptureError(f"{path}: no face found; use portraits seen from the front")
    return Portrait(path.name, face_crop(points[0]).cut(picture, SIDE))


def make_with_portraits(
    transfer: Transfer,
    frames: NDArray[np.uint8],
    points: NDArray[np.floating],
    choices: NDArray[np.int64],
    size: int,
    mode: Mode,
    neutral: int,
    progress: Callable[[float, str], None],
) -> Made:
    """Pictures of portraits' people with the expressions of driving frames.

    Args:
        transfer: networks and portraits. frames: uint8 [M, H, W, 3], the N driving frames first.
        points: landmarks [M, 68, >= 2] in them. choices: [N, K] indices of portraits.
        size: side of the pictures. mode: see `LivePortrait.keypoints`.
        neutral: which frame shows the driver without expression, for "relative".
        progress: called often.
    """
    from headworks.landmarks import dlib68

    count, per_frame = choices.shape
    rgb = np.zeros((count, per_frame, size, size, 3), np.uint8)
    landmarks = np.full((count, per_frame, 68, 3), np.nan, np.float32)
    rest = transfer.drive(frames[neutral], points[neutral]) if mode == "relative" else None
    for n in range(count):
        driving = transfer.drive(frames[n], points[n])
        for k in range(per_frame):
            rgb[n, k] = transfer.make(int(choices[n, k]), driving, size, mode, rest)
            landmarks[n, k] = dlib68.detect(rgb[n, k][None])[0][0]
        progress((n + 1) / count, f"frame {n + 1} of {count}")
    looks = [resize(portrait.crop, size, size) for portrait in transfer.portraits]
    return Made(rgb, None, landmarks, np.stack(looks))
