"""A tiny anchor-free detector: YOLOX's head and output layout on strides 8 and 16.

About 0.3 M parameters, plain 3 x 3 convolutions (fast on a CPU without tricks). Output: raw
[1, n, 5 + classes] with objectness and classes already in 0..1, and an embedding of 64 from
global pooling of the deepest features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STRIDES = (8, 16)
EMBEDDING_SIZE = 64
_HEAD = 40


def _conv(channels_in: int, channels: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels // 2, size=1), _conv(channels // 2, channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        mixed: Tensor = features + self.body(features)
        return mixed


class _Head(nn.Module):
    """One scale's predictions: [b, 5 + classes, h, w], logits for objectness and classes."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.box = nn.Sequential(_conv(channels, _HEAD), nn.Conv2d(_HEAD, 5, 1))
        self.kind = nn.Sequential(_conv(channels, _HEAD), nn.Conv2d(_HEAD, classes, 1))
        for layer, start in ((self.box[-1], 4), (self.kind[-1], 0)):
            bias = layer.bias
            if isinstance(bias, Tensor):
                nn.init.constant_(bias[start:], -4.0)  # rare at the start, as objects are

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([self.box(features), self.kind(features)], dim=1)


class DemoDetector(nn.Module):
    """Images [b, 3, h, w] in 0..1 (RGB), sides divisible by 32, to predictions and embedding."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 16, 2), _conv(16, 24, 2))
        self.stage8 = nn.Sequential(_conv(24, 48, 2), _Residual(48), _Residual(48))
        self.stage16 = nn.Sequential(_conv(48, 64, 2), _Residual(64), _Residual(64))
        self.stage32 = nn.Sequential(_conv(64, 80, 2), _Residual(80), _Residual(80))
        self.down16 = _conv(80, 48, size=1)
        self.join16 = _conv(64 + 48, 64, size=1)
        self.down8 = _conv(64, 32, size=1)
        self.join8 = _conv(48 + 32, 48, size=1)
        self.heads = nn.ModuleList([_Head(48, classes), _Head(64, classes)])
        # No task trains the embedding: it is a fixed random projection of the pooled features,
        # which keeps their distances, and so likeness of scenes.
        self.embed = nn.Linear(80, EMBEDDING_SIZE)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [b, n, 5 + classes] (boxes raw), embedding [b, 64]."""
        fine = self.stage8(self.stem(images))
        middle = self.stage16(fine)
        coarse = self.stage32(middle)
        middle = self.join16(torch.cat([middle, _twice(self.down16(coarse))], dim=1))
        fine = self.join8(torch.cat([fine, _twice(self.down8(middle))], dim=1))
        rows = [
            head(features).flatten(2).transpose(1, 2)
            for head, features in zip(self.heads, (fine, middle), strict=True)
        ]
        return torch.cat(rows, dim=1), self.embed(coarse.mean(dim=(2, 3)))


def _twice(features: Tensor) -> Tensor:
    return nn.functional.interpolate(features, scale_factor=2.0, mode="nearest")


class Deployed(nn.Module):
    """The network as it is exported: objectness and classes through the sigmoid."""

    def __init__(self, network: DemoDetector) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        rows, embedding = self.network(images)
        return torch.cat([rows[..., :4], torch.sigmoid(rows[..., 4:])], dim=-1), embedding
