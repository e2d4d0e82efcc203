"""The student: mid fusion in the bird's-eye view (`sight`), several tasks on it (`tasks`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.student.config import StudentConfig
from models.student.sight import Sight, StudentInputs
from models.student.tasks import StudentOutputs, Tasks

__all__ = ["Deployed", "Student", "StudentInputs", "StudentOutputs", "new_student"]


class Student(nn.Module):
    """The network of one configuration, weights as torch draws them; see `new_student`."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.sight = Sight(config)
        self.tasks = Tasks(config)

    def forward(
        self, images: Tensor, pixel: Tensor, depth: Tensor, lidar: Tensor, radar: Tensor,
        present: Tensor,
    ) -> StudentOutputs:  # fmt: skip
        found: StudentOutputs = self.tasks(*self.sight(images, pixel, depth, lidar, radar, present))
        return found


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
