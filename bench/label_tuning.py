"""Fits the auto-labeller's parameters and tells what they are worth on sequences not fitted to.

    python -m bench.label_tuning ../shared/data/kitti_tracking [--write]

Size bias and rescoring are fitted to all sequences but one, which is then measured;
the figures join what was found in all. Without `--write` nothing changes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench.label import Sequences, read_sequences, row_of
from offline.labels.auto.kitti_clips import CLASS_NAMES
from offline.labels.auto.offline import label_clip
from offline.labels.auto.parameters import (
    PUBLISHED,
    ClassParameters,
    parameters_text,
    read_parameters,
)
from offline.labels.auto.tuning import SIZE_BIASED, refitted, size_factor, told_of
from offline.labels.auto.world import estimated_poses
from offline.labels.evaluation.kitti_rules import class_table
from offline.labels.evaluation.report import class_report
from offline.labels.kitti import LabelFile


def tune(
    data: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    write: Annotated[bool, typer.Option("--write", help="Keep what fits all sequences.")] = False,
) -> None:
    """Leave one sequence out, for each; then fit all."""
    sequences, by_class = read_sequences(data), read_parameters()
    clips = {
        name: replace(clip, world_SE2_sensor=estimated_poses(clip, by_class))
        for name, clip in sequences.clips.items()
    }
    sequences = replace(sequences, clips=clips)
    for name in CLASS_NAMES:
        told: dict[str, LabelFile] = {}
        for held, clip in clips.items():
            others = [other for other in clips if other != held]
            one = _fitted(sequences, others, by_class[name])
            labels = label_clip(clip, {name: one}, everything=True)
            told[held] = told_of(labels, one)
        table = class_table(sequences.truth, told, name)
        typer.echo(f"{name}, left out: {row_of(class_report(name, table, len(clips)))}")
        by_class[name] = _fitted(sequences, list(clips), by_class[name])
    if write:
        PUBLISHED.write_text(parameters_text(by_class), encoding="utf-8")


def _fitted(sequences: Sequences, names: list[str], start: ClassParameters) -> ClassParameters:
    truth = {name: sequences.truth[name] for name in names}
    found = {name: sequences.clips[name].found for name in names}
    one = start
    if start.class_name in SIZE_BIASED:
        factor = size_factor(truth, found, start)
        scale = start.scale.model_copy(update={"size_factor": factor})
        one = start.model_copy(update={"scale": scale})
    made = {
        name: label_clip(sequences.clips[name], {one.class_name: one}, everything=True)
        for name in names
    }
    return refitted(truth, made, one)


if __name__ == "__main__":
    typer.run(tune)
