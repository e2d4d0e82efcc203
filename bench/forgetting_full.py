"""The full half of the forgetting study: the shipped student, all of its weights retrained."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bench.forgetting_arms import JOINT, START, Arm, Told, scores_of
from contracts.geometry import Int64s
from contracts.samples import Float32s, Float64s
from models.evaluation.adapters import NetworkPredictor
from models.evaluation.document import ModelIdentity
from models.evaluation.evaluate import Subject, measure
from models.student.device import device_of, low_precision
from models.student.retrain import retrain_student
from offline.retrain.replay import replayed

if TYPE_CHECKING:
    from models.data.drives import LabelledFrame
    from models.data.frames import LabelledFrames
    from models.student.network import Student
    from models.student.train import Recipe

Row = TypeVar("Row")
PART = 1 / 3
"""Of an epoch's frames, so many are replayed where anything is."""
JOINT_OFTEN = 2 / 3
"""Draws an epoch of each old frame in joint training, where a new one is drawn once."""
FISHER_EXAMPLES = 64


@dataclass(frozen=True, slots=True)
class FullWorld:
    """Labelled frames of all four sets; `embeddings` and `slices` of the old ones to train on."""

    student: Student
    old: LabelledFrames
    new: LabelledFrames
    old_test: Some[LabelledFrame]
    new_test: Some[LabelledFrame]
    embeddings: Float32s
    slices: Sequence[str]


class FullStudy:
    """Arms on one seed; a checkpoint and the anchor's words of each lie in the folder."""

    def __init__(
        self, world: FullWorld, recipe: Recipe, folder: Path, say: Callable[[str], None]
    ) -> None:
        from models.data.examples import Examples

        self._world, self._recipe, self._folder, self._say = world, recipe, folder, say
        self._old = Examples(world.old, world.student.config)
        self._new = Examples(world.new, world.student.config)

    def told(self, arm: Arm | None, seed: int) -> Told:
        """Of an arm; of the shipped student, where there is none."""
        began = time.process_time()
        name = START if arm is None else arm.name
        network = self._world.student if arm is None else self._retrained(arm, seed)
        spent = time.process_time() - began
        self._say(f"full, {name}: {spent:.0f} s of training; measuring")
        model = ModelIdentity(name=name, kind="student", digest="0" * 64)
        answers = []
        for called, frames in (("old", self._world.old_test), ("new", self._world.new_test)):
            with low_precision(device_of(network), self._recipe.bf16):
                _, (found,) = measure([Subject(model, NetworkPredictor(network))], frames, called)
            answers.append(found)
        scores = scores_of(
            answers[0].recording.results, answers[1].recording.results, answers[0].truth.tags
        )
        return Told(way="full", arm=name, seed=seed, scores=scores, seconds=spent)

    def _retrained(self, arm: Arm, seed: int) -> Student:
        rows = self._replayed(arm, seed)
        folder = self._folder / f"{seed}-{arm.name.replace(' ', '').replace('%', '')}"
        folder.mkdir(parents=True, exist_ok=True)

        def progress(epoch: int, losses: dict[str, float]) -> None:
            words = "  ".join(f"{task} {loss:.3f}" for task, loss in losses.items())
            self._say(f"full, {arm.name}: epoch {epoch} of {self._recipe.epochs}  {words}")

        network = retrain_student(
            self._world.student, self._new, Some(self._old, rows), self._recipe,
            replace(arm.restraint, fisher_examples=FISHER_EXAMPLES), seed, progress,
            weights=self._weights(arm, rows.size), checkpoint=folder / "checkpoint.pt",
            words=folder / "words",
        )  # fmt: skip
        shutil.rmtree(folder)
        return network

    def _replayed(self, arm: Arm, seed: int) -> Int64s:
        """Old frames that come along; for the pull alone those that tell what matters."""
        old = len(self._old)
        if arm.restraint.elastic:
            return np.sort(np.random.default_rng(seed).permutation(old)[:FISHER_EXAMPLES])
        if arm.share == 1:
            return np.arange(old)
        return replayed(self._world.slices, self._world.embeddings, arm.share)

    def _weights(self, arm: Arm, count: int) -> Float64s:
        """Each new frame once an epoch, for all arms; the old ones as the arm has it."""
        often = JOINT_OFTEN if arm.name == JOINT else 0.0
        if 0 < arm.share < 1:
            often = PART / (1 - PART) * len(self._new) / count
        return np.concatenate([np.ones(len(self._new)), np.full(count, often)])


class Some(Sequence[Row]):
    """Some of the rows of a sequence, each made when it is asked for."""

    def __init__(self, rows_of: Sequence[Row], rows: Int64s) -> None:
        self._all, self._rows = rows_of, rows

    def __len__(self) -> int:
        return int(self._rows.size)

    def __getitem__(self, place: int) -> Row:  # type: ignore[override]
        return self._all[int(self._rows[place])]

    def __iter__(self) -> Iterator[Row]:
        return (self[place] for place in range(len(self)))
