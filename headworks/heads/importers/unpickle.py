"""Reading foreign pickles of arrays without running anything that is in them.

A pickle is a program. This reader knows numpy's arrays, scipy's compressed sparse matrices and
chumpy's array wrappers (which FLAME's files are made of), each rebuilt as inert data; whatever else
a pickle names is refused before it is looked up.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy._core import multiarray
from numpy.typing import NDArray

from headworks.headfiles import HeadFileError


class _Inert:
    """State of an object whose class is not loaded."""

    def __init__(self, *arguments: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # (dict, slots)
            state = {**(state[0] or {}), **(state[1] or {})}
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("an array wrapper whose state is not a dictionary")
        self.state = state


class _Wrapper(_Inert):
    """chumpy's `Ch`: an array under the name x."""


class _Columns(_Inert):
    """scipy's csc_matrix."""


class _Rows(_Inert):
    """scipy's csr_matrix."""


def _reconstructor(kind: Any, base: Any, state: Any) -> Any:
    """`copyreg._reconstructor`, for inert objects only."""
    if not (isinstance(kind, type) and issubclass(kind, _Inert)) or base is not object:
        raise pickle.UnpicklingError("an object that is no array")
    return kind()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`, which Python 3 uses for bytes in old protocols."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes in an unknown encoding")
    return text.encode("latin1")


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    """`numpy._core.numeric._frombuffer`, of protocol 5."""
    if np.dtype(dtype).hasobject:
        raise pickle.UnpicklingError("an array of objects from a buffer")
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _array(kind: Any, shape: Any, dtype: Any) -> NDArray[Any]:
    """`numpy.core.multiarray._reconstruct`: an empty array that its state then fills."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError("a subclass of numpy's array")
    made: Any = multiarray._reconstruct(np.ndarray, (0,), b"b")
    return made


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    **{(module, "_reconstruct"): _array for module in _MULTIARRAY},
    **{(module, "scalar"): multiarray.scalar for module in _MULTIARRAY},
    **{(module, "_frombuffer"): _frombuffer for module in _NUMERIC},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    **{(module, "_reconstructor"): _reconstructor for module in ("copy_reg", "copyreg")},
    **{(module, "object"): object for module in ("__builtin__", "builtins")},
}
_SPARSE = {"csc_matrix": _Columns, "csr_matrix": _Rows}


class _Reader(pickle.Unpickler):
    def __init__(self, file: BinaryIO, where: str) -> None:
        super().__init__(file, encoding="latin1")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        if known is not None:
            return known
        if module.partition(".")[0] == "chumpy" and name.isidentifier():
            return _Wrapper
        if module.startswith("scipy.sparse") and name in _SPARSE:
            return _SPARSE[name]
        raise HeadFileError(
            f"{self._where}: names {module}.{name}, which is no array; reading it could run "
            "foreign code, so it is refused. Use the official file, or an npz export of its arrays"
        )

    def persistent_load(self, pid: Any) -> Any:
        raise HeadFileError(f"{self._where}: refers to objects outside the file; refused")


def read_pickle(path: Path) -> Any:
    """The content of a pickle: plain values and numeric arrays.

    Args:
        path: a pickle of arrays, lists and dictionaries, by Python 2 or 3.

    Raises:
        HeadFileError: it cannot be read, or names anything that is no array.
    """
    try:
        with path.open("rb") as file:
            return _plain(_Reader(file, str(path)).load(), str(path))
    except OSError as error:
        raise HeadFileError(f"{path}: not readable ({error})") from None
    except HeadFileError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise HeadFileError(f"{path}: not a pickle of arrays ({error})") from None


def read_npy(path: Path) -> Any:
    """The content of an npy file, which may hold a pickled dictionary of arrays.

    Raises:
        HeadFileError: as for `read_pickle`.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read is None:
                raise ValueError(f"npy version {version}")
            _, _, dtype = read(file)
            if not dtype.hasobject:
                return np.load(path, allow_pickle=False)
            content = _plain(_Reader(io.BytesIO(file.read()), str(path)).load(), str(path))
    except (OSError, ValueError) as error:
        raise HeadFileError(f"{path}: not a readable npy file ({error})") from None
    except HeadFileError:
        raise
    except Exception as error:
        raise HeadFileError(f"{path}: not a pickle of arrays ({error})") from None
    return content


def _plain(value: Any, where: str) -> Any:
    """Inert objects as arrays, in dictionaries, lists and tuples."""
    if isinstance(value, dict):
        return {_plain(k, where): _plain(v, where) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(v, where) for v in value)
    if isinstance(value, _Wrapper):
        if "x" not in value.state:
            raise HeadFileError(
                f"{where}: an array that chumpy would compute from others; save the model's "
                "arrays as plain numpy arrays (npz) first"
            )
        return _plain(value.state["x"], where)
    if isinstance(value, (_Columns, _Rows)):
        return _dense(value, where)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        if value.shape == ():
            return _plain(value.item(), where)
        return [_plain(v, where) for v in value.ravel().tolist()]
    if isinstance(value, _Inert):
        raise HeadFileError(f"{where}: an object that is no array")
    return value


def _dense(matrix: _Columns | _Rows, where: str) -> NDArray[np.float64]:
    state = matrix.state
    shape: Any = state.get("_shape", state.get("shape"))
    try:
        rows, columns = (int(n) for n in shape)
        if rows * columns > 2**28 or min(rows, columns) < 0:
            raise ValueError(f"shape {shape}")
        data = np.asarray(state["data"], np.float64)
        inner = np.asarray(state["indices"], np.int64)
        starts = np.asarray(state["indptr"], np.int64)
        outer = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        at = (inner, outer) if isinstance(matrix, _Columns) else (outer, inner)
        if len(inner) and (min(a.min() for a in at) < 0):
            raise ValueError("negative index")
        out = np.zeros((rows, columns))
        np.add.at(out, at, data)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise HeadFileError(f"{where}: a damaged sparse matrix ({error})") from None
    return out
