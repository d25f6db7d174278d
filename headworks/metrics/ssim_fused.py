"""The training form of SSIM in one pass over the rows, with its gradient: the CPU's fast path.

Value and gradient are those of `headworks.metrics.ssim`'s torch form, which the tests hold it
against. Rows of [H, W, 3] are long vectors: a tap of the window is a shift by three numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from headworks.metrics.ssim import C1, C2, TAPS, WINDOW

_HALF = WINDOW // 2
_TAPS = tuple(np.float32(tap) for tap in TAPS[: _HALF + 1])
_C1, _C2 = np.float32(C1), np.float32(C2)
_T0, _T1, _T2, _T3, _T4, _T5 = _TAPS
_ONE, _TWO = np.float32(1), np.float32(2)


@njit(cache=True, fastmath={"contract"}, inline="always")
def _weighted(a, b, c, d, e, f, g, h, i, j, k, out):  # type: ignore[no-untyped-def]
    """Sum of eleven equally long rows, weighted by the window."""
    for n in range(len(out)):
        out[n] = (
            _T5 * f[n]
            + _T4 * (e[n] + g[n])
            + _T3 * (d[n] + h[n])
            + _T2 * (c[n] + i[n])
            + _T1 * (b[n] + j[n])
            + _T0 * (a[n] + k[n])
        )


@njit(cache=True, fastmath={"contract"})
def _across(p: NDArray[np.float32], s: int, out: NDArray[np.float32]) -> None:
    """Blur a row along itself; `p` has 5 * s more numbers on either side than `out`."""
    n = len(out)
    _weighted(
        p[:n], p[s:][:n], p[2 * s :][:n], p[3 * s :][:n], p[4 * s :][:n], p[5 * s :][:n],
        p[6 * s :][:n], p[7 * s :][:n], p[8 * s :][:n], p[9 * s :][:n], p[10 * s :][:n], out,
    )  # fmt: skip


@njit(cache=True, fastmath={"contract"})
def _down(r: NDArray[np.float32], i: int, out: NDArray[np.float32]) -> None:
    """Blur along the columns: `r[i : i + 11]` into one row."""
    _weighted(
        r[i], r[i + 1], r[i + 2], r[i + 3], r[i + 4], r[i + 5],
        r[i + 6], r[i + 7], r[i + 8], r[i + 9], r[i + 10], out,
    )  # fmt: skip


@njit(cache=True, fastmath={"contract"})
def _ssim_rows(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    channels: int,
    with_gradient: bool,
    gradient: NDArray[np.float32],
) -> float:
    """Sum of SSIM over [H, W * channels] rows; d sum / d x into `gradient`."""
    height, n = x.shape
    edge = _HALF * channels
    blurred = np.zeros((5, height + 2 * _HALF, n), np.float32)
    line = np.zeros(n + 2 * edge, np.float32)
    inner = line[edge : edge + n]
    for i in range(height):
        inner[:] = x[i]
        _across(line, channels, blurred[0, i + _HALF])
        inner[:] = y[i]
        _across(line, channels, blurred[1, i + _HALF])
        xi, yi = x[i], y[i]
        for j in range(n):
            inner[j] = xi[j] * xi[j]
        _across(line, channels, blurred[2, i + _HALF])
        for j in range(n):
            inner[j] = yi[j] * yi[j]
        _across(line, channels, blurred[3, i + _HALF])
        for j in range(n):
            inner[j] = xi[j] * yi[j]
        _across(line, channels, blurred[4, i + _HALF])
    mx, my = np.empty(n, np.float32), np.empty(n, np.float32)
    xx, yy, xy = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    value = np.empty(n, np.float32)
    parts = np.zeros((3, height + 2 * _HALF, n if with_gradient else 0), np.float32)
    total = 0.0
    for i in range(height):
        _down(blurred[0], i, mx)
        _down(blurred[1], i, my)
        _down(blurred[2], i, xx)
        _down(blurred[3], i, yy)
        _down(blurred[4], i, xy)
        for j in range(n):
            product, squares = mx[j] * my[j], mx[j] * mx[j] + my[j] * my[j]
            a1, a2 = _TWO * product + _C1, _TWO * (xy[j] - product) + _C2
            b1, b2 = squares + _C1, (xx[j] + yy[j] - squares) + _C2
            value[j] = (a1 * a2) / (b1 * b2)
        row = 0.0
        for j in range(n):
            row += value[j]
        total += row
        if not with_gradient:
            continue
        d_mean, d_square, d_cross = parts[0, i + _HALF], parts[1, i + _HALF], parts[2, i + _HALF]
        for j in range(n):
            product, squares = mx[j] * my[j], mx[j] * mx[j] + my[j] * my[j]
            a1, a2 = _TWO * product + _C1, _TWO * (xy[j] - product) + _C2
            b1, b2 = squares + _C1, (xx[j] + yy[j] - squares) + _C2
            over = _ONE / (b1 * b2)
            d_mean[j] = _TWO * (my[j] * (a2 - a1) * over - value[j] * mx[j] * (b2 - b1) * over)
            d_square[j] = -value[j] * b1 * over
            d_cross[j] = _TWO * a1 * over
    if with_gradient:
        sums = np.empty(n, np.float32)
        for k in range(3):
            for i in range(height):
                inner[:] = parts[k, i + _HALF]
                _across(line, channels, parts[k, i + _HALF])
        for i in range(height):
            _down(parts[0], i, sums)
            gradient[i] = sums
            _down(parts[1], i, sums)
            here, xi, yi = gradient[i], x[i], y[i]
            for j in range(n):
                here[j] += _TWO * xi[j] * sums[j]
            _down(parts[2], i, sums)
            for j in range(n):
                here[j] += yi[j] * sums[j]
    return total


class _FusedSSIM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pred: Tensor, target: Tensor) -> Tensor:
        height, channels = pred.shape[0], pred.shape[2]
        x = pred.detach().contiguous().numpy().reshape(height, -1)
        y = target.detach().contiguous().numpy().reshape(height, -1)
        wanted = bool(ctx.needs_input_grad[0])
        gradient = np.empty_like(x) if wanted else np.empty((0, 0), np.float32)
        total = _ssim_rows(x, y, channels, wanted, gradient)
        if wanted:
            gradient *= np.float32(1 / x.size)
            ctx.gradient = torch.from_numpy(gradient).view_as(pred)
        return pred.new_tensor(total / x.size)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:
        return outer * ctx.gradient, None


def fused_ssim(pred: Tensor, target: Tensor) -> Tensor:
    """Mean SSIM with zero padding of two CPU images; differentiable once, in `pred` alone.

    Args:
        pred: float32 [H, W, C] in [0, 1]. target: the same shape, without gradient.

    Returns:
        [] as `headworks.metrics.ssim.ssim_3dgs`.
    """
    return _FusedSSIM.apply(pred, target)
