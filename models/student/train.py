"""One seeded training run over frames in memory.

The same frames, configuration and seed give the same weights on the same kind of machine:
order, dropout and first weights are drawn from the seed alone.

Does not do: read clips, keep checkpoints, or choose data. It is the inner loop of a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from contracts.errors import InputError
from models.student.config import StudentConfig
from models.student.dropout import DropoutOdds, drop_modalities
from models.student.inputs import StudentFrame, batch_of, checked_frame
from models.student.losses import LossWeights, losses_of, weighted
from models.student.network import Student, StudentOutputs, new_student
from models.student.targets import FrameTargets, batch_targets


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: epochs, frames a step, the highest rate of a one-cycle schedule.

    `bf16` runs the network in bfloat16 where that is safe: twice as fast on a CPU that has it.
    """

    epochs: int
    batch: int = 8
    max_rate: float = 2e-3
    weight_decay: float = 1e-4
    dropout: DropoutOdds = field(default_factory=DropoutOdds)
    weights: LossWeights = field(default_factory=LossWeights)
    bf16: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """A frame and what it shows."""

    frame: StudentFrame
    targets: FrameTargets


Progress = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number from 1 and the mean of each loss."""


def train_student(
    config: StudentConfig,
    examples: Sequence[Example],
    recipe: Recipe,
    seed: int,
    progress: Progress | None = None,
) -> Student:
    """A trained network in evaluation mode. Raises `InputError` without examples."""
    if not examples:
        raise InputError("no example to learn from")
    for example in examples:
        checked_frame(config, example.frame)
    network = new_student(config, seed)
    # Channels last: a third less time in the CPU's convolutions.
    _lay_out(network, torch.channels_last)
    rng = np.random.default_rng(seed)
    steps = -(-len(examples) // recipe.batch)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.max_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.max_rate, total_steps=max(2, recipe.epochs * steps), pct_start=0.2
    )
    network.train()
    for epoch in range(recipe.epochs):
        order = rng.permutation(len(examples))
        means: dict[str, float] = {}
        for step in range(steps):
            chosen = [examples[i] for i in order[step * recipe.batch : (step + 1) * recipe.batch]]
            losses = _step(network, chosen, recipe, rng, optimiser)
            schedule.step()
            for name, loss in losses.items():
                means[name] = means.get(name, 0.0) + loss / steps
        if progress is not None:
            progress(epoch + 1, means)
    _lay_out(network, torch.contiguous_format)
    return network.eval()


def _lay_out(network: Student, layout: torch.memory_format) -> None:
    """Reorder the convolutions' weights in memory; their values stay."""
    for weights in network.parameters():
        if weights.dim() == 4:
            weights.data = weights.data.contiguous(memory_format=layout)


def _step(
    network: Student,
    chosen: Sequence[Example],
    recipe: Recipe,
    rng: np.random.Generator,
    optimiser: torch.optim.Optimizer,
) -> dict[str, float]:
    frames = [
        drop_modalities(example.frame, network.config, recipe.dropout, rng) for example in chosen
    ]
    inputs = batch_of(frames)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.bf16):
        found = network(
            *(part.contiguous(memory_format=torch.channels_last) if part.dim() == 4 else part
              for part in inputs)
        )  # fmt: skip
    outputs = StudentOutputs(*(part.float() for part in found))
    losses = losses_of(outputs, batch_targets([example.targets for example in chosen]))
    optimiser.zero_grad()
    torch.autograd.backward(weighted(losses, recipe.weights))
    torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    optimiser.step()
    return {name: float(loss.detach()) for name, loss in losses.items()}
