"""Retraining a network without its forgetting what it knew.

A network that only sees new examples moves its weights to wherever these are told best, and
loses the rest (McCloskey and Cohen 1989). Three things hold it back, alone or together:

- Replay: examples of before come along (Robins 1995; Rolnick et al. 2019). Which ones, the
  caller says.
- The anchor: the network's own word of before, stored, is taught beside the labels (Li and
  Hoiem, Learning without Forgetting, 2016; Buzzega et al., Dark Experience, 2020).
- The elastic pull: each weight is drawn back to where it was, the more so the more the old
  examples depended on it (Kirkpatrick et al., Elastic Weight Consolidation, 2017), by the
  diagonal of the empirical Fisher information.
- What is held does not move at all: whole parts of the network, or the statistics of its batch
  norms, which a few unlike frames would draw away from the roads of before.
- The blend: weights part of the way from those of before to the retrained ones keep more of the
  old than they lose of the new (Wortsman et al., Robust fine-tuning, 2022).

The rate rises anew and falls again, from the recipe (Gupta et al., re-warming, 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from contracts.errors import InputError
from contracts.samples import Float64s
from models.student.crew import ALONE, Crew
from models.student.device import best_device, device_of, moved
from models.student.dropout import NO_DROPOUT
from models.student.inputs import StudentFrame, batch_of
from models.student.losses import TeacherFrame, losses_of, weighted
from models.student.network import Student, StudentOutputs
from models.student.targets import BoxRows, FrameTargets
from models.student.train import (
    Batch,
    Example,
    Progress,
    Recipe,
    StudentLearner,
    channels_last,
    drawn_batch,
    fit,
)
from models.student.word import SURE, read_word, word_from, write_word

Told = Callable[[int, int], None]
"""Called after each of some frames with how many are done, of how many."""
Network = TypeVar("Network", bound=nn.Module)

Held = Literal["statistics", "sight", "ground", "light"]
"""What can be held: running statistics of all batch norms; the sight, with its own statistics;
the ground's and the light's heads.
"""


@dataclass(frozen=True, slots=True)
class Restraint:
    """What holds the network to what it knew.

    `anchor` weighs the stored word of before against the labels, `elastic` the pull on the
    weights; 0 leaves it out. `fisher_examples` are how many old examples tell what matters.
    `held` does not move. `blend` is how far the way to the retrained weights is gone in the end.
    """

    anchor: float = 0.0
    elastic: float = 0.0
    fisher_examples: int = 64
    held: tuple[Held, ...] = ()
    blend: float = 1.0


def own_word(network: Student, frame: StudentFrame) -> TeacherFrame:
    """What the network itself says of a frame, to be held to later."""
    device = device_of(network)
    with torch.no_grad():
        found = network(*channels_last(moved(batch_of([frame]), device)))
    heat, boxes, embedding = (
        part[0].float().cpu().numpy()
        for part in (torch.sigmoid(found.heat), found.boxes, found.embedding)
    )
    return word_from(network.config, heat, boxes, embedding)


class OwnWords(Sequence[TeacherFrame]):
    """A network's own word on examples, as it is now.

    In `folder` each is kept as a file by its place, and read when it is asked for: a run that was
    stopped goes on with the next. The folder must be of these examples and this network, which
    is not checked. Without a folder they are kept in memory.

    Args:
        told: called after each word with how many there are, of how many.
        crew: each of it asks about its part of the examples, and waits for the others.

    Raises `InputError` for a crew without a folder, which all must see.
    """

    def __init__(
        self, network: Student, examples: Sequence[Example], folder: Path | None = None,
        told: Told = lambda done, of: None, crew: Crew = ALONE,
    ) -> None:  # fmt: skip
        self._paths: list[Path] = []
        self._words: list[TeacherFrame] = []
        if folder is None and crew.size > 1:
            raise InputError("a crew shares its words: they need a folder", "words")
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._paths = [folder / f"{place:06d}.npz" for place in range(len(examples))]
        network.eval()
        for place in range(crew.rank, len(examples), crew.size):
            if not self._paths:
                self._words.append(own_word(network, examples[place].frame))
            elif not self._paths[place].exists():
                write_word(self._paths[place], own_word(network, examples[place].frame))
            told(place + 1, len(examples))
        crew.wait()

    def __len__(self) -> int:
        return max(len(self._words), len(self._paths))

    def __getitem__(self, place: int) -> TeacherFrame:  # type: ignore[override]
        return read_word(self._paths[place]) if self._paths else self._words[place]


def corrected(word: TeacherFrame, targets: FrameTargets) -> TeacherFrame:
    """The word, which gives way wherever a label speaks against it.

    Near a labelled object its belief is at least the target's, and where it was sure of an
    object that is not labelled it believes nothing; the boxes' geometry is the labels' alone.
    What it half believed of the rest, and its embedding, stay.
    """
    heat = word.heat.astype(np.float32)
    contradicted = (heat > SURE) & (targets.heat < SURE) & (targets.counted > 0)
    heat = np.where(contradicted, 0.0, np.maximum(heat, targets.heat))
    nothing = BoxRows(word.boxes.cells[:0], word.boxes.values[:0], word.boxes.weight[:0])
    return TeacherFrame(heat.astype(np.float16), nothing, word.embedding)


class _Taught(Sequence[Example]):
    """New examples and then replayed ones, with the old network's words or with none."""

    def __init__(
        self, new: Sequence[Example], replay: Sequence[Example], words: OwnWords | None
    ) -> None:
        self._new, self._replay, self._words = new, replay, words

    def __len__(self) -> int:
        return len(self._new) + len(self._replay)

    def __getitem__(self, place: int) -> Example:  # type: ignore[override]
        is_new = place < len(self._new)
        example = self._new[place] if is_new else self._replay[place - len(self._new)]
        if self._words is None:
            return replace(example, teacher=None)
        word = self._words[place]
        return replace(example, teacher=corrected(word, example.targets) if is_new else word)


