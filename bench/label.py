"""The auto-labeller on published detections: causal against non-causal, in one run.

KITTI tracking, ten sequences with PointRCNN's published detections.
HOTA on 2D boxes as KITTI's benchmark counts, sAMOTA, MOTA, fragments and identity switches on 3D
boxes as AB3DMOT; all from what is told, one file for all figures. The causal tracker is the
reference. Time is of CPU, all three classes together, without reading files. Parameters were
chosen on these sequences; `bench/label_tuning.py` tells the figures with each left out.
Calibration is with each sequence left out: its confidence, and the threshold from which boxes are
accepted unseen at 98 % precision, are fitted to the other nine; a box is right from a 3D overlap
of 0.25 on. The reference is the detector's own probability of the same boxes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, figure
from contracts.errors import InputError
from offline.labels.auto.clip import Clip
from offline.labels.auto.kitti_clips import CLASS_NAMES, NO_REGIONS, detection_files, read_clip
from offline.labels.auto.offline import label_clip, unscored
from offline.labels.auto.online import track_clip
from offline.labels.auto.parameters import ClassParameters, read_parameters
from offline.labels.auto.world import estimated_poses
from offline.labels.calibration.figures import class_figures
from offline.labels.calibration.fitting import Folds, Plan
from offline.labels.calibration.samples import samples_of
from offline.labels.evaluation.kitti_rules import class_table
from offline.labels.evaluation.report import ClassReport, class_report
from offline.labels.kitti import LabelFile, TrackedBoxes, read_labels

_OVERLAPS = ("0.25", "0.7")


@dataclass(frozen=True, slots=True)
class Sequences:
    """Clips and their labels, by name."""

    clips: dict[str, Clip]
    truth: dict[str, LabelFile]

    @property
    def frames(self) -> int:
        return sum(clip.frames for clip in self.clips.values())


def run(recorded: Path | None) -> list[Figure]:
    """All figures; none without recorded data, of which it takes the folder `kitti_tracking`."""
    if recorded is None:
        return []
    sequences, by_class = read_sequences(recorded / "kitti_tracking"), read_parameters()
    one = next(iter(sequences.clips.values()))
    # Once before: imports and first calls are no part of the work.
    label_clip(one, by_class)
    ahead = _made(sequences, lambda clip: track_clip(clip, by_class))
    both = _made(sequences, lambda clip: label_clip(clip, by_class).boxes)
    figures = [
        figure("non-causal: CPU time a frame", both[1], "ms", reference="causal",
               reference_value=ahead[1], goal="<= 4"),
    ]  # fmt: skip
    for name in CLASS_NAMES:
        reports = [
            class_report(name, class_table(sequences.truth, made, name), len(sequences.clips))
            for made, _ in (ahead, both)
        ]
        figures += _figures(name, *reports)
    return figures + _calibration(sequences, by_class)


def read_sequences(folder: Path) -> Sequences:
    """All sequences that have labels. Raises `InputError` with `file:line`."""
    names = sorted(path.stem for path in (folder / "label_02").glob("*.txt"))
    if not names:
        raise InputError("no KITTI tracking labels", str(folder / "label_02"))
    return Sequences(
        {
            name: read_clip(detection_files(folder, name), folder / "calib" / f"{name}.txt")
            for name in names
        },
        {name: read_labels(folder / "label_02" / f"{name}.txt") for name in names},
    )


def row_of(report: ClassReport) -> str:
    """The figures of one class in a line."""
    parts = [f"HOTA {100 * (report.image.hota or 0):.2f}"]
    for overlap in _OVERLAPS:
        each = report.space[overlap]
        parts.append(
            f"@{overlap}: sAMOTA {100 * (each.samota or 0):.2f} MOTA {100 * (each.mota or 0):.2f} "
            f"FRAG {each.frag} IDS {each.ids}"
        )
    return " | ".join(parts)


def _made(
    sequences: Sequences, make: Callable[[Clip], TrackedBoxes]
) -> tuple[dict[str, LabelFile], float]:
    """What was told, and CPU time a frame in ms."""
    before = time.process_time_ns()
    boxes = {name: make(clip) for name, clip in sequences.clips.items()}
    spent = time.process_time_ns() - before
    told = {name: LabelFile(each, *NO_REGIONS) for name, each in boxes.items()}
    return told, spent / 1e6 / sequences.frames


def _figures(name: str, causal: ClassReport, labels: ClassReport) -> list[Figure]:
    goals = {"HOTA": ">= 81", "0.25 sAMOTA": ">= 93.4", "0.25 MOTA": ">= 88",
             "0.25 FRAG": "<= 5", "0.7 sAMOTA": ">= 79", "0.7 MOTA": ">= 71"}  # fmt: skip
    columns = [("HOTA", causal.image.hota, labels.image.hota, "%")]
    for overlap in _OVERLAPS:
        one, two = causal.space[overlap], labels.space[overlap]
        columns += [
            (f"{overlap} sAMOTA", one.samota, two.samota, "%"),
            (f"{overlap} MOTA", one.mota, two.mota, "%"),
            (f"{overlap} FRAG", one.frag, two.frag, "fragments"),
            (f"{overlap} IDS", one.ids, two.ids, "switches"),
        ]
    return [
        figure(
            f"{name.lower()}: {column}", _scaled(value, unit), unit, reference="causal",
            reference_value=_scaled(reference, unit),
            goal=goals.get(column, "") if name == "Car" else "",
        )
        for column, reference, value, unit in columns
    ]  # fmt: skip


def _calibration(sequences: Sequences, by_class: dict[str, ClassParameters]) -> list[Figure]:
    made = {
        name: unscored(clip, estimated_poses(clip, by_class), by_class)
        for name, clip in sequences.clips.items()
    }
    samples, plan = samples_of(sequences.truth, made), Plan()
    told = Folds(samples, plan).held_out()
    figures = []
    for one in class_figures(samples, told, plan):
        car = one.class_name == "car"
        worst = max(value for value in one.ece_by_range.values() if value is not None)
        columns = [
            ("ECE", one.ece.value, one.raw_ece, "<= 2.5"),
            ("ECE, worst range", worst, None, "<= 4"),
            ("accepted of the true boxes", one.accepted.value, one.raw_accepted.value, ""),
            ("accepted beyond the raw score, points", one.gained.value, None, ">= 8"),
            ("precision of what was accepted", one.precision.value, one.raw_precision.value, ""),
            ("accepted with a guarantee", one.vouched.value, None, ""),
            ("precision of that", one.vouched_precision.value, None, ""),
        ]
        figures += [
            figure(
                f"{one.class_name}, left out: {column}", 100 * value, "%",
                reference="" if raw is None else "raw score",
                reference_value=None if raw is None else 100 * raw, goal=goal if car else "",
            )
            for column, value, raw, goal in columns
            if value is not None
        ]  # fmt: skip
    return figures


def _scaled(value: float | None, unit: str) -> float:
    return (value or 0.0) * (100 if unit == "%" else 1)
