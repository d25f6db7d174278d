"""A small writer of binary glTF 2.0: one buffer, typed accessors, the rest is plain JSON.

Source: Khronos Group, glTF 2.0 Specification (2021), sections 3.6 (accessors), 4.4 (GLB).
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
_COMPONENTS = {"uint8": 5121, "uint16": 5123, "uint32": 5125, "float32": 5126}
_TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}


class Glb:
    """A glTF asset in the making.

    Attributes:
        body: its JSON; add nodes, meshes, ... to it.
    """

    def __init__(self) -> None:
        self.body: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "headworks"},
            "bufferViews": [],
            "accessors": [],
        }
        self._data = bytearray()

    def add(self, kind: str, value: dict[str, Any]) -> int:
        """Append to one of the body's lists.

        Returns:
            The index, by which others refer to it.
        """
        self.body.setdefault(kind, []).append(value)
        return len(self.body[kind]) - 1

    def view(self, data: bytes, target: int | None = None) -> int:
        """Bytes of the buffer, aligned to 4; returns the index of their view."""
        self._data += b"\0" * (-len(self._data) % 4)
        view: dict[str, Any] = {
            "buffer": 0,
            "byteOffset": len(self._data),
            "byteLength": len(data),
        }
        if target is not None:
            view["target"] = target
        self._data += data
        return self.add("bufferViews", view)

    def accessor(self, array: NDArray[Any], target: int | None = None, bounds: bool = False) -> int:
        """An array [N, ...] of uint8, uint16, uint32 or float32.

        Args:
            target: what a GPU uses it for. bounds: state least and largest values, as positions
                and animation times must.
        """
        array = np.ascontiguousarray(array)
        if array.dtype.name not in _COMPONENTS or array.shape[1:] not in _TYPES:
            raise ValueError(f"no accessor for {array.dtype} {array.shape}")
        # Matrices are stored by columns.
        stored = array.transpose(0, 2, 1) if array.ndim == 3 else array
        accessor: dict[str, Any] = {
            "bufferView": self.view(np.ascontiguousarray(stored).tobytes(), target),
            "componentType": _COMPONENTS[array.dtype.name],
            "count": len(array),
            "type": _TYPES[array.shape[1:]],
        }
        if bounds:
            flat = array.reshape(len(array), -1)
            accessor["min"] = [v.item() for v in flat.min(0)]
            accessor["max"] = [v.item() for v in flat.max(0)]
        return self.add("accessors", accessor)

    def tobytes(self) -> bytes:
        """The file."""
        self.body["buffers"] = [{"byteLength": len(self._data)}]
        text = json.dumps(self.body, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        data = bytes(self._data) + b"\0" * (-len(self._data) % 4)
        total = 12 + 8 + len(text) + 8 + len(data)
        return b"".join(
            [
                struct.pack("<4sII", b"glTF", 2, total),
                struct.pack("<I4s", len(text), b"JSON"),
                text,
                struct.pack("<I4s", len(data), b"BIN\0"),
                data,
            ]
        )
