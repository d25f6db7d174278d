"""BackgroundMattingV2 before a known background, where weights are at hand. Never downloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headworks.networks.files import best_file

if TYPE_CHECKING:
    from headworks.matting.background_matting.network import BackgroundMatting

NAME = "background_matting"
FILES = {
    "pytorch_resnet101": "resnet101",
    "pytorch_resnet50": "resnet50",
    "pytorch_mobilenetv2": "mobilenetv2",
}
"""Published name (without suffix) -> variant; the more accurate first."""

# Published settings: a quarter for HD, an eighth for 4K; a small picture would leave the backbone
# a few pixels, so its shorter side is kept at 256 where half of the picture has them.
_HD, _4K = 1080, 2160
_LEAST_SIDE = 256


def weights_path(folder: Path | None) -> tuple[str, Path]:
    """The best checkpoint in a folder: its variant and its file.

    Raises:
        WeightsError: when there is none.
    """
    release = "release v1.0.0 of PeterL1n/BackgroundMattingV2, MIT"
    return best_file(folder, FILES, "BackgroundMattingV2", release)


def load(variant: str, path: Path) -> BackgroundMatting:
    """The network with the weights of a published checkpoint.

    Raises:
        WeightsError: the file is not that.
    """
    from headworks.device import default_device
    from headworks.matting.background_matting.network import build
    from headworks.networks.checkpoints import load_state, read_checkpoint

    network = load_state(build(variant), read_checkpoint(path), str(path))
    return network.to(default_device())


def backbone_scale(height: int, width: int) -> float:
    """Scale at which the backbone sees a picture of this size."""
    side = min(height, width)
    published = 0.25 if side <= _HD else 0.25 * max(_HD / side, _HD / _4K)
    return float(min(0.5, max(published, _LEAST_SIDE / side)))


def estimate(
    frames: NDArray[np.uint8],
    plate: NDArray[np.uint8],
    folder: Path | None,
    progress: Callable[[float], None] | None = None,
) -> NDArray[np.uint8]:
    """Alpha of whatever stands before the background.

    Args:
        frames: uint8 [T, H, W, 3] of one still camera. plate: uint8 [H, W, 3], its background.
        folder: where the checkpoints lie. progress: called with the fraction done.

    Returns:
        uint8 [T, H, W].

    Raises:
        WeightsError: weights absent or not those.
    """
    import torch
    from torch.nn import functional as F

    from headworks.images import to_uint8
    from headworks.matting.background_matting.network import Selection

    network = load(*weights_path(folder))
    device = next(network.parameters()).device
    height, width = frames.shape[1:3]
    # Sizes must be multiples of 4: the edge is repeated and cut off again.
    edge = (0, -width % 4, 0, -height % 4)

    def tensor(picture: NDArray[np.uint8]) -> torch.Tensor:
        raw = torch.from_numpy(np.ascontiguousarray(picture)).to(device)
        return F.pad(raw.permute(2, 0, 1)[None].float() / 255, edge, mode="replicate")

    background, scale = tensor(plate), backbone_scale(height, width)
    selection = Selection("sampling", 80_000 if min(height, width) <= _HD else 320_000)
    alphas = np.empty(frames.shape[:3], np.uint8)
    for t, frame in enumerate(frames):
        with torch.inference_mode():
            alpha = network(tensor(frame), background, scale, selection).alpha
        alphas[t] = to_uint8(alpha[0, 0, :height, :width].cpu().numpy())
        if progress is not None:
            progress((t + 1) / len(frames))
    return alphas
