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
from models.evaluation.matching import DISTANCES_M, Matched, Matcher, Results, matcher_of

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
    return _mean_precision(precision_at_levels(matched)) if matched.truths else float("nan")


def _mean_precision(at_levels: Float64s) -> float:
    precision = at_levels[_FIRST_LEVEL:] - MIN_PRECISION
    return min(1.0, float(np.clip(precision, 0, None).mean() / (1 - MIN_PRECISION)))


def weighted_ap(matcher: Matcher, classes: tuple[int, ...], distance_m: float, weights: Float64s
                ) -> float:  # fmt: skip
    """AP with frame i counted `weights[i]` times, float64 [frames]; NaN without any truth."""
    truths = float(matcher.truths_by_frame(classes) @ weights)
    if not truths:
        return float("nan")
    matched = matcher.match(classes, distance_m)
    return _mean_precision(precision_at_levels(matched, weights[matched.frame], truths))


def precision_at_levels(
    matched: Matched, weights: Float64s | None = None, truths: float | None = None
) -> Float64s:
    """Precision at recall 0, 0.01 .. 1; 0 beyond the highest recall reached.

    `weights` [m] tell how often each detection counts, `truths` how many true boxes then do.
    """
    right = matched.right
    counts = np.ones(right.size) if weights is None else weights
    right, counts = right[counts > 0], counts[counts > 0]
    if not right.any():
        return np.zeros(_LEVELS.size)
    hits = np.cumsum(right * counts)
    recall = hits / (matched.truths if truths is None else truths)
    return np.asarray(np.interp(_LEVELS, recall, hits / np.cumsum(counts), right=0))


def class_score(
    results: Results, class_index: int, name: str, distances_m: Sequence[float] = DISTANCES_M,
) -> ClassScore:  # fmt: skip
    """AP and errors of one class."""
    matcher, one = matcher_of(results), (class_index,)
    ap = {d: average_precision(matcher.match(one, d)) for d in distances_m}
    matched = matcher.match(one, ERROR_DISTANCE_M)
    recall = float(matched.right.sum() / matched.truths) if matched.truths else float("nan")
    return ClassScore(name, ap, _errors(matcher, matched), recall, matched.truths)


def detection_score(results: Results, taxonomy: Taxonomy = TAXONOMY) -> DetectionScore:
    """All classes of the taxonomy."""
    matcher = matcher_of(results)
    classes = tuple(class_score(matcher, i, name) for i, name in enumerate(taxonomy.names))
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


def _errors(matcher: Matcher, matched: Matched) -> dict[str, float]:
    if not matched.truths:
        return dict.fromkeys(ERRORS, float("nan"))
    recall = np.cumsum(matched.right) / matched.truths
    if not recall.size or recall[-1] < MIN_RECALL:
        return dict.fromkeys(ERRORS, 1.0)
    table = match_errors(matcher, matched)
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


def match_errors(results: Results, matched: Matched) -> Float64s:
    """Errors of every match, float64 [m, 4] in the order of `ERRORS`; NaN where the truth's
    velocity is unknown. Scale is 1 - IoU of the boxes once centres and headings agree.
    """
    found, truth = matcher_of(results).right_pairs(matched)
    both = np.minimum(found.size_m, truth.size_m).prod(axis=1)
    union = found.size_m.prod(axis=1) + truth.size_m.prod(axis=1) - both
    return np.column_stack([
        np.hypot(*(found.centre_m - truth.centre_m)[:, :2].T),
        1 - both / union,
        np.abs(wrapped(found.yaw_rad - truth.yaw_rad)),
        np.hypot(*(found.velocity_mps - truth.velocity_mps).T),
    ])  # fmt: skip
