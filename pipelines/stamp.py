"""The digest of an artifact inside the files that leave it, where their format has room for it.

Inside an artifact nothing says where it came from, for equal content must have equal bytes; a file
that leaves the workspace carries its stamp, and can be asked (`headworks audit FILE`).
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headworks.errors import ArtifactError, CaptureError
from pipelines.stamp_jpeg import read_comments, write_comments

PREFIX = "headworks."
Stamp = Mapping[str, str]
"""`digest` (of the artifact), `key` (of its recipe), `stage`."""

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_HEADER = 100 << 20


def stamp_file(path: Path, stamp: Stamp) -> bool:
    """Write a stamp into a PNG, JPEG, MP4, MOV, PLY, GLB or safetensors file, in place.

    Args:
        path: the file, not part of an artifact any more. stamp: what to write.

    Returns:
        Whether its format has room for it.

    Raises:
        ArtifactError: the file is not what its name says.
    """
    writers = {
        ".png": _stamp_png,
        ".jpg": _stamp_jpeg,
        ".safetensors": _stamp_safetensors,
        ".mp4": _stamp_video,
        ".mov": _stamp_video,
        ".ply": _stamp_ply,
        ".glb": _stamp_glb,
    }
    writer = writers.get(path.suffix.lower())
    if writer is None:
        return False
    writer(path, {f"{PREFIX}{name}": value for name, value in stamp.items()})
    return True


def read_stamp(path: Path) -> dict[str, str]:
    """The stamp in a file (or in `FILE.headworks.json` beside it); empty where there is none."""
    beside = path.with_name(path.name + ".headworks.json")
    try:
        if beside.is_file():
            fields = json.loads(beside.read_text(encoding="utf-8"))
        else:
            readers = {
                ".png": _png_text,
                ".jpg": read_comments,
                ".safetensors": _safetensors_metadata,
                ".mp4": _video_metadata,
                ".mov": _video_metadata,
                ".ply": _ply_comments,
                ".glb": _glb_extras,
            }
            reader = readers.get(path.suffix.lower())
            fields = reader(path) if reader is not None else {}
    except (OSError, ValueError, RecursionError, struct.error, ArtifactError):
        return {}
    if not isinstance(fields, dict):
        return {}
    return {
        name.removeprefix(PREFIX): value
        for name, value in fields.items()
        if name.startswith(PREFIX) and isinstance(value, str)
    }


# PNG: one tEXt chunk per word, after the header


def _png_chunks(data: bytes, path: Path) -> list[tuple[bytes, bytes]]:
    if data[:8] != _PNG:
        raise ArtifactError(f"{path}: not a PNG file")
    chunks, place = [], 8
    while place < len(data):
        if place + 12 > len(data):
            raise ArtifactError(f"{path}: the PNG file breaks off")
        (size,) = struct.unpack(">I", data[place : place + 4])
        if place + 12 + size > len(data):
            raise ArtifactError(f"{path}: the PNG file breaks off")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += 12 + size
    return chunks


def _png_text(path: Path) -> dict[str, str]:
    found = {}
    for kind, body in _png_chunks(path.read_bytes(), path):
        name, nul, value = body.partition(b"\0")
        if kind == b"tEXt" and nul:
            found[name.decode("latin-1")] = value.decode("latin-1")
    return found


def _stamp_png(path: Path, fields: Mapping[str, str]) -> None:
    chunks = [
        (kind, body)
        for kind, body in _png_chunks(path.read_bytes(), path)
        if not (kind == b"tEXt" and body.startswith(PREFIX.encode()))
    ]
    new = [(b"tEXt", f"{name}\0{value}".encode("latin-1")) for name, value in fields.items()]
    with open(path, "wb") as handle:
        handle.write(_PNG)
        for kind, body in [*chunks[:1], *new, *chunks[1:]]:
            check = zlib.crc32(kind + body)
            handle.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check))


def _stamp_jpeg(path: Path, fields: Mapping[str, str]) -> None:
    write_comments(path, PREFIX, fields)


# safetensors: `__metadata__` of its header


def _safetensors_header(path: Path) -> tuple[dict[str, object], int]:
    with open(path, "rb") as handle:
        (size,) = struct.unpack("<Q", handle.read(8))
        if size > min(_MAX_HEADER, path.stat().st_size):
            raise ArtifactError(f"{path}: not a safetensors file")
        header = json.loads(handle.read(size))
    if not isinstance(header, dict):
        raise ArtifactError(f"{path}: not a safetensors file")
    return header, 8 + size


def _safetensors_metadata(path: Path) -> dict[str, str]:
    metadata = _safetensors_header(path)[0].get("__metadata__")
    return metadata if isinstance(metadata, dict) else {}


def _stamp_safetensors(path: Path, fields: Mapping[str, str]) -> None:
    try:
        header, start = _safetensors_header(path)
    except (ValueError, struct.error) as error:
        raise ArtifactError(f"{path}: not a safetensors file ({error})") from None
    metadata = header.get("__metadata__")
    header["__metadata__"] = {**(metadata if isinstance(metadata, dict) else {}), **fields}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    body = path.read_bytes()[start:]
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


# MP4 and MOV: the container's own tags; the streams are copied, not coded again


def _video_metadata(path: Path) -> dict[str, str]:
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            text = container.metadata.get("comment", "")
    except (av.FFmpegError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: not a readable video ({error})") from None
    words = dict(word.partition("=")[::2] for word in text.split() if "=" in word)
    return {name: value for name, value in words.items() if name.startswith(PREFIX)}


def _stamp_video(path: Path, fields: Mapping[str, str]) -> None:
    import av

    fresh = path.with_name(f".stamped.{path.name}")
    try:
        with (
            av.open(str(path), metadata_errors="replace") as source,
            av.open(str(fresh), "w") as target,
        ):
            target.metadata.update(source.metadata)
            target.metadata["comment"] = " ".join(f"{n}={v}" for n, v in fields.items())
            streams = {}
            for stream in source.streams:
                if stream.type in ("video", "audio"):
                    streams[stream.index] = target.add_stream_from_template(stream)
            for packet in source.demux(*(source.streams[n] for n in streams)):
                if packet.dts is not None:
                    index = packet.stream.index
                    packet.stream = streams[index]
                    target.mux(packet)
        fresh.replace(path)
    except av.FFmpegError as error:
        raise ArtifactError(f"{path}: not a readable video ({error})") from None
    finally:
        fresh.unlink(missing_ok=True)


# PLY: comment lines of its header


def _ply_header(path: Path) -> bytes:
    with open(path, "rb") as handle:
        head = handle.read(1 << 16)
    end = head.find(b"end_header")
    if not head.startswith(b"ply") or end < 0:
        raise ArtifactError(f"{path}: not a PLY file")
    return head[:end]


def _ply_comments(path: Path) -> dict[str, str]:
    found = {}
    for line in _ply_header(path).decode("latin-1").splitlines():
        if line.startswith(f"comment {PREFIX}"):
            name, _, value = line.removeprefix("comment ").partition(" ")
            found[name] = value
    return found


def _stamp_ply(path: Path, fields: Mapping[str, str]) -> None:
    head = _ply_header(path)
    lines = [
        line for line in head.split(b"\n")[:-1] if not line.startswith(f"comment {PREFIX}".encode())
    ]
    lines[2:2] = [f"comment {name} {value}".encode("latin-1") for name, value in fields.items()]
    path.write_bytes(b"\n".join(lines) + b"\n" + path.read_bytes()[len(head) :])


# GLB: extras of the asset, in the JSON chunk that comes first


def _glb_json(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON of a binary glTF file, and what follows it."""
    data = path.read_bytes()
    try:
        magic, version, _ = struct.unpack_from("<4sII", data)
        size, kind = struct.unpack_from("<I4s", data, 12)
        body = json.loads(data[20 : 20 + size])
    except (ValueError, struct.error, RecursionError) as error:
        raise ArtifactError(f"{path}: not a GLB file ({error})") from None
    if magic != b"glTF" or version != 2 or kind != b"JSON" or not isinstance(body, dict):
        raise ArtifactError(f"{path}: not a GLB file of version 2")
    if not isinstance(body.get("asset"), dict):
        raise ArtifactError(f"{path}: not a GLB file (no asset)")
    return body, data[20 + size :]


