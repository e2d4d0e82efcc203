"""What an exported model does: on labelled frames, and at the wheel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.forgetting_arms import scores_of
from bench.loop_critical import drive_errors
from bench.loop_records import Measures
from bench.loop_world import OLD_TEST, TARGET_TEST, LoopData
from contracts.labels import FrameLabels
from sim_fleet.trials.report import DriveTrial

if TYPE_CHECKING:
    from models.data.drives import LabelledFrame
    from models.evaluation.recording import Recording


RIDERS, ANIMALS = "riders", "animals"
"""The slices of the target: the town of motorcycles and bicycles, and country roads."""


def measured(data: LoopData, model: Path) -> Measures:
    """Critical errors on the target, AP on old and new, by the int8 graph that vehicles run."""
    from edge_agent.perception.manifests import verified_model
    from models.evaluation.adapters import GraphPredictor
    from models.evaluation.document import ModelIdentity
    from models.evaluation.evaluate import Subject, measure

    manifest = verified_model(model).manifest
    predictor = GraphPredictor(manifest, model.read_bytes())
    subject = Subject(ModelIdentity(name="candidate", kind="student-int8"), predictor)
    _, (old,) = measure([subject], data.every_frame(OLD_TEST), OLD_TEST)
    labels: list[FrameLabels] = []
    _, (new,) = measure([subject], _kept(data.every_frame(TARGET_TEST), labels), TARGET_TEST)
    scores = scores_of(old.recording.results, new.recording.results, old.truth.tags)
    return Measures(model=manifest.sha256, drives=by_drive(labels, new.recording), scores=scores)


def by_drive(labels: list[FrameLabels], recording: Recording) -> tuple[DriveTrial, ...]:
    """Critical errors of each drive; where an animal is in it, it is of that slice."""
    rows: dict[str, list[int]] = {}
    for row, each in enumerate(labels):
        rows.setdefault(each.record.drive_id, []).append(row)
    return tuple(
        drive_errors(
            name, slice_of([labels[row] for row in places]),
            [labels[row] for row in places], [recording.results[row] for row in places],
            [recording.presence[row] for row in places],
        )
        for name, places in rows.items()
    )  # fmt: skip


def slice_of(drive: list[FrameLabels]) -> str:
    kinds = {each.box.class_name for labels in drive for each in labels.record.boxes}
    return ANIMALS if "animal" in kinds else RIDERS


def _kept(frames: Iterator[LabelledFrame], labels: list[FrameLabels]) -> Iterator[LabelledFrame]:
    for frame in frames:
        labels.append(frame.labels)
        yield frame
