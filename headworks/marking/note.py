"""Words in a corner of a picture that everybody sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORDS = "generated"


def with_note(picture: NDArray[np.uint8], words: str = WORDS) -> NDArray[np.uint8]:
    """A picture with words at the lower left, white on a dark bar.

    Args:
        picture: uint8 [H, W, 3] or, with straight alpha, [H, W, 4].

    Returns:
        The same shape.
    """
    from PIL import Image, ImageDraw, ImageFont

    height = picture.shape[0]
    font = ImageFont.load_default(max(9, height // 24))
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = pen.textbbox((0, 0), words, font=font)
    margin = max(2, height // 96)
    box = (0, height - (bottom - top) - 3 * margin, (right - left) + 4 * margin, height)
    opaque = (255,) if picture.shape[-1] == 4 else ()
    pen.rectangle(box, fill=(20, 20, 20, *opaque))
    pen.text((2 * margin - left, box[1] + margin - top), words, font=font,
             fill=(255, 255, 255, *opaque))  # fmt: skip
    return np.array(image)
