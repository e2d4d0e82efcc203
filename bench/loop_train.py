"""A turn's candidate: retrained by the published recipe, exported as vehicles run it.

Old is half of what the shipped student was first trained on, and all that turns before labelled;
of either `replay.share` comes along, and its own word is the anchor. The frames are not weighed
towards the random stream: of so few clips it would tell chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.loop_labels import Labelling
from bench.loop_world import CALIBRATE, ZOO, LoopData, PoolClip, Say, slices_of
from contracts.canonical import canonical_digest
from contracts.labels import FrameLabels
from models.recipe import RetrainRecipe
from offline.acquisition.draw import lot
from offline.retrain.plan import epoch_weights
from offline.retrain.replay import replayed

if TYPE_CHECKING:
    from models.student.inputs import StudentFrame
    from models.student.network import Student
    from models.student.train import Example

Labelled = tuple["StudentFrame", FrameLabels]
RANGE_FRAMES = 24
"""Of the old and of the new each, whichever are more. The shipped weights lose 0.6 % of their old
AP by ranges of mostly new frames and nothing by these; of retrained ones no gain was seen.
"""
SCORE_THRESHOLD = 0.1
_MODEL = "student-s"
HELD_OUT = 0.2
_PARTS = 1_000_000


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """A bought clip with people's labels."""

    clip: PoolClip
    labelling: Labelling

    def frames(self, data: LoopData) -> list[Labelled]:
        drive = data.frames(self.clip.drive)
        rows = zip(self.clip.rows, self.labelling.frames, strict=True)
        return [(drive.frame(row), labels) for row, labels in rows]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a turn learns from: clips bought now, and in the turns before."""

    now: tuple[LabelledClip, ...]
    before: tuple[LabelledClip, ...]

    def training(self, seed: int) -> tuple[list[LabelledClip], list[LabelledClip]]:
        """Those of now and of before that are learned from."""
        return (
            [each for each in self.now if not held_out(each.clip, seed)],
            [each for each in self.before if not held_out(each.clip, seed)],
        )

    def held_out(self, seed: int) -> list[LabelledClip]:
        """Those of all turns that tell what a probability means."""
        return [each for each in (*self.before, *self.now) if held_out(each.clip, seed)]


def held_out(clip: PoolClip, seed: int) -> bool:
    """Some of all clips, in all turns alike. By clip and not by drive: a turn buys of few
    drives, and probabilities of a class that none of these shows would be borrowed ones. What is
    measured is of other drives than either.
    """
    return lot(seed, "held-out", clip.clip_id) % _PARTS < HELD_OUT * _PARTS


def retrained(
    data: LoopData, start: Path, lesson: Lesson, along: Sequence[Labelled],
    recipe: RetrainRecipe, seed: int, out: Path, say: Say,
) -> int:  # fmt: skip
    """Train into the run folder `out`; how many new frames it learned from.

    Args:
        start: the run that is retrained.
        along: what comes along of what it was first trained on.
    """
    from models.runs import CHECKPOINT_FILE, RUN_FILE, load_student, read_run
    from models.student.retrain import retrain_student

    if (out / RUN_FILE).exists():
        return read_run(out).examples
    out.mkdir(parents=True, exist_ok=True)
    old, run = load_student(start)
    now, before = lesson.training(seed)
    new = _examples(old, [frame for clip in now for frame in clip.frames(data)])
    again = _examples(old, [*along, *_replayed(data, old, before, recipe)])
    weights = epoch_weights(np.ones(len(new)), len(again), recipe.replay.part)

    def progress(epoch: int, losses: dict[str, float]) -> None:
        words = "  ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
        say(f"epoch {epoch} of {recipe.train.epochs}  {words}")

    network = retrain_student(
        old, new, again, recipe.train.recipe(), recipe.restraint(), seed, progress,
        weights=weights, checkpoint=out / CHECKPOINT_FILE,
    )  # fmt: skip
    _finish(out, network, run.weights, lesson, recipe, seed, len(new))
    return len(new)


def exported(
    data: LoopData, run: Path, lesson: Lesson, along: Sequence[Labelled], seed: int,
    version: int, out: Path, say: Say,
) -> Path:  # fmt: skip
    """Write the int8 model with its manifest; its path.

    Int8 ranges are of frames that it learned from, probabilities of others: clear days, and the
    clips that were held out.
    """
    from edge_agent.perception.manifests import verified_model
    from models.runs import load_student
    from models.student.deploy import deployed
    from models.student.export import write_student
    from offline.retrain.lineage import export_lineage

    path = out / f"{_MODEL}.onnx"
    if path.with_suffix(".manifest.yaml").exists():
        return path
    student, trained = load_student(run)
    now, _ = lesson.training(seed)
    new = [frame for clip in now for frame, _ in clip.frames(data)]
    for_ranges = [*_spread(new), *_spread([frame for frame, _ in along])]
    others = [(each.frame, each.labels) for each in data.every_frame(CALIBRATE)]
    others += [frame for clip in lesson.held_out(seed) for frame in clip.frames(data)]
    calibrated_on = canonical_digest([labels.record.model_dump_json() for _, labels in others])
    shipped = verified_model(ZOO / "student-s.onnx").manifest
    made = deployed(
        student, for_ranges, others, name=_MODEL, version=version, score_threshold=SCORE_THRESHOLD,
        lineage=export_lineage(trained, calibrated_on, int8=True), before=shipped.calibration,
        progress=say,
    )  # fmt: skip
    return write_student(out, made.content, made.manifest)


def _spread(frames: Sequence[StudentFrame]) -> list[StudentFrame]:
    rows = np.linspace(0, len(frames) - 1, min(RANGE_FRAMES, len(frames))).astype(int)
    return [frames[row] for row in rows.tolist()]


def replayed_old(data: LoopData, student: Student, recipe: RetrainRecipe) -> list[Labelled]:
    """What comes along of what the shipped student was first trained on, in every turn."""
    places = data.old_frames()
    slices = slices_of(data, places, recipe.replay.slices)
    rows = replayed(slices, data.old_embeddings(student), recipe.replay.share, recipe.replay.floor)
    chosen = [(data.frames(drive), row) for drive, row in (places[k] for k in rows.tolist())]
    return [(frames.frame(row), frames.labels(row)) for frames, row in chosen]


def _replayed(
    data: LoopData, old: Student, before: Sequence[LabelledClip], recipe: RetrainRecipe
) -> list[Labelled]:
    from models.student.embedding import embeddings_of
    from offline.retrain.plan import slice_of

    frames = [frame for clip in before for frame in clip.frames(data)]
    if not frames:
        return []
    slices = [slice_of(labels.record.tags, recipe.replay.slices) for _, labels in frames]
    found = embeddings_of(old, (frame for frame, _ in frames))
    rows = replayed(slices, found, recipe.replay.share, recipe.replay.floor)
    return [frames[row] for row in rows.tolist()]


def _examples(student: Student, frames: Sequence[Labelled]) -> list[Example]:
    from models.student.targets import targets_of
    from models.student.train import Example

    return [Example(frame, targets_of(student.config, labels)) for frame, labels in frames]


def _finish(
    out: Path, network: Student, start: str, lesson: Lesson, recipe: RetrainRecipe, seed: int,
    new: int,
) -> None:  # fmt: skip
    from models.runs import TrainingRun, finish_run, save_weights

    finish_run(
        out,
        TrainingRun(
            kind="student", config=network.config, recipe=recipe.digest(), stage="retrain",
            seed=seed, dataset=canonical_digest([each.clip.clip_id for each in lesson.now]),
            examples=new, parents={"student": start}, weights=save_weights(out, network),
        ),
    )  # fmt: skip


def with_epochs(recipe: RetrainRecipe, epochs: int) -> RetrainRecipe:
    """The recipe with another number of epochs: a turn labels far less than a month does."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": epochs})})
