"""Which detection answers for which true box: nuScenes' rule.

In the order of falling score over all frames, a detection takes the nearest free true box of
its class in its frame, by distance of centres on the ground, if that is under the threshold.
Ties in score go by frame, then row. A detection that takes none but lies within the threshold
of an ignored box, of any class, is not counted.
(Caesar et al. 2020; nuscenes-devkit `eval/detection/algo.py`, which knows no ignored boxes.)

Several classes can be matched as if they were one: then a car that is called a truck is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Boxes, Int64s, no_boxes
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
    """Counted detections by falling score: `scores` [m]; `right` bool [m]; `frame`, `row` int64
    [m] of the detection; `truth_row` int64 [m], -1 for a wrong one; and how many true boxes
    count.
    """

    scores: Float64s
    right: Bools
    frame: Int64s
    row: Int64s
    truth_row: Int64s
    truths: int


class Matcher:
    """All frames as columns, and every pair that is near enough, made once and asked often.

    Args:
        results: one for each frame.
        reach_m: the largest distance that will be asked for.
    """

    def __init__(self, results: Sequence[FrameResult], reach_m: float = max(DISTANCES_M)) -> None:
        self.reach_m, self.frames = reach_m, len(results)
        self.found = joined([result.found for result in results])
        self.truth = joined([result.truth for result in results])
        self.found_first = _firsts([len(result.found) for result in results])
        self.truth_first = _firsts([len(result.truth) for result in results])
        self._scores = np.concatenate([np.zeros(0), *(result.scores for result in results)])
        none = np.zeros(0, dtype=np.bool_)
        self._counted = ~np.concatenate([none, *(result.ignored for result in results)])
        order = np.argsort(-self._scores, kind="stable")
        self._rank = np.empty_like(order)
        self._rank[order] = np.arange(order.size)
        self._pairs(results)
        self._known: dict[tuple[tuple[int, ...], float], Matched] = {}
        self._truths: dict[tuple[int, ...], Int64s] = {}

    def _pairs(self, results: Sequence[FrameResult]) -> None:
        """Detection, true box and distance of each near pair, by rank, then distance."""
        parts: list[tuple[Int64s, Int64s, Float64s]] = []
        for number, result in enumerate(results):
            away = np.hypot(
                *np.moveaxis(
                    result.found.centre_m[:, None, :2] - result.truth.centre_m[None, :, :2], -1, 0
                )
            )
            row, column = np.nonzero(away < self.reach_m)
            parts.append((
                row + self.found_first[number], column + self.truth_first[number],
                away[row, column],
            ))  # fmt: skip
        none = np.zeros(0, dtype=np.int64)
        found = np.concatenate([none, *(part[0] for part in parts)])
        truth = np.concatenate([none, *(part[1] for part in parts)])
        away = np.concatenate([np.zeros(0), *(part[2] for part in parts)])
        order = np.lexsort((truth, away, self._rank[found]))
        self._pair_found, self._pair_truth = found[order], truth[order]
        self._pair_away = away[order]

    def match(self, classes: tuple[int, ...], distance_m: float) -> Matched:
        """Match all detections of some classes, taken as one, at one distance.

        Raises `InputError` for a distance over the reach.
        """
        if distance_m > self.reach_m:
            raise InputError(f"{distance_m} m lies over the reach of {self.reach_m} m")
        key = classes, distance_m
        if key not in self._known:
            self._known[key] = self._matched(classes, distance_m)
        return self._known[key]

    def _matched(self, classes: tuple[int, ...], distance_m: float) -> Matched:
        chosen = np.isin(self.found.class_index, classes)
        free = self._counted & np.isin(self.truth.class_index, classes)
        truths = int(free.sum())
        near = (self._pair_away < distance_m) & chosen[self._pair_found]
        answer: Int64s = np.full(chosen.size, -1, dtype=np.int64)
        wanted = near & free[self._pair_truth]
        for row, column in zip(
            self._pair_found[wanted].tolist(), self._pair_truth[wanted].tolist(), strict=True
        ):
            if free[column] and answer[row] < 0:
                answer[row], free[column] = column, False
        excused = np.zeros(chosen.size, dtype=np.bool_)
        excused[self._pair_found[near & ~self._counted[self._pair_truth]]] = True
        rows = np.flatnonzero(chosen & ((answer >= 0) | ~excused))
        rows = rows[np.argsort(self._rank[rows])]
        frame = _frame_of(self.found_first, rows)
        right = answer[rows] >= 0
        return Matched(
            self._scores[rows], right, frame, rows - self.found_first[frame],
            np.where(right, answer[rows] - self.truth_first[frame], -1), truths,
        )  # fmt: skip

    def truths_by_frame(self, classes: tuple[int, ...]) -> Int64s:
        """How many true boxes of some classes count, int64 [frames]."""
        if classes not in self._truths:
            rows = np.flatnonzero(self._counted & np.isin(self.truth.class_index, classes))
            frame = _frame_of(self.truth_first, rows)
            self._truths[classes] = np.bincount(frame, minlength=self.frames)
        return self._truths[classes]

    def right_pairs(self, matched: Matched) -> tuple[Boxes, Boxes]:
        """The right detections and their true boxes, row by row."""
        frame = matched.frame[matched.right]
        return (
            self.found.take(self.found_first[frame] + matched.row[matched.right]),
            self.truth.take(self.truth_first[frame] + matched.truth_row[matched.right]),
        )


Results = Sequence[FrameResult] | Matcher


def matcher_of(results: Results) -> Matcher:
    return results if isinstance(results, Matcher) else Matcher(results)


def match_class(results: Sequence[FrameResult], class_index: int, distance_m: float) -> Matched:
    """Match all detections of one class at one distance."""
    return Matcher(results, distance_m).match((class_index,), distance_m)


def joined(parts: Sequence[Boxes]) -> Boxes:
    """Boxes of many frames as one table."""
    every = [no_boxes(parts[0].frame), *parts] if parts else [no_boxes()]
    return Boxes(
        np.concatenate([part.centre_m for part in every]),
        np.concatenate([part.size_m for part in every]),
        np.concatenate([part.yaw_rad for part in every]),
        np.concatenate([part.velocity_mps for part in every]),
        np.concatenate([part.class_index for part in every]),
        np.concatenate([part.track_id for part in every]),
        every[0].frame,
    )


def _firsts(counts: Sequence[int]) -> Int64s:
    """The first row of each frame, and one behind the last: int64 [frames + 1]."""
    return np.concatenate([[0], np.cumsum(np.array(counts, dtype=np.int64))]).astype(np.int64)


def _frame_of(first: Int64s, rows: Int64s) -> Int64s:
    return np.asarray(np.searchsorted(first, rows, side="right") - 1)
