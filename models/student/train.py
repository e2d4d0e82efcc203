"""Training: one seeded loop, for the student and for its teacher.

The network is trained on a GPU when there is one. The same examples, configuration, recipe and
seed give the same weights on the same kind of CPU (a GPU adds in an order of its own): order,
dropout, mirror and first weights are drawn from the seed alone. A run that is given a checkpoint
goes on after its last whole epoch and ends with the same weights as one that was never stopped.

Does not do: read clips or choose what to learn from.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from contracts.errors import CorruptError, InputError
from contracts.geometry import Int64s
from contracts.samples import Float64s
from models.student.augment import Augmentation, augmented, mirrored_rows
from models.student.config import StudentConfig
from models.student.crew import ALONE, Crew
from models.student.device import best_device, device_of, low_precision, moved
from models.student.draws import drawn, epoch_size
from models.student.dropout import DropoutOdds, drop_modalities
from models.student.inputs import StudentFrame, batch_of, checked_frame
from models.student.losses import (
    LossWeights,
    TeacherFrame,
    TeacherOutputs,
    batch_teacher,
    distillation_loss,
    losses_of,
    weighted,
)
from models.student.network import Student, StudentInputs, StudentOutputs, new_student
from models.student.targets import FrameTargets, TargetBatch, batch_targets

_MAX_GRADIENT = 10.0
_RISE, _LOWEST = 0.2, 0.04


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: epochs, frames a step, the highest rate of a one-cycle schedule.

    `bf16` runs the network in bfloat16 where that is safe and the device has it, twice as fast.
    `compiled` joins its element-wise steps by torch's compiler, which needs a C++ compiler: a
    minute at the start, then a third faster.
    """

    epochs: int
    batch: int = 8
    max_rate: float = 2e-3
    weight_decay: float = 1e-4
    dropout: DropoutOdds = field(default_factory=DropoutOdds)
    augmentation: Augmentation = field(default_factory=Augmentation)
    weights: LossWeights = field(default_factory=LossWeights)
    bf16: bool = False
    compiled: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """A frame, what it shows, and perhaps what a teacher says of it."""

    frame: StudentFrame
    targets: FrameTargets
    teacher: TeacherFrame | None = None


Progress = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number from 1 and the mean of each loss."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A step's frames: their places among the examples, and what they are as tensors."""

    places: np.ndarray[tuple[int], np.dtype[np.int64]]
    inputs: StudentInputs
    targets: TargetBatch
    teacher: TeacherOutputs | None

    def on(self, device: torch.device) -> Batch:
        """The same step on the device where the network is."""
        teacher = None if self.teacher is None else moved(self.teacher, device)
        return replace(
            self, inputs=moved(self.inputs, device), targets=moved(self.targets, device),
            teacher=teacher,
        )  # fmt: skip


