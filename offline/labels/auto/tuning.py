"""What of the parameters is fitted to labels: the detector's size bias and the rescoring model.
All else is set by hand.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from models.evaluation.overlap import paired_iou_3d
from offline.labels.auto.clip import AutoLabels
from offline.labels.auto.offline import accepted, scored
from offline.labels.auto.parameters import ClassParameters
from offline.labels.auto.rescoring import fitted
from offline.labels.evaluation.kitti_rules import ClassTable, class_table
from offline.labels.evaluation.scene import assigned, same_frame
from offline.labels.kitti import LabelFile, TrackedBoxes

RIGHT_FROM = {"Car": 0.5, "Pedestrian": 0.3, "Cyclist": 0.3}
"""The 3D overlap from which a box counts as right when scores are fitted."""
SIZE_BIASED = ("Pedestrian",)
"""Classes whose size bias is fitted; of others it varies more between sequences than it is."""
_SURE = 0.5
_SAME_M = 1.5
_NO_REGIONS = np.zeros(0, dtype=np.int64), np.zeros((0, 4))


def size_factor(
    truth: Mapping[str, LabelFile], found: Mapping[str, TrackedBoxes], parameters: ClassParameters
) -> tuple[float, float, float]:
    """Median of true over detected length, width and height, of sure detections near a true box."""
    ratios = [np.ones((1, 3))]
    for name, labels in truth.items():
        real = labels.objects.of_classes((parameters.class_name,))
        told = found[name].of_classes((parameters.class_name,))
        told = told.take(parameters.scale.probability(told.score) > _SURE)
        one, two = same_frame(real.frame, told.frame)
        away = np.hypot(*(real.centre_m[one, :2] - told.centre_m[two, :2]).T)
        near = away < _SAME_M
        one, two, away = one[near], two[near], away[near]
        chosen = assigned(one, two, 1 + _SAME_M - away) if one.size else near[near]
        ratios.append(real.size_m[one[chosen]] / told.size_m[two[chosen]])
    length, width, height = np.median(np.concatenate(ratios), axis=0).round(3).tolist()
    return length, width, height


def refitted(
    truth: Mapping[str, LabelFile], labels: Mapping[str, AutoLabels], parameters: ClassParameters
) -> ClassParameters:
    """With a rescoring model for these sequences.

    Args:
        truth: by sequence.
        labels: everything that was made of the same sequences, of one class.
        parameters: of that class.
    """
    features, provenance, right = [], [], []
    for name, each in labels.items():
        good, counts = judged(truth[name], each.boxes, parameters.class_name)
        features.append(each.features[counts])
        provenance.append(each.provenance[counts])
        right.append(good[counts])
    model = fitted(np.concatenate(features), np.concatenate(provenance), np.concatenate(right))
    return parameters.model_copy(update={"rescoring": model})


def told_of(labels: AutoLabels, parameters: ClassParameters) -> LabelFile:
    """What the parameters accept of everything that was made of one class."""
    by_class = {parameters.class_name: parameters}
    return LabelFile(accepted(scored(labels, by_class), by_class).boxes, *_NO_REGIONS)


def judged(truth: LabelFile, boxes: TrackedBoxes, class_name: str) -> tuple[Bools, Bools]:
    """Which boxes [n] of one class and sequence are right, and which count at all."""
    table = class_table({"": truth}, {"": LabelFile(boxes, *_NO_REGIONS)}, class_name)
    one, two, overlap = _alike(table, RIGHT_FROM[class_name])
    chosen = assigned(one, two, overlap) if one.size else np.zeros(0, dtype=np.bool_)
    right: Bools = np.zeros(len(boxes), dtype=np.bool_)
    right[two[chosen]] = True
    excused = table.excused.copy()
    excused[two[chosen]] = table.ignored[one[chosen]]
    return right, ~excused


def _alike(table: ClassTable, least: float) -> tuple[Int64s, Int64s, Float64s]:
    one, two = same_frame(table.truth.frame, table.found.frame)
    overlap = paired_iou_3d(table.truth.as_boxes().take(one), table.found.as_boxes().take(two))
    near = overlap >= least
    return one[near], two[near], overlap[near]
