"""Average precision, true-positive errors and the score that joins them, after nuScenes.

AP: precision at 101 levels of recall, by linear interpolation, the part under recall 0.1
left out and 0.1 taken off the rest, scaled to 0..1. mAP: the mean over classes and the
distances 0.5, 1, 2 and 4 m. Errors: for matches at 2 m, the running mean of each error at each
level of recall, averaged from recall 0.1 to the highest reached; 1 where recall 0.1 is not
reached; matches whose truth is unknown have no part in it.

Score: (5 mAP + sum of 1 - min(1, error) over the four errors) / 9. nuScenes has a fifth error,
of attributes, which this taxonomy does not have, and divides by 10; an error that nobody knows
counts as 1 here.

A class without any true box has no AP (NaN) and is left out of the means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.geometry import TAXONOMY, Taxonomy, wrapped
from contracts.samples import Float64s
from models.evaluation.matching import DISTANCES_M, FrameResult, Matched, match_class

ERROR_DISTANCE_M = 2.0
MIN_RECALL, MIN_PRECISION = 0.1, 0.1
ERRORS = ("translation_m", "scale", "orientation_rad", "velocity_mps")
_LEVELS: Float64s = np.linspace(0, 1, 101)
_FIRST_LEVEL = round(MIN_RECALL * 100) + 1


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: `ap` by distance in metres and their mean; errors by name (NaN: no truth);
    `best_recall` at 2 m; how many true boxes.
    """

    name: str
    ap: dict[float, float]
    errors: dict[str, float]
    best_recall: float
    truths: int

    @property
    def mean_ap(self) -> float:
        return float(np.mean(list(self.ap.values())))


@dataclass(frozen=True, slots=True)
class DetectionScore:
    """All classes: means leave out classes without truth; NaN when there is none at all."""

    classes: tuple[ClassScore, ...]
    mean_ap: float
    errors: dict[str, float]
    score: float


def average_precision(matched: Matched) -> float:
    """AP in 0..1, NaN without any true box."""
    if not matched.truths:
        return float("nan")
    precision = precision_at_levels(matched)[_FIRST_LEVEL:] - MIN_PRECISION
    return min(1.0, float(np.clip(precision, 0, None).mean() / (1 - MIN_PRECISION)))


def precision_at_levels(matched: Matched) -> Float64s:
    """Precision at recall 0, 0.01 .. 1; 0 beyond the highest recall reached."""
    if not matched.right.any():
        return np.zeros(_LEVELS.size)
    hits = np.cumsum(matched.right)
    recall = hits / matched.truths
    precision = hits / np.arange(1, hits.size + 1)
    return np.asarray(np.interp(_LEVELS, recall, precision, right=0))


def class_score(
    results: Sequence[FrameResult], class_index: int, name: str,
    distances_m: Sequence[float] = DISTANCES_M,
) -> ClassScore:  # fmt: skip
    """AP and errors of one class."""
    ap = {d: average_precision(match_class(results, class_index, d)) for d in distances_m}
    matched = match_class(results, class_index, ERROR_DISTANCE_M)
    recall = float(matched.right.sum() / matched.truths) if matched.truths else float("nan")
    return ClassScore(name, ap, _errors(results, matched), recall, matched.truths)


def detection_score(
    results: Sequence[FrameResult], taxonomy: Taxonomy = TAXONOMY
) -> DetectionScore:
    """All classes of the taxonomy."""
    classes = tuple(class_score(results, i, name) for i, name in enumerate(taxonomy.names))
    counted = [one for one in classes if one.truths]
    nan = float("nan")
    if not counted:
        return DetectionScore(classes, nan, dict.fromkeys(ERRORS, nan), nan)
    mean_ap = float(np.mean([one.mean_ap for one in counted]))
    errors = {name: _mean_known([one.errors[name] for one in counted]) for name in ERRORS}
    kept = sum(1 - min(1.0, error) for error in errors.values() if not np.isnan(error))
    return DetectionScore(classes, mean_ap, errors, (5 * mean_ap + kept) / (5 + len(ERRORS)))


def _mean_known(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _errors(results: Sequence[FrameResult], matched: Matched) -> dict[str, float]:
    if not matched.truths:
        return dict.fromkeys(ERRORS, float("nan"))
    recall = np.cumsum(matched.right) / matched.truths
    if not recall.size or recall[-1] < MIN_RECALL:
        return dict.fromkeys(ERRORS, 1.0)
    table = match_errors(results, matched)
    reached = recall[matched.right]
    last = int(np.floor(reached[-1] * 100 + 1e-9))
    result = {}
    for column, name in enumerate(ERRORS):
        known = ~np.isnan(table[:, column])
        if not known.any():
            result[name] = float("nan")
            continue
        running = np.cumsum(table[known, column]) / np.arange(1, known.sum() + 1)
        at_levels = np.interp(_LEVELS, reached[known], running)
        result[name] = float(at_levels[min(_FIRST_LEVEL, last) : last + 1].mean())
    return result


def match_errors(results: Sequence[FrameResult], matched: Matched) -> Float64s:
    """Errors of every match, float64 [m, 4] in the order of `ERRORS`; NaN where the truth's
    velocity is unknown. Scale is 1 - IoU of the boxes once centres and headings agree.
    """
    rows = [np.zeros((0, len(ERRORS)))]
    for i in np.flatnonzero(matched.right):
        result = results[int(matched.frame[i])]
        a = result.found.take(matched.row[i : i + 1])
        b = result.truth.take(matched.truth_row[i : i + 1])
        both = np.minimum(a.size_m, b.size_m).prod()
        union = a.size_m.prod() + b.size_m.prod() - both
        rows.append(
            np.array([[
                np.hypot(*(a.centre_m - b.centre_m)[0, :2]),
                1 - both / union,
                abs(wrapped(a.yaw_rad - b.yaw_rad)[0]),
                np.hypot(*(a.velocity_mps - b.velocity_mps)[0]),
            ]])
        )  # fmt: skip
    return np.concatenate(rows)
