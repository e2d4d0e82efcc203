"""How wrong the network is: one sum over its tasks, each with its weight.

Heat: CenterNet's focal loss over the number of objects. Boxes: absolute error, weighted by the
targets, over their weight. Ground: cross entropy over known cells. Light: cross entropy where
labelled. Presence: cross entropy; it teaches the embedding what is in a frame.

Distillation compares with a teacher's outputs of the same layout: its heat as a soft target
where the focal loss looks, its boxes where it is sure, its embedding by angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from contracts.labels import UNKNOWN
from models.student.network import StudentOutputs
from models.student.targets import NO_LIGHT_LABEL, TargetBatch


@dataclass(frozen=True, slots=True)
class LossWeights:
    """What each task weighs in the sum."""

    heat: float = 1.0
    boxes: float = 1.0
    ground: float = 1.0
    light: float = 0.3
    presence: float = 0.1
    teacher: float = 1.0


@dataclass(frozen=True, slots=True)
class TeacherOutputs:
    """A teacher's word on a batch: `heat` probabilities [b, classes, r, c], `boxes`
    [b, 10 * groups, r, c], `sure` [b, groups, r, c] in 0..1, `embedding` [b, 256] or None.
    """

    heat: Tensor
    boxes: Tensor
    sure: Tensor
    embedding: Tensor | None = None


def focal_loss(logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """`logits`, `target` [b, classes, r, c]; `counted` [b, r, c]."""
    here = (target == 1).float() * counted[:, None]
    there = (1 - (target == 1).float()) * counted[:, None]
    probability = torch.sigmoid(logits)
    right = (1 - probability) ** 2 * functional.logsigmoid(logits) * here
    wrong = (1 - target) ** 4 * probability**2 * functional.logsigmoid(-logits) * there
    return -(right.sum() + wrong.sum()) / here.sum().clamp(min=1)


def box_loss(boxes: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Velocities count a tenth as much: they are told in m/s, the rest in about one unit."""
    channels = boxes.shape[1]
    scale = boxes.new_ones(10)
    scale[-2:] = 0.1
    error = (boxes - target).abs() * weight * scale.repeat(channels // 10)[None, :, None, None]
    return error.sum() * 10 / weight.sum().clamp(min=1)


def ground_loss(logits: Tensor, ground: Tensor) -> Tensor:
    known = (ground != UNKNOWN).float()
    truth = (ground == 1).float()
    error = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (error * known).sum() / known.sum().clamp(min=1)


def losses_of(outputs: StudentOutputs, targets: TargetBatch) -> dict[str, Tensor]:
    """The loss of each task by name, unweighted."""
    light = functional.cross_entropy(
        outputs.light, targets.light, ignore_index=NO_LIGHT_LABEL, reduction="sum"
    )
    labelled = (targets.light != NO_LIGHT_LABEL).sum().clamp(min=1)
    return {
        "heat": focal_loss(outputs.heat, targets.heat, targets.counted),
        "boxes": box_loss(outputs.boxes, targets.boxes, targets.weight),
        "ground": ground_loss(outputs.ground, targets.ground),
        "light": light / labelled,
        "presence": functional.binary_cross_entropy_with_logits(outputs.presence, targets.presence),
    }


def distillation_loss(outputs: StudentOutputs, teacher: TeacherOutputs) -> Tensor:
    """How far the student is from its teacher; 0 only where both say the same."""
    heat = functional.binary_cross_entropy_with_logits(outputs.heat, teacher.heat, reduction="none")
    sharp = functional.binary_cross_entropy(teacher.heat, teacher.heat, reduction="none")
    # Empty ground would drown the rest: cells count by what either of both believes.
    care = torch.maximum(torch.sigmoid(outputs.heat.detach()), teacher.heat)
    sure = teacher.sure.repeat_interleave(10, dim=1)
    total = ((heat - sharp) * care).sum() / care.sum().clamp(min=1)
    total = total + box_loss(outputs.boxes, teacher.boxes, sure)
    if teacher.embedding is not None:
        likeness = functional.cosine_similarity(outputs.embedding, teacher.embedding)
        total = total + (1 - likeness).mean()
    return total


def weighted(losses: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """The sum that is minimised; each name is a field of `LossWeights`."""
    return torch.stack([getattr(weights, name) * loss for name, loss in losses.items()]).sum()
