"""M: keypoints, expression, head pose and place of a face, from one picture."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from headworks.expressions.liveportrait.config import Config
from headworks.expressions.liveportrait.keypoints import compose, degrees_of, rotation_matrix
from headworks.networks.convnextv2 import ConvNeXtV2

_BINS = 66


@dataclass(frozen=True)
class Motion:
    """What the motion network reads from a batch of faces.

    Attributes:
        kp: [B, K, 3] canonical keypoints (who). exp: [B, K, 3] their deformation (expression).
        rotation: [B, 3, 3] for row vectors. scale: [B, 1]. t: [B, 3].
    """

    kp: Tensor
    exp: Tensor
    rotation: Tensor
    scale: Tensor
    t: Tensor

    def keypoints(self) -> Tensor:
        """The keypoints in the picture, [B, K, 3] in [-1, 1]."""
        return compose(self.kp, self.exp, self.rotation, self.scale, self.t)

    def __getitem__(self, index: slice) -> Motion:
        return Motion(*(getattr(self, f.name)[index] for f in fields(self)))


class _Detector(ConvNeXtV2):
    """The backbone with one linear head per quantity."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.motion_depths, config.motion_widths)
        width, flat = config.motion_widths[-1], 3 * config.keypoints
        self.fc_kp = nn.Linear(width, flat)
        self.fc_scale = nn.Linear(width, 1)
        self.fc_pitch = nn.Linear(width, _BINS)
        self.fc_yaw = nn.Linear(width, _BINS)
        self.fc_roll = nn.Linear(width, _BINS)
        self.fc_t = nn.Linear(width, 3)
        self.fc_exp = nn.Linear(width, flat)


class MotionNetwork(nn.Module):
    """Picture [B, 3, 256, 256] in [0, 1] -> `Motion`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.detector = _Detector(config)

    def raw(self, picture: Tensor) -> dict[str, Tensor]:
        """The heads as they are: kp, exp [B, 3 K]; scale [B, 1]; t [B, 3]; angles' bins [B, 66]."""
        x = self.detector.features(picture)
        names = ("pitch", "yaw", "roll", "t", "exp", "scale", "kp")
        return {name: getattr(self.detector, f"fc_{name}")(x) for name in names}

    def forward(self, picture: Tensor) -> Motion:
        raw = self.raw(picture)
        angles = [torch.deg2rad(degrees_of(raw[name])) for name in ("pitch", "yaw", "roll")]
        return Motion(
            kp=raw["kp"].unflatten(1, (-1, 3)),
            exp=raw["exp"].unflatten(1, (-1, 3)),
            rotation=rotation_matrix(*angles),
            scale=raw["scale"],
            t=raw["t"],
        )