def _glb_extras(path: Path) -> dict[str, str]:
    extras = _glb_json(path)[0]["asset"].get("extras")
    return extras if isinstance(extras, dict) else {}


def _stamp_glb(path: Path, fields: Mapping[str, str]) -> None:
    body, rest = _glb_json(path)
    asset = body["asset"]
    old = asset.get("extras") if isinstance(asset.get("extras"), dict) else {}
    asset["extras"] = {**{k: v for k, v in old.items() if not k.startswith(PREFIX)}, **fields}
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(rest))
    path.write_bytes(head + struct.pack("<I4s", len(text), b"JSON") + text + rest)


def stamp_beside(path: Path, stamp: Stamp) -> None:
    """Write the stamp of a file, or of a folder, to `NAME.headworks.json` beside it."""
    fields = {f"{PREFIX}{name}": value for name, value in stamp.items()}
    beside = path.with_name(path.name + ".headworks.json")
    beside.write_text(json.dumps(fields, sort_keys=True) + "\n")


def export(source: Path, target: Path, stamp: Stamp) -> list[str]:
    """Copy an artifact out of the workspace, each file with its stamp.

    Files whose format has no room for it get `FILE.headworks.json` beside them.

    Args:
        source: published folder. target: a folder that is not there yet. stamp: what to write.

    Returns:
        Files written, relative to the target.

    Raises:
        CaptureError: the target is there already.
    """
    import shutil

    from pipelines.files import walk_files

    if target.exists():
        raise CaptureError(f"{target}: is there already; choose another place")
    shutil.copytree(source, target)
    names = [relative for relative, _ in walk_files(target)]
    inside = {n for n in names if any(part.endswith(".zarr") for part in Path(n).parts[:-1])}
    for name in names:
        path = target / name
        if name not in inside and not stamp_file(path, stamp):
            stamp_beside(path, stamp)
    for folder in sorted({Path(n).parts[0] for n in inside}):
        stamp_beside(target / folder, stamp)
    return [relative for relative, _ in walk_files(target)]
