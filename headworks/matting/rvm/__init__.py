"""RobustVideoMatting for clips, where its weights are at hand. Never downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headworks.networks.files import best_file

if TYPE_CHECKING:
    from headworks.matting.rvm.network import RobustVideoMatting

NAME = "rvm"
FILES = {"rvm_resnet50": "resnet50", "rvm_mobilenetv3": "mobilenetv3"}
"""Published name (without suffix) -> variant; the more accurate first."""


def weights_path(folder: Path | None) -> tuple[str, Path]:
    """The best checkpoint in a folder: its variant and its file.

    Raises:
        WeightsError: when there is none.
    """
    release = "release v1.0.0 of PeterL1n/RobustVideoMatting, GPL-3.0"
    return best_file(folder, FILES, "RobustVideoMatting", release)


def load(variant: str, path: Path) -> RobustVideoMatting:
    """The network with the weights of a published checkpoint.

    Raises:
        WeightsError: the file is not that.
    """
    from headworks.device import default_device
    from headworks.matting.rvm.network import build
    from headworks.networks.checkpoints import load_state, read_checkpoint

    network = load_state(build(variant), read_checkpoint(path), str(path))
    return network.to(default_device())


def stream(
    network: RobustVideoMatting,
    frames: Iterable[NDArray[np.uint8]],
    ratio: float | None = None,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Matte frames one at a time as they come; only the state is kept between them.

    Args:
        network: from `load`.
        frames: uint8 [H, W, 3] of one sequence, in order of time. A change of size starts anew.
        ratio: scale at which the network sees a frame; None for a portrait's (512 pixels).

    Yields:
        Foreground colours float32 [H, W, 3] and alpha float32 [H, W], both in [0, 1].
    """
    import torch

    from headworks.matting.rvm.network import FRESH, portrait_ratio

    device = next(network.parameters()).device
    states, size = FRESH, None
    for frame in frames:
        if frame.shape[:2] != size:
            states, size = FRESH, frame.shape[:2]
        picture = torch.from_numpy(np.ascontiguousarray(frame)).to(device)
        picture = picture.permute(2, 0, 1)[None, None].float() / 255
        with torch.inference_mode():
            scale = portrait_ratio(*frame.shape[:2]) if ratio is None else ratio
            foreground, alpha, states = network(picture, states, scale)
        yield foreground[0, 0].permute(1, 2, 0).cpu().numpy(), alpha[0, 0, 0].cpu().numpy()


def estimate(
    frames: NDArray[np.uint8],
    folder: Path | None,
    progress: Callable[[float], None] | None = None,
) -> NDArray[np.uint8]:
    """Alpha of the people in one sequence.

    Args:
        frames: uint8 [T, H, W, 3], in order of time. folder: where the checkpoints lie.
        progress: called with the fraction done.

    Returns:
        uint8 [T, H, W].

    Raises:
        WeightsError: weights absent or not those.
    """
    from headworks.images import to_uint8

    network = load(*weights_path(folder))
    alphas = np.empty(frames.shape[:3], np.uint8)
    for t, (_, alpha) in enumerate(stream(network, frames)):
        alphas[t] = to_uint8(alpha)
        if progress is not None:
            progress((t + 1) / len(frames))
    return alphas
