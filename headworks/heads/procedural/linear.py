"""Small dense linear algebra without BLAS: its threads change the last bits of a result."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@numba.njit(cache=True)
def solve(matrix: Array, right: Array) -> Array:
    """Solve matrix x = right by elimination with row pivoting.

    Args:
        matrix: [N, N]. right: [N, M].

    Returns:
        [N, M].
    """
    size, columns = len(matrix), right.shape[1]
    a = np.zeros((size, size + columns))
    a[:, :size] = matrix
    a[:, size:] = right
    width = size + columns
    for column in range(size):
        pivot = column
        for row in range(column + 1, size):
            if abs(a[row, column]) > abs(a[pivot, column]):
                pivot = row
        if pivot != column:
            for k in range(column, width):
                a[column, k], a[pivot, k] = a[pivot, k], a[column, k]
        for row in range(column + 1, size):
            factor = a[row, column] / a[column, column]
            if factor != 0.0:
                for k in range(column, width):
                    a[row, k] -= factor * a[column, k]
    out = np.zeros((size, columns))
    for c in range(columns):
        for row in range(size - 1, -1, -1):
            total = a[row, size + c]
            for k in range(row + 1, size):
                total -= a[row, k] * out[k, c]
            out[row, c] = total / a[row, row]
    return out


@numba.njit(cache=True)
def cholesky(matrix: Array) -> Array:
    """Lower triangular L of a symmetric positive definite matrix L L^T, [N, N]."""
    size = len(matrix)
    lower = np.zeros((size, size))
    for i in range(size):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i == j:
                if total <= 0.0:
                    raise ValueError("the matrix is not positive definite")
                lower[i, i] = np.sqrt(total)
            else:
                lower[i, j] = total / lower[j, j]
    return lower


def product(a: Array, b: Array) -> Array:
    """a [N, K] times b [K, M], in one order of summation."""
    return np.einsum("nk,km->nm", a, b)
