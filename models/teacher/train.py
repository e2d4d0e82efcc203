"""How a teacher comes to be: a sight that is trained whole, then members over it.

Each member learns from about two thirds of the drives, drawn from the seed: frames of one drive
are alike, so drives are what a member must miss to be of another opinion.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from contracts.errors import InputError
from models.student.config import StudentConfig
from models.student.device import best_device, device_of, low_precision
from models.student.losses import losses_of
from models.student.network import Student, StudentOutputs
from models.student.sight import Sighted
from models.student.targets import BoxBatch, TargetBatch
from models.student.train import Batch, Example, Progress, Recipe, channels_last, fit
from models.teacher.network import Teacher, new_teacher

SHARE_OF_DRIVES = 0.67


class MembersLearner:
    """Trains the members of a teacher whose sight stays as it is.

    `drive_of` int64 [n] is each example's drive.
    """

    def __init__(
        self, teacher: Teacher, drive_of: np.ndarray[tuple[int], np.dtype[np.int64]],
        recipe: Recipe, seed: int,
    ) -> None:  # fmt: skip
        self._teacher = teacher
        self._bf16 = recipe.bf16
        self.network = teacher.members
        teacher.sight.eval().requires_grad_(False)
        rng = np.random.default_rng(seed)
        drives = int(drive_of.max()) + 1
        self._learns = np.stack(
            [_chosen(rng, drives)[drive_of] for _ in range(len(teacher.members))]
        )

    @property
    def config(self) -> StudentConfig:
        return self._teacher.config

    @property
    def learns(self) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """Which member learns from which example, [members, n]."""
        return self._learns

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The sum over the members of each loss, on what each of them learns from."""
        with torch.no_grad(), low_precision(device_of(self._teacher), self._bf16):
            sighted = self._teacher.sight(*channels_last(batch.inputs))
        sums: dict[str, Tensor] = {}
        device = device_of(self._teacher)
        learning = 0
        for number, member in enumerate(self.network):
            rows = np.flatnonzero(self._learns[number, batch.places])
            if rows.size < 2:  # batch norm needs more than one
                continue
            learning += 1
            found = _member_losses(
                member, sighted, batch, torch.from_numpy(rows).to(device), self._bf16
            )
            for name, loss in found.items():
                sums[name] = sums[name] + loss if name in sums else loss
        if not learning:
            none = sum(w.sum() * 0.0 for w in self.network.parameters())
            return {"heat": torch.as_tensor(none)}
        # A sum over members: each has gradients of its own, as if it were trained alone.
        return sums


def _chosen(rng: np.random.Generator, drives: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """About two thirds of the drives, at least one."""
    kept = np.zeros(drives, dtype=np.bool_)
    kept[rng.permutation(drives)[: max(1, round(SHARE_OF_DRIVES * drives))]] = True
    return kept


def _member_losses(
    member: nn.Module, sighted: Sighted, batch: Batch, rows: Tensor, bf16: bool
) -> dict[str, Tensor]:
    with low_precision(device_of(member), bf16):
        found = member(*(part[rows] for part in sighted))
    outputs = StudentOutputs(*(part.float() for part in found))
    return losses_of(outputs, _only(batch.targets, rows))


def _only(targets: TargetBatch, rows: Tensor) -> TargetBatch:
    """The targets of some of a batch's frames."""
    place = torch.full((targets.heat.shape[0],), -1, device=rows.device)
    place[rows] = torch.arange(rows.numel(), device=rows.device)
    cells, values, weight = targets.boxes
    kept = place[cells[:, 0]] >= 0
    moved = cells[kept].clone()
    moved[:, 0] = place[moved[:, 0]]
    return TargetBatch(
        targets.heat[rows], targets.counted[rows], BoxBatch(moved, values[kept], weight[kept]),
        targets.ground[rows], targets.light[rows], targets.presence[rows],
    )  # fmt: skip


def train_members(
    first: Student,
    examples: Sequence[Example],
    drive_of: np.ndarray[tuple[int], np.dtype[np.int64]],
    recipe: Recipe,
    members: int,
    seed: int,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Teacher:
    """A teacher over the sight of a trained network, in evaluation mode.

    Raises `InputError` for fewer than two members, or when examples and drives do not agree.
    """
    if members < 2:
        raise InputError(f"an ensemble has at least 2 members, not {members}")
    if drive_of.shape != (len(examples),):
        raise InputError(f"{len(examples)} examples, but drives of {drive_of.shape[0]}")
    teacher = new_teacher(first, members, seed).to(best_device())
    learner = MembersLearner(teacher, drive_of, recipe, seed)
    fit(learner, examples, recipe, seed, progress, checkpoint)
    return teacher.cpu().eval()
