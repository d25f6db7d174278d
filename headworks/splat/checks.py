"""Input checks at the door of the rasteriser."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")
RASTERIZE_MODES = ("classic", "antialiased")


def check_shapes(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    backgrounds: Tensor | None,
    render_mode: str,
    rasterize_mode: str,
) -> None:
    """Raise when shapes, dtypes, devices or modes are not what `rasterization` documents.

    Args: shapes and units as in `headworks.splat.rasterization`: means [N, 3], colors [N, D] or
        [C, N, D], viewmats [C, 4, 4], Ks [C, 3, 3], backgrounds [C, D].

    Raises:
        TypeError: an argument is no floating-point tensor.
        ValueError: a shape, a device, a size or a mode is wrong; backgrounds are not finite.
    """
    if not _plain(
        means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, render_mode,
        rasterize_mode, width, height,
    ):  # fmt: skip
        _check_slowly(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height, backgrounds,
            render_mode, rasterize_mode,
        )  # fmt: skip
    if backgrounds is not None:
        check_finite("backgrounds", backgrounds)


def _plain(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
    viewmats: Tensor, Ks: Tensor, backgrounds: Tensor | None, render_mode: str,
    rasterize_mode: str, width: int, height: int,
) -> bool:  # fmt: skip
    """Whether the common case is there at a glance: single precision on the CPU, no background.

    Looking closely takes some forty microseconds, a hundredth of a step.
    """
    tensors = means, quats, scales, opacities, colors, viewmats, Ks
    for t in tensors:
        if not isinstance(t, Tensor) or t.dtype is not torch.float32 or not t.is_cpu:
            return False
    n, c = len(means), len(viewmats)
    return (
        backgrounds is None
        and colors.ndim == 2
        and colors.shape[0] == n
        and colors.shape[1] >= 1
        and c >= 1
        and means.shape == (n, 3)
        and quats.shape == (n, 4)
        and scales.shape == (n, 3)
        and opacities.shape == (n,)
        and viewmats.shape == (c, 4, 4)
        and Ks.shape == (c, 3, 3)
        and width >= 1
        and height >= 1
        and render_mode in RENDER_MODES
        and rasterize_mode in RASTERIZE_MODES
    )


def _check_slowly(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
    viewmats: Tensor, Ks: Tensor, width: int, height: int, backgrounds: Tensor | None,
    render_mode: str, rasterize_mode: str,
) -> None:  # fmt: skip
    """`check_shapes`, one thing after the other, to name the first that is wrong."""
    tensors = {
        "means": means, "quats": quats, "scales": scales, "opacities": opacities,
        "colors": colors, "viewmats": viewmats, "Ks": Ks,
    }  # fmt: skip
    if backgrounds is not None:
        tensors["backgrounds"] = backgrounds
    device = getattr(means, "device", None)
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a floating-point tensor, got {kind}")
        if tensor.device != device:
            raise ValueError(f"{name} is on {tensor.device}, means on {device}")
    n, c, d = len(means), len(viewmats), colors.shape[-1] if colors.ndim else 0
    expected = (
        (n, 3), (n, 4), (n, 3), (n,), (n, d) if colors.ndim == 2 else (c, n, d), (c, 4, 4),
        (c, 3, 3), (c, d),
    )  # fmt: skip
    for (name, tensor), shape in zip(tensors.items(), expected):
        if tensor.shape != shape:
            raise ValueError(f"{name} must be {list(shape)}, got {list(tensor.shape)}")
    if d < 1 or c < 1:
        raise ValueError(f"need at least one channel and one camera, got {d} and {c}")
    if width < 1 or height < 1:
        raise ValueError(f"image size must be at least 1 x 1, got {width} x {height}")
    if render_mode not in RENDER_MODES:
        raise ValueError(f"render_mode must be one of {RENDER_MODES}, got {render_mode!r}")
    if rasterize_mode not in RASTERIZE_MODES:
        raise ValueError(f"rasterize_mode must be one of {RASTERIZE_MODES}, got {rasterize_mode!r}")


def check_values(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
    viewmats: Tensor, Ks: Tensor,
) -> None:  # fmt: skip
    """What the CPU kernels notice on their own, for the other backends.

    Args: shapes as in `headworks.splat.rasterization`.

    Raises:
        ValueError: a value is not finite, or a quaternion is zero; with its index.
    """
    for name, tensor in (
        ("colors", colors), ("viewmats", viewmats), ("Ks", Ks), ("means", means), ("quats", quats),
        ("scales", scales), ("opacities", opacities),
    ):  # fmt: skip
        check_finite(name, tensor)
    with torch.no_grad():
        zero = (quats == 0).all(-1)
        if zero.any():
            raise ValueError(f"quats[{int(zero.nonzero()[0])}] is zero: not a rotation")


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuse non-finite values.

    Args:
        name: of the argument, for the message. tensor: [...].

    Raises:
        ValueError: with the first index of such a value.
    """
    # one cheap pass: the sum is finite unless a value is not (or the values are absurd)
    if math.isfinite(tensor.detach().sum().item()):
        return
    bad = ~torch.isfinite(tensor)
    if bad.any():
        index = [int(k) for k in bad.nonzero()[0]]
        raise ValueError(f"{name}{index} is not finite")
