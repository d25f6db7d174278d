"""Render modes: which channels are blended and how depth becomes expected depth."""

from __future__ import annotations

import torch
from torch import Tensor

ALPHA_FLOOR = 1e-10


def blended_channels(colors: Tensor, depths: Tensor, render_mode: str) -> Tensor:
    """Channels [N, X] to blend for one camera, from colors [N, D] and depths [N]."""
    if render_mode in ("D", "ED"):
        return depths[:, None]
    return torch.cat([colors, depths[:, None]], -1) if "D" in render_mode else colors


def finish(image: Tensor, alpha: Tensor, background: Tensor | None, render_mode: str) -> Tensor:
    """Background under the colours and expected depth.

    Args:
        image: [..., H, W, X], colours, then depth if the mode has it. alpha: [..., H, W, 1].
        background: [D] or None.

    Returns:
        as image.
    """
    has_depth, has_color = render_mode != "RGB", render_mode.startswith("RGB")
    color, depth = (image[..., :-1], image[..., -1:]) if has_depth else (image, None)
    parts = []
    if has_color:
        if background is not None:
            color = color + (1 - alpha) * background
        parts.append(color)
    if depth is not None:
        if "ED" in render_mode:
            depth = depth / alpha.clamp_min(ALPHA_FLOOR)
        parts.append(depth)
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
