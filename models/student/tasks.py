"""The tasks that share one sight: boxes, ground, light, embedding.

The light's state is read from one camera, as the strongest response of each state anywhere in
the picture; where that camera is absent it means nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from contracts.labels import GROUND_LAYERS, LIGHT_STATES
from kernels.bev_decoding import BOX_CHANNELS
from models.student.config import StudentConfig
from models.student.layers import conv, residuals, twice
from models.student.sight import LIGHT_CHANNELS

_RARE_LOGIT = -4.0
_VELOCITY_MPS = 10.0


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


class Tasks(nn.Module):
    """`Sighted` to `StudentOutputs`: the coarse end of the trunk, and a head for each task."""

    box_scale: Tensor

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        c0, c1, c2 = config.trunk_channels
        classes, groups = len(config.taxonomy.classes), len(config.taxonomy.groups)
        self.level2 = nn.Sequential(conv(c1, c2, 2), residuals(c2, config.trunk_blocks[2]))
        self.back1 = conv(c2, c1, size=1)
        self.join1 = residuals(c1, 1)
        self.back0 = conv(c1, c0, size=1)
        self.shared = conv(c0, config.head_channels)
        self.tail_heat = nn.Conv2d(config.head_channels, classes, 1)
        self.tail_boxes = nn.Conv2d(config.head_channels, len(BOX_CHANNELS) * groups, 1)
        self.tail_ground = nn.Conv2d(config.head_channels, len(GROUND_LAYERS), 1)
        self.tail_light = nn.Conv2d(LIGHT_CHANNELS, len(LIGHT_STATES) - 1, 1)
        self.no_light = nn.Parameter(torch.zeros(1))
        self.tail_embedding = nn.Linear(c2 + config.image_channels[2], config.embedding_size)
        self.presence = nn.Linear(config.embedding_size, classes)
        scale = torch.ones(len(BOX_CHANNELS))
        scale[-2:] = _VELOCITY_MPS
        self.register_buffer("box_scale", scale.repeat(groups)[None, :, None, None], False)
        for tail in (self.tail_heat, self.tail_light):
            if tail.bias is not None:
                nn.init.constant_(tail.bias, _RARE_LOGIT)  # rare at the start, as objects are

    def forward(
        self, level0: Tensor, level1: Tensor, around: Tensor, front: Tensor
    ) -> StudentOutputs:
        level2 = self.level2(level1)
        level1 = self.join1(level1 + twice(self.back1(level2)))
        shared = self.shared(level0 + twice(self.back0(level1)))
        embedding = self.tail_embedding(torch.cat([level2.mean(dim=(2, 3)), around], dim=1))
        states = self.tail_light(front).amax(dim=(2, 3))
        return StudentOutputs(
            self.tail_heat(shared),
            self.tail_boxes(shared) * self.box_scale,
            self.tail_ground(shared),
            torch.cat([self.no_light.expand(states.shape[0], 1), states], dim=1),
            embedding,
            self.presence(torch.relu(embedding)),
        )
