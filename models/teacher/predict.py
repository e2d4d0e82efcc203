"""What the teacher says: all members over the frame and its mirror, fused.

Probabilities are means. Box channels are means over the members and both views, weighted by what
each of them believes in that cell, so that a member which sees nothing there has no say about
its size. The embedding is the first member's: those of different members are not in one space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from contracts.samples import Float32s
from kernels.bev_decoding import BOX_CHANNELS
from models.student.augment import mirrored_frame
from models.student.device import best_device, device_of, low_precision, moved
from models.student.inputs import StudentFrame, batch_of
from models.student.losses import TeacherFrame
from models.student.train import channels_last
from models.student.word import class_rows, word_from
from models.teacher.network import Teacher

_SIDEWAYS = [BOX_CHANNELS.index("sin"), BOX_CHANNELS.index("velocity_y_mps")]
_OFFSET_Y = BOX_CHANNELS.index("offset_y")


@dataclass(frozen=True, slots=True)
class TeacherMaps:
    """One frame: `heat` float32 [classes, r, c] and `members` [m, classes, r, c] probabilities;
    `boxes` [10 * groups, r, c]; `ground` [2, r, c]; `light` [4]; `embedding` [d].
    """

    heat: Float32s
    members: Float32s
    boxes: Float32s
    ground: Float32s
    light: Float32s
    embedding: Float32s


@dataclass(frozen=True, slots=True)
class Opinions:
    """One frame as each of m members sees it in each of v views, mirrored ones turned back:
    `heat` float32 [m, v, classes, r, c] and `ground` [m, v, 2, r, c] probabilities; `boxes`
    [m, v, 10 * groups, r, c]; `light` [m, v, 4]; `embedding` [d].
    """

    heat: Float32s
    boxes: Float32s
    ground: Float32s
    light: Float32s
    embedding: Float32s


class TeacherView:
    """Runs a teacher over frames; `mirror` also over their mirrors, at twice the cost."""

    def __init__(self, teacher: Teacher, *, mirror: bool = True, bf16: bool = False) -> None:
        self.teacher = teacher.to(best_device()).eval()
        self._mirror, self._bf16 = mirror, bf16
        self._classes_of = class_rows(teacher.config)

    def opinions(self, frame: StudentFrame) -> Opinions:
        """What each member says of one frame and, with `mirror`, of its mirror."""
        views = [frame, mirrored_frame(frame, self.teacher.config)] if self._mirror else [frame]
        device = device_of(self.teacher)
        with torch.no_grad(), low_precision(device, self._bf16):
            found = self.teacher(moved(channels_last(batch_of(views)), device))
        found = [moved(one, torch.device("cpu")) for one in found]
        return Opinions(
            _array(_turned([torch.sigmoid(one.heat.float()) for one in found])),
            _array(_boxes_turned([one.boxes for one in found])),
            _array(_turned([torch.sigmoid(one.ground.float()) for one in found])),
            _array(torch.stack([torch.softmax(one.light.float(), dim=-1) for one in found])),
            _array(found[0].embedding.float()[0]),
        )  # fmt: skip

    def maps(self, frame: StudentFrame) -> TeacherMaps:
        """The fused maps of one frame."""
        return self.fused(self.opinions(frame))

    def fused(self, opinions: Opinions) -> TeacherMaps:
        """The fused maps of a frame of which `opinions` are told."""
        heat, ground, light = (
            torch.from_numpy(part) for part in (opinions.heat, opinions.ground, opinions.light)
        )
        members, views, channels, rows, columns = opinions.boxes.shape
        groups = channels // len(BOX_CHANNELS)
        boxes = torch.from_numpy(opinions.boxes).reshape(
            members, views, groups, len(BOX_CHANNELS), rows, columns
        )
        return TeacherMaps(
            _array(heat.mean(dim=(0, 1))), _array(heat.mean(dim=1)),
            _array(self._fused_boxes(boxes, heat)), _array(ground.mean(dim=(0, 1))),
            _array(light.mean(dim=(0, 1))), opinions.embedding,
        )  # fmt: skip

    def _fused_boxes(self, boxes: Tensor, heat: Tensor) -> Tensor:
        """[m, v, groups, 10, r, c] weighed by belief [m, v, classes, r, c]: [10 * groups, r, c]."""
        belief = torch.stack([heat[:, :, rows].amax(dim=2) for rows in self._classes_of], dim=2)
        weight = (belief + 1e-6)[:, :, :, None]
        # One after the other, in the cache: the product of all is 40 MB of its own.
        total = torch.zeros_like(boxes[0, 0])
        for told, believed in zip(boxes.flatten(0, 1), weight.flatten(0, 1), strict=True):
            total.addcmul_(told, believed)
        return (total / weight.sum(dim=(0, 1))).flatten(0, 1)

    def word(self, frame: StudentFrame) -> TeacherFrame:
        """What a student is to learn of the frame."""
        maps = self.maps(frame)
        return word_from(self.teacher.config, maps.heat, maps.boxes, maps.embedding)


def _turned(told: Sequence[Tensor]) -> Tensor:
    """Members' maps [v, k, r, c] as one [m, v, k, r, c], the second view, the mirror's, turned
    back.
    """
    maps = torch.empty((len(told), *told[0].shape))
    for k, views in enumerate(told):
        maps[k, 0] = views[0]
        maps[k, 1:] = views[1:].flip(-1)
    return maps


def _boxes_turned(told: Sequence[Tensor]) -> Tensor:
    """Members' box channels [v, 10 * groups, r, c] likewise, and what they tell of the mirror."""
    boxes = _turned(told)
    for channel in _SIDEWAYS:
        boxes[:, 1:, channel :: len(BOX_CHANNELS)].neg_()
    offset = boxes[:, 1:, _OFFSET_Y :: len(BOX_CHANNELS)]
    offset.neg_().add_(1)
    return boxes


def _array(values: Tensor) -> Float32s:
    return np.ascontiguousarray(values.numpy())
