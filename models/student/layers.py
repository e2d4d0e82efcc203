"""Blocks of the student: plain convolutions with batch norm, which fold into int8 ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv(channels_in: int, channels: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(channels, channels),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(features + self.body(features))


def residuals(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(channels) for _ in range(count)))


def twice(features: Tensor) -> Tensor:
    """Each cell as 2 x 2 cells."""
    return nn.functional.interpolate(features, scale_factor=2.0, mode="nearest")


class ImageBackbone(nn.Module):
    """Pictures [k, 3, h, w] to features at strides 4 and 8, and the mean of those at 16.

    Stride 8 has seen stride 16, so a feature knows its surroundings.
    """

    def __init__(self, channels: tuple[int, int, int], blocks: tuple[int, int, int]) -> None:
        super().__init__()
        four, eight, sixteen = channels
        # Patches of 4 x 4: a fifth of the time of two strided 3 x 3 convolutions.
        self.stem = nn.Sequential(
            nn.Conv2d(3, four, 4, 4, bias=False), nn.BatchNorm2d(four), nn.ReLU(inplace=True)
        )
        self.stage4 = residuals(four, blocks[0])
        self.stage8 = nn.Sequential(conv(four, eight, 2), residuals(eight, blocks[1]))
        self.stage16 = nn.Sequential(conv(eight, sixteen, 2), residuals(sixteen, blocks[2]))
        self.back = conv(sixteen, eight, size=1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stage4(self.stem(pictures))
        middle = self.stage8(fine)
        coarse = self.stage16(middle)
        return fine, middle + twice(self.back(coarse)), coarse.mean(dim=(2, 3))
