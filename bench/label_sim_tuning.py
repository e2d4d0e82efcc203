"""Fits what of the clip labeller is fitted, on simulated drives whose seeds are never measured on:
the calibrator of its confidence. All else in its parameters was chosen by hand on the same drives.

    python -m bench.label_sim_tuning DIR

simulates the drives into DIR where they are not there yet, and writes `teacher.calibration.json`
beside the parameters.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.label_sim_drives import TUNED_ON, TUNED_PLACES, Drive, drives_of, simulate
from contracts.geometry import TAXONOMY, Bools, Int64s
from models.evaluation.overlap import paired_iou_3d
from offline.labels.auto.clip import AutoLabels
from offline.labels.auto.offline import unscored
from offline.labels.auto.parameters import ClassParameters, parameters_digest
from offline.labels.auto.world import estimated_poses
from offline.labels.calibration.calibrator import calibrator_text
from offline.labels.calibration.fitting import Folds, Plan
from offline.labels.calibration.inputs import CLASS_NAMES, inputs_of
from offline.labels.calibration.samples import Samples
from offline.labels.clips.parameters import TEACHER, ClipParameters, calibration_file
from offline.labels.clips.tracks import clip_of, group_classes
from offline.labels.evaluation.detections import RIGHT_FROM
from offline.labels.evaluation.scene import assigned, same_frame
from offline.labels.fusion.boxes import class_groups
from offline.labels.kitti import CLASSES


def tracks_of(drive: Drive, parameters: ClipParameters) -> AutoLabels:
    """Everything that is told of a drive, without scores."""
    seen, by_class = drive.seen, parameters.by_class()
    found = seen.counted(parameters.seen_from, parameters.edge_m)
    clip = clip_of(found, seen.mono_ns, seen.world_SE3_ego, TAXONOMY, drive.sweeps)
    return unscored(clip, estimated_poses(clip, by_class), by_class)


def judged(drive: Drive, labels: AutoLabels) -> tuple[Bools, Bools]:
    """Which boxes [n] are right, and of which anybody knows. Truth is exact, so boxes of what no
    sensor shows are judged as well.
    """
    truth, instant, _ = drive.true_boxes()
    frame, boxes = drive.frames()[instant], labels.boxes
    one, two = same_frame(frame, boxes.frame)
    names = group_classes(TAXONOMY)
    told = np.array([names.index(CLASSES[kind]) for kind in boxes.kind.tolist()], dtype=np.int64)
    alike = class_groups(TAXONOMY)[truth.class_index][one] == told[two]
    one, two = one[alike], two[alike]
    overlap = paired_iou_3d(truth.take(one), boxes.as_boxes().take(two))
    near = overlap >= RIGHT_FROM
    one, two = one[near], two[near]
    chosen = assigned(one, two, overlap[near]) if one.size else np.zeros(0, dtype=np.bool_)
    right: Bools = np.zeros(len(boxes), dtype=np.bool_)
    right[two[chosen]] = True
    return right, np.isin(boxes.frame, frame)


def samples_of(
    drives: Sequence[Drive], labels: Sequence[AutoLabels], by_class: Mapping[str, ClassParameters]
) -> Samples:
    """All boxes that truth has judged, each class group as what it is calibrated as."""
    parts, tracks = [], 0
    for number, (drive, each) in enumerate(zip(drives, labels, strict=True)):
        right, counts = judged(drive, each)
        for parameters in by_class.values():
            rows = counts & (each.boxes.kind == CLASSES.index(parameters.class_name))
            n = int(rows.sum())
            parts.append((
                inputs_of(each.features[rows], parameters.calibrated_as),
                each.feature("own_probability")[rows], right[rows],
                np.full(n, CLASS_NAMES.index(parameters.calibrated_as)), np.full(n, number),
                each.boxes.track_id[rows] + tracks,
            ))  # fmt: skip
        tracks += 1 + int(each.boxes.track_id.max(initial=-1))
    inputs, raw, right, kind, sequence, track = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    unknown: Int64s = np.zeros((len(CLASS_NAMES), len(drives)), dtype=np.int64)
    names = tuple(drive.name for drive in drives)
    return Samples(names, inputs, raw, right, kind, sequence, track, unknown)


def main(folder: Path) -> None:
    """Simulate, look, fit, write."""
    simulate(folder, TUNED_ON, TUNED_PLACES)
    parameters = ClipParameters.model_validate_json(TEACHER.read_bytes())
    by_class = parameters.by_class()
    drives = list(drives_of([folder]))
    samples = samples_of(drives, [tracks_of(drive, parameters) for drive in drives], by_class)
    calibrator = Folds(samples, Plan()).calibrator(parameters_digest(by_class))
    path = calibration_file(TEACHER)
    path.write_text(calibrator_text(calibrator), encoding="utf-8")
    print(f"{len(samples)} boxes, {samples.right.mean():.3f} right: {path}")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