class Learner(Protocol):
    """What is trained: `network` whole, for its state; `losses` of a batch by name."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def config(self) -> StudentConfig: ...

    def losses(self, batch: Batch) -> dict[str, Tensor]: ...


class StudentLearner:
    """Learns from labels, and from a teacher where examples have its word."""

    def __init__(self, network: Student, recipe: Recipe, crew: Crew = ALONE) -> None:
        self.network = network
        together = crew.wrapped(network)
        self._forward: Callable[..., Any] = torch.compile(together) if recipe.compiled else together
        self._bf16, self._crew = recipe.bf16, crew

    @property
    def config(self) -> StudentConfig:
        return self.network.config

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        with low_precision(device_of(self.network), self._bf16):
            found = self._forward(*channels_last(batch.inputs))
        outputs = StudentOutputs(*(part.float() for part in found))
        losses = losses_of(outputs, batch.targets, self._crew)
        if batch.teacher is not None:
            losses["teacher"] = distillation_loss(outputs, batch.teacher, self._crew)
        return losses


def train_student(
    config: StudentConfig,
    examples: Sequence[Example],
    recipe: Recipe,
    seed: int,
    progress: Progress | None = None,
    *,
    checkpoint: Path | None = None,
    start: Student | None = None,
) -> Student:
    """A trained network in evaluation mode; `start` goes on from another's weights.

    Raises `InputError` without examples, `CorruptError` for a checkpoint of something else.
    """
    network = new_student(config, seed).to(best_device())
    if start is not None:
        network.load_state_dict(start.state_dict())
    learner = StudentLearner(network, recipe)
    fit(learner, examples, recipe, seed, progress, checkpoint)
    return network.cpu().eval()


def fit(
    learner: Learner, examples: Sequence[Example], recipe: Recipe, seed: int,
    progress: Progress | None = None, checkpoint: Path | None = None,
    weights: Float64s | None = None, crew: Crew = ALONE,
) -> None:  # fmt: skip
    """Train the learner's network in place.

    `weights` float64 [examples] tell how often each is drawn in an epoch, to within one and anew
    each time; without them, each is seen once. In a `crew` the learner's network is the crew's,
    and only the leader keeps checkpoints and tells of epochs, by the losses of its own part.
    """
    if not examples:
        raise InputError("no example to learn from")
    if weights is None:
        weights = np.ones(len(examples))
    if weights.shape != (len(examples),):
        raise InputError(f"{len(examples)} examples, weights {list(weights.shape)}", "weights")
    size = epoch_size(weights)
    network, rng = learner.network, np.random.default_rng(seed)
    device = device_of(network)
    # Channels last: a third less time in the CPU's convolutions.
    lay_out(network, torch.channels_last)
    trained = [each for each in network.parameters() if each.requires_grad]
    steps = -(-size // recipe.batch)
    optimiser = torch.optim.AdamW(trained, lr=recipe.max_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, partial(one_cycle, total=recipe.epochs * steps)
    )
    run = f"{recipe} {seed}" if crew.size == 1 else f"{recipe} {seed} by {crew.size}"
    state = _State(network, optimiser, schedule, rng, checkpoint, run)
    network.train()
    first = state.restored()
    crew.wait()
    for epoch in range(first, recipe.epochs):
        order = rng.permutation(_rows(weights, size, rng))
        means: dict[str, float] = {}
        for step in range(steps):
            places = order[step * recipe.batch : (step + 1) * recipe.batch]
            draws = crew.rng(rng, seed, epoch, step)
            batch = drawn_batch(learner.config, examples, crew.part(places), recipe, draws)
            losses = learner.losses(batch.on(device))
            optimiser.zero_grad()
            torch.autograd.backward(weighted(losses, recipe.weights))
            torch.nn.utils.clip_grad_norm_(trained, _MAX_GRADIENT)
            optimiser.step()
            schedule.step()
            for name, loss in losses.items():
                means[name] = means.get(name, 0.0) + float(loss.detach()) / steps
        # Told first: a run stopped in between does the epoch again and tells the same once more.
        if progress is not None and crew.leads:
            progress(epoch + 1, means)
        if crew.leads:
            state.keep(epoch + 1)
    lay_out(network, torch.contiguous_format)


def _rows(weights: Float64s, size: int, rng: np.random.Generator) -> Int64s:
    return np.arange(size) if (weights == 1).all() else drawn(weights, size, rng)


def one_cycle(step: int, total: int) -> float:
    """Share of the highest rate at a step: up over the first fifth, then a cosine down to 0."""
    rise = max(1, round(_RISE * total))
    if step < rise:
        return _LOWEST + (1 - _LOWEST) * step / rise
    part = min(1.0, (step - rise) / max(1, total - rise))
    return 0.5 * (1 + math.cos(math.pi * part))


def drawn_batch(
    config: StudentConfig,
    examples: Sequence[Example],
    places: np.ndarray[tuple[int], np.dtype[np.int64]],
    recipe: Recipe,
    rng: np.random.Generator,
) -> Batch:
    """A step's examples as they are drawn: mirrored or not, with or without a sensor."""
    frames, targets, words = [], [], []
    for place in places.tolist():
        example = examples[place]
        frame, shown, mirrored = augmented(
            checked_frame(config, example.frame), example.targets, config, recipe.augmentation, rng
        )
        frames.append(drop_modalities(frame, config, recipe.dropout, rng))
        targets.append(shown)
        if example.teacher is not None:
            word = example.teacher
            words.append(word.mirrored(mirrored_rows(word.boxes, config)) if mirrored else word)
    if words and len(words) != len(frames):
        raise InputError("a teacher's word is there for some examples and not for others")
    teacher = batch_teacher(words) if words else None
    return Batch(places, batch_of(frames), batch_targets(targets), teacher)


def channels_last(inputs: StudentInputs) -> StudentInputs:
    """The same values with the channels innermost in memory."""
    return StudentInputs(
        *(part.contiguous(memory_format=torch.channels_last) if part.dim() == 4 else part
          for part in inputs)
    )  # fmt: skip


def lay_out(network: nn.Module, layout: torch.memory_format) -> None:
    """Reorder the convolutions' weights in memory; their values stay."""
    for weights in network.parameters():
        if weights.dim() == 4:
            weights.data = weights.data.contiguous(memory_format=layout)


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


class _State:
    """All that a run needs to go on, kept in one file after each epoch."""

    def __init__(
        self, network: nn.Module, optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR, rng: np.random.Generator,
        path: Path | None, run: str,
    ) -> None:  # fmt: skip
        self._parts: dict[str, _Stateful] = {
            "network": network, "optimiser": optimiser, "schedule": schedule,
        }  # fmt: skip
        self._rng, self._path, self._run = rng, path, run

    def restored(self) -> int:
        """Whole epochs that are done already."""
        if self._path is None or not self._path.exists():
            return 0
        try:
            kept = torch.load(self._path, weights_only=True, map_location="cpu")
            if kept["run"] != self._run:
                raise CorruptError("the checkpoint is of another recipe or seed", str(self._path))
            for name, part in self._parts.items():
                part.load_state_dict(kept[name])
            self._rng.bit_generator.state = kept["rng"]
        except (RuntimeError, KeyError, ValueError, EOFError, OSError) as error:
            place = str(self._path)
            raise CorruptError(f"this is no checkpoint of the run: {error}", place) from error
        return int(kept["epoch"])

    def keep(self, epoch: int) -> None:
        if self._path is None:
            return
        kept = {name: part.state_dict() for name, part in self._parts.items()}
        partial = self._path.with_name(f".{self._path.name}")
        with partial.open("wb") as stream:
            torch.save(
                {"run": self._run, "epoch": epoch, "rng": self._rng.bit_generator.state, **kept},
                stream,
            )
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self._path)
