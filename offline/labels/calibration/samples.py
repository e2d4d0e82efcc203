"""Boxes that truth has judged: what a calibrator is fitted to and measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from contracts.canonical import canonical_digest
from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from models.evaluation.overlap import paired_iou_3d
from offline.labels.auto.clip import AutoLabels
from offline.labels.calibration.inputs import CLASS_NAMES, INPUTS, inputs_of
from offline.labels.evaluation.detections import RIGHT_FROM
from offline.labels.evaluation.kitti_rules import class_table
from offline.labels.evaluation.scene import assigned, same_frame
from offline.labels.kitti import CLASSES, LabelFile, TrackedBoxes

_DIGITS = 9
_NO_REGIONS = np.zeros(0, dtype=np.int64), np.zeros((0, 4))


@dataclass(frozen=True, slots=True)
class Samples:
    """Columns over n judged boxes: `inputs` float64 [n, len(INPUTS)]; `raw` [n] the detector's own
    probability (0: not seen in this frame); `right` bool [n]; `kind` into `CLASS_NAMES`,
    `sequence` into `sequences`, `track` int64 [n], numbered through. `truths` int64
    [classes, sequences]: true boxes that count, found or not.
    """

    sequences: tuple[str, ...]
    inputs: Float64s
    raw: Float64s
    right: Bools
    kind: Int64s
    sequence: Int64s
    track: Int64s
    truths: Int64s

    @property
    def range_m(self) -> Float64s:
        return np.asarray(self.inputs[:, list(INPUTS).index("range_m")])

    def __len__(self) -> int:
        return int(self.right.size)

    def take(self, rows: Bools) -> Samples:
        """Some rows; what is true stays."""
        return Samples(
            self.sequences, self.inputs[rows], self.raw[rows], self.right[rows], self.kind[rows],
            self.sequence[rows], self.track[rows], self.truths,
        )  # fmt: skip

    def digest(self) -> str:
        """Of all that a calibrator can learn from them."""
        columns = (self.right, self.kind, self.sequence, self.track)
        told = [self.inputs.round(_DIGITS).tolist(), *(column.tolist() for column in columns)]
        return canonical_digest([list(self.sequences), *told])


def samples_of(truth: Mapping[str, LabelFile], labels: Mapping[str, AutoLabels]) -> Samples:
    """All boxes of all classes that count.

    Args:
        truth: by sequence.
        labels: everything that was made of the same sequences.
    """
    names = tuple(sorted(truth))
    truths: Int64s = np.zeros((len(CLASS_NAMES), len(names)), dtype=np.int64)
    parts, first = [], 0
    for number, name in enumerate(names):
        for place, class_name in enumerate(CLASS_NAMES):
            rows = labels[name].boxes.kind == CLASSES.index(class_name)
            each = labels[name].take(rows)
            right, counts, truths[place, number] = judged(truth[name], each.boxes, class_name)
            n = int(counts.sum())
            parts.append((
                inputs_of(each.features[counts], class_name),
                each.feature("own_probability")[counts], right[counts], np.full(n, place),
                np.full(n, number), each.boxes.track_id[counts] + first,
            ))  # fmt: skip
        first += 1 + int(labels[name].boxes.track_id.max(initial=-1))
    inputs, raw, right, kind, sequence, track = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return Samples(names, inputs, raw, right, kind, sequence, track, truths)


def judged(truth: LabelFile, boxes: TrackedBoxes, class_name: str) -> tuple[Bools, Bools, int]:
    """Which boxes [n] of one class and sequence are right, which count at all, and how many true
    boxes do. A box is right that overlaps a true box of its own by `RIGHT_FROM` or more; what
    meets an ignored true box so, or is excused, does not count.
    """
    table = class_table({"": truth}, {"": LabelFile(boxes, *_NO_REGIONS)}, class_name)
    one, two = same_frame(table.truth.frame, table.found.frame)
    overlap = paired_iou_3d(table.truth.as_boxes().take(one), table.found.as_boxes().take(two))
    near = overlap >= RIGHT_FROM
    one, two = one[near], two[near]
    chosen = assigned(one, two, overlap[near]) if one.size else np.zeros(0, dtype=np.bool_)
    right: Bools = np.zeros(len(boxes), dtype=np.bool_)
    right[two[chosen]] = True
    excused = table.excused.copy()
    excused[two[chosen]] = table.ignored[one[chosen]]
    return right, ~excused, int((~table.ignored).sum())
