"""Mattes by rembg's networks, where their weights are at hand. Never downloads, never uploads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headworks.errors import WeightsError

NAME = "rembg"

# Networks that run here and whose weights are free to use, best for people first. rembg's own
# default (bria-rmbg) is non-commercial; withoutbg and atlascloud send the picture away.
MODELS = (
    "birefnet-portrait",
    "birefnet-general",
    "birefnet-general-lite",
    "isnet-general-use",
    "u2net_human_seg",
    "u2net",
    "silueta",
    "u2netp",
)


def _homes() -> tuple[Path, Path]:
    """rembg's folder of models and the older one that it still reads.

    Kept apart from rembg because importing that compiles for most of a minute. `U2NET_HOME`, where
    set, stands for both.
    """
    legacy = os.environ.get("U2NET_HOME") or os.path.join(
        os.environ.get("XDG_DATA_HOME", "~"), ".u2net"
    )
    if os.environ.get("U2NET_HOME"):
        home = legacy
    else:
        xdg = os.environ.get("XDG_DATA_HOME")
        home = os.environ.get("REMBG_HOME", os.path.join(xdg, "rembg") if xdg else "~/.rembg")
    return Path(home).expanduser(), Path(legacy).expanduser()


def weights_path(model: str | None = None) -> tuple[str, Path]:
    """The first of `MODELS` whose weights are at hand, or the one asked for.

    Returns:
        Name of the model and its file.

    Raises:
        WeightsError: when there are none, or `model` is not one of `MODELS`.
    """
    if model is not None and model not in MODELS:
        raise WeightsError(f"rembg model {model!r} is not used here; choose {', '.join(MODELS)}")
    home, legacy = _homes()
    for name in MODELS if model is None else (model,):
        for path in (home / "models" / name / f"{name}.onnx", legacy / f"{name}.onnx"):
            if path.is_file() and path.stat().st_size:
                return name, path
    wanted = model or "one of " + ", ".join(MODELS)
    raise WeightsError(
        f"{home / 'models'}: no weights of rembg ({wanted}) as <name>/<name>.onnx; fetch them with "
        "`rembg d <name>` after reading their licence, or set `matting.backend` to plain"
    )


def estimate(
    frames: NDArray[np.uint8],
    progress: Callable[[float], None] | None = None,
    model: str | None = None,
) -> NDArray[np.uint8]:
    """Alpha of the salient subject, frame by frame.

    Args:
        frames: uint8 [T, H, W, 3].
        progress: called with the fraction done.
        model: one of `MODELS`, or None for the best at hand.

    Returns:
        uint8 [T, H, W].

    Raises:
        WeightsError: weights absent or not loadable.
    """
    name, path = weights_path(model)

    import rembg

    try:
        session = rembg.new_session(name, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises its own kinds without a common base for a damaged file.
        raise WeightsError(f"{path}: not a network that can be loaded ({error})") from None
    alphas = np.empty(frames.shape[:3], np.uint8)
    for t, frame in enumerate(frames):
        alphas[t] = rembg.remove(np.ascontiguousarray(frame), session=session, only_mask=True)
        if progress is not None:
            progress((t + 1) / len(frames))
    return alphas
