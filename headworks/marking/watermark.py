"""An invisible mark in the luma of pictures and videos that outlives re-encoding and scaling.

48 bits (32 of an artifact's digest and a checksum of 16) are spread over the low and middle
frequencies of the whole picture's cosine transform, each bit over its own coefficients with signs
that a key draws. The picture is brought to one size before, so that scaling does not matter; a
video carries the same pattern in all frames, and the detector sums what each says. Cropping,
turning and mirroring destroy the mark, and whoever knows the key can remove it.

Source: Cox et al., Secure spread spectrum watermarking for multimedia (1997); chosen-bits decoding
after Chase (1972).
"""

from __future__ import annotations

import binascii
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from headworks.errors import HeadworksError

PAYLOAD_BITS, CHECK_BITS = 32, 16
BITS = PAYLOAD_BITS + CHECK_BITS
MIN_SIDE = 128
"""Pixels of the shorter side; below, too few frequencies are left after scaling to half."""
TARGET_PSNR = 39.0
FALSE_ALARM = 1e-6
"""Chance that the strength test alone takes an unmarked picture for a marked one; the checksum
must fit besides (794 of 65536 tries)."""
PUBLIC_KEY = "headworks"

_SIDE, _LOW, _HIGH = 256, 10, 90
_DOUBTFUL, _FLIPS = 12, 4
_TRIES = 2  # all frames, the first alone
_FLAT, _BUSY = 0.75, 1.15
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Mark:
    """What the detector found.

    Attributes:
        payload: the first 32 bits of the digest, 8 hexadecimal digits.
        bits: int [48] as read, before correction. corrected: how many of them were wrong.
        strength: sum of squares of 48 values that are normal (0, 1) where there is no mark.
    """

    payload: str
    bits: NDArray[np.int8]
    corrected: int
    strength: float


def code(digest: str) -> NDArray[np.int8]:
    """A digest's first 32 bits and their checksum (CRC-16/CCITT): int8 [48] of 0 and 1.

    Raises:
        HeadworksError: the digest does not begin with 8 hexadecimal digits.
    """
    try:
        data = bytes.fromhex(digest[:8])
    except ValueError:
        data = b""
    if len(data) != PAYLOAD_BITS // 8:
        raise HeadworksError(f"a watermark needs a digest of 8 or more hex digits, not {digest!r}")
    data += binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "big")
    return np.unpackbits(np.frombuffer(data, np.uint8)).astype(np.int8)


