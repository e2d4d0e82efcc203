"""Chooses the auto-labeller's parameters, fits its confidence, and tells what both are worth on
sequences that had no part in either.

    python -m bench.label_tuning ../shared/data/kitti_tracking [--write]

Each sequence is left out once: parameters are chosen on the nine others (`offline.labels.auto.
tuning`), a calibrator is fitted to them, and the sequence is labelled with both; figures join all
ten. While parameters are chosen, a sequence's scores come from trees that do not know it (but may
know the one left out: each sequence is counted once for a choice of parameters, and leaving one
out is a sum). What `--write` ships is chosen and fitted in the same way on all ten. The causal
tracker's settings, and what is not in the grid, were set by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bench.label import Sequences, read_sequences, row_of
from contracts.samples import Float64s
from offline.labels.auto.clip import AutoLabels
from offline.labels.auto.kitti_clips import CLASS_NAMES, NO_REGIONS
from offline.labels.auto.offline import accepted, scored, unscored
from offline.labels.auto.parameters import (
    PUBLISHED,
    ClassParameters,
    parameters_digest,
    parameters_text,
    read_parameters,
)
from offline.labels.auto.tuning import middle, searched
from offline.labels.auto.world import estimated_poses
from offline.labels.calibration.boosting import probability
from offline.labels.calibration.calibrator import PUBLISHED as CALIBRATOR
from offline.labels.calibration.calibrator import calibrator_text
from offline.labels.calibration.fitting import Folds, Plan
from offline.labels.calibration.inputs import inputs_of
from offline.labels.calibration.samples import samples_of
from offline.labels.evaluation.additive import Counts, counts_of, hota_of, motas_of
from offline.labels.evaluation.kitti_rules import class_table
from offline.labels.evaluation.report import class_report
from offline.labels.kitti import CLASSES, LabelFile

GOES_BY = {"Car": (0.25, 0.7), "Pedestrian": (0.25, 0.5), "Cyclist": (0.25, 0.5)}
"""Parameters are chosen by the mean of HOTA and MOTA at these overlaps."""
ByClass = dict[str, ClassParameters]


@dataclass(slots=True)
class Search:
    """What was found with each choice of one class's parameters; nothing is done twice."""

    sequences: Sequences
    poses: dict[str, Float64s]
    folds: Folds
    class_name: str
    names: list[str] = field(init=False)
    _labels: dict[tuple[str, str], AutoLabels] = field(default_factory=dict)
    _counts: dict[tuple[str, str], Counts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = list(self.sequences.clips)

    def worth(self, without: int | None) -> Callable[[ClassParameters], float]:
        """Of parameters, on all sequences but one."""

        def told(parameters: ClassParameters) -> float:
            parts = [
                self._count(parameters, name)
                for number, name in enumerate(self.names)
                if number != without
            ]
            return float(np.mean([hota_of(parts), *motas_of(parts)]))

        return told

    def _count(self, parameters: ClassParameters, name: str) -> Counts:
        key = (parameters.model_dump_json(), name)
        if key not in self._counts:
            labels = self._made(parameters, name)
            trees = self.folds.trees(self.names.index(name))
            margin = trees.margin(inputs_of(labels.features, self.class_name))
            boxes = replace(labels.boxes, score=probability(margin))
            told = accepted(replace(labels, boxes=boxes), {self.class_name: parameters}).boxes
            found = {name: LabelFile(told, *NO_REGIONS)}
            truth = {name: self.sequences.truth[name]}
            table = class_table(truth, found, self.class_name)
            self._counts[key] = counts_of(table, GOES_BY[self.class_name])
        return self._counts[key]

    def _made(self, parameters: ClassParameters, name: str) -> AutoLabels:
        # Which of the boxes are told has no part in how they are made.
        extent = parameters.extent.model_copy(update={"trim_score": 0.0})
        bare = parameters.model_copy(update={"keep_score": 0.0, "extent": extent})
        key = (bare.model_dump_json(), name)
        if key not in self._labels:
            clip = self.sequences.clips[name]
            self._labels[key] = unscored(clip, self.poses[name], {self.class_name: bare})
        return self._labels[key]


@dataclass(slots=True)
class Labelled:
    """All boxes of all classes, made once for each choice of parameters."""

    sequences: Sequences
    poses: dict[str, Float64s]
    _made: dict[str, dict[str, AutoLabels]] = field(default_factory=dict)

    def everything(self, by_class: ByClass) -> dict[str, AutoLabels]:
        """By sequence, without scores."""
        key = parameters_digest(by_class)
        if key not in self._made:
            self._made[key] = {
                name: unscored(clip, self.poses[name], by_class)
                for name, clip in self.sequences.clips.items()
            }
        return self._made[key]


def tune(
    data: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    write: Annotated[bool, typer.Option("--write", help="Keep what fits all sequences.")] = False,
) -> None:
    """Leave one sequence out, for each; then choose and fit with all."""
    sequences = read_sequences(data)
    start = {name: middle(each) for name, each in read_parameters().items()}
    poses = {name: estimated_poses(clip, start) for name, clip in sequences.clips.items()}
    made = Labelled(sequences, poses).everything(start)
    folds = Folds(samples_of(sequences.truth, made), Plan())
    chosen: dict[int | None, ByClass] = {n: {} for n in (None, *range(len(poses)))}
    for name in CLASS_NAMES:
        search = Search(sequences, poses, folds, name)
        for held, by_class in chosen.items():
            by_class[name] = searched(start[name], search.worth(held))
            typer.echo(f"{name}, without {held}: {_difference(start[name], by_class[name])}")
    labelled = Labelled(sequences, poses)
    told = {
        name: _told_unseen(labelled, number, chosen[number]) for number, name in enumerate(poses)
    }
    by_class = chosen[None]
    samples = samples_of(sequences.truth, labelled.everything(by_class))
    calibrator = Folds(samples, Plan()).calibrator(parameters_digest(by_class))
    inside = {
        name: LabelFile(accepted(scored(labels, by_class, calibrator), by_class).boxes, *NO_REGIONS)
        for name, labels in labelled.everything(by_class).items()
    }
    for name in CLASS_NAMES:
        for title, found in (("in sample", inside), ("left out", told)):
            table = class_table(sequences.truth, found, name)
            typer.echo(f"{name}, {title}: {row_of(class_report(name, table, len(poses)))}")
    if write:
        PUBLISHED.write_text(parameters_text(by_class), encoding="utf-8")
        CALIBRATOR.write_text(calibrator_text(calibrator), encoding="utf-8")


def _told_unseen(labelled: Labelled, number: int, by_class: ByClass) -> LabelFile:
    """One sequence with parameters and a calibrator that know nothing of it."""
    made = labelled.everything(by_class)
    name = list(made)[number]
    truth = {other: each for other, each in labelled.sequences.truth.items() if other != name}
    others = {other: each for other, each in made.items() if other != name}
    folds = Folds(samples_of(truth, others), Plan())
    labels, score = made[name], np.zeros(len(made[name].boxes))
    for class_name in by_class:
        rows = labels.boxes.kind == CLASSES.index(class_name)
        score[rows] = folds.confidence(inputs_of(labels.features[rows], class_name))
    labels = replace(labels, boxes=replace(labels.boxes, score=score))
    return LabelFile(accepted(labels, by_class).boxes, *NO_REGIONS)


def _difference(before: ClassParameters, after: ClassParameters) -> str:
    """Parameters that differ, as text."""
    parts = []
    for name, value in after.model_dump().items():
        old = before.model_dump()[name]
        if isinstance(value, dict):
            parts += [f"{name}.{k}={v}" for k, v in value.items() if v != old[k]]
        elif value != old:
            parts.append(f"{name}={value}")
    return ", ".join(parts) or "nothing"


if __name__ == "__main__":
    typer.run(tune)
