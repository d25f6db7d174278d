"""How visible is the watermark, and what does it outlive?

    python benchmarks/watermark.py

Prints, for a face before white and for a picture full of texture (both of skimage's astronaut, 256
pixels), the PSNR of the marked picture to the unmarked one, and the share of wrong bits before
correction, and whether the mark is found, after JPEG, half the size and back, and H.264.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from headworks.formats.video import write_mp4
from headworks.images import to_float
from headworks.marking.watermark import code, detect, embed, statistics
from headworks.metrics.pixel import psnr
from pipelines.marking import frames_of

DIGEST = "5eedf00d9a77.dir"
SIDE, FRAMES, FPS = 256, 6, 25.0
Pictures = list[NDArray[np.uint8]]


def face() -> NDArray[np.uint8]:
    """A face before white, as avatars are shown."""
    picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
    part = skimage.data.astronaut()[20:212, 130:322]
    picture[60:220, 60:200] = cv2.resize(part, (140, 160), interpolation=cv2.INTER_AREA)
    return picture


def jpeg(pictures: Pictures) -> Pictures:
    """Each picture as JPEG of quality 75."""
    out = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=75)
        out.append(np.asarray(Image.open(buffer)))
    return out


def halved(pictures: Pictures) -> Pictures:
    """Each picture at half its size and back."""
    small = [cv2.resize(p, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA) for p in pictures]
    return [np.asarray(cv2.resize(p, (SIDE, SIDE)), np.uint8) for p in small]


def h264(pictures: Pictures, crf: int) -> Pictures:
    """The pictures as one film."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_mp4(path, iter(pictures), FPS, crf=crf)
        return frames_of(path)


def tell(what: str, pictures: Pictures) -> None:
    """Print one row."""
    wrong = float(((statistics(pictures) > 0) != code(DIGEST).astype(bool)).mean())
    mark = detect(pictures)
    found = mark is not None and mark.payload == DIGEST[:8]
    print(f"  {what:34s} {100 * wrong:5.1f} % wrong   {'found' if found else 'not found'}")


def main() -> int:
    texture = skimage.data.astronaut()[::2, ::2].copy()
    for name, picture in (("face before white", face()), ("full of texture", texture)):
        marked = list(embed([picture], DIGEST))
        shown = psnr(to_float(marked[0]), to_float(picture))
        print(f"{name}: {shown:.1f} dB to the unmarked picture")
        tell("unchanged", marked)
        tell("JPEG 75", jpeg(marked))
        tell("half the size and back", halved(marked))
        for crf in (18, 23, 28):
            tell(f"H.264, crf {crf}, one frame", h264(marked, crf))
        moving = list(embed((np.roll(picture, (k // 2, k), (0, 1)) for k in range(FRAMES)), DIGEST))
        for crf in (23, 26):
            tell(f"H.264, crf {crf}, {FRAMES} moving frames", h264(moving, crf))
    return 0


if __name__ == "__main__":
    sys.exit(main())