@lru_cache(maxsize=4)
def _layout(key: str) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray]:
    """Rows, columns, bit number and sign of the coefficients that carry the mark."""
    v, u = np.mgrid[:_SIDE, :_SIDE]
    radius = np.hypot(u, v)
    rows, cols = np.nonzero((radius >= _LOW) & (radius < _HIGH))
    seed = int.from_bytes(hashlib.sha256(f"watermark/1/{key}".encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    bit = np.empty(len(rows), np.intp)
    bit[order] = np.arange(len(rows)) % BITS
    return rows, cols, bit, rng.choice(np.array([-1.0, 1.0], np.float32), len(rows))


def pattern(digest: str, key: str, height: int, width: int) -> NDArray[np.float32]:
    """The mark of a picture's size: float32 [H, W], mean square 1."""
    import cv2
    from scipy.fft import idctn

    rows, cols, bit, sign = _layout(key)
    spectrum = np.zeros((_SIDE, _SIDE), np.float32)
    # Pictures have less at high frequencies, and so hide less there.
    weight = 1.0 / np.sqrt(np.hypot(rows, cols))
    spectrum[rows, cols] = sign * (2.0 * code(digest)[bit] - 1.0) * weight
    small = idctn(spectrum, norm="ortho").astype(np.float32)
    wide = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(wide / np.sqrt((wide**2).mean()), np.float32)


def embed(
    frames: Iterable[NDArray[np.uint8]], digest: str, key: str = PUBLIC_KEY
) -> Iterator[NDArray[np.uint8]]:
    """Mark pictures of one size.

    Args:
        frames: uint8 [H, W, 3] or, with straight alpha, [H, W, 4]. digest: hexadecimal. key: draws
            where the mark lies; the detector needs the same.

    Raises:
        HeadworksError: pictures too small.
    """
    mark: NDArray[np.float32] | None = None
    for frame in frames:
        height, width = frame.shape[:2]
        if mark is None or mark.shape != (height, width):
            if min(height, width) < MIN_SIDE:
                raise HeadworksError(
                    f"--watermark: pictures of {width} x {height} are too small; at least "
                    f"{MIN_SIDE} pixels a side"
                )
            mark = _strength(TARGET_PSNR) * pattern(digest, key, height, width)
        marked = frame.copy()
        rgb = frame[..., :3].astype(np.float32)
        # White cannot get whiter: the whole is drawn in by as much as the mark would overflow.
        added = mark * _hidden(rgb @ _LUMA)
        span = np.abs(added)[..., None]
        marked[..., :3] = np.clip(
            np.clip(rgb, 0.5 * span, 255 - 0.5 * span) + added[..., None], 0, 255
        ).round()
        yield marked


def _hidden(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """How strong a mark may be around a pixel: flat places show it, texture hides it."""
    import cv2

    side = max(5, min(luma.shape) // 32 | 1)
    mean = cv2.blur(luma, (side, side))
    spread = np.sqrt(np.maximum(cv2.blur(luma**2, (side, side)) - mean**2, 0))
    return np.asarray(_FLAT + (_BUSY - _FLAT) * spread / (spread + 8.0), np.float32)


def _strength(psnr: float) -> float:
    return float(255.0 * 10 ** (-psnr / 20))


def detect(frames: Iterable[NDArray[np.uint8]], key: str = PUBLIC_KEY) -> Mark | None:
    """Look for a mark that pictures of one scene share; None where there is none.

    Args:
        frames: uint8 [H, W, 3] or [H, W, 4], of one video or a single picture. key: as embedded.
    """
    first: list[NDArray[np.uint8]] = []

    def noted() -> Iterator[NDArray[np.uint8]]:
        for frame in frames:
            if not first:
                first.append(frame)
            yield frame

    # Motion compensation drags the mark along with what moves; an encoder's first frame is whole.
    mark = _read(statistics(noted(), key))
    return mark or _read(statistics(first, key))


def _read(values: NDArray[np.float64]) -> Mark | None:
    """The mark that 48 values [48] spell, where they are strong and the checksum fits."""
    strength = float((values**2).sum())
    if strength < threshold():
        return None
    bits = (values > 0).astype(np.int8)
    doubtful = np.argsort(np.abs(values))[:_DOUBTFUL]
    for count in range(_FLIPS + 1):
        for flipped in itertools.combinations(doubtful, count):
            tried = bits.copy()
            tried[list(flipped)] ^= 1
            payload = np.packbits(tried[:PAYLOAD_BITS].astype(np.uint8)).tobytes().hex()
            if np.array_equal(code(payload), tried):
                return Mark(payload, bits, count, strength)
    return None


def threshold() -> float:
    """Strength that an unmarked picture exceeds with probability `FALSE_ALARM` / `_TRIES`.

    The signs of the key are independent of the picture, so that each of the 48 sums is, over keys,
    a sum of many independent signed terms: close to normal, with no assumption about the picture.
    """
    from scipy.stats import chi2

    return float(chi2.isf(FALSE_ALARM / _TRIES, BITS))


def statistics(frames: Iterable[NDArray[np.uint8]], key: str = PUBLIC_KEY) -> NDArray[np.float64]:
    """One value per bit [48]: its sign is the bit; normal (0, 1) where there is no mark."""
    rows, cols, bit, sign = _layout(key)
    total = np.zeros(len(rows))
    count = 0
    for frame in frames:
        total += _said(frame, rows, cols)
        count += 1
    if not count:
        raise HeadworksError("watermark: no frames to look at")
    # The signs of the key know nothing of `total`, however alike the frames are: normal (0, 1).
    sums = np.bincount(bit, total * sign, BITS)
    spread = np.sqrt(np.bincount(bit, total**2, BITS))
    return np.asarray(sums / np.maximum(spread, 1e-12), np.float64)


def _said(
    frame: NDArray[np.uint8], rows: NDArray[np.intp], cols: NDArray[np.intp]
) -> NDArray[np.float64]:
    """What the coefficients of one picture say, each as far as its surroundings let it be heard.

    A film's pictures are weighed one by one and then summed: the mean picture of moving texture
    would keep the texture's leftovers, and drown the mark in them.
    """
    import cv2
    from scipy.fft import dctn
    from scipy.ndimage import gaussian_filter, uniform_filter

    rgb: NDArray[np.float32] = frame[..., :3].astype(np.float32)
    if frame.shape[-1] == 4:
        alpha = frame[..., 3:].astype(np.float32) / 255
        rgb = (rgb * alpha + 255 * (1 - alpha)).astype(np.float32)
    shrinks = min(frame.shape[:2]) > _SIDE
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    luma = cv2.resize(rgb @ _LUMA, (_SIDE, _SIDE), interpolation=how).astype(np.float64)
    # Edges and texture are noise to the mark, and flat places tell most: take the smooth part
    # away, and divide by how much happens around a pixel.
    fine = luma - gaussian_filter(luma, 4.0)
    activity = np.sqrt(np.maximum(uniform_filter(fine**2, 9), 0)) + 1.0
    spectrum = dctn(np.clip(fine / activity, -2, 2), norm="ortho")
    # What the picture itself has around a frequency is noise to the mark: weigh by its inverse.
    local = np.sqrt(np.maximum(uniform_filter(spectrum**2, 7), 0)) + 1e-3
    weight = 1.0 / np.sqrt(np.hypot(rows, cols))
    # The size of a coefficient alone (not its sign) limits what it may say.
    scaled = spectrum[rows, cols] / local[rows, cols]
    return np.asarray(weight / local[rows, cols] * np.clip(scaled, -2, 2), np.float64)
