"""ResNet-50 and -101 as a pyramid of features, named as in torchvision's checkpoints."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1, and the shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, project: bool) -> None:
        super().__init__()
        out = width * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Image [B, C, H, W] -> f1 (1/2, 64 channels), f2 (1/4, 256), f3 (1/8, 512), f4 (1/16, 2048).

    The stride of the last stage is replaced by dilation: its first block has dilation 1 (that of
    the stage before), the others 2.

    Args:
        variant: of `BLOCKS`. in_channels: C.

    Source: He et al., Deep Residual Learning, 2016, with the stride on the 3x3 convolution.
    """

    def __init__(self, variant: str = "resnet50", in_channels: int = 3) -> None:
        super().__init__()
        counts = BLOCKS[variant]
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _layer(64, 64, counts[0], 1)
        self.layer2 = _layer(256, 128, counts[1], 2)
        self.layer3 = _layer(512, 256, counts[2], 2)
        self.layer4 = _layer(1024, 512, counts[3], 1, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        f1 = F.relu(self.bn1(self.conv1(x)))
        f2 = self.layer1(F.max_pool2d(f1, 3, 2, 1))
        f3 = self.layer2(f2)
        return f1, f2, f3, self.layer4(self.layer3(f3))


def _layer(inputs: int, width: int, count: int, stride: int, dilation: int = 1) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride, 1, project=True)
    out = width * _EXPANSION
    rest = [Bottleneck(out, width, 1, dilation, project=False) for _ in range(count - 1)]
    return nn.Sequential(first, *rest)
