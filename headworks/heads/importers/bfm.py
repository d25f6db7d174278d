"""Basel Face Model 2009 (.mat) and 2017 (.h5).

| file | unit | modes |
|---|---|---|
| 2009 `01_MorphableModel.mat` (`shapeMU`, `shapePC`, `shapeEV`, `tl`) | micrometre | 199, EV: std |
| its expressions: `Exp_Pca.bin`, `std_exp.txt`, `BFM_exp_idx.mat` beside it | micrometre | 79 |
| `BFM_model_front.mat`, `BFM09_model_info.mat` (`meanshape`, `idBase`, `exBase`, `tri`) |
  decimetre | 80 + 64, bases times their std |
| 2017 `model2017-1_*.h5` (`shape/model`, `expression/model`, variances) | millimetre | 199 + 100 |

All look along +z with +y up, so +x is the subject's left. The 2009 files list triangles clockwise;
they are turned where they face inwards. Coefficients are in standard deviations. No UVs, no joints:
`finish` derives them. The eyes are part of the skin and do not turn.

Source: Paysan et al. (2009); Gerig et al., Morphable Face Models - An Open Framework (2017).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.headfiles import HeadFileError
from headworks.heads.importers.finish import Foreign, outward
from headworks.heads.importers.landmarks import Marks, at_vertices, read_landmarks

LICENCE = (
    "Basel Face Model: University of Basel, for research only, not to be passed on "
    "(faces.dmi.unibas.ch); the expressions of Exp_Pca.bin and of the 64-mode files come with "
    "terms of their own. This converted copy is bound by the same terms"
)
_IDENTITY, _EXPRESSIONS = 80, 64
"""Modes kept unless asked otherwise: as the public fitters do."""

_NAMED = {
    "center.nose.tip": 30, "center.chin.tip": 8, "right.eye.corner_outer": 36,
    "right.eye.corner_inner": 39, "left.eye.corner_inner": 42, "left.eye.corner_outer": 45,
    "right.lips.corner": 48, "left.lips.corner": 54, "center.lips.upper.outer": 51,
    "center.lips.lower.outer": 57, "center.lips.upper.inner": 62, "center.lips.lower.inner": 66,
}  # fmt: skip
"""Landmarks of the 2017 files' metadata that are iBUG points."""


def read_bfm(
    path: Path, landmarks: Path | None = None, identity: int = 0, expressions: int = 0
) -> tuple[Foreign, list[Path]]:
    """Read a Basel Face Model.

    Args:
        path: .mat or .h5. landmarks: a landmark file (vertex numbers), instead of what the model
            says itself. identity, expressions: how many modes to keep; 0: 80 and 64.

    Returns:
        The model, and all files that were read.

    Raises:
        HeadFileError: the file is none of the known layouts, or damaged.
    """
    identity, expressions = identity or _IDENTITY, expressions or _EXPRESSIONS
    used = [path]
    if path.suffix.lower() in (".h5", ".hdf5"):
        model = _read_2017(path, identity, expressions)
    else:
        model = _read_mat(path, identity, expressions, used)
    vertices, faces, shapes, moves, marks, note = model
    if not 0 <= faces.min() <= faces.max() < len(vertices):
        raise HeadFileError(f"{path}: triangles name vertices that are not there")
    faces = outward(vertices, faces)
    found = marks(faces)
    if landmarks is not None:
        found, note = read_landmarks(landmarks, faces), f"from {landmarks.name}"
        used.append(landmarks)
    return (
        Foreign(
            kind="bfm",
            vertices=vertices,
            faces=faces,
            identity=shapes,
            expression=moves,
            expression_names=tuple(f"expression{k:03d}" for k in range(len(moves))),
            signed=(True,) * len(moves),
            marks=found,
            mark_note=note if found else "none in the file, none given",
        ),
        used,
    )


_Model = tuple[
    NDArray[np.float64], NDArray[np.int64], NDArray[np.floating], NDArray[np.floating],
    Callable[[NDArray[np.int64]], Marks], str,
]  # fmt: skip


def _modes(basis: Any, std: Any, count: int, unit: float, rows: int) -> NDArray[np.float32]:
    """Columns [3 V, K] -> [k, V, 3] metres per standard deviation."""
    basis = np.asarray(basis)
    if basis.ndim != 2 or len(basis) != 3 * rows:
        raise ValueError(f"a basis of {basis.shape} for {rows} vertices")
    kept = basis[:, :count].astype(np.float64)
    kept = kept * (np.asarray(std, np.float64).reshape(-1)[: kept.shape[1]] * unit)
    return np.ascontiguousarray(kept.T.reshape(-1, rows, 3), np.float32)


def _read_mat(path: Path, identity: int, expressions: int, used: list[Path]) -> _Model:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        data = loadmat(path)
        if "shapeMU" in data:
            return _read_2009(path, data, identity, expressions, used)
        if "meanshape" in data:
            return _read_front(data, identity, expressions)
    except (OSError, ValueError, KeyError, TypeError, IndexError, NotImplementedError,
            MatReadError) as error:  # fmt: skip
        raise HeadFileError(f"{path}: not a readable Basel Face Model ({error})") from None
    names = ", ".join(k for k in data if not k.startswith("__"))
    raise HeadFileError(
        f"{path}: no Basel Face Model: expected shapeMU, shapePC, shapeEV, tl (2009) or meanshape, "
        f"idBase, exBase, tri; it holds {names}"
    )


