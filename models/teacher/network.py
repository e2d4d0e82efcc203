"""One sight, and the tasks of each member over it.

The members share what the network makes of the sensors and differ in everything after it: their
own coarse trunk and heads, from first weights of their own, each trained on its own part of the
drives. That is a third of the work of members that share nothing (deep sub-ensembles,
Valdenegro-Toro 2019), and they disagree where the tasks are uncertain; what the sight has never
made visible, none of them can see.
"""

from __future__ import annotations

import torch
from torch import nn

from contracts.errors import InputError
from models.student.config import StudentConfig
from models.student.network import Student, StudentInputs
from models.student.sight import Sight
from models.student.tasks import StudentOutputs, Tasks


class Teacher(nn.Module):
    """`sight` of `config`, and `members`; weights as torch draws them."""

    def __init__(self, config: StudentConfig, members: int) -> None:
        super().__init__()
        self.config = config
        self.sight = Sight(config)
        self.members = nn.ModuleList(Tasks(config) for _ in range(members))

    def forward(self, inputs: StudentInputs) -> list[StudentOutputs]:
        """What each member says of a batch."""
        sighted = self.sight(*inputs)
        return [member(*sighted) for member in self.members]


def of_first(teacher: Teacher, members: int) -> Teacher:
    """The teacher with only its first members, whose work is less: the weights are the same ones.

    Raises `InputError` for more members than it has, or for none.
    """
    has = len(teacher.members)
    if not 1 <= members <= has:
        raise InputError(f"1 to {has} members can be asked, not {members}", "members")
    fewer = Teacher(teacher.config, 0)
    fewer.sight, fewer.members = teacher.sight, teacher.members[:members]
    return fewer.train(teacher.training)


def new_teacher(first: Student, members: int, seed: int) -> Teacher:
    """A teacher with the sight of a trained network, and members that know nothing yet."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        teacher = Teacher(first.config, members)
    teacher.sight.load_state_dict(first.sight.state_dict())
    return teacher