class ElasticPull:
    """How far a network has left `start`, weighed by what mattered there.

    Args:
        start: the network of before; its weights are copied.
        fisher: by parameter name, as `fisher_of` gives it.
    """

    def __init__(self, start: Student, fisher: dict[str, Tensor]) -> None:
        self._held = {
            name: (weights.detach().clone(), fisher[name])
            for name, weights in start.named_parameters()
            if name in fisher
        }

    def of(self, network: Student) -> Tensor:
        """Half the sum of F (w - w0)^2 over all weights."""
        parts = []
        for name, weights in network.named_parameters():
            if name in self._held:
                start, fisher = self._held[name]
                gone = weights - start.to(weights.device)
                parts.append((fisher.to(weights.device) * gone**2).sum())
        return 0.5 * torch.stack(parts).sum()


def fisher_of(
    network: Student, examples: Sequence[Example], recipe: Recipe, count: int, seed: int
) -> dict[str, Tensor]:
    """Mean squared gradient of the loss of one example, by parameter, over `count` examples.

    Raises `InputError` without examples.
    """
    if not examples:
        raise InputError("no example to tell which weights matter")
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(examples))[:count]
    plain = replace(recipe, dropout=NO_DROPOUT)
    network.eval()
    total = {name: torch.zeros_like(w) for name, w in network.named_parameters()}
    for place in chosen:
        batch = drawn_batch(network.config, examples, np.array([place]), plain, rng)
        batch = batch.on(device_of(network))
        outputs = StudentOutputs(*(p.float() for p in network(*channels_last(batch.inputs))))
        network.zero_grad()
        torch.autograd.backward(weighted(losses_of(outputs, batch.targets), recipe.weights))
        for name, weights in network.named_parameters():
            if weights.grad is not None:
                total[name] += weights.grad**2 / len(chosen)
    network.zero_grad()
    return total


