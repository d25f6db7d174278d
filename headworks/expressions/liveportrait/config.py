"""Sizes of LivePortrait's networks; the defaults are the published ones."""

from __future__ import annotations

from dataclasses import dataclass

from headworks.networks.convnextv2 import TINY_DEPTHS, TINY_WIDTHS


@dataclass(frozen=True)
class Config:
    """Sizes that fit each other.

    Attributes:
        keypoints: implicit keypoints K. width, downs, features: first channels, halvings and last
            channels of the appearance network. depth: slices of the feature volume.
        residuals: 3D residual blocks of the appearance network.
        motion_depths, motion_widths: of the motion network.
        dense_width, dense_features, dense_blocks: first and largest channels and halvings of the
            hourglass. compress: channels of the volume that the hourglass sees.
        middle: residual blocks of the generator. shared: channels inside its normalisations.

    Source: Guo et al., LivePortrait, 2024, and its published configuration.
    """

    keypoints: int = 21
    width: int = 64
    downs: int = 2
    features: int = 512
    depth: int = 16
    residuals: int = 6
    motion_depths: tuple[int, ...] = TINY_DEPTHS
    motion_widths: tuple[int, ...] = TINY_WIDTHS
    dense_width: int = 32
    dense_features: int = 1024
    dense_blocks: int = 5
    compress: int = 4
    middle: int = 6
    shared: int = 128

    def __post_init__(self) -> None:
        if self.features % self.depth:
            raise ValueError(f"{self.features} features do not divide into {self.depth} slices")

    @property
    def volume(self) -> int:
        """Channels of the feature volume."""
        return self.features // self.depth

    @property
    def warped(self) -> int:
        """Channels of the warped features that the generator takes."""
        return self.width * 2**self.downs
