"""How wrong the network is: one sum over its tasks, each with its weight.

Heat: CenterNet's focal loss over the number of objects. Boxes: absolute error, weighted by the
targets, over their weight. Ground: cross entropy over known cells. Light: cross entropy where
labelled. Presence: cross entropy; it teaches the embedding what is in a frame.

Distillation compares with a teacher's outputs of the same layout: its heat as a soft target
where the focal loss looks, its boxes where it is sure, its embedding by angle.

Each is a sum over a step's frames over a count of them all. Where processes train together, the
counts are the crew's: a process whose frames hold one object does not weigh as one with twenty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from contracts.labels import UNKNOWN
from contracts.samples import Float32s
from kernels.bev_decoding import BOX_CHANNELS
from models.student.crew import ALONE, Crew
from models.student.network import StudentOutputs
from models.student.targets import NO_LIGHT_LABEL, BoxBatch, BoxRows, TargetBatch, batch_rows

_LANE_WEIGHT = 4.0


@dataclass(frozen=True, slots=True)
class LossWeights:
    """What each task weighs in the sum."""

    heat: float = 1.0
    boxes: float = 1.0
    ground: float = 1.0
    light: float = 0.3
    presence: float = 0.1
    teacher: float = 1.0
    elastic: float = 0.0


@dataclass(frozen=True, slots=True)
class TeacherFrame:
    """A teacher's word on one frame: `heat` probabilities float16 [classes, r, c], `boxes` where
    it is sure, weighted by how sure, `embedding` float32 [256] or None.
    """

    heat: NDArray[np.float16]
    boxes: BoxRows
    embedding: Float32s | None = None

    def mirrored(self, boxes: BoxRows) -> TeacherFrame:
        """The word on the frame in a mirror, with the mirrored `boxes`."""
        return replace(self, heat=self.heat[..., ::-1], boxes=boxes)


class TeacherOutputs(NamedTuple):
    """`TeacherFrame` of b frames as tensors, each with b in front."""

    heat: Tensor
    boxes: BoxBatch
    embedding: Tensor | None = None


def batch_teacher(frames: Sequence[TeacherFrame]) -> TeacherOutputs:
    """A teacher's word on several frames."""
    told = [frame.embedding for frame in frames if frame.embedding is not None]
    return TeacherOutputs(
        torch.from_numpy(np.stack([frame.heat for frame in frames]).astype(np.float32)),
        batch_rows([frame.boxes for frame in frames]),
        torch.from_numpy(np.stack(told)) if len(told) == len(frames) else None,
    )


def focal_loss(logits: Tensor, target: Tensor, counted: Tensor, crew: Crew = ALONE) -> Tensor:
    """`logits`, `target` [b, classes, r, c]; `counted` [b, r, c]."""
    here = (target == 1).float() * counted[:, None]
    there = (1 - (target == 1).float()) * counted[:, None]
    probability = torch.sigmoid(logits)
    right = (1 - probability) ** 2 * functional.logsigmoid(logits) * here
    wrong = (1 - target) ** 4 * probability**2 * functional.logsigmoid(-logits) * there
    return -(right.sum() + wrong.sum()) / crew.count(here.sum())


def box_loss(boxes: Tensor, asked: BoxBatch, crew: Crew = ALONE) -> Tensor:
    """Absolute error of `boxes` [b, 10 * groups, r, c] at the cells asked for.

    Velocities count a tenth as much: they are told in m/s, the rest in about one unit.
    """
    frame, group, row, column = asked.cells.unbind(dim=1)
    channels = len(BOX_CHANNELS)
    by_group = boxes.reshape(boxes.shape[0], -1, channels, *boxes.shape[2:])
    found = by_group[frame, group, :, row, column]
    scale = boxes.new_ones(channels)
    scale[-2:] = 0.1
    error = (found - asked.values).abs() * asked.weight * scale
    total: Tensor = error.sum() * channels / crew.count(asked.weight.sum())
    return total


def ground_loss(logits: Tensor, ground: Tensor, crew: Crew = ALONE) -> Tensor:
    """A lane is a line of single cells: one that is missed counts as `_LANE_WEIGHT` others."""
    known = (ground != UNKNOWN).float()
    truth = (ground == 1).float()
    weight = logits.new_tensor([1.0, _LANE_WEIGHT])[:, None, None]
    error = functional.binary_cross_entropy_with_logits(
        logits, truth, reduction="none", pos_weight=weight
    )
    return (error * known).sum() / crew.count(known.sum())


def losses_of(
    outputs: StudentOutputs, targets: TargetBatch, crew: Crew = ALONE
) -> dict[str, Tensor]:
    """The loss of each task by name, unweighted."""
    light = functional.cross_entropy(
        outputs.light, targets.light, ignore_index=NO_LIGHT_LABEL, reduction="sum"
    )
    labelled = (targets.light != NO_LIGHT_LABEL).sum()
    presence = functional.binary_cross_entropy_with_logits(
        outputs.presence, targets.presence, reduction="sum"
    )
    return {
        "heat": focal_loss(outputs.heat, targets.heat, targets.counted, crew),
        "boxes": box_loss(outputs.boxes, targets.boxes, crew),
        "ground": ground_loss(outputs.ground, targets.ground, crew),
        "light": light / crew.count(labelled),
        "presence": presence / crew.count(presence.new_tensor(targets.presence.numel())),
    }


def distillation_loss(
    outputs: StudentOutputs, teacher: TeacherOutputs, crew: Crew = ALONE
) -> Tensor:
    """How far the student is from its teacher; 0 only where both say the same."""
    heat = functional.binary_cross_entropy_with_logits(outputs.heat, teacher.heat, reduction="none")
    sharp = functional.binary_cross_entropy(teacher.heat, teacher.heat, reduction="none")
    # Empty ground would drown the rest: cells count by what either of both believes.
    care = torch.maximum(torch.sigmoid(outputs.heat.detach()), teacher.heat)
    total = ((heat - sharp) * care).sum() / crew.count(care.sum())
    total = total + box_loss(outputs.boxes, teacher.boxes, crew)
    if teacher.embedding is not None:
        likeness = functional.cosine_similarity(outputs.embedding, teacher.embedding)
        total = total + (1 - likeness).sum() / crew.count(total.new_tensor(len(likeness)))
    return total


def weighted(losses: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """The sum that is minimised; each name is a field of `LossWeights`."""
    return torch.stack([getattr(weights, name) * loss for name, loss in losses.items()]).sum()
