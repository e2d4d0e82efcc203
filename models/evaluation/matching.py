"""Which detection answers for which true box: nuScenes' rule.

In the order of falling score over all frames, a detection takes the nearest free true box of
its class in its frame, by distance of centres on the ground, if that is under the threshold.
Ties in score go by frame, then row. A detection that takes none but lies within the threshold
of an ignored box, of any class, is not counted.
(Caesar et al. 2020; nuscenes-devkit `eval/detection/algo.py`, which knows no ignored boxes.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Boxes, Int64s
from contracts.samples import Float64s

DISTANCES_M = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class FrameResult:
    """One frame's detections with `scores` [k] (calibrated or not), its true boxes, and which
    of these are `ignored` bool [n]. All in one frame of reference.
    """

    found: Boxes
    scores: Float64s
    truth: Boxes
    ignored: Bools

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.found),) or self.ignored.shape != (len(self.truth),):
            raise InputError("a score for each detection, a flag for each true box")
        if not np.isfinite(self.scores).all():
            raise InputError("a score is not finite", "scores")
        if self.found.frame != self.truth.frame:
            raise InputError(f"frames differ: {self.found.frame!r}, {self.truth.frame!r}")


@dataclass(frozen=True, slots=True)
class Matched:
    """Counted detections of one class by falling score: `scores` [m]; `right` bool [m];
    `frame`, `row` int64 [m] of the detection; `truth_row` int64 [m], -1 for a wrong one;
    and how many true boxes count.
    """

    scores: Float64s
    right: Bools
    frame: Int64s
    row: Int64s
    truth_row: Int64s
    truths: int


def match_class(results: Sequence[FrameResult], class_index: int, distance_m: float) -> Matched:
    """Match all detections of one class at one distance."""
    order = _by_score(results, class_index)
    free = [~r.ignored & (r.truth.class_index == class_index) for r in results]
    truths = int(sum(int(mask.sum()) for mask in free))
    rows: list[tuple[float, bool, int, int, int]] = []
    for frame, row in order:
        result = results[frame]
        away = np.hypot(*(result.truth.centre_m[:, :2] - result.found.centre_m[row, :2]).T)
        candidates = np.flatnonzero(free[frame] & (away < distance_m))
        score = float(result.scores[row])
        if candidates.size:
            best = int(candidates[np.argmin(away[candidates])])
            free[frame][best] = False
            rows.append((score, True, frame, row, best))
        elif not (result.ignored & (away < distance_m)).any():
            rows.append((score, False, frame, row, -1))
    scores, right, frames, found, truth = zip(*rows, strict=True) if rows else ([],) * 5
    return Matched(
        np.array(scores, dtype=np.float64), np.array(right, dtype=np.bool_),
        np.array(frames, dtype=np.int64), np.array(found, dtype=np.int64),
        np.array(truth, dtype=np.int64), truths,
    )  # fmt: skip


def _by_score(results: Sequence[FrameResult], class_index: int) -> list[tuple[int, int]]:
    """Frame and row of the class's detections, the best score first."""
    places = [
        (frame, int(row))
        for frame, result in enumerate(results)
        for row in np.flatnonzero(result.found.class_index == class_index)
    ]
    scores = np.array([results[frame].scores[row] for frame, row in places])
    return [places[i] for i in np.argsort(-scores, kind="stable")] if places else []
