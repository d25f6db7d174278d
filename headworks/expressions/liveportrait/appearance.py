"""F: the appearance of a person as a volume of features, whatever the pose."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from headworks.expressions.liveportrait.blocks import Residual3d, Unit2d
from headworks.expressions.liveportrait.config import Config


class AppearanceNetwork(nn.Module):
    """Picture [B, 3, S, S] in [0, 1] -> volume [B, volume, depth, S / 4, S / 4]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = [min(config.features, config.width * 2**i) for i in range(config.downs + 1)]
        self.first = Unit2d(3, config.width)
        self.down_blocks = nn.ModuleList(Unit2d(a, b, down=True) for a, b in pairwise(widths))
        self.second = nn.Conv2d(widths[-1], config.features, 1)
        self.resblocks_3d = nn.Sequential()
        for i in range(config.residuals):
            self.resblocks_3d.add_module(f"3dr{i}", Residual3d(config.volume))
        self.shape = (config.volume, config.depth)

    def forward(self, picture: Tensor) -> Tensor:
        x = self.first(picture)
        for block in self.down_blocks:
            x = block(x)
        return self.resblocks_3d(self.second(x).unflatten(1, self.shape))
