"""The student: mid fusion in the bird's-eye view, several tasks on one trunk.

Each camera's features carry a guess of their depth. The gather table (`kernels.bev.lift`) tells
for each cell and height which feature and which depth bin to look at; the feature is weighed by
its probability there (after Lift, Splat, Shoot, Philion and Fidler 2020, pulled instead of
pushed, so that the graph has two gathers and no scatter). Lidar and radar rasters enter the
trunk directly. What is absent has zero rasters and no entry in the table; a learned offset for
each absent modality tells the trunk that it is absent and not empty.

The light's state is read from one camera, as the strongest response of each state anywhere in
the picture; where that camera is absent it means nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from contracts.labels import GROUND_LAYERS, LIGHT_STATES
from kernels.bev.radar import RADAR_CHANNELS
from kernels.bev.raster import lidar_channels
from kernels.bev_decoding import BOX_CHANNELS
from models.student.config import StudentConfig
from models.student.layers import ImageBackbone, conv, residuals, twice

_RADAR_CHANNELS = 8
_LIGHT_CHANNELS = 16
_RARE_LOGIT = -4.0
_VELOCITY_MPS = 10.0


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


class StudentOutputs(NamedTuple):
    """`heat` logits [b, classes, r, c]; `boxes` [b, 10 * groups, r, c] as `kernels.bev_decoding`
    has them; `ground` logits [b, 2, r, c]; `light` logits [b, 4]; `embedding` [b, 256];
    `presence` logits [b, classes]: which classes are in the frame, which trains the embedding
    and is not exported.
    """

    heat: Tensor
    boxes: Tensor
    ground: Tensor
    light: Tensor
    embedding: Tensor
    presence: Tensor


class Student(nn.Module):
    """The network of one configuration, weights as torch draws them; see `new_student`."""

    box_scale: Tensor

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        c0, c1, c2 = config.trunk_channels
        middle = config.image_channels[1]
        classes, groups = len(config.taxonomy.classes), len(config.taxonomy.groups)
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
        self.level2 = nn.Sequential(conv(c1, c2, 2), residuals(c2, config.trunk_blocks[2]))
        self.back1 = conv(c2, c1, size=1)
        self.join1 = residuals(c1, 1)
        self.back0 = conv(c1, c0, size=1)
        self.shared = conv(c0, config.head_channels)
        self.tail_heat = nn.Conv2d(config.head_channels, classes, 1)
        self.tail_boxes = nn.Conv2d(config.head_channels, len(BOX_CHANNELS) * groups, 1)
        self.tail_ground = nn.Conv2d(config.head_channels, len(GROUND_LAYERS), 1)
        self.light_features = conv(config.image_channels[0] + middle, _LIGHT_CHANNELS, size=1)
        self.tail_light = nn.Conv2d(_LIGHT_CHANNELS, len(LIGHT_STATES) - 1, 1)
        self.no_light = nn.Parameter(torch.zeros(1))
        self.tail_embedding = nn.Linear(c2 + config.image_channels[2], config.embedding_size)
        self.presence = nn.Linear(config.embedding_size, classes)
        scale = torch.ones(len(BOX_CHANNELS))
        scale[-2:] = _VELOCITY_MPS
        self.register_buffer("box_scale", scale.repeat(groups)[None, :, None, None], False)
        for tail in (self.tail_heat, self.tail_light):
            if tail.bias is not None:
                nn.init.constant_(tail.bias, _RARE_LOGIT)  # rare at the start, as objects are
        nn.init.zeros_(self.absent.weight)

    def forward(
        self, images: Tensor, pixel: Tensor, depth: Tensor, lidar: Tensor, radar: Tensor,
        present: Tensor,
    ) -> StudentOutputs:  # fmt: skip
        frames = pixel.shape[0]
        fine, middle, pooled = self.cameras(images)
        seen = self._lift(middle, pixel, depth)
        level0 = self.level0(torch.cat([self.lidar(lidar), self.radar(radar)], dim=1))
        absent = self.absent(1.0 - present)[:, :, None, None]
        level1 = self.level1(self.fuse(torch.cat([self.down1(level0), seen], dim=1)) + absent)
        level2 = self.level2(level1)
        level1 = self.join1(level1 + twice(self.back1(level2)))
        shared = self.shared(level0 + twice(self.back0(level1)))
        around = pooled.reshape(frames, len(self.config.cameras), -1).mean(dim=1)
        embedding = self.tail_embedding(torch.cat([level2.mean(dim=(2, 3)), around], dim=1))
        return StudentOutputs(
            self.tail_heat(shared),
            self.tail_boxes(shared) * self.box_scale,
            self.tail_ground(shared),
            self._light(fine, middle, frames),
            embedding,
            self.presence(torch.relu(embedding)),
        )

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

    def _light(self, fine: Tensor, middle: Tensor, frames: int) -> Tensor:
        """Logits [b, 4]: no light, and the strongest response of each state."""
        which, cameras = self.config.light_camera, len(self.config.cameras)
        features = torch.cat([fine, twice(middle)], dim=1)
        front = features.reshape(frames, cameras, *features.shape[1:])[:, which]
        states = self.tail_light(self.light_features(front)).amax(dim=(2, 3))
        return torch.cat([self.no_light.expand(frames, 1), states], dim=1)


def _picked(rows: Tensor, table: Tensor) -> Tensor:
    """Rows [b, k, c] and one of zeros behind them, by indices [b, m]: [b * m, c]."""
    frames, count, width = rows.shape
    padded = torch.cat([rows, rows.new_zeros(frames, 1, width)], dim=1).reshape(-1, width)
    if torch.onnx.is_in_onnx_export():  # one frame: no arithmetic on indices
        return padded.index_select(0, table.reshape(-1))
    start = torch.arange(frames, device=rows.device)[:, None] * (count + 1)
    return padded.index_select(0, (table + start).reshape(-1))


class Deployed(nn.Module):
    """The network as it is exported: probabilities instead of logits, one frame."""

    def __init__(self, network: Student) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, images: Tensor, pixel: Tensor, depth: Tensor, lidar: Tensor, radar: Tensor,
        present: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        out = self.network(images, pixel, depth, lidar, radar, present)
        return (
            torch.sigmoid(out.heat), out.boxes, torch.sigmoid(out.ground),
            torch.softmax(out.light, dim=1), out.embedding,
        )  # fmt: skip


def new_student(config: StudentConfig, seed: int) -> Student:
    """An untrained network, the same for the same seed; torch's own state is left alone."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return Student(config)
