"""Standard 3DGS `.ply` files: one binary vertex element, float32 properties, raw parameters."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headworks.errors import ArtifactError

SH_C0 = 0.28209479177387814
LOGIT_LIMIT = 1e-6  # opacities are kept this far from 0 and 1 before the logit
MIN_SCALE = 1e-12
_REST = {0: 0, 3: 1, 8: 2, 15: 3}  # higher coefficients per channel -> degree
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "half": "f2", "float16": "f2", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip


class Splats(NamedTuple):
    """Raw (not activated) parameters as 3DGS stores them, float32.

    Attributes:
        means: [N, 3]. sh0: [N, 3], rgb = 0.5 + 0.2821 sh0. sh_rest: [N, K, 3], K = 0, 3, 8, 15.
        opacity_logits: [N]. log_scales: [N, 3]. quats: [N, 4] wxyz, any norm.
        binding: int32 [N] triangle of each splat, or None.
    """

    means: NDArray[np.float32]
    sh0: NDArray[np.float32]
    sh_rest: NDArray[np.float32]
    opacity_logits: NDArray[np.float32]
    log_scales: NDArray[np.float32]
    quats: NDArray[np.float32]
    binding: NDArray[np.int32] | None = None


def from_activated(
    means: NDArray[np.floating],
    quats: NDArray[np.floating],
    scales: NDArray[np.floating],
    opacities: NDArray[np.floating],
    colors: NDArray[np.floating],
    binding: NDArray[np.integer] | None = None,
) -> Splats:
    """Raw parameters of activated Gaussians (the fields of `Gaussians` in order, RGB colours).

    Args:
        means: [N, 3]. quats: [N, 4] wxyz. scales: [N, 3] linear. opacities: [N] in [0, 1].
        colors: [N, 3] in [0, 1]. binding: [N] triangle indices.
    """
    o = np.clip(np.asarray(opacities, np.float64), LOGIT_LIMIT, 1 - LOGIT_LIMIT)
    return Splats(
        np.asarray(means, np.float32),
        ((np.asarray(colors, np.float64) - 0.5) / SH_C0).astype(np.float32),
        np.zeros((len(means), 0, 3), np.float32),
        np.log(o / (1 - o)).astype(np.float32),
        np.log(np.maximum(np.asarray(scales, np.float64), MIN_SCALE)).astype(np.float32),
        np.asarray(quats, np.float32),
        None if binding is None else np.asarray(binding, np.int32),
    )


def to_activated(splats: Splats) -> tuple[NDArray[np.float32], ...]:
    """means, unit quats, scales, opacities, colors (degree 0): the fields of `Gaussians`."""
    norm = np.linalg.norm(splats.quats.astype(np.float64), axis=-1, keepdims=True)
    values = (
        splats.means,
        splats.quats / np.maximum(norm, 1e-12),
        np.exp(splats.log_scales.astype(np.float64)),
        1 / (1 + np.exp(-splats.opacity_logits.astype(np.float64))),
        0.5 + SH_C0 * splats.sh0.astype(np.float64),
    )
    return tuple(np.asarray(v, np.float32) for v in values)


def write_splats(path: str | Path, splats: Splats) -> None:
    """Write a binary little-endian 3DGS PLY that the usual viewers open.

    Raises:
        ValueError: a field has the wrong shape or a value is not finite.
    """
    n = len(splats.means)
    K = splats.sh_rest.shape[1] if splats.sh_rest.ndim == 3 else -1
    expected = {
        "means": (n, 3), "sh0": (n, 3), "sh_rest": (n, K, 3), "opacity_logits": (n,),
        "log_scales": (n, 3), "quats": (n, 4), "binding": (n,),
    }  # fmt: skip
    for name, value in splats._asdict().items():
        if value is None:
            continue
        if value.shape != expected[name]:
            raise ValueError(f"{name} must be {expected[name]}, got {value.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"{name}[{int(np.argwhere(~np.isfinite(value))[0, 0])}] is not finite")
    if K not in _REST:
        raise ValueError(f"sh_rest must hold {sorted(_REST)} coefficients per channel, got {K}")
    columns = [
        splats.means, np.zeros((n, 3)), splats.sh0,
        splats.sh_rest.transpose(0, 2, 1).reshape(n, 3 * K),  # channel-major
        splats.opacity_logits[:, None], splats.log_scales, splats.quats,
    ]  # fmt: skip
    names = [
        "x", "y", "z", "nx", "ny", "nz", *(f"f_dc_{k}" for k in range(3)),
        *(f"f_rest_{k}" for k in range(3 * K)), "opacity", *(f"scale_{k}" for k in range(3)),
        *(f"rot_{k}" for k in range(4)),
    ]  # fmt: skip
    if splats.binding is not None:
        columns.append(splats.binding[:, None])
        names.append("binding_0")
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    body = np.concatenate([np.asarray(c, "<f4") for c in columns], 1)
    Path(path).write_bytes("\n".join(header).encode("ascii") + body.astype("<f4").tobytes())


def read_splats(path: str | Path) -> Splats:
    """Read a 3DGS PLY by property name; unknown properties are left out.

    Raises:
        ArtifactError: the file is no binary PLY, is cut short, lacks a property, or holds a
            non-finite value.
    """
    path = Path(path)
    table = _vertices(path)
    names = table.dtype.names or ()

    def take(*wanted: str) -> NDArray[np.float32]:
        missing = [name for name in wanted if name not in names]
        if missing:
            raise ArtifactError(
                f"{path}: no property {', '.join(missing)}; expected a 3DGS file with x y z, "
                "f_dc_*, opacity, scale_*, rot_*"
            )
        values = np.stack([table[name].astype(np.float32) for name in wanted], -1)
        bad = ~np.isfinite(values).all(-1)
        if bad.any():
            raise ArtifactError(f"{path}: splat {int(bad.argmax())} has a non-finite {wanted[0]}")
        return values

    count = sum(name.startswith("f_rest_") for name in names)
    if count % 3 or count // 3 not in _REST:
        raise ArtifactError(f"{path}: {count} f_rest properties; expected 0, 9, 24 or 45")
    rest = np.zeros((len(table), 0, 3), np.float32)
    if count:
        flat = take(*(f"f_rest_{k}" for k in range(count)))
        rest = np.ascontiguousarray(flat.reshape(-1, 3, count // 3).transpose(0, 2, 1))
    return Splats(
        take("x", "y", "z"),
        take(*(f"f_dc_{k}" for k in range(3))),
        rest,
        take("opacity")[:, 0],
        take(*(f"scale_{k}" for k in range(3))),
        take(*(f"rot_{k}" for k in range(4))),
        take("binding_0")[:, 0].astype(np.int32) if "binding_0" in names else None,
    )


def _vertices(path: Path) -> NDArray[np.void]:
    """The `vertex` element of a binary PLY as a structured array."""
    data = path.read_bytes()
    end = data.find(b"end_header\n")
    if not data.startswith(b"ply") or end < 0:
        raise ArtifactError(f"{path}: not a PLY file (no header)")
    lines = data[:end].decode("ascii", "replace").split("\n")
    order = ""
    elements: list[tuple[str, int, list[tuple[str, str]]]] = []
    for line in lines:
        words = line.split()
        if words[:1] == ["format"]:
            order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(words[1], "")
        elif words[:1] == ["element"] and len(words) == 3 and words[2].isdigit():
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            if not elements or len(words) != 3 or words[1] not in _TYPES:
                if elements and elements[-1][0] != "vertex" and elements[0][0] == "vertex":
                    break  # lists behind the vertices do not matter
                raise ArtifactError(f"{path}: cannot read the header line {line!r}")
            elements[-1][2].append((words[2], order + _TYPES[words[1]]))
    if not order:
        raise ArtifactError(f"{path}: only binary PLY files are read; convert this one")
    at = end + len(b"end_header\n")
    for name, count, properties in elements:
        if len({word for word, _ in properties}) < len(properties):
            raise ArtifactError(f"{path}: a property of {name} occurs twice in the header")
        kind = np.dtype(properties)
        if name == "vertex":
            if len(data) < at + count * kind.itemsize:
                raise ArtifactError(f"{path}: cut short; {count} vertices do not fit in the file")
            return np.frombuffer(data, kind, count, at)
        at += count * kind.itemsize
    raise ArtifactError(f"{path}: no vertex element")
