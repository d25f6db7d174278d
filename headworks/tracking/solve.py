"""Normal equations of the two fits: shared unknowns over keyframes, and a chain of frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solveh_banded

Array = NDArray[np.float64]


def solve_shared(
    frame: Array, cross: Array, shared: Array, frame_rhs: Array, shared_rhs: Array
) -> tuple[Array, Array]:
    """Solve [[diag(frame), cross], [cross^T, shared]] x = rhs by the Schur complement.

    Args:
        frame: [T, n, n], positive definite. cross: [T, n, m]. shared: [m, m].
        frame_rhs: [T, n]. shared_rhs: [m].

    Returns:
        frame unknowns [T, n], shared unknowns [m].
    """
    together = np.concatenate([cross, frame_rhs[..., None]], -1)
    solved = np.linalg.solve(frame, together)
    eliminated, own = solved[..., :-1], solved[..., -1]
    schur = shared - np.einsum("tnm,tnk->mk", cross, eliminated)
    rhs = shared_rhs - np.einsum("tnm,tn->m", cross, own)
    x = cho_solve(cho_factor(schur), rhs)
    return own - eliminated @ x, x


def solve_chain(blocks: Array, first: Array, second: Array, rhs: Array) -> Array:
    """Solve a chain of frames whose neighbours are coupled variable by variable.

    Args:
        blocks: [T, n, n] on the diagonal. first: [T-1, n] couples t with t+1.
        second: [T-2, n] couples t with t+2. rhs: [T, n].

    Returns:
        [T, n]. The whole matrix must be positive definite.
    """
    t, n = rhs.shape
    band = np.zeros((2 * n + 1, t, n))
    for offset in range(n):
        band[offset, :, : n - offset] = np.einsum("tii->ti", blocks[:, offset:, : n - offset])
    if t > 1:
        band[n, :-1] += first
    if t > 2:
        band[2 * n, :-2] += second
    return solveh_banded(band.reshape(2 * n + 1, t * n), rhs.reshape(-1), lower=True).reshape(t, n)