def _read_2009(
    path: Path, data: Mapping[str, Any], identity: int, expressions: int, used: list[Path]
) -> _Model:
    unit = 1e-6
    mean = np.asarray(data["shapeMU"], np.float64).reshape(-1, 3) * unit
    shapes = _modes(data["shapePC"], data["shapeEV"], identity, unit, len(mean))
    faces = np.asarray(data["tl"]).astype(np.int64) - 1
    moves = np.zeros((0, len(mean), 3), np.float32)
    files = [path.parent / n for n in ("Exp_Pca.bin", "std_exp.txt", "BFM_exp_idx.mat")]
    if all(f.is_file() for f in files):
        moves = _exp_pca(files, expressions, len(mean))
        used += files
    return mean, faces, shapes, moves, lambda faces: {}, ""


def _exp_pca(files: list[Path], count: int, rows: int) -> NDArray[np.float32]:
    """The expression basis of FaceWarehouse on the trimmed 2009 mesh: [k, V, 3] metres."""
    from scipy.io import loadmat

    raw = files[0].read_bytes()
    modes = int(np.frombuffer(raw, "<i4", 1)[0])
    values = np.frombuffer(raw, "<f4", offset=4)
    trimmed = np.asarray(loadmat(files[2])["trimIndex"]).reshape(-1).astype(np.int64) - 1
    if not 0 < modes < 10_000 or len(values) != 3 * len(trimmed) * (modes + 1):
        raise ValueError(f"{files[0].name} does not go with {files[2].name}")
    if not 0 <= trimmed.min() <= trimmed.max() < rows:
        raise ValueError(f"{files[2].name} names vertices that are not there")
    std = np.loadtxt(files[1]).reshape(-1)[:count]
    basis = values[3 * len(trimmed) :].reshape(modes, len(trimmed), 3)[: len(std)]
    moves = np.zeros((len(basis), rows, 3), np.float32)
    moves[:, trimmed] = basis * (std * 1e-6)[: len(basis), None, None]
    return moves


def _read_front(data: Mapping[str, Any], identity: int, expressions: int) -> _Model:
    unit = 0.1
    mean = np.asarray(data["meanshape"], np.float64).reshape(-1, 3) * unit
    one = np.ones(10_000)
    shapes = _modes(data["idBase"], one, identity, unit, len(mean))
    moves = _modes(data["exBase"], one, expressions, unit, len(mean))
    faces = np.asarray(data["tri"]).astype(np.int64) - 1
    points = np.asarray(data.get("keypoints", [])).reshape(-1).astype(np.int64) - 1

    def marks(faces: NDArray[np.int64]) -> Marks:
        return at_vertices(dict(enumerate(points.tolist())), faces) if len(points) == 68 else {}

    return mean, faces, shapes, moves, marks, "the file's own keypoints"


def _read_2017(path: Path, identity: int, expressions: int) -> _Model:
    try:
        import h5py
    except ImportError:
        raise HeadFileError(
            f"{path}: reading HDF5 needs the package h5py; type: pip install 'headworks[bfm]'"
        ) from None
    unit = 1e-3
    try:
        with h5py.File(path, "r") as file:
            mean = np.asarray(file["shape/model/mean"], np.float64).reshape(-1, 3) * unit
            rows = len(mean)
            shapes = _modes(
                file["shape/model/pcaBasis"][:, :identity],
                np.sqrt(np.asarray(file["shape/model/pcaVariance"], np.float64)),
                identity, unit, rows,
            )  # fmt: skip
            faces = np.asarray(file["shape/representer/cells"]).astype(np.int64)
            faces = np.ascontiguousarray(faces.T if faces.shape[0] == 3 else faces)
            moves = np.zeros((0, rows, 3), np.float32)
            if "expression/model/pcaBasis" in file:
                moves = _modes(
                    file["expression/model/pcaBasis"][:, :expressions],
                    np.sqrt(np.asarray(file["expression/model/pcaVariance"], np.float64)),
                    expressions, unit, rows,
                )  # fmt: skip
                mean += np.asarray(file["expression/model/mean"], np.float64).reshape(-1, 3) * unit
            named = _metadata(file) if "metadata/landmarks/json" in file else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HeadFileError(f"{path}: not a readable Basel Face Model 2017 ({error})") from None
    points = {_NAMED[name]: at * unit for name, at in named.items() if name in _NAMED}

    def marks(faces: NDArray[np.int64]) -> Marks:
        used = np.unique(faces)
        nearest = {
            i: int(used[np.linalg.norm(mean[used] - at, axis=1).argmin()])
            for i, at in points.items()
        }
        return at_vertices(nearest, faces)

    return mean, faces, shapes, moves, marks, "the file's own landmarks (metadata/landmarks)"


def _metadata(file: Any) -> dict[str, NDArray[np.float64]]:
    raw = np.asarray(file["metadata/landmarks/json"]).reshape(-1)[0]
    text = raw.decode() if isinstance(raw, bytes) else str(raw)
    return {item["id"]: np.array(item["coordinates"], np.float64) for item in json.loads(text)}
