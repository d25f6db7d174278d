"""Input checks at the door of the rasteriser."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")
RASTERIZE_MODES = ("classic", "antialiased")


def check_inputs(
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
        ValueError: a shape, a device, a size or a mode is wrong; cameras are not finite.
    """
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
    for name in ("colors", "viewmats", "Ks", "backgrounds"):
        if name in tensors:
            check_finite(name, tensors[name])
    if width < 1 or height < 1:
        raise ValueError(f"image size must be at least 1 x 1, got {width} x {height}")
    if render_mode not in RENDER_MODES:
        raise ValueError(f"render_mode must be one of {RENDER_MODES}, got {render_mode!r}")
    if rasterize_mode not in RASTERIZE_MODES:
        raise ValueError(f"rasterize_mode must be one of {RASTERIZE_MODES}, got {rasterize_mode!r}")


def check_gaussians(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor) -> None:
    """What the CPU kernels notice on their own, for the other backends.

    Args: shapes as in `headworks.splat.rasterization`.

    Raises:
        ValueError: a value is not finite, or a quaternion is zero; with its index.
    """
    for name, tensor in (
        ("means", means), ("quats", quats), ("scales", scales), ("opacities", opacities),
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
