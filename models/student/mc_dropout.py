"""A student's doubt from one set of weights: passes with dropout, only before the heads.

The network itself has no dropout: weights, training and exports are as they were. Each pass
silences channels of the features that the last convolutions read (boxes' heat and shape and the
ground share theirs, the light has its own) and scales what is left by 1 / (1 - rate); whole
channels, the same ones in every cell and frame, so that a pass is one thinner network with an
opinion of its own (Gal and Ghahramani 2016; spatial dropout, Tompson et al. 2015). The heads are
linear (but for the light's maximum over the picture), so the mean of the logits over many passes
tends to the plain network's own.

`rate` is stated, not fitted: the student was not trained with it. Sight and trunk, nearly all of
the work, run once a frame. The embedding is the plain network's.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from contracts.errors import InputError
from contracts.samples import Float32s
from models.student.device import best_device, device_of, moved
from models.student.inputs import StudentFrame, batch_of
from models.student.network import Student
from models.student.train import channels_last
from models.teacher.predict import Opinions, TeacherMaps

RATE = 0.2
PASSES = 8


@dataclass(frozen=True, slots=True)
class DoubtedFrame:
    """One frame: `plain` maps of the network as it is, whose `members` are the passes' heat; and
    the passes' `opinions`, in one view.
    """

    plain: TeacherMaps
    opinions: Opinions


class McDropout:
    """Runs a student over frames; the same seed gives the same passes, in whatever batches.

    Args:
        student: trained; it is not changed.
        passes: how many thinner networks are asked, 2 or more.
        rate: share of channels that a pass silences, on average.

    Raises:
        InputError: fewer passes, or a rate outside 0..1.
    """

    def __init__(
        self, student: Student, *, passes: int = PASSES, rate: float = RATE, seed: int = 0
    ) -> None:
        if passes < 2:
            raise InputError(f"needs 2 or more, not {passes}", "passes")
        if not 0 < rate < 1:
            raise InputError(f"must lie between 0 and 1, not {rate}", "rate")
        self.student = student.to(best_device()).eval()
        rng = np.random.default_rng(seed)
        self._shared = self._masks(rng, passes, rate, student.tasks.tail_heat)
        self._front = self._masks(rng, passes, rate, student.tasks.tail_light)

    def _masks(self, rng: np.random.Generator, passes: int, rate: float, head: nn.Conv2d) -> Tensor:
        """What each pass multiplies the head's inputs by: [passes, channels, 1, 1]."""
        kept = rng.random((passes, head.in_channels)) >= rate
        scale = torch.from_numpy((kept / (1 - rate)).astype(np.float32))
        return scale[:, :, None, None].to(device_of(self.student))

    def frames(self, frames: Sequence[StudentFrame]) -> list[DoubtedFrame]:
        """What the network and its passes say of each frame of a batch."""
        tasks, seen = self.student.tasks, dict[str, Tensor]()
        with torch.no_grad(), ExitStack() as hooks:
            for name in ("tail_heat", "tail_light"):
                hook = getattr(tasks, name).register_forward_pre_hook(_Keep(seen, name))
                hooks.callback(hook.remove)
            inputs = moved(channels_last(batch_of(frames)), device_of(self.student))
            plain = self.student(*inputs)
            shared, front = seen["tail_heat"], seen["tail_light"]
            found = []
            for k in range(len(frames)):
                heat = torch.sigmoid(plain.heat[k])
                thinner = shared[k][None] * self._shared
                passes = torch.sigmoid(tasks.tail_heat(thinner))
                states = tasks.tail_light(front[k][None] * self._front).amax(dim=(2, 3))
                light = torch.cat([tasks.no_light.expand(states.shape[0], 1), states], dim=1)
                ground = torch.sigmoid(tasks.tail_ground(thinner))
                embedding = _array(plain.embedding[k])
                maps = TeacherMaps(
                    _array(heat), _array(passes), _array(plain.boxes[k]),
                    _array(torch.sigmoid(plain.ground[k])),
                    _array(torch.softmax(plain.light[k], dim=-1)), embedding,
                )  # fmt: skip
                opinions = Opinions(
                    _array(passes[:, None]),
                    _array((tasks.tail_boxes(thinner) * tasks.box_scale)[:, None]),
                    _array(ground[:, None]),
                    _array(torch.softmax(light, dim=-1)[:, None]), embedding,
                )  # fmt: skip
                found.append(DoubtedFrame(maps, opinions))
        return found


class _Keep:
    """A hook that keeps what a head is given."""

    def __init__(self, seen: dict[str, Tensor], name: str) -> None:
        self._seen, self._name = seen, name

    def __call__(self, head: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._seen[self._name] = given[0]


def _array(values: Tensor) -> Float32s:
    return np.ascontiguousarray(values.float().cpu().numpy())