def hold(network: Student, held: Sequence[Held]) -> list[nn.Module]:
    """Stop what is held from learning; its modules whose statistics must not move either."""
    parts: dict[Held, list[nn.Module]] = {
        "statistics": [], "sight": [network.sight],
        "ground": [network.tasks.tail_ground], "light": [network.tasks.tail_light],
    }  # fmt: skip
    for name in held:
        for part in parts[name]:
            part.requires_grad_(False)
    if "light" in held:
        network.tasks.no_light.requires_grad_(False)
    among = network if "statistics" in held else network.sight if "sight" in held else None
    if among is None:
        return []
    return [each for each in among.modules() if isinstance(each, nn.BatchNorm2d)]


class RestrainedLearner(StudentLearner):
    """Learns as a student does, and is pulled back to where it started."""

    def __init__(
        self, network: Student, recipe: Recipe, pull: ElasticPull | None,
        crew: Crew = ALONE, held: Sequence[Held] = (),
    ) -> None:  # fmt: skip
        self._still = hold(network, held)
        super().__init__(network, recipe, crew)
        self._student, self._pull = network, pull

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        for each in self._still:
            each.eval()
        losses = super().losses(batch)
        if self._pull is not None:
            losses["elastic"] = self._pull.of(self._student)
        return losses


def retrain_student(
    old: Student,
    new: Sequence[Example],
    replay: Sequence[Example],
    recipe: Recipe,
    restraint: Restraint,
    seed: int,
    progress: Progress | None = None,
    *,
    weights: Float64s | None = None,
    checkpoint: Path | None = None,
    words: Path | None = None,
    told: Told = lambda done, of: None,
    crew: Crew = ALONE,
) -> Student:
    """The old network, taught new examples; in evaluation mode, the old one is left as it is.

    Args:
        old: the network of before.
        new: what it shall learn; a teacher's word on them is not used.
        replay: examples of before.
        recipe: how to train; its rate should be well below the one of first training.
        restraint: what holds it back. On new examples the anchor gives way to the labels
            (`corrected`). The pull needs replayed examples to know what matters.
        seed: of order, dropout and draws.
        weights: how often each example, the new ones first, is drawn in an epoch; else once.
        checkpoint: where to go on from.
        words: folder that keeps the anchor's words; see `OwnWords`, which also has `told`. A crew
            needs one that all see.
        crew: those that train together; all call this with the same arguments.

    Raises `InputError` without new examples, for weights that do not fit, or for a pull without
    replay; `CorruptError` for a checkpoint or a word that is damaged.
    """
    if not new:
        raise InputError("nothing new to learn")
    network = Student(old.config)
    network.load_state_dict(old.state_dict())
    network = network.to(best_device())
    tasks = replace(recipe.weights, teacher=restraint.anchor, elastic=restraint.elastic)
    recipe = replace(recipe, weights=tasks)
    pull = None
    if restraint.elastic > 0:
        fisher = fisher_of(network, replay, recipe, restraint.fisher_examples, seed)
        pull = ElasticPull(network, fisher)
    anchor = None
    if restraint.anchor > 0:
        anchor = OwnWords(network, _Taught(new, replay, None), words, told, crew)
    fit(
        RestrainedLearner(network, recipe, pull, crew, restraint.held),
        _Taught(new, replay, anchor), recipe, seed, progress, checkpoint, weights, crew,
    )  # fmt: skip
    return blended(old, network.cpu(), restraint.blend).eval().requires_grad_(True)


def blended(old: Network, new: Network, part: float) -> Network:
    """`new` with weights and statistics the part `part` of the way from `old`'s to its own."""
    before, after = old.state_dict(), new.state_dict()
    new.load_state_dict({
        name: torch.lerp(before[name], value, part) if value.is_floating_point() else value
        for name, value in after.items()
    })  # fmt: skip
    return new
