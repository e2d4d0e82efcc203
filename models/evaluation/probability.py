"""Whether probabilities mean what they say, and the scores of ground and light.

ECE: over equal bins of probability, the gap between the mean told and the share right, weighed
by how many fall in the bin. The worst bin is told beside it: a mean may hide it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s
from contracts.labels import UNKNOWN
from contracts.samples import Float64s

BINS = 15
TOLD_FROM = 0.1
"""Detections told with less have no part in the calibration of boxes: an AP is measured with as
many of them as one likes, and all of them together would look well calibrated.
"""


@dataclass(frozen=True, slots=True)
class Reliability:
    """By bin: mean `told`, share `right`, `count`; NaN where a bin is empty. `error` is the ECE,
    `worst` the largest gap of a bin that holds at least a hundredth of all.
    """

    told: Float64s
    right: Float64s
    count: Int64s
    error: float
    worst: float


def reliability(
    probabilities: Float64s, right: Bools, bins: int = BINS, weights: Float64s | None = None
) -> Reliability:
    """`weights` tell how often each counts, once without.

    Raises `InputError` without any, or for a probability outside 0..1.
    """
    if not probabilities.size or probabilities.shape != right.shape:
        raise InputError(f"{probabilities.size} probabilities of {right.size} outcomes")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise InputError("a probability lies in 0..1")
    which = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    often = np.ones(probabilities.size) if weights is None else weights
    count = np.bincount(which, weights=often, minlength=bins)
    known = np.where(count > 0, count, np.nan)
    told = np.bincount(which, weights=probabilities * often, minlength=bins) / known
    share = np.bincount(which, weights=right * often, minlength=bins) / known
    gap = np.nan_to_num(np.abs(told - share))
    heavy = count >= max(1.0, 0.01 * count.sum())
    return Reliability(
        told, share, count.astype(np.int64), float((gap * count).sum() / count.sum()),
        float(gap[heavy].max()),
    )  # fmt: skip


def ground_counts(
    probability: NDArray[np.floating], truth: NDArray[np.uint8], threshold: float = 0.5
) -> tuple[Int64s, Int64s]:
    """Cells of intersection and of union, int64 [layers] each; `UNKNOWN` cells do not count."""
    if probability.shape != truth.shape:
        raise InputError(f"ground {list(truth.shape)}, told {list(probability.shape)}")
    known, told, real = truth != UNKNOWN, probability > threshold, truth == 1
    both, either = told & real & known, (told | real) & known
    return both.sum(axis=(1, 2)), either.sum(axis=(1, 2))


class GroundScore:
    """Intersection over union of each ground layer, summed over frames."""

    def __init__(self, layers: int) -> None:
        self._both = np.zeros(layers, dtype=np.int64)
        self._either = np.zeros(layers, dtype=np.int64)

    def add(
        self, probability: NDArray[np.floating], truth: NDArray[np.uint8], threshold: float = 0.5
    ) -> None:
        """One frame: [layers, r, c] each; cells that are `UNKNOWN` do not count."""
        both, either = ground_counts(probability, truth, threshold)
        if both.size != self._both.size:
            raise InputError(f"ground of {both.size} layers, expected {self._both.size}")
        self._both += both
        self._either += either

    def iou(self) -> Float64s:
        """By layer; NaN where nothing was there and nothing was told."""
        return np.asarray(self._both / np.where(self._either > 0, self._either, np.nan))

    def mean_iou(self) -> float:
        """Mean over the layers that have one; NaN when none has."""
        known = self.iou()[~np.isnan(self.iou())]
        return float(known.mean()) if known.size else float("nan")


@dataclass(frozen=True, slots=True)
class LightScore:
    """`accuracy` over all; `recall` by state, NaN for a state that never was; `confusion`
    int64 [states, states], truth by row.
    """

    accuracy: float
    recall: Float64s
    confusion: Int64s


def light_score(told: Int64s, truth: Int64s, states: int) -> LightScore:
    """Raises `InputError` without any labelled frame."""
    if not truth.size or told.shape != truth.shape:
        raise InputError(f"{told.size} answers for {truth.size} labelled lights")
    confusion = np.zeros((states, states), dtype=np.int64)
    np.add.at(confusion, (truth, told), 1)
    seen = confusion.sum(axis=1)
    recall = confusion.diagonal() / np.where(seen > 0, seen, np.nan)
    return LightScore(float(confusion.trace() / truth.size), np.asarray(recall), confusion)
