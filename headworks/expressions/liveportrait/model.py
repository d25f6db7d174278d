"""LivePortrait as a whole: another person with the expression of a driving picture.

Written from the paper and a description of the published checkpoints' names; those load as they
are. The published code is under MIT; the weights' licence stands on their model card.

Source: Guo et al., LivePortrait: Efficient Portrait Animation with Stitching and Retargeting
    Control, 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from headworks.errors import WeightsError
from headworks.expressions.liveportrait import BASE, RETARGETING, weights_files
from headworks.expressions.liveportrait.appearance import AppearanceNetwork
from headworks.expressions.liveportrait.config import Config
from headworks.expressions.liveportrait.generator import Generator, fold_spectral_norm
from headworks.expressions.liveportrait.keypoints import (
    absolute_expression,
    compose,
    relative_expression,
)
from headworks.expressions.liveportrait.motion import Motion, MotionNetwork
from headworks.expressions.liveportrait.stitching import (
    KeypointMLP,
    eye_network,
    lip_network,
    stitch,
    stitching_network,
)
from headworks.expressions.liveportrait.warping import WarpingNetwork
from headworks.networks.checkpoints import load_state, read_checkpoint

SIDE = 256
"""Side of the pictures that the networks see; they draw pictures of twice that."""

Mode = Literal["absolute", "relative"]


@dataclass(frozen=True)
class Appearance:
    """A person whose looks are lent: the feature volume and the motion of the picture."""

    volume: Tensor
    motion: Motion


@dataclass(frozen=True)
class LivePortrait:
    """The networks.

    Attributes:
        appearance, motion, warping, generator: F, M, W, G.
        stitching, eyes, lips: only where their checkpoint is at hand.
    """

    appearance: AppearanceNetwork
    motion: MotionNetwork
    warping: WarpingNetwork
    generator: Generator
    stitching: KeypointMLP | None = None
    eyes: KeypointMLP | None = None
    lips: KeypointMLP | None = None

    def read(self, picture: Tensor) -> Motion:
        """The motion of faces [B, 3, 256, 256] in [0, 1]."""
        with torch.inference_mode():
            return self.motion(picture)

    def lend(self, picture: Tensor) -> Appearance:
        """The looks of faces [B, 3, 256, 256] in [0, 1]."""
        with torch.inference_mode():
            return Appearance(self.appearance(picture), self.motion(picture))

    def keypoints(
        self,
        source: Motion,
        driving: Motion,
        mode: Mode = "absolute",
        neutral: Motion | None = None,
        stitched: bool = False,
    ) -> Tensor:
        """Keypoints of the source with the driver's expression and nothing else of it.

        Args:
            source: who lends the looks; its pose, scale and place are kept.
            driving: who shows the expression.
            mode: "absolute" replaces the entries that carry expression; "relative" adds the
                driver's change since `neutral`, which suits a neutral source.
            neutral: the driver without expression, for "relative".
            stitched: let shoulders stay, for results that are pasted back.

        Returns:
            [B, K, 3].

        Raises:
            ValueError: "relative" without a neutral, or stitching without its network.
        """
        if mode == "relative":
            if neutral is None:
                raise ValueError("relative transfer needs the driver's neutral picture")
            expression = relative_expression(source.exp, driving.exp, neutral.exp)
        else:
            expression = absolute_expression(source.exp, driving.exp)
        points = compose(source.kp, expression, source.rotation, source.scale, source.t)
        if stitched:
            if self.stitching is None:
                raise ValueError(f"stitching needs {RETARGETING}.pth")
            points = stitch(self.stitching, source.keypoints(), points)
        return points

    def draw(self, appearance: Appearance, keypoints: Tensor) -> Tensor:
        """The person at other keypoints [B, K, 3]: picture [B, 3, 512, 512] in [0, 1]."""
        with torch.inference_mode():
            warped = self.warping(appearance.volume, keypoints, appearance.motion.keypoints())
            return self.generator(warped.features)


def build(config: Config | None = None) -> LivePortrait:
    """All networks without values (stitching and retargeting too), ready for `load_state`."""
    config = config or Config()
    with torch.device("meta"):
        return LivePortrait(
            AppearanceNetwork(config),
            MotionNetwork(config),
            WarpingNetwork(config),
            Generator(config),
            stitching_network(config.keypoints),
            eye_network(config.keypoints),
            lip_network(config.keypoints),
        )


def load(folder: Path, config: Config | None = None) -> LivePortrait:
    """The networks with published weights.

    Args:
        folder: holds `liveportrait/base_models/` as published. config: other sizes.

    Raises:
        WeightsError: files are missing or not what they should be.
    """
    from headworks.device import default_device

    files = weights_files(folder)
    empty = build(config)
    device = default_device()

    def filled(name: str, network: Any) -> Any:
        where = str(files[name])
        state = read_checkpoint(files[name])
        if isinstance(network, Generator):
            state = fold_spectral_norm(state, where)
        return load_state(network, state, where).to(device)

    parts: dict[str, nn.Module | None] = {
        "appearance": filled(BASE[0], empty.appearance),
        "motion": filled(BASE[1], empty.motion),
        "warping": filled(BASE[2], empty.warping),
        "generator": filled(BASE[3], empty.generator),
    }
    if RETARGETING in files:
        content = read_checkpoint(files[RETARGETING])
        for field, key in _SMALL.items():
            where = f"{files[RETARGETING]}: {key}"
            if not isinstance(content.get(key), dict):
                raise WeightsError(f"{where}: missing; the file should hold {', '.join(_KEYS)}")
            state = {n.removeprefix("module."): t for n, t in content[key].items()}
            parts[field] = load_state(getattr(empty, field), state, where).to(device)
    return LivePortrait(**parts)  # type: ignore[arg-type]


_SMALL = {"stitching": "retarget_shoulder", "lips": "retarget_mouth", "eyes": "retarget_eye"}
_KEYS = tuple(_SMALL.values())
