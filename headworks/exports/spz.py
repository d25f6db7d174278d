"""Niantic's compressed splats, `.spz`: own writer and reader of versions 2 and 3.

A gzip stream: 16 bytes of header, then the arrays one after another (positions, opacities, colours,
scales, rotations, harmonics). Axes: x right, y up, z towards the viewer, as our worlds. Positions
are 24-bit fixed point; the header says how many bits are fraction: as many as fit, so that metres
keep micrometres.

Source: nianticlabs/spz, README.md (versions 2 and 3).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from itertools import permutations, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headworks.errors import ArtifactError
from headworks.formats.ply import Splats

MAGIC = 0x5053474E
VERSIONS = (2, 3)
FRACTION_BITS = (12, 20)
"""Fewest and most: +-2048 m at a quarter of a millimetre, +-8 m at a micrometre."""
_HEADER = struct.Struct("<IIIBBBB")
_COLOUR = 0.15
_DIMS = {0: 0, 1: 3, 2: 8, 3: 15}
_HALF = float(np.sqrt(0.5))
_MAX_POINTS = 50_000_000

Array = NDArray[np.float64]


def write_spz(path: str | Path, splats: Splats, version: int = 2) -> None:
    """Write splats; equal splats give equal bytes.

    Version 2 keeps 8 bits of three components of a rotation, which is coarse where the fourth is
    small. A Gaussian looks the same when its axes change places, so each is written with that
    choice of axes whose fourth component is largest: at most 0.95 degrees are lost, not 13.

    Args:
        path: the file. splats: raw values. version: 2 (every reader), or 3 (rotations to 0.23
            degrees).

    Raises:
        ValueError: another version, more than 2048 m from the origin, values not finite.
    """
    if version not in VERSIONS:
        raise ValueError(f"version {version}; 2 or 3")
    n, k = len(splats.means), splats.sh_rest.shape[1]
    degree = {dim: d for d, dim in _DIMS.items()}[k]
    for name, value in splats._asdict().items():
        if value is not None and not np.isfinite(value).all():
            raise ValueError(f"{name} is not finite everywhere")
    reach = float(np.abs(splats.means).max()) if n else 0.0
    bits = min(FRACTION_BITS[1], int(np.floor(np.log2((2**23 - 1) / max(reach, 1e-9)))))
    if bits < FRACTION_BITS[0]:
        raise ValueError(f"{reach:.0f} m from the origin; at most 2048")
    fixed = np.rint(splats.means.astype(np.float64) * 2**bits).astype(np.int64) & 0xFFFFFF
    positions = np.stack([(fixed >> shift) & 0xFF for shift in (0, 8, 16)], -1)
    quats, log_scales = splats.quats.astype(np.float64), splats.log_scales.astype(np.float64)
    quats /= np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12)
    if version == 2:
        quats, log_scales = _with_large_w(quats, log_scales)
    parts = [
        positions,
        255 / (1 + np.exp(-splats.opacity_logits.astype(np.float64))),
        255 * (_COLOUR * splats.sh0.astype(np.float64) + 0.5),
        16 * (log_scales + 10),
        _first_three(quats) if version == 2 else _smallest_three(quats),
        _packed_harmonics(splats.sh_rest.astype(np.float64)),
    ]
    body = b"".join(_bytes(part) for part in parts)
    header = _HEADER.pack(MAGIC, version, n, degree, bits, 0, 0)
    Path(path).write_bytes(gzip.compress(header + body, 9, mtime=0))


def read_spz(path: str | Path) -> Splats:
    """Read splats of version 2 or 3.

    Raises:
        ArtifactError: not such a file, of another version, or cut short.
    """
    path = Path(path)
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ArtifactError(f"{path}: not an .spz file ({error})") from None
    if len(data) < _HEADER.size:
        raise ArtifactError(f"{path}: not an .spz file (no header)")
    magic, version, n, degree, bits, flags, _ = _HEADER.unpack_from(data)
    if magic != MAGIC or version not in VERSIONS or degree not in _DIMS or flags & 2:
        raise ArtifactError(
            f"{path}: not an .spz file of version 2 or 3 without extensions "
            f"(version {version}, degree {degree}, flags {flags})"
        )
    k = _DIMS[degree]
    turn = 3 if version == 2 else 4
    sizes = (9, 1, 3, 3, turn, 3 * k)
    if n > _MAX_POINTS or len(data) != _HEADER.size + n * sum(sizes):
        raise ArtifactError(f"{path}: {len(data)} bytes do not hold {n} splats; cut short?")
    parts, at = [], _HEADER.size
    for size in sizes:
        parts.append(np.frombuffer(data, np.uint8, n * size, at).reshape(n, size))
        at += n * size
    positions, alphas, colours, scales, turns, harmonics = parts
    b = positions.reshape(n, 3, 3).astype(np.int64)
    fixed = b[..., 0] | b[..., 1] << 8 | b[..., 2] << 16
    fixed -= (fixed & 0x800000) << 1
    opacity = np.clip(alphas[:, 0] / 255.0, 1e-6, 1 - 1e-6)
    rest = (harmonics.astype(np.float64) - 128) / 128
    quats = _from_three(turns) if version == 2 else _from_smallest_three(turns)

    def single(values: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.asarray(values, np.float32)

    return Splats(
        means=single(fixed / 2.0**bits),
        sh0=single((colours / 255.0 - 0.5) / _COLOUR),
        sh_rest=single(rest.reshape(n, k, 3)),
        opacity_logits=single(np.log(opacity / (1 - opacity))),
        log_scales=single(scales / 16.0 - 10),
        quats=single(quats),
    )


def _bytes(values: NDArray[np.generic]) -> bytes:
    return np.clip(np.rint(values.astype(np.float64)), 0, 255).astype(np.uint8).tobytes()


def _axis_changes() -> tuple[NDArray[np.int64], Array]:
    """The 24 rotations that put axes upon axes: the order of axes, and quaternions wxyz."""
    from scipy.spatial.transform import Rotation

    orders, matrices = [], []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[list(order), range(3)] = signs
            if np.linalg.det(matrix) > 0:
                orders.append(order)
                matrices.append(matrix)
    xyzw = Rotation.from_matrix(np.stack(matrices)).as_quat()
    return np.array(orders), xyzw[:, [3, 0, 1, 2]]


def _with_large_w(quats: Array, log_scales: Array) -> tuple[Array, Array]:
    """The same ellipsoids with their axes named so that |w| is largest (at least 0.85)."""
    orders, changes = _axis_changes()
    # w of q g, for all 24 g at once
    signed = quats * [1, -1, -1, -1]
    best = np.abs(signed @ changes.T).argmax(1)
    a, b = np.moveaxis(quats, -1, 0), np.moveaxis(changes[best], -1, 0)
    turned = np.stack([
        a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
        a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
        a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
        a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
    ], -1)  # fmt: skip
    return turned, np.take_along_axis(log_scales, orders[best], 1)


def _first_three(quats: Array) -> Array:
    """x, y, z of wxyz with w >= 0, from [-1, 1] to [0, 255]."""
    sign = np.where(quats[:, :1] < 0, -1.0, 1.0)
    return 127.5 * sign * quats[:, 1:] + 127.5


def _from_three(turns: NDArray[np.uint8]) -> Array:
    xyz = turns / 127.5 - 1
    w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(1, keepdims=True)))
    return np.concatenate([w, xyz], 1)


def _smallest_three(quats: Array) -> NDArray[np.uint8]:
    """32 bits: which of x, y, z, w is largest, then sign and 9 bits of each other one."""
    xyzw = quats[:, [1, 2, 3, 0]]
    largest = np.abs(xyzw).argmax(1)
    top = np.take_along_axis(xyzw, largest[:, None], 1)
    xyzw = np.where(top < 0, -xyzw, xyzw)
    word = largest.astype(np.uint32)
    for axis in range(4):
        value = xyzw[:, axis]
        size = np.floor(511 * np.abs(value) / _HALF + 0.5).astype(np.uint32)
        code = (word << 10) | ((value < 0).astype(np.uint32) << 9) | np.minimum(size, 511)
        word = np.where(largest == axis, word, code).astype(np.uint32)
    return word.astype("<u4").view(np.uint8).reshape(-1, 4)


def _from_smallest_three(turns: NDArray[np.uint8]) -> Array:
    word = np.ascontiguousarray(turns).view("<u4")[:, 0].astype(np.uint32)
    largest = word >> 30
    xyzw = np.zeros((len(word), 4))
    for axis in (3, 2, 1, 0):
        mine = largest != axis
        value = _HALF * (word & 511) / 511.0
        xyzw[:, axis] = np.where(mine, np.where(word & 512, -value, value), 0)
        word = np.where(mine, word >> 10, word).astype(np.uint32)
    rest = np.sqrt(np.maximum(0, 1 - (xyzw**2).sum(1)))
    np.put_along_axis(xyzw, largest[:, None].astype(np.int64), rest[:, None], 1)
    return xyzw[:, [3, 0, 1, 2]]


def _packed_harmonics(rest: Array) -> Array:
    """Degree 1 in steps of 8 of 256, higher degrees in steps of 16; 0 stays 0."""
    if not rest.shape[1]:
        return np.zeros((len(rest), 0))
    step = np.where(np.arange(rest.shape[1]) < 3, 8, 16)[None, :, None]
    whole = np.rint(128 * rest) + 128
    return np.clip((whole + step // 2) // step * step, 0, 255).reshape(len(rest), -1)
