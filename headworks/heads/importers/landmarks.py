"""Published index files of the 68 landmarks, in the forms in which they are passed around.

A landmark is a triangle and barycentric coordinates; a file that names vertices gets the first
triangle with that corner. Landmarks count from 0 in the iBUG order.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.headfiles import HeadFileError
from headworks.heads.importers.unpickle import read_npy, read_pickle

Array = NDArray[np.float64]
Marks = dict[int, tuple[int, Array]]
"""iBUG index -> (triangle, barycentric [3])."""

_CONTOUR = 17


def at_vertices(vertices: Mapping[int, int], faces: NDArray[np.int64]) -> Marks:
    """Landmarks that are vertices: iBUG index -> vertex.

    Raises:
        HeadFileError: a vertex that no triangle has.
    """
    marks: Marks = {}
    for index, vertex in vertices.items():
        owners = np.flatnonzero((faces == vertex).any(1))
        if not len(owners):
            raise HeadFileError(
                f"landmark {index}: no triangle has vertex {vertex}; are the landmarks of another "
                "version of the model?"
            )
        marks[int(index)] = int(owners[0]), (faces[owners[0]] == vertex).astype(np.float64)
    return marks


def read_landmarks(path: Path, faces: NDArray[np.int64]) -> Marks:
    """Read one landmark file.

    Understood: FLAME's `flame_static_embedding.pkl` (51 inner landmarks), its
    `flame_dynamic_embedding.npy` (the jaw, by head turn; the frontal one is taken), DECA's and
    VHAP's `landmark_embedding*.npy` (68 or more), npz files with `lmk_face_idx` and
    `lmk_b_coords`; eos' `ibug_to_*.txt` (vertex numbers); a text, JSON or npy list of 68 vertices.

    Raises:
        HeadFileError: none of these, or triangles or vertices that the model does not have.
    """
    suffix = path.suffix.lower()
    try:
        content: Any
        if suffix in (".pkl", ".pickle"):
            content = read_pickle(path)
        elif suffix == ".npy":
            content = read_npy(path)
        elif suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                content = {name: archive[name] for name in archive.files}
        elif suffix == ".json":
            content = json.loads(path.read_text())
        else:
            content = _text(path.read_text())
        return _marks(content, faces)
    except HeadFileError as error:
        raise HeadFileError(f"{path}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise HeadFileError(f"{path}: no landmarks that can be read ({error!r})") from None


def _text(text: str) -> Any:
    if "[landmark_mappings]" in text:
        table = tomllib.loads(text)["landmark_mappings"]
        return {int(name) - 1: int(vertex) for name, vertex in table.items()}  # iBUG from 1
    return [int(word) for word in text.replace(",", " ").split()]


def _marks(content: Any, faces: NDArray[np.int64]) -> Marks:
    if isinstance(content, Mapping) and all(isinstance(k, int) for k in content):
        return at_vertices(content, faces)
    if isinstance(content, Mapping):
        if "full_lmk_faces_idx" in content:
            ids, bary = content["full_lmk_faces_idx"], content["full_lmk_bary_coords"]
        else:
            ids, bary = content["lmk_face_idx"], content["lmk_b_coords"]
        ids = np.asarray(ids, np.int64)
        bary = np.asarray(bary, np.float64)
        turns = ids.shape[-1] == _CONTOUR and ids.ndim == 2  # a row per degree; row 0 is frontal
        ids, bary = ids.reshape(-1, ids.shape[-1])[0], bary.reshape(-1, ids.shape[-1], 3)[0]
        if turns or len(ids) == _CONTOUR:
            numbers = range(_CONTOUR)
        elif len(ids) == 51:
            numbers = range(_CONTOUR, 68)
        elif len(ids) >= 68:
            numbers = range(68)
        else:
            raise HeadFileError(f"{len(ids)} landmarks, expected 17, 51 or 68")
        if ids.min() < 0 or ids.max() >= len(faces):
            raise HeadFileError(f"triangle {ids.max()}, but the model has {len(faces)}")
        total = bary.sum(1, keepdims=True)
        if not np.isfinite(bary).all() or np.abs(total - 1).max() > 0.05:
            raise HeadFileError("barycentric coordinates that do not sum to 1")
        return {n: (int(ids[i]), bary[i] / total[i]) for i, n in enumerate(numbers)}
    vertices = np.asarray(content).reshape(-1)
    if len(vertices) != 68 or vertices.dtype.kind not in "iuf":
        raise HeadFileError(f"{len(vertices)} values, expected the 68 vertices of the landmarks")
    return at_vertices(dict(enumerate(vertices.astype(np.int64).tolist())), faces)
