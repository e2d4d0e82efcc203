"""What the network makes of the sensors, before any task: fused features over the ground.

Each camera's features carry a guess of their depth. The gather table (`kernels.bev.lift`) tells
for each cell and height which feature and which depth bin to look at; the feature is weighed by
its probability there (after Lift, Splat, Shoot, Philion and Fidler 2020, pulled instead of
pushed, so that the graph has two gathers and no scatter). Lidar and radar rasters enter
directly. What is absent has zero rasters and no entry in the table; a learned offset for each
absent modality tells that it is absent and not empty.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kernels.bev.radar import RADAR_CHANNELS
from kernels.bev.raster import lidar_channels
from models.student.config import StudentConfig
from models.student.layers import ImageBackbone, conv, residuals, twice

LIGHT_CHANNELS = 16
_RADAR_CHANNELS = 8


class StudentInputs(NamedTuple):
    """A batch of b frames with n cameras.

    `images` float [b * n, 3, h, w] in 0..1; `pixel`, `depth` int64 [b, entries]; `lidar`,
    `radar` float [b, channels, rows, columns]; `present` float [b, 3].
    """

    images: Tensor
    pixel: Tensor
    depth: Tensor
    lidar: Tensor
    radar: Tensor
    present: Tensor


class Sighted(NamedTuple):
    """Features of b frames: `level0` [b, c0, r, c] at the output's cells, `level1` [b, c1, r/2,
    c/2]; `around` [b, k] of all cameras; `front` [b, 16, h/4, w/4] of the light's camera.
    """

    level0: Tensor
    level1: Tensor
    around: Tensor
    front: Tensor


class Sight(nn.Module):
    """Sensors to `Sighted`."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        c0, c1, _ = config.trunk_channels
        middle = config.image_channels[1]
        self.cameras = ImageBackbone(config.image_channels, config.image_blocks)
        self.lifted = nn.Conv2d(middle, config.lift_channels, 1)
        self.depths = nn.Conv2d(middle, len(config.lift.depth_edges_m), 1)
        self.lift = conv(len(config.lift.heights_m) * config.lift_channels, c1, size=1)
        self.lidar = conv(len(lidar_channels(config.lidar)), c0, config.raster_stride)
        self.radar = conv(len(RADAR_CHANNELS), _RADAR_CHANNELS)
        self.level0 = nn.Sequential(
            conv(c0 + _RADAR_CHANNELS, c0), residuals(c0, config.trunk_blocks[0])
        )
        self.down1 = conv(c0, c1, 2)
        self.fuse = conv(2 * c1, c1, size=1)
        self.absent = nn.Linear(3, c1, bias=False)
        self.level1 = residuals(c1, config.trunk_blocks[1])
        self.light_features = conv(config.image_channels[0] + middle, LIGHT_CHANNELS, size=1)
        nn.init.zeros_(self.absent.weight)

    def forward(
        self, images: Tensor, pixel: Tensor, depth: Tensor, lidar: Tensor, radar: Tensor,
        present: Tensor,
    ) -> Sighted:  # fmt: skip
        frames = pixel.shape[0]
        fine, middle, pooled = self.cameras(images)
        seen = self._lift(middle, pixel, depth)
        level0 = self.level0(torch.cat([self.lidar(lidar), self.radar(radar)], dim=1))
        absent = self.absent(1.0 - present)[:, :, None, None]
        level1 = self.level1(self.fuse(torch.cat([self.down1(level0), seen], dim=1)) + absent)
        around = pooled.reshape(frames, len(self.config.cameras), -1).mean(dim=1)
        return Sighted(level0, level1, around, self._front(fine, middle, frames))

    def _lift(self, middle: Tensor, pixel: Tensor, depth: Tensor) -> Tensor:
        """Camera features over the lift's grid, [b, c1, rows, columns]."""
        lift, frames = self.config.lift, pixel.shape[0]
        features = self.lifted(middle).permute(0, 2, 3, 1)
        depths = torch.softmax(self.depths(middle), dim=1).permute(0, 2, 3, 1)
        picked = _picked(features.reshape(frames, self.config.features, -1), pixel)
        weight = _picked(depths.reshape(frames, -1, 1), depth)
        shape = (frames, len(lift.heights_m), lift.grid.rows, lift.grid.columns, -1)
        over = (picked * weight).reshape(shape).permute(0, 1, 4, 2, 3)
        lifted: Tensor = self.lift(over.reshape(frames, -1, lift.grid.rows, lift.grid.columns))
        return lifted

    def _front(self, fine: Tensor, middle: Tensor, frames: int) -> Tensor:
        which, cameras = self.config.light_camera, len(self.config.cameras)
        features = torch.cat([fine, twice(middle)], dim=1)
        front = features.reshape(frames, cameras, *features.shape[1:])[:, which]
        light: Tensor = self.light_features(front)
        return light


def _picked(rows: Tensor, table: Tensor) -> Tensor:
    """Rows [b, k, c] and one of zeros behind them, by indices [b, m]: [b * m, c]."""
    frames, count, width = rows.shape
    padded = torch.cat([rows, rows.new_zeros(frames, 1, width)], dim=1).reshape(-1, width)
    if torch.onnx.is_in_onnx_export():  # one frame: no arithmetic on indices
        return padded.index_select(0, table.reshape(-1))
    start = torch.arange(frames, device=rows.device)[:, None] * (count + 1)
    return padded.index_select(0, (table + start).reshape(-1))
